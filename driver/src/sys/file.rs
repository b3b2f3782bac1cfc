//! Files as the platform sees them: its flags, and what it says of a file.

#[cfg(target_os = "linux")]
pub(crate) use self::linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use self::other::*;

#[cfg(target_os = "linux")]
mod linux {
    use crate::op::stat::{DirectIo, Fields};
    use std::time::{Duration, SystemTime};

    /// Flags of preadv2(2) and pwritev2(2) that this crate names.
    pub(crate) mod rw_flags {
        pub(crate) use libc::{
            RWF_APPEND as APPEND, RWF_ATOMIC as ATOMIC, RWF_DONTCACHE as DONT_CACHE,
            RWF_DSYNC as DSYNC, RWF_HIPRI as HIPRI, RWF_NOWAIT as NOWAIT, RWF_SYNC as SYNC,
        };
    }

    /// Flags of sync_file_range(2).
    pub(crate) mod sync_flags {
        pub(crate) use libc::{
            SYNC_FILE_RANGE_WAIT_AFTER as WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE as WAIT_BEFORE,
            SYNC_FILE_RANGE_WRITE as WRITE,
        };
    }

    /// The mode of fallocate(2).
    #[cfg(any(io_uring, readiness))]
    pub(crate) fn allocate_mode(space: crate::op::space::Space, keep_size: bool) -> i32 {
        use crate::op::space::Space;
        let keep = if keep_size {
            libc::FALLOC_FL_KEEP_SIZE
        } else {
            0
        };
        match space {
            Space::Reserve => keep,
            // The kernel takes it with the other only.
            Space::PunchHole => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            Space::Zero => libc::FALLOC_FL_ZERO_RANGE | keep,
        }
    }

    /// A point in time: `struct statx_timestamp`.
    #[derive(Debug, Clone, Copy, Default)]
    #[repr(C)]
    struct Timestamp {
        seconds: i64,
        nanoseconds: u32,
        _reserved: i32,
    }

    impl Timestamp {
        /// No file system counts beyond what the system's time holds; 1970 stands for what would.
        fn time(self) -> SystemTime {
            let whole = Duration::from_secs(self.seconds.unsigned_abs());
            let seconds = if self.seconds < 0 {
                SystemTime::UNIX_EPOCH.checked_sub(whole)
            } else {
                SystemTime::UNIX_EPOCH.checked_add(whole)
            };
            seconds
                .and_then(|time| time.checked_add(Duration::from_nanos(self.nanoseconds.into())))
                .unwrap_or(SystemTime::UNIX_EPOCH)
        }
    }

    /// What statx(2) writes: `struct statx`, up to the fields that are used here.
    #[derive(Debug, Clone, Copy, Default)]
    #[repr(C)]
    pub struct RawMetadata {
        mask: u32,
        block_size: u32,
        attributes: u64,
        links: u32,
        uid: u32,
        gid: u32,
        mode: u16,
        _spare: u16,
        ino: u64,
        size: u64,
        blocks: u64,
        attributes_mask: u64,
        accessed: Timestamp,
        created: Timestamp,
        changed: Timestamp,
        modified: Timestamp,
        rdev: [u32; 2],
        dev: [u32; 2],
        mount: u64,
        direct_memory: u32,
        direct_offset: u32,
        _rest: [u64; 12],
    }

    const _: () = assert!(size_of::<RawMetadata>() == 256 && align_of::<RawMetadata>() == 8);

    /// `STATX_BTIME`.
    const CREATED: u32 = 0x800;
    /// `STATX_DIOALIGN`.
    const DIRECT_IO: u32 = 0x2000;
    /// What is asked for: `STATX_BASIC_STATS`, and these.
    #[cfg(any(io_uring, readiness))]
    pub(crate) const STAT_MASK: u32 = 0x7ff | CREATED | DIRECT_IO;

