//! The calls that take paths, each relative to a directory.

use super::journal::Change;
use super::path::{Destination, Follow, Last, check_path};
use super::{Data, Directory, Fs, Inode, Kind};
use crate::sys::name_flags::{EMPTY_PATH, EXCHANGE, FOLLOW, NO_REPLACE, REMOVE_DIR};
use crate::sys::sim::errno::{Errno, Result};
use std::time::Duration;

impl Fs {
    /// What a path leads to.
    pub(crate) fn find(&self, at: Inode, path: &[u8], follow: bool) -> Result<Inode> {
        let follow = Follow {
            plain: follow,
            slash: true,
        };
        let place = self.walk(at, path, follow)?;
        let found = self.entry(&place)?.ok_or(Errno(libc::ENOENT))?;
        if place.slash && !self.node(found).is_directory() {
            return Err(Errno(libc::ENOTDIR));
        }
        Ok(found)
    }

    /// Finds a file or a directory to be opened, and makes a file if the flags of open(2) say so.
    /// The caller holds it by [`Fs::retain`], and sees to what the access mode allows.
    pub(crate) fn open(
        &mut self,
        at: Inode,
        path: &[u8],
        flags: i32,
        mode: u32,
        now: Duration,
    ) -> Result<Inode> {
        let has = |bits: i32| flags & bits == bits;
        if has(libc::O_TMPFILE) || has(libc::O_PATH) {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        if has(libc::O_CREAT | libc::O_DIRECTORY) {
            return Err(Errno(libc::EINVAL));
        }
        let creates = has(libc::O_CREAT);
        let is_new = creates && has(libc::O_EXCL);
        let follow = Follow {
            plain: !is_new && !has(libc::O_NOFOLLOW),
            slash: !creates,
        };
        let place = self.walk(at, path, follow)?;
        if creates && place.slash {
            return Err(Errno(libc::EISDIR));
        }
        match (self.entry(&place)?, place.last) {
            (Some(_), _) if is_new => Err(Errno(libc::EEXIST)),
            (Some(inode), _) => {
                self.check_open(inode, flags, place.slash)?;
                if has(libc::O_TRUNC) {
                    self.truncate(inode, 0, now)?;
                }
                Ok(inode)
            }
            (None, Last::Name(name)) if creates => {
                let (dir, name) = (place.dir, name.into());
                let inode = self.make(Kind::File(Data::default()), mode & 0o7777, now);
                self.set(dir, name, Some(inode), now);
                Ok(inode)
            }
            (None, _) => Err(Errno(libc::ENOENT)),
        }
    }

    /// Removes the name of a file, or with `AT_REMOVEDIR` an empty directory.
    pub(crate) fn unlink(
        &mut self,
        at: Inode,
        path: &[u8],
        flags: i32,
        now: Duration,
    ) -> Result<()> {
        if flags & !REMOVE_DIR != 0 {
            return Err(Errno(libc::EINVAL));
        }
        let directory = flags & REMOVE_DIR != 0;
        let place = self.walk(at, path, Follow::NEVER)?;
        let name = match place.last {
            Last::Name(name) => name,
            _ if !directory => return Err(Errno(libc::EISDIR)),
            Last::Dot => return Err(Errno(libc::EINVAL)),
            Last::DotDot => return Err(Errno(libc::ENOTEMPTY)),
            Last::Root => return Err(Errno(libc::EBUSY)),
        };
        let inode = self.entry(&place)?.ok_or(Errno(libc::ENOENT))?;
        if place.slash && !directory && !self.node(inode).is_directory() {
            return Err(Errno(libc::ENOTDIR));
        }
        self.check_removal(inode, directory)?;
        let (dir, name) = (place.dir, name.into());
        self.set(dir, name, None, now);
        Ok(())
    }

    /// Renames a file or a directory, as the flags of renameat2(2) say.
    pub(crate) fn rename(
        &mut self,
        (from_dir, from): (Inode, &[u8]),
        (to_dir, to): (Inode, &[u8]),
        flags: u32,
        now: Duration,
    ) -> Result<()> {
        let exchange = flags == EXCHANGE;
        if !(exchange || flags & !NO_REPLACE == 0) {
            return Err(Errno(libc::EINVAL));
        }
        let from = self.walk(from_dir, from, Follow::NEVER)?;
        let to = self.walk(to_dir, to, Follow::NEVER)?;
        let replaces = flags & NO_REPLACE == 0;
        let (old_name, new_name) = match (from.last, to.last) {
            (Last::Name(from), Last::Name(to)) => (from.into(), to.into()),
            (Last::Name(_), _) if !replaces => return Err(Errno(libc::EEXIST)),
            _ => return Err(Errno(libc::EBUSY)),
        };
        let old = self.entry(&from)?.ok_or(Errno(libc::ENOENT))?;
        let new = self.entry(&to)?;
        match new {
            Some(_) if !replaces => return Err(Errno(libc::EEXIST)),
            None if exchange => return Err(Errno(libc::ENOENT)),
            _ => {}
        }
        self.check_rename((&from, old), (&to, new), exchange)?;
        if new == Some(old) {
            return Ok(());
        }
        if let (Some(new), false) = (new, exchange) {
            self.check_removal(new, self.node(old).is_directory())?;
        }
        let (from_dir, to_dir) = (from.dir, to.dir);
        let changes = vec![
            Change {
                dir: to_dir,
                name: new_name,
                to: Some(old),
            },
            Change {
                dir: from_dir,
                name: old_name,
                to: new.filter(|_| exchange),
            },
        ];
        self.record(changes, now);
        Ok(())
    }

    pub(crate) fn mkdir(&mut self, at: Inode, path: &[u8], mode: u32, now: Duration) -> Result<()> {
        let (dir, name) = self.vacancy(at, path, true)?;
        let inode = self.make(Kind::directory(dir), mode & 0o1777, now);
        self.set(dir, name, Some(inode), now);
        Ok(())
    }

    /// Makes a symbolic link that leads to `text`, which is not looked up.
    pub(crate) fn symlink(
        &mut self,
        text: &[u8],
        at: Inode,
        path: &[u8],
        now: Duration,
    ) -> Result<()> {
        check_path(text)?;
        let (dir, name) = self.vacancy(at, path, false)?;
        let inode = self.make(Kind::Symlink(text.into()), 0o777, now);
        self.set(dir, name, Some(inode), now);
        Ok(())
    }

    /// Gives a file one more name, as the flags of linkat(2) say.
    pub(crate) fn hard_link(
        &mut self,
        (from_dir, from): (Inode, &[u8]),
        (to_dir, to): (Inode, &[u8]),
        flags: i32,
        now: Duration,
    ) -> Result<()> {
        if flags & !(FOLLOW | EMPTY_PATH) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        let inode = if from.is_empty() && flags & EMPTY_PATH != 0 {
            from_dir
        } else {
            self.find(from_dir, from, flags & FOLLOW != 0)?
        };
        let (dir, name) = self.vacancy(to_dir, to, false)?;
        let node = self.node(inode);
        if node.is_directory() {
            return Err(Errno(libc::EPERM));
        }
        if node.links == 0 {
            return Err(Errno(libc::ENOENT));
        }
        self.set(dir, name, Some(inode), now);
        Ok(())
    }

    /// The names in a directory, in their order.
    #[cfg(test)]
    pub(crate) fn names(&self, dir: Inode) -> Result<Vec<&[u8]>> {
        let entries = &self.directory(dir)?.entries;
        Ok(entries.keys().map(|name| &**name).collect())
    }

    pub(super) fn directory(&self, inode: Inode) -> Result<&Directory> {
        match &self.node(inode).kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Symlink(_) => Err(Errno(libc::ENOTDIR)),
        }
    }

