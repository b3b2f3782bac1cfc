//! The plain way: one system call for each step, which never blocks.

use super::known::{Known, Tally, refused};
use super::outcome::{Outcome, Seen};
use super::roles::{Kind, Roles};
use super::site::{Site, checked, pair, pipe, set_non_blocking};
use super::step::{Door, Extent, How, Move, Owner, Space, Step};
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What one call takes.
const PARTS_MAX: usize = 1024;

pub(crate) struct Plain {
    pub(crate) site: Site,
}

impl Plain {
    /// Takes over what was made.
    pub(crate) fn keep(&mut self, kind: Kind, fd: OwnedFd) -> io::Result<()> {
        let number = self.site.place(fd)?;
        if kind.has_no_position() {
            set_non_blocking(number)?;
        }
        Ok(())
    }

    /// Takes a step: what came of it, and what was made.
    pub(crate) fn act(
        &self,
        roles: &Roles,
        step: &Step,
        tally: &mut Tally,
    ) -> io::Result<(Seen, Vec<OwnedFd>)> {
        let fd = |pick| self.site.number(roles.find(pick));
        let name = |name: &str| CString::new(name).map_err(io::Error::other);
        let unit = |n: libc::c_int| Seen::unit(checked(n).map(drop));
        let seen = match step {
            Step::Open { dir, path, how } => {
                let path = name(path)?;
                // SAFETY: reads a path that lives as long as the call.
                let made = checked(unsafe {
                    libc::openat(fd(*dir), path.as_ptr(), flags_of(*how), how.mode)
                });
                return Ok(match made {
                    // SAFETY: new, and nobody else knows it.
                    Ok(n) => (Seen::unit(Ok(())), vec![unsafe { OwnedFd::from_raw_fd(n) }]),
                    Err(e) => (Seen::unit(Err(e)), Vec::new()),
                });
            }
            Step::Pipe { packets } => {
                let flags = if *packets { libc::O_DIRECT } else { 0 };
                return Ok((Seen::unit(Ok(())), pipe(flags)?.into()));
            }
            Step::Pair(kind) => return Ok((Seen::unit(Ok(())), pair(*kind)?.into())),
            // SAFETY: a number of the site's own, which gives none out twice.
            Step::Close { fd: pick } => unit(unsafe { libc::close(fd(*pick)) }),
            Step::Move(m) => transfer(fd(m.fd), m, tally),
            Step::Truncate { fd: pick, len } => match bounded([*len], tally) {
                // SAFETY: takes numbers.
                Some([len]) => unit(unsafe { libc::ftruncate64(fd(*pick), len) }),
                None => Seen::only(INVALID),
            },
            Step::Allocate {
                fd: pick,
                space,
                keep_size,
                offset,
                len,
            } => match bounded([*offset, *len], tally) {
                Some([offset, len]) => {
                    let mode = match space {
                        Space::Reserve => 0,
                        Space::PunchHole => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                        Space::Zero => libc::FALLOC_FL_ZERO_RANGE,
                    };
                    let keep = if *keep_size {
                        libc::FALLOC_FL_KEEP_SIZE
                    } else {
                        0
                    };
                    // SAFETY: takes numbers.
                    unit(unsafe { libc::fallocate64(fd(*pick), mode | keep, offset, len) })
                }
                None => Seen::only(INVALID),
            },
            Step::Advise {
                fd: pick,
                offset,
                len,
            } => match bounded([*offset, *len], tally) {
                Some([offset, len]) => {
                    let advice = libc::POSIX_FADV_WILLNEED;
                    // SAFETY: takes numbers.
                    match unsafe { libc::posix_fadvise64(fd(*pick), offset, len, advice) } {
                        0 => Seen::unit(Ok(())),
                        errno => Seen::only(Outcome::Errno(errno)),
                    }
                }
                None => Seen::only(INVALID),
            },
            Step::Sync { fd: pick, data } => {
                let sync = if *data { libc::fdatasync } else { libc::fsync };
                // SAFETY: takes a number.
                unit(unsafe { sync(fd(*pick)) })
            }
            Step::SyncRange {
                fd: pick,
                offset,
                len,
                flags,
            } => match bounded([*offset], tally) {
                Some([offset]) => {
                    let len = (*len).into();
                    // SAFETY: takes numbers.
                    unit(unsafe { libc::sync_file_range(fd(*pick), offset, len, *flags) })
                }
                None => Seen::only(INVALID),
            },
            Step::Stat { fd: pick } => stat(fd(*pick), c"".to_owned(), libc::AT_EMPTY_PATH),
            Step::StatAt { dir, path, follow } => {
                let flags = if *follow {
                    0
                } else {
                    libc::AT_SYMLINK_NOFOLLOW
                };
                stat(fd(*dir), name(path)?, flags)
            }
            Step::Unlink {
                dir,
                path,
                directory,
            } => {
                let (path, flags) = (name(path)?, if *directory { libc::AT_REMOVEDIR } else { 0 });
                // SAFETY: reads a path that lives as long as the call.
                unit(unsafe { libc::unlinkat(fd(*dir), path.as_ptr(), flags) })
            }
            Step::Rename {
                dirs: [from_dir, to_dir],
                from,
                to,
                no_replace,
                exchange,
                whiteout,
            } => {
                let (from, to) = (name(from)?, name(to)?);
                let flags = (if *no_replace {
                    libc::RENAME_NOREPLACE
                } else {
                    0
                }) | (if *exchange { libc::RENAME_EXCHANGE } else { 0 })
                    | (if *whiteout { libc::RENAME_WHITEOUT } else { 0 });
                let (from_dir, to_dir) = (fd(*from_dir), fd(*to_dir));
                // SAFETY: reads paths that live as long as the call.
                unit(unsafe {
                    libc::renameat2(from_dir, from.as_ptr(), to_dir, to.as_ptr(), flags)
                })
            }
            Step::MakeDir { dir, path, mode } => {
                let path = name(path)?;
                // SAFETY: reads a path that lives as long as the call.
                unit(unsafe { libc::mkdirat(fd(*dir), path.as_ptr(), *mode) })
            }
            Step::Symlink { text, dir, path } => {
                let (text, path) = (name(text)?, name(path)?);
                // SAFETY: reads texts that live as long as the call.
                unit(unsafe { libc::symlinkat(text.as_ptr(), fd(*dir), path.as_ptr()) })
            }
            Step::HardLink {
                dirs: [from_dir, to_dir],
                from,
                to,
                follow,
                empty_path,
            } => {
                let (from, to) = (name(from)?, name(to)?);
                let flags = (if *follow { libc::AT_SYMLINK_FOLLOW } else { 0 })
                    | (if *empty_path { libc::AT_EMPTY_PATH } else { 0 });
                let (from_dir, to_dir) = (fd(*from_dir), fd(*to_dir));
                // SAFETY: reads paths that live as long as the call.
                unit(unsafe { libc::linkat(from_dir, from.as_ptr(), to_dir, to.as_ptr(), flags) })
            }
            Step::GetXattr {
                of,
                name: key,
                room,
            } => {
                let (key, mut value) = (name(key)?, vec![0xa5_u8; *room]);
                let to = value.as_mut_ptr().cast();
                let n = match of {
                    Owner::Fd(pick) => {
                        // SAFETY: reads a name, writes at most as many bytes as there are.
                        unsafe { libc::fgetxattr(fd(*pick), key.as_ptr(), to, *room) }
                    }
                    Owner::Path(path) => {
                        let path = self.site.path(path)?;
                        // SAFETY: reads two names, writes at most as many bytes as there are.
                        unsafe { libc::getxattr(path.as_ptr(), key.as_ptr(), to, *room) }
                    }
                };
                Seen {
                    bytes: value,
                    ..Seen::only(counted(n))
                }
            }
            Step::SetXattr {
                of,
                name: key,
                len,
                create_only,
                replace_only,
            } => {
                let (key, value) = (name(key)?, vec![7_u8; *len]);
                let flags = (if *create_only { libc::XATTR_CREATE } else { 0 })
                    | (if *replace_only {
                        libc::XATTR_REPLACE
                    } else {
                        0
                    });
                let from = value.as_ptr().cast();
                unit(match of {
                    Owner::Fd(pick) => {
                        // SAFETY: reads a name and a value that live as long as the call.
                        unsafe { libc::fsetxattr(fd(*pick), key.as_ptr(), from, *len, flags) }
                    }
                    Owner::Path(path) => {
                        let path = self.site.path(path)?;
                        // SAFETY: reads names and a value that live as long as the call.
                        unsafe { libc::setxattr(path.as_ptr(), key.as_ptr(), from, *len, flags) }
                    }
                })
            }
            Step::Splice { ends, offsets, len } => {
                let Some(mut offsets) = optional(*offsets, tally) else {
                    return Ok((Seen::only(INVALID), Vec::new()));
                };
                let [at, onto] = &mut offsets;
                let pointer = |offset: &mut Option<i64>| {
                    offset.as_mut().map_or(ptr::null_mut(), ptr::from_mut)
                };
                let [from, to] = ends.map(fd);
                let (at, onto) = (pointer(at), pointer(onto));
                // SAFETY: reads and writes two locals, where there are offsets.
                waiting(unsafe { libc::splice(from, at, to, onto, *len, libc::SPLICE_F_NONBLOCK) })
            }
            Step::Tee { ends, len } => {
                let [from, to] = ends.map(fd);
                // SAFETY: takes numbers.
                waiting(unsafe { libc::tee(from, to, *len, libc::SPLICE_F_NONBLOCK) })
            }
            Step::Shutdown { fd: pick, how } => {
                let how = match how {
                    std::net::Shutdown::Read => libc::SHUT_RD,
                    std::net::Shutdown::Write => libc::SHUT_WR,
                    std::net::Shutdown::Both => libc::SHUT_RDWR,
                };
                // SAFETY: takes numbers.
                unit(unsafe { libc::shutdown(fd(*pick), how) })
            }
        };
        Ok((seen, Vec::new()))
    }
}