    impl RawMetadata {
        /// Of a simulated file, whose times count from 1970.
        #[cfg(sim)]
        pub(crate) fn simulated(stat: &crate::sys::sim::Stat) -> Self {
            let time = |since: Duration| Timestamp {
                seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: since.subsec_nanos(),
                _reserved: 0,
            };
            Self {
                mask: 0x7ff | CREATED,
                block_size: 4096,
                links: stat.links,
                mode: u16::try_from(stat.mode).unwrap_or(u16::MAX),
                ino: stat.inode,
                size: stat.size,
                blocks: stat.blocks,
                accessed: time(stat.times.accessed),
                created: time(stat.times.created),
                changed: time(stat.times.changed),
                modified: time(stat.times.modified),
                ..Self::default()
            }
        }

        pub(crate) fn fields(&self) -> Fields {
            let has = |bit: u32| self.mask & bit != 0;
            let dev = |[major, minor]: [u32; 2]| libc::makedev(major, minor);
            let [memory, offset] = [self.direct_memory, self.direct_offset];
            Fields {
                mode: self.mode.into(),
                size: self.size,
                links: self.links.into(),
                uid: self.uid,
                gid: self.gid,
                ino: self.ino,
                dev: dev(self.dev),
                rdev: dev(self.rdev),
                blocks: self.blocks,
                block_size: self.block_size,
                accessed: self.accessed.time(),
                modified: self.modified.time(),
                changed: self.changed.time(),
                created: has(CREATED).then(|| self.created.time()),
                direct_io: (has(DIRECT_IO) && memory > 0 && offset > 0)
                    .then_some(DirectIo { memory, offset }),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::mem::offset_of;

        #[test]
        fn laid_out_as_the_kernel_has_it() {
            assert_eq!(offset_of!(RawMetadata, ino), 0x20);
            assert_eq!(offset_of!(RawMetadata, accessed), 0x40);
            assert_eq!(offset_of!(RawMetadata, rdev), 0x80);
            assert_eq!(offset_of!(RawMetadata, direct_memory), 0x98);
            #[cfg(target_env = "gnu")]
            {
                use libc::statx as C;
                assert_eq!(size_of::<C>(), size_of::<RawMetadata>());
                let same = [
                    (offset_of!(C, stx_mode), offset_of!(RawMetadata, mode)),
                    (offset_of!(C, stx_size), offset_of!(RawMetadata, size)),
                    (offset_of!(C, stx_mtime), offset_of!(RawMetadata, modified)),
                    (offset_of!(C, stx_ctime), offset_of!(RawMetadata, changed)),
                    (offset_of!(C, stx_btime), offset_of!(RawMetadata, created)),
                    (offset_of!(C, stx_dev_major), offset_of!(RawMetadata, dev)),
                    (
                        offset_of!(C, stx_dio_offset_align),
                        offset_of!(RawMetadata, direct_offset),
                    ),
                ];
                for (theirs, ours) in same {
                    assert_eq!(theirs, ours);
                }
            }
        }

        #[test]
        fn times_before_1970_and_beyond_all_bounds() {
            let time = |seconds, nanoseconds| {
                let timestamp = Timestamp {
                    seconds,
                    nanoseconds,
                    ..Timestamp::default()
                };
                timestamp.time()
            };
            let epoch = SystemTime::UNIX_EPOCH;
            assert_eq!(time(0, 0), epoch);
            assert_eq!(time(1, 5), epoch + Duration::new(1, 5));
            // A quarter of a second before.
            assert_eq!(
                time(-1, 750_000_000),
                epoch - Duration::from_nanos(250_000_000)
            );
            time(i64::MAX, u32::MAX);
            time(i64::MIN, 0);
        }
    }
}

/// The number of a piece of advice, for posix_fadvise(2).
#[cfg(any(io_uring, epoll, libkqueue, all(kqueue, target_os = "freebsd")))]
pub(crate) fn advice(advice: crate::op::space::Advice) -> i32 {
    use crate::op::space::Advice;
    match advice {
        Advice::Normal => libc::POSIX_FADV_NORMAL,
        Advice::Sequential => libc::POSIX_FADV_SEQUENTIAL,
        Advice::Random => libc::POSIX_FADV_RANDOM,
        Advice::NoReuse => libc::POSIX_FADV_NOREUSE,
        Advice::WillNeed => libc::POSIX_FADV_WILLNEED,
        Advice::DontNeed => libc::POSIX_FADV_DONTNEED,
    }
}

/// Elsewhere no flag is taken.
#[cfg(not(target_os = "linux"))]
mod other {
    #[cfg(not(kqueue))]
    pub(crate) use super::nothing::RawMetadata;
    #[cfg(kqueue)]
    pub(crate) use super::stat::RawMetadata;
    pub(crate) use crate::sys::no_flags::{rw_flags, sync_flags};
}

/// What [fstat(2)](https://man.freebsd.org/cgi/man.cgi?query=stat&sektion=2) tells.
#[cfg(all(kqueue, not(target_os = "linux")))]
mod stat {
    #![allow(unsafe_code, reason = "zeroes are a `stat`")]