    /// The change of one name.
    fn set(&mut self, dir: Inode, name: Box<[u8]>, to: Option<Inode>, now: Duration) {
        self.record(vec![Change { dir, name, to }], now);
    }

    /// A place for a new name.
    fn vacancy(&self, at: Inode, path: &[u8], directory: bool) -> Result<(Inode, Box<[u8]>)> {
        let place = self.walk(at, path, Follow::NEVER)?;
        match (self.entry(&place)?, place.last) {
            (None, Last::Name(_)) if place.slash && !directory => Err(Errno(libc::ENOENT)),
            (None, Last::Name(name)) => Ok((place.dir, name.into())),
            _ => Err(Errno(libc::EEXIST)),
        }
    }

    /// Whether something that is there may be opened like this.
    fn check_open(&self, inode: Inode, flags: i32, slash: bool) -> Result<()> {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let changes = libc::O_CREAT | libc::O_TRUNC;
        match self.node(inode).kind {
            Kind::Directory(_) if writes || flags & changes != 0 => Err(Errno(libc::EISDIR)),
            Kind::Directory(_) => Ok(()),
            _ if slash || flags & libc::O_DIRECTORY != 0 => Err(Errno(libc::ENOTDIR)),
            Kind::Symlink(_) => Err(Errno(libc::ELOOP)),
            Kind::File(_) => Ok(()),
        }
    }

    /// Whether a name may be taken from something, as a `directory` or as a file.
    fn check_removal(&self, inode: Inode, directory: bool) -> Result<()> {
        match (&self.node(inode).kind, directory) {
            (Kind::Directory(_), false) => Err(Errno(libc::EISDIR)),
            (Kind::File(_) | Kind::Symlink(_), true) => Err(Errno(libc::ENOTDIR)),
            (Kind::Directory(inside), true) if !inside.entries.is_empty() => {
                Err(Errno(libc::ENOTEMPTY))
            }
            _ => Ok(()),
        }
    }

    /// Whether something may be moved to a place, where there may be something `new`.
    fn check_rename(
        &self,
        (from, old): (&Destination<'_>, Inode),
        (to, new): (&Destination<'_>, Option<Inode>),
        exchange: bool,
    ) -> Result<()> {
        let is_directory = |inode| self.node(inode).is_directory();
        // With an exchange, each end has the slash that is fit for what comes from there.
        let end = if exchange { new } else { Some(old) };
        let misses = |inode: Option<Inode>| !inode.is_some_and(is_directory);
        if from.slash && misses(Some(old)) || to.slash && misses(end) {
            return Err(Errno(libc::ENOTDIR));
        }
        if self.is_within(to.dir, old) {
            return Err(Errno(libc::EINVAL));
        }
        match new {
            Some(new) if self.is_within(from.dir, new) => Err(Errno(if exchange {
                libc::EINVAL
            } else {
                libc::ENOTEMPTY
            })),
            _ => Ok(()),
        }
    }

    /// Whether a directory is `above`, or somewhere below it.
    fn is_within(&self, mut dir: Inode, above: Inode) -> bool {
        while dir != above {
            let parent = self.directory(dir).map(|directory| directory.parent);
            match parent {
                Ok(parent) if parent != dir && self.nodes.contains_key(&parent) => dir = parent,
                _ => return false,
            }
        }
        true
    }
}