/// What the driver says of an argument that it refuses.
const INVALID: Outcome = Outcome::Refused(io::ErrorKind::InvalidInput);

fn flags_of(how: How) -> i32 {
    let access = match (how.read, how.write || how.append) {
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        (_, false) => libc::O_RDONLY,
    };
    let bits = [
        (how.append, libc::O_APPEND),
        (how.truncate, libc::O_TRUNC),
        (how.create, libc::O_CREAT),
        (how.create_new, libc::O_CREAT | libc::O_EXCL),
    ];
    let set = bits.iter().filter(|(on, _)| *on);
    set.fold(access | how.custom | libc::O_CLOEXEC, |all, (_, bit)| {
        all | bit
    })
}

/// The numbers as a call takes them; `None` if it takes no such one.
fn bounded<const N: usize>(numbers: [u64; N], tally: &mut Tally) -> Option<[i64; N]> {
    let signed = numbers.map(i64::try_from);
    if signed.iter().any(Result::is_err) {
        tally.count(Known::OffsetAboveMax);
        return None;
    }
    Some(signed.map(Result::unwrap_or_default))
}

/// The same where they may be missing.
fn optional(offsets: [Option<u64>; 2], tally: &mut Tally) -> Option<[Option<i64>; 2]> {
    let numbers = bounded(offsets.map(Option::unwrap_or_default), tally)?;
    let [at, onto] = numbers;
    Some([offsets[0].map(|_| at), offsets[1].map(|_| onto)])
}

