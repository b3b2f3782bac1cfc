//! The calls on what a file has in it.

use super::data::{Data, FILE_MAX};
use super::{Fs, Inode, Kind};
use crate::op::space::Space;
use crate::sys::file::sync_flags;
use crate::sys::sim::errno::{Errno, Result};
use std::time::Duration;

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many bytes; fewer than there were where the disk, or the largest size, ends.
    pub(crate) count: usize,
    /// The offset behind them.
    pub(crate) end: u64,
}

impl Fs {
    /// Up to `len` bytes from `offset` on: fewer where the file ends.
    pub(crate) fn read_at(&self, inode: Inode, offset: u64, len: usize) -> Result<Vec<u8>> {
        let data = self.data(inode, libc::EISDIR)?;
        Ok(data.read(offset, len))
    }

    /// Writes at `offset`, or at the end of the file if it is to `append`. What lies between the
    /// end and the offset reads as zeroes.
    pub(crate) fn write_at(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
        append: bool,
        now: Duration,
    ) -> Result<Written> {
        let data = self.data(inode, libc::EISDIR)?;
        if bytes.is_empty() {
            return Ok(Written {
                count: 0,
                end: offset,
            });
        }
        let offset = if append { data.size() } else { offset };
        if offset >= FILE_MAX {
            return Err(Errno(libc::EFBIG));
        }
        let end = FILE_MAX.min(offset.saturating_add(bytes.len() as u64));
        let missing = data.missing(offset, end);
        let room = self.room(missing);
        let fits = usize::try_from(end - offset).map_or(bytes, |len| &bytes[..len]);
        let count = self.change(inode, now, |data| data.write(offset, fits, room));
        if count == 0 {
            return Err(Errno(libc::ENOSPC));
        }
        Ok(Written {
            count,
            end: offset + count as u64,
        })
    }

    /// Cuts a file off, or extends it by zeroes that take no space.
    pub(crate) fn truncate(&mut self, inode: Inode, size: u64, now: Duration) -> Result<()> {
        self.data(inode, libc::EINVAL)?;
        if size > FILE_MAX {
            return Err(Errno(libc::EFBIG));
        }
        self.change(inode, now, |data| data.resize(size));
        Ok(())
    }

    /// Takes space for a range, gives it back, or makes it read as zeroes: all of it, or nothing.
    pub(crate) fn allocate(
        &mut self,
        inode: Inode,
        space: Space,
        keep_size: bool,
        offset: u64,
        len: u64,
        now: Duration,
    ) -> Result<()> {
        if len == 0 {
            return Err(Errno(libc::EINVAL));
        }
        let data = self.data(inode, libc::EISDIR)?;
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= FILE_MAX)
            .ok_or(Errno(libc::EFBIG))?;
        if space != Space::PunchHole {
            let missing = data.missing(offset, end);
            if self.room(missing) < missing {
                return Err(Errno(libc::ENOSPC));
            }
        }
        self.change(inode, now, |data| {
            match space {
                Space::Reserve => data.reserve(offset, end),
                Space::PunchHole => data.punch(offset, end),
                Space::Zero => {
                    data.punch(offset, end);
                    data.reserve(offset, end);
                }
            }
            let keeps = keep_size || space == Space::PunchHole;
            if !keeps && end > data.size() {
                data.resize(end);
            }
        });
        Ok(())
    }

    /// Writes a range out, which makes nothing durable: the disk's own cache may lose it.
    pub(crate) fn sync_range(offset: u64, len: u64, flags: u32) -> Result<()> {
        let end = offset.checked_add(len);
        let is_offset = |end| i64::try_from(end).is_ok();
        let known = sync_flags::WAIT_BEFORE | sync_flags::WRITE | sync_flags::WAIT_AFTER;
        if flags & !known == 0 && end.is_some_and(is_offset) {
            Ok(())
        } else {
            Err(Errno(libc::EINVAL))
        }
    }

    /// The bytes of a file; `otherwise` is the error for what is none.
    fn data(&self, inode: Inode, otherwise: i32) -> Result<&Data> {
        match &self.node(inode).kind {
            Kind::File(data) => Ok(data),
            Kind::Directory(_) | Kind::Symlink(_) => Err(Errno(otherwise)),
        }
    }

    /// Changes the bytes of what is known to be a file, and counts what it takes.
    fn change<T>(&mut self, inode: Inode, now: Duration, change: impl FnOnce(&mut Data) -> T) -> T {
        let node = self.nodes.get_mut(&inode).expect("looked up before");
        let Kind::File(data) = &mut node.kind else {
            unreachable!("looked up as a file before");
        };
        self.used -= data.pages();
        let done = change(data);
        self.used += data.pages();
        node.attributes.times.modified = now;
        node.attributes.times.changed = now;
        done
    }

    /// The free pages, of which some are `wanted`: if there are too few, what was removed and could
    /// come back is given up.
    fn room(&mut self, wanted: u64) -> u64 {
        if self.capacity.saturating_sub(self.used) < wanted {
            self.commit(self.journal.len());
        }
        self.capacity.saturating_sub(self.used)
    }
}
