//! What Windows says of a file.

use crate::op::stat::Fields;
pub(crate) use crate::sys::no_flags::{rw_flags, sync_flags};
use std::time::{Duration, SystemTime};

/// What is kept of a file's properties. Times are counted in 100 ns since 1601.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawMetadata {
    pub(crate) attributes: u32,
    pub(crate) size: u64,
    pub(crate) links: u32,
    pub(crate) index: u64,
    pub(crate) volume: u32,
    pub(crate) allocated: u64,
    pub(crate) accessed: i64,
    pub(crate) modified: i64,
    pub(crate) changed: i64,
    pub(crate) created: i64,
    /// What it is, where that is no file: the bits of a mode.
    pub(crate) kind: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
/// The bits of a mode that Windows has something like.
const READ_ALL: u32 = 0o444;
const WRITE_ALL: u32 = 0o222;

impl RawMetadata {
    pub(crate) fn fields(&self) -> Fields {
        use windows_sys::Win32::Storage::FileSystem as f;
        let has = |attribute: u32| self.attributes & attribute != 0;
        let kind = match self.kind {
            0 if has(f::FILE_ATTRIBUTE_REPARSE_POINT) => SYMLINK,
            0 if has(f::FILE_ATTRIBUTE_DIRECTORY) => DIRECTORY,
            0 => FILE,
            kind => kind,
        };
        let writable = if has(f::FILE_ATTRIBUTE_READONLY) {
            0
        } else {
            WRITE_ALL
        };
        Fields {
            mode: kind | READ_ALL | writable,
            size: self.size,
            links: self.links.into(),
            uid: 0,
            gid: 0,
            ino: self.index,
            dev: self.volume.into(),
            rdev: 0,
            blocks: self.allocated.div_ceil(512),
            block_size: 4096,
            accessed: time(self.accessed),
            modified: time(self.modified),
            changed: time(self.changed),
            created: Some(time(self.created)),
            direct_io: None,
        }
    }
}

/// 1970 in the file system's count.
const EPOCH: i64 = 116_444_736_000_000_000;

/// No file system counts beyond what the system's time holds; 1970 stands for what would.
fn time(count: i64) -> SystemTime {
    let since = count.saturating_sub(EPOCH);
    let ticks = since.unsigned_abs();
    let span =
        Duration::from_secs(ticks / 10_000_000) + Duration::from_nanos(ticks % 10_000_000 * 100);
    let time = if since < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(span)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(span)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_around_1970() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(time(EPOCH), epoch);
        assert_eq!(
            time(EPOCH + 15_000_000),
            epoch + Duration::from_millis(1500)
        );
        assert_eq!(time(EPOCH - 5_000_000), epoch - Duration::from_millis(500));
        for count in [i64::MIN, 0, i64::MAX] {
            time(count);
        }
    }
}
