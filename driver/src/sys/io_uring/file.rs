//! Files.
#![allow(unsafe_code, reason = "one probe")]

use super::encode::{address, bits, directed};
use super::ring::Sqe;
use crate::fd::Target;
use crate::op::call::FileCall;
use crate::sys::file::{RawMetadata, STAT_MASK, advice as advice_number, allocate_mode};
use linux_raw_sys::io_uring::{IORING_FSYNC_DATASYNC, io_uring_op as op};
use std::ffi::c_char;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// What makes a write to a pipe that nobody reads an error and no `SIGPIPE`: `RWF_NOSIGNAL` where
/// the kernel has it (6.18), else nothing. A fact about the kernel, so one for the process.
static NO_SIGNAL: AtomicU32 = AtomicU32::new(0);
const RWF_NOSIGNAL: i32 = 0x100;

/// Asks the kernel whether it has `RWF_NOSIGNAL`, by a write of one byte to a pipe of our own.
pub(super) fn probe_no_signal() -> io::Result<bool> {
    let mut fds = [-1; 2];
    // SAFETY: (K1) the kernel writes two descriptors to a local.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (U3) new, and nobody else knows them.
    let [_reader, writer] = fds.map(|fd| unsafe { File::from_raw_fd(fd) });
    let byte = libc::iovec {
        iov_base: (&raw const NO_SIGNAL).cast_mut().cast(),
        iov_len: 1,
    };
    // SAFETY: (K1) the kernel reads one byte of a static.
    let n = unsafe { libc::pwritev2(writer.as_raw_fd(), &raw const byte, 1, -1, RWF_NOSIGNAL) };
    let has = n == 1;
    NO_SIGNAL.store(if has { bits(RWF_NOSIGNAL) } else { 0 }, Ordering::Relaxed);
    Ok(has)
}

/// The flags of a write that raises no `SIGPIPE`.
#[inline(always)]
pub(super) fn no_signal() -> u32 {
    NO_SIGNAL.load(Ordering::Relaxed)
}

#[inline(always)]
pub(super) fn encode(target: Target, call: FileCall) -> Sqe {
    match call {
        FileCall::Read {
            ptr,
            len,
            offset,
            flags,
        } => Sqe {
            addr: address(ptr),
            len,
            off: offset,
            op_flags: bits(flags),
            ..directed(op::IORING_OP_READ, target)
        },
        FileCall::Write {
            ptr,
            len,
            offset,
            flags,
        } => Sqe {
            addr: address(ptr),
            len,
            off: offset,
            op_flags: bits(flags) | no_signal(),
            ..directed(op::IORING_OP_WRITE, target)
        },
        FileCall::ReadVectored {
            places,
            count,
            offset,
            flags,
        } => Sqe {
            addr: address(places),
            len: count,
            off: offset,
            op_flags: bits(flags),
            ..directed(op::IORING_OP_READV, target)
        },
        FileCall::WriteVectored {
            places,
            count,
            offset,
            flags,
        } => Sqe {
            addr: address(places),
            len: count,
            off: offset,
            op_flags: bits(flags) | no_signal(),
            ..directed(op::IORING_OP_WRITEV, target)
        },
        FileCall::Sync { data_only } => Sqe {
            op_flags: if data_only { IORING_FSYNC_DATASYNC } else { 0 },
            ..directed(op::IORING_OP_FSYNC, target)
        },
        FileCall::SyncRange { offset, len, flags } => Sqe {
            off: offset,
            len,
            op_flags: flags,
            ..directed(op::IORING_OP_SYNC_FILE_RANGE, target)
        },
        FileCall::Truncate { len } => Sqe {
            off: len,
            ..directed(op::IORING_OP_FTRUNCATE, target)
        },
        FileCall::Allocate {
            space,
            keep_size,
            offset,
            len,
        } => Sqe {
            off: offset,
            addr: len,
            len: bits(allocate_mode(space, keep_size)),
            ..directed(op::IORING_OP_FALLOCATE, target)
        },
        FileCall::Advise {
            advice,
            offset,
            len,
        } => {
            let (short, long) = advised(len);
            Sqe {
                off: offset,
                addr: long,
                len: short,
                op_flags: bits(advice_number(advice)),
                ..directed(op::IORING_OP_FADVISE, target)
            }
        }
        FileCall::Stat { to } => stat(target, c"".as_ptr(), libc::AT_EMPTY_PATH, to),
        FileCall::GetXattr { name, ptr, len } => Sqe {
            addr: address(name),
            off: address(ptr),
            len,
            ..directed(op::IORING_OP_FGETXATTR, target)
        },
        FileCall::SetXattr {
            name,
            ptr,
            len,
            flags,
        } => Sqe {
            addr: address(name),
            off: address(ptr),
            len,
            op_flags: bits(flags),
            ..directed(op::IORING_OP_FSETXATTR, target)
        },
    }
}