    use crate::op::stat::Fields;
    use std::fmt;
    use std::time::{Duration, SystemTime};

    /// What the kernel writes: `struct stat`.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub struct RawMetadata(libc::stat);

    impl Default for RawMetadata {
        fn default() -> Self {
            // SAFETY: (K1) integers, of which zero is one.
            Self(unsafe { std::mem::zeroed() })
        }
    }

    impl fmt::Debug for RawMetadata {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("RawMetadata")
        }
    }

    impl RawMetadata {
        pub(crate) fn fields(&self) -> Fields {
            let stat = &self.0;
            let [accessed, modified, changed] = times(stat);
            Fields {
                mode: word(stat.st_mode),
                size: word(stat.st_size),
                links: word(stat.st_nlink),
                uid: stat.st_uid,
                gid: stat.st_gid,
                ino: stat.st_ino,
                dev: word(stat.st_dev),
                rdev: word(stat.st_rdev),
                blocks: word(stat.st_blocks),
                block_size: word(stat.st_blksize),
                accessed,
                modified,
                changed,
                created: created(stat),
                direct_io: None,
            }
        }
    }

    /// Nothing there is negative.
    fn word<T, W: TryFrom<T> + Default>(field: T) -> W {
        W::try_from(field).unwrap_or_default()
    }

    /// No file system counts beyond what the system's time holds; 1970 stands for what would.
    fn time(seconds: libc::time_t, nanoseconds: libc::c_long) -> SystemTime {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let since = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        let part = Duration::from_nanos(word(nanoseconds));
        since
            .and_then(|time| time.checked_add(part))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// When it was accessed, when its data were changed, and when anything.
    #[cfg(not(target_os = "netbsd"))]
    fn times(stat: &libc::stat) -> [SystemTime; 3] {
        [
            time(stat.st_atime, stat.st_atime_nsec),
            time(stat.st_mtime, stat.st_mtime_nsec),
            time(stat.st_ctime, stat.st_ctime_nsec),
        ]
    }

    #[cfg(target_os = "netbsd")]
    fn times(stat: &libc::stat) -> [SystemTime; 3] {
        [
            time(stat.st_atime, stat.st_atimensec),
            time(stat.st_mtime, stat.st_mtimensec),
            time(stat.st_ctime, stat.st_ctimensec),
        ]
    }

    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    fn created(stat: &libc::stat) -> Option<SystemTime> {
        Some(time(stat.st_birthtime, stat.st_birthtime_nsec))
    }

    #[cfg(target_os = "netbsd")]
    fn created(stat: &libc::stat) -> Option<SystemTime> {
        Some(time(stat.st_birthtime, stat.st_birthtimensec))
    }

    #[cfg(not(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd")))]
    fn created(_stat: &libc::stat) -> Option<SystemTime> {
        None
    }
}

/// Where no backend is, nothing is asked for.
#[cfg(not(any(target_os = "linux", kqueue)))]
mod nothing {
    use crate::op::stat::Fields;
    use std::time::SystemTime;

    #[derive(Debug, Clone, Copy, Default)]
    pub struct RawMetadata {}

    impl RawMetadata {
        pub(crate) fn fields(&self) -> Fields {
            Fields {
                mode: 0,
                size: 0,
                links: 0,
                uid: 0,
                gid: 0,
                ino: 0,
                dev: 0,
                rdev: 0,
                blocks: 0,
                block_size: 0,
                accessed: SystemTime::UNIX_EPOCH,
                modified: SystemTime::UNIX_EPOCH,
                changed: SystemTime::UNIX_EPOCH,
                created: None,
                direct_io: None,
            }
        }
    }
}
