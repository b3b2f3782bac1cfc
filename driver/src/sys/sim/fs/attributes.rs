//! What is known of a file beside its bytes: its times and extended attributes.

use super::{Fs, Inode, NAME_MAX};
use crate::sys::name_flags::{XATTR_CREATE, XATTR_REPLACE};
use crate::sys::sim::errno::{Errno, Result};
use crate::sys::sim::random::Random;
use std::collections::BTreeMap;
use std::time::Duration;

/// In virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) accessed: Duration,
    pub(crate) modified: Duration,
    pub(crate) changed: Duration,
    pub(crate) created: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct Attributes {
    pub(super) times: Times,
    extended: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// The longest value of an extended attribute, in bytes.
pub(super) const XATTR_MAX: usize = 65_536;

impl Fs {
    /// The value of an extended attribute. `room` is what the caller has for it, in bytes: with
    /// none it asks for the size.
    pub(crate) fn get_xattr(&self, inode: Inode, name: &[u8], room: usize) -> Result<&[u8]> {
        check_xattr(name)?;
        let value = self.node(inode).attributes.extended.get(name);
        let value = value.ok_or(Errno(libc::ENODATA))?;
        if room != 0 && room < value.len() {
            return Err(Errno(libc::ERANGE));
        }
        Ok(value)
    }

    /// Sets an extended attribute, as the flags of setxattr(2) say.
    pub(crate) fn set_xattr(
        &mut self,
        inode: Inode,
        name: &[u8],
        value: &[u8],
        flags: i32,
        now: Duration,
    ) -> Result<()> {
        if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        if value.len() > XATTR_MAX {
            return Err(Errno(libc::E2BIG));
        }
        check_xattr(name)?;
        let attributes = &mut self.node_mut(inode).attributes;
        let exists = attributes.extended.contains_key(name);
        if exists && flags & XATTR_CREATE != 0 {
            return Err(Errno(libc::EEXIST));
        }
        if !exists && flags & XATTR_REPLACE != 0 {
            return Err(Errno(libc::ENODATA));
        }
        attributes.extended.insert(name.into(), value.into());
        attributes.times.changed = now;
        Ok(())
    }
}

impl Attributes {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            times: Times {
                accessed: now,
                modified: now,
                changed: now,
                created: now,
            },
            extended: BTreeMap::new(),
        }
    }

    /// Each is as it is, or as it was synced.
    pub(super) fn crash(&mut self, synced: &Self, random: &mut Random) {
        let mut survives = || random.below(2) == 0;
        if !survives() {
            self.times = synced.times;
        }
        // None is ever removed: what was synced is there, with this or another value.
        self.extended.retain(|name, value| {
            if survives() {
                return true;
            }
            let old = synced.extended.get(name);
            if let Some(old) = old {
                value.clone_from(old);
            }
            old.is_some()
        });
    }
}

/// Whether there can be an attribute of this name.
fn check_xattr(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Errno(libc::ERANGE));
    }
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let rest = prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(*prefix));
    match rest {
        None => Err(Errno(libc::EOPNOTSUPP)),
        Some([]) => Err(Errno(libc::EINVAL)),
        Some(_) => Ok(()),
    }
}