/// The entry for what is known of `path`, relative to `dir`.
#[inline(always)]
pub(super) fn stat(dir: Target, path: *const c_char, flags: i32, to: *mut RawMetadata) -> Sqe {
    Sqe {
        addr: address(path),
        off: address(to),
        len: STAT_MASK,
        op_flags: bits(flags),
        ..directed(op::IORING_OP_STATX, dir)
    }
}

/// Where the length of an advice stands: of 32 bits as every kernel has it, else as Linux 6.11 has
/// it, which older ones answer with EINVAL.
#[inline(always)]
fn advised(len: u64) -> (u32, u64) {
    match u32::try_from(len) {
        Ok(short) => (short, 0),
        Err(_) => (0, len),
    }
}

#[inline(always)]
pub(super) fn close(target: Target) -> Sqe {
    match target {
        Target::Plain(_) => directed(op::IORING_OP_CLOSE, target),
        // A place of the table is named by its number plus one, and the entry has no file.
        Target::Fixed(id) => {
            let file_index = id.saturating_add(1);
            Sqe {
                file_index,
                ..directed(op::IORING_OP_CLOSE, Target::Plain(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::space::{Advice, Space};

    const TARGET: Target = Target::Fixed(7);

    /// An entry for what all of these are directed at.
    fn entry(op: op) -> Sqe {
        directed(op, TARGET)
    }

    fn assert_encodes(call: FileCall, expected: Sqe) {
        let found = encode(TARGET, call);
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }

    #[test]
    fn a_sync_of_bytes_says_so() {
        let full = entry(op::IORING_OP_FSYNC);
        assert_encodes(FileCall::Sync { data_only: false }, full);
        let op_flags = 1;
        let data = Sqe { op_flags, ..full };
        assert_encodes(FileCall::Sync { data_only: true }, data);
    }

    #[test]
    fn a_range_is_offset_length_and_flags() {
        let (offset, len, flags) = (u64::MAX / 3, 5, 6);
        let expected = Sqe {
            off: offset,
            len,
            op_flags: flags,
            ..entry(op::IORING_OP_SYNC_FILE_RANGE)
        };
        assert_encodes(FileCall::SyncRange { offset, len, flags }, expected);
    }

    #[test]
    fn a_length_of_an_advice_has_two_places() {
        for (len, short, long) in [
            (0, 0, 0),
            (4096, 4096, 0),
            ((1 << 32) - 1, u32::MAX, 0),
            (1 << 32, 0, 1 << 32),
            ((1 << 32) + 1, 0, (1 << 32) + 1),
        ] {
            let (advice, offset) = (Advice::DontNeed, 9);
            let expected = Sqe {
                off: offset,
                addr: long,
                len: short,
                op_flags: bits(libc::POSIX_FADV_DONTNEED),
                ..entry(op::IORING_OP_FADVISE)
            };
            let call = FileCall::Advise {
                advice,
                offset,
                len,
            };
            assert_encodes(call, expected);
        }
    }

    #[test]
    fn space_has_a_length_of_64_bits() {
        let (offset, len) = (1 << 40, 1 << 41);
        let expected = Sqe {
            off: offset,
            addr: len,
            len: bits(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE),
            ..entry(op::IORING_OP_FALLOCATE)
        };
        let call = FileCall::Allocate {
            space: Space::PunchHole,
            keep_size: false,
            offset,
            len,
        };
        assert_encodes(call, expected);
    }

    #[test]
    fn flags_of_a_write_stand_beside_the_drivers_own() {
        let flags = libc::RWF_DSYNC;
        let call = FileCall::Write {
            ptr: std::ptr::null(),
            len: 0,
            offset: 0,
            flags,
        };
        let found = encode(TARGET, call).op_flags;
        assert_eq!(found, bits(flags) | NO_SIGNAL.load(Ordering::Relaxed));
    }
}
