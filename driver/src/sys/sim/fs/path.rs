//! From a path to the directory and the name that it leads to.

use super::{Fs, Inode, Kind, NAME_MAX, ROOT};
use crate::sys::sim::errno::{Errno, Result};

/// The longest path, in bytes, the zero behind it included.
const PATH_MAX: usize = 4096;

/// How many symbolic links one path leads through.
const LINKS_MAX: u32 = 40;

/// Where a path leads to, whether there is something or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'p> {
    /// The directory that the name is in; where there is none, the one that the path leads to.
    pub(super) dir: Inode,
    pub(super) last: Last<'p>,
    /// Whether there is a slash behind the name.
    pub(super) slash: bool,
}

/// The last part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last<'p> {
    Name(&'p [u8]),
    Dot,
    DotDot,
    /// There is none: nothing but slashes.
    Root,
}

/// Whether a symbolic link in the last place is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follow {
    /// With nothing behind it.
    pub(super) plain: bool,
    /// With a slash behind it.
    pub(super) slash: bool,
}

impl Follow {
    pub(super) const NEVER: Self = Self {
        plain: false,
        slash: false,
    };
}

impl Fs {
    /// Goes along a path from the directory `at`, up to its last part.
    pub(super) fn walk<'p>(
        &'p self,
        at: Inode,
        path: &'p [u8],
        follow: Follow,
    ) -> Result<Destination<'p>> {
        check_path(path)?;
        let mut rest = Rest::default();
        let mut place = Destination {
            dir: at,
            last: Last::Root,
            slash: false,
        };
        let mut links = 0;
        let mut text = Some(path);
        loop {
            if let Some(text) = text.take() {
                if text.starts_with(b"/") {
                    place.dir = ROOT;
                    place.last = Last::Root;
                }
                rest.0.push(text);
            }
            let Some((part, behind)) = rest.next() else {
                return Ok(place);
            };
            let directory = self.directory(place.dir)?;
            match part {
                b"." => place.last = Last::Dot,
                b".." if self.nodes.contains_key(&directory.parent) => {
                    place.dir = directory.parent;
                    place.last = Last::DotDot;
                }
                // Both are removed.
                b".." => return Err(Errno(libc::ENOENT)),
                name => {
                    place.last = Last::Name(name);
                    place.slash = behind == Behind::Slash;
                    let follows = match behind {
                        Behind::Nothing => follow.plain,
                        Behind::Slash => follow.slash,
                        Behind::More => true,
                    };
                    if !follows {
                        return Ok(place);
                    }
                    let found = self.lookup(place.dir, name)?;
                    match found.map(|inode| (inode, &self.node(inode).kind)) {
                        Some((_, Kind::Symlink(to))) => {
                            links += 1;
                            if links > LINKS_MAX {
                                return Err(Errno(libc::ELOOP));
                            }
                            text = Some(to);
                        }
                        _ if behind != Behind::More => return Ok(place),
                        Some((inode, _)) => place.dir = inode,
                        None => return Err(Errno(libc::ENOENT)),
                    }
                }
            }
        }
    }

    /// What a place has in it.
    pub(super) fn entry(&self, place: &Destination<'_>) -> Result<Option<Inode>> {
        match place.last {
            Last::Name(name) => self.lookup(place.dir, name),
            Last::Dot | Last::DotDot | Last::Root => Ok(Some(place.dir)),
        }
    }

    /// What a name in a directory leads to.
    fn lookup(&self, dir: Inode, name: &[u8]) -> Result<Option<Inode>> {
        if self.node(dir).links == 0 {
            return Err(Errno(libc::ENOENT));
        }
        if name.len() > NAME_MAX {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        Ok(self.directory(dir)?.entries.get(name).copied())
    }
}

/// Whether it can be a path, or the text of a symbolic link.
pub(super) fn check_path(path: &[u8]) -> Result<()> {
    match path.len() {
        0 => Err(Errno(libc::ENOENT)),
        PATH_MAX.. => Err(Errno(libc::ENAMETOOLONG)),
        _ => Ok(()),
    }
}

/// What is still to be gone along: of the path, and of the texts of the links that it led through.
/// The next is at the end.
#[derive(Default)]
struct Rest<'p>(Vec<&'p [u8]>);

/// What is behind a part of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    /// And nothing more.
    Slash,
    More,
}

impl<'p> Rest<'p> {
    /// Takes the next part.
    fn next(&mut self) -> Option<(&'p [u8], Behind)> {
        let is_slash = |byte: &u8| *byte == b'/';
        while let Some(text) = self.0.pop() {
            let Some(start) = text.iter().position(|byte| !is_slash(byte)) else {
                continue;
            };
            let text = &text[start..];
            let end = text.iter().position(is_slash).unwrap_or(text.len());
            let (part, rest) = text.split_at(end);
            if !rest.is_empty() {
                self.0.push(rest);
            }
            let behind = if self.0.is_empty() {
                Behind::Nothing
            } else if self.0.iter().all(|text| text.iter().all(is_slash)) {
                Behind::Slash
            } else {
                Behind::More
            };
            return Some((part, behind));
        }
        None
    }
}