fn counted(n: isize) -> Outcome {
    match u64::try_from(n) {
        Ok(n) => Outcome::Done(n),
        Err(_) => Outcome::from(&io::Error::last_os_error()),
    }
}

/// Of a call whose operation waits where it would block.
fn waiting(n: isize) -> Seen {
    Seen::only(match counted(n) {
        Outcome::Errno(libc::EAGAIN) => Outcome::Waits,
        outcome => outcome,
    })
}

/// Reads or writes, once, or until all is done.
fn transfer(fd: RawFd, m: &Move, tally: &mut Tally) -> Seen {
    if let Some(known) = refused(m) {
        tally.count(known);
        return Seen {
            bytes: m.room(),
            ..Seen::only(INVALID)
        };
    }
    let (mut room, lens, total) = (m.room(), m.extent.lens(), m.len());
    let mut done = 0;
    let (outcome, moved) = loop {
        let mut parts = parts(&mut room, &lens, done);
        let message = m.write && matches!(m.door, Door::Socket { .. });
        if parts.len() > PARTS_MAX && !message {
            tally.count(Known::ManyParts);
            parts.truncate(PARTS_MAX);
        }
        let moved = if m.exact { done } else { 0 };
        match counted(once(fd, m, &mut parts, done)) {
            Outcome::Errno(libc::EAGAIN) if m.may_wait() => break (Outcome::Waits, moved),
            Outcome::Done(n) => {
                done += usize::try_from(n).unwrap_or(usize::MAX);
                if !m.exact || done == total {
                    break (Outcome::Done(done as u64), 0);
                }
                if n == 0 {
                    let kind = if m.write {
                        io::ErrorKind::WriteZero
                    } else {
                        io::ErrorKind::UnexpectedEof
                    };
                    break (Outcome::Refused(kind), moved);
                }
            }
            error => break (error, moved),
        }
    };
    Seen {
        moved,
        bytes: room,
        ..Seen::only(outcome)
    }
}

/// The buffers that have bytes behind the first `done`.
fn parts(room: &mut [u8], lens: &[usize], done: usize) -> Vec<libc::iovec> {
    let start = room.as_mut_ptr();
    let (mut parts, mut at) = (Vec::new(), 0);
    for len in lens {
        let (from, to) = (at.max(done), at + len);
        if from < to {
            parts.push(libc::iovec {
                iov_base: start.wrapping_add(from).cast(),
                iov_len: to - from,
            });
        }
        at = to;
    }
    parts
}

/// One call.
fn once(fd: RawFd, m: &Move, parts: &mut [libc::iovec], done: usize) -> isize {
    let one = match m.extent {
        Extent::Whole(_) => Some(
            parts
                .first()
                .map_or((ptr::null_mut(), 0), |part| (part.iov_base, part.iov_len)),
        ),
        Extent::Parts { .. } => None,
    };
    let count = libc::c_int::try_from(parts.len()).unwrap_or(libc::c_int::MAX);
    let places = parts.as_mut_ptr();
    match (m.door, m.write, one) {
        (Door::At { offset, flags }, write, one) => {
            let Ok(at) = i64::try_from(offset + done as u64) else {
                return -1;
            };
            match (write, one.filter(|_| flags == 0)) {
                // SAFETY: writes at most as many bytes as the room has.
                (false, Some((to, len))) => unsafe { libc::pread64(fd, to, len, at) },
                // SAFETY: reads as many bytes as the room has.
                (true, Some((from, len))) => unsafe { libc::pwrite64(fd, from, len, at) },
                // SAFETY: as above, for each of the places.
                (false, None) => unsafe { libc::preadv2(fd, places, count, at, flags) },
                // SAFETY: as above, for each of the places.
                (true, None) => unsafe { libc::pwritev2(fd, places, count, at, flags) },
            }
        }
        // SAFETY: writes at most as many bytes as the room has.
        (Door::Stream, false, Some((to, len))) => unsafe { libc::read(fd, to, len) },
        // SAFETY: reads as many bytes as the room has.
        (Door::Stream, true, Some((from, len))) => unsafe { libc::write(fd, from, len) },
        // SAFETY: as above, for each of the places.
        (Door::Stream, false, None) => unsafe { libc::readv(fd, places, count) },
        (Door::Stream, true, None) => {
            if parts.is_empty() {
                // Without bytes it is a datagram of none, where there are datagrams.
                // SAFETY: touches no memory.
                let n = unsafe { libc::send(fd, ptr::null(), 0, libc::MSG_NOSIGNAL) };
                if n >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOTSOCK) {
                    return n;
                }
            }
            // SAFETY: reads each of the places.
            unsafe { libc::writev(fd, places, count) }
        }
        (Door::Socket { flags }, write, one) => {
            let whole = one.filter(|_| matches!(m.extent, Extent::Whole(_)));
            match (write, whole) {
                // SAFETY: writes at most as many bytes as the room has.
                (false, Some((to, len))) => unsafe { libc::recv(fd, to, len, flags) },
                (true, Some((from, len))) => {
                    // SAFETY: reads as many bytes as the room has.
                    unsafe { libc::send(fd, from, len, flags | libc::MSG_NOSIGNAL) }
                }
                (write, None) => message(fd, write, flags, parts),
            }
        }
    }
}

fn message(fd: RawFd, write: bool, flags: i32, parts: &mut [libc::iovec]) -> isize {
    // SAFETY: a description of nothing is all zeroes.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    if write {
        // SAFETY: reads the description and the parts, which live as long as the call.
        unsafe { libc::sendmsg(fd, &raw const header, flags | libc::MSG_NOSIGNAL) }
    } else {
        // SAFETY: reads the description, and writes to it and to the parts.
        unsafe { libc::recvmsg(fd, &raw mut header, flags) }
    }
}

fn stat(dir: RawFd, path: CString, flags: i32) -> Seen {
    let mut room = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: reads a path that lives as long as the call, writes a local.
    let done = checked(unsafe { libc::fstatat64(dir, path.as_ptr(), room.as_mut_ptr(), flags) });
    if let Err(e) = done {
        return Seen::unit(Err(e));
    }
    // SAFETY: the call succeeded: it has written all of it.
    let stat = unsafe { room.assume_init() };
    Seen {
        facts: format!(
            "mode {:o}, {} names, {}:{}, {} bytes by {}, on {} is {}",
            stat.st_mode,
            stat.st_nlink,
            stat.st_uid,
            stat.st_gid,
            stat.st_size,
            stat.st_blksize,
            stat.st_dev,
            stat.st_rdev
        ),
        ..Seen::unit(Ok(()))
    }
}
