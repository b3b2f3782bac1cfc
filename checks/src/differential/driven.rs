//! A driver's way: one operation for each step.

use super::outcome::{Outcome, Seen};
use super::roles::{Kind, Roles};
use super::site::{Site, pair, set_non_blocking};
use super::step::{Door, Extent, How, Move, Owner, Space, Step};
use crate::session::{Lent, Session};
use completeio_driver::driver::{AsRawFd, Backend, CompleteIo, Fd};
use completeio_driver::op::{
    Advice, Advise, Allocate, Close, Exact, FileKind, GetPathXattr, GetXattr, HardLink, MakeDir,
    Metadata, MsgFlags, Op, OpenAt, OpenOptions, Pipe, Read, ReadAt, ReadVectored, ReadVectoredAt,
    Recv, RecvVectored, Rename, RwFlags, Send, SendVectored, SetPathXattr, SetXattr, Shutdown,
    Splice, Stat, StatAt, Symlink, Sync, SyncFlags, SyncRange, Tee, Truncate, Unlink, Write,
    WriteAt, WriteVectored, WriteVectoredAt,
};
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After so long an operation is taken for one that does not complete; when there was one, sooner,
/// for it is being made smaller.
static HANGS_MS: AtomicU64 = AtomicU64::new(10_000);
/// So many turns are given to one that is to wait: for the flights of an exact one.
const TURNS: usize = 64;

pub(crate) struct Driven {
    pub(crate) backend: Backend,
    pub(crate) site: Site,
    session: Session,
    fds: Vec<Fd>,
    /// Whether what is asked for next waits.
    waits: bool,
    hung: bool,
}

/// Makes a read or a write, an exact one or not.
macro_rules! moved {
    ($way:expr, $exact:expr, $op:expr) => {{
        if $exact {
            let mut op = Lent::new(Exact::new($op));
            let result = $way.flight(&mut op);
            let moved = if result.is_ok() {
                0
            } else {
                op.op().advanced()
            };
            (result, moved)
        } else {
            ($way.flight(&mut Lent::new($op)), 0)
        }
    }};
}

impl Driven {
    pub(crate) fn new(backend: Backend, site: Site, session: Session) -> Self {
        Self {
            backend,
            site,
            session,
            fds: Vec::new(),
            waits: false,
            hung: false,
        }
    }

    /// Takes over what was made.
    pub(crate) fn keep(&mut self, kind: Kind, fd: OwnedFd) -> io::Result<()> {
        let number = self.site.place(fd)?;
        if kind == Kind::Pipe && self.backend == Backend::Readiness {
            // In blocking mode, one that a splice has used takes a write page by page, and then
            // less of it: see `Write`.
            set_non_blocking(number)?;
        }
        self.fds.push(self.session.driver.attach(number)?);
        Ok(())
    }

    /// Takes a step, of which the plain way saw `plain`: what came of it, and what was made.
    pub(crate) fn act(
        &mut self,
        roles: &Roles,
        step: &Step,
        plain: &Seen,
    ) -> io::Result<(Seen, Vec<OwnedFd>)> {
        self.waits = plain.outcome == Outcome::Waits;
        self.hung = false;
        let mut made = Vec::new();
        let seen = match step {
            Step::Open { dir, path, how } => {
                let dir = self.fd(roles, *dir);
                let fd = self.run(OpenAt::new(dir, CString::new(*path)?, options_of(*how)));
                self.kept(fd, &mut made, |fd| vec![fd])
            }
            Step::Pipe { packets } => {
                let ends = self.run(Pipe::new().packets(*packets));
                self.kept(ends, &mut made, |(reader, writer)| vec![reader, writer])
            }
            Step::Pair(kind) => {
                made.extend(pair(*kind)?);
                Seen::unit(Ok(()))
            }
            Step::Move(m) => self.transfer(self.fd(roles, m.fd), m),
            Step::GetXattr { of, name, room } => self.get_xattr(roles, *of, name, *room)?,
            Step::Stat { fd } => {
                let result = self.run(Stat::new(self.fd(roles, *fd)));
                self.known(result)
            }
            Step::StatAt { dir, path, follow } => {
                let op = StatAt::new(self.fd(roles, *dir), CString::new(*path)?).follow(*follow);
                let result = self.run(op);
                self.known(result)
            }
            Step::Splice { ends, offsets, len } => {
                let [from, to] = ends.map(|end| self.fd(roles, end));
                let mut op = Splice::new(from, to, *len);
                if let Some(offset) = offsets[0] {
                    op = op.from_offset(offset);
                }
                if let Some(offset) = offsets[1] {
                    op = op.to_offset(offset);
                }
                let result = self.run(op);
                Seen::only(self.counted(&result))
            }
            Step::Tee { ends, len } => {
                let [from, to] = ends.map(|end| self.fd(roles, end));
                let result = self.run(Tee::new(from, to, *len));
                Seen::only(self.counted(&result))
            }
            _ => {
                let result = self.plainly(roles, step)?;
                Seen::only(self.counted(&result.map(|()| 0)))
            }
        };
        Ok((seen, made))
    }

    /// What completes with nothing but success.
    fn plainly(&mut self, roles: &Roles, step: &Step) -> io::Result<io::Result<()>> {
        let name = |name: &str| CString::new(name).map_err(io::Error::from);
        Ok(match step {
            Step::Close { fd } => self.run(Close::new(self.fd(roles, *fd))),
            Step::Truncate { fd, len } => self.run(Truncate::new(self.fd(roles, *fd), *len)),
            Step::Allocate {
                fd,
                space,
                keep_size,
                offset,
                len,
            } => {
                let fd = self.fd(roles, *fd);
                let op = match space {
                    Space::Reserve => Allocate::new(fd, *offset, *len),
                    Space::PunchHole => Allocate::punch_hole(fd, *offset, *len),
                    Space::Zero => Allocate::zero(fd, *offset, *len),
                };
                self.run(if *keep_size { op.keep_size() } else { op })
            }
            Step::Advise { fd, offset, len } => {
                let fd = self.fd(roles, *fd);
                self.run(Advise::new(fd, Advice::WillNeed).range(*offset, *len))
            }
            Step::Sync { fd, data: true } => self.run(Sync::data(self.fd(roles, *fd))),
            Step::Sync { fd, data: false } => self.run(Sync::new(self.fd(roles, *fd))),
            Step::SyncRange {
                fd,
                offset,
                len,
                flags,
            } => {
                let fd = self.fd(roles, *fd);
                self.run(SyncRange::new(fd, *offset, *len).flags(SyncFlags::from_bits(*flags)))
            }
            Step::Unlink {
                dir,
                path,
                directory,
            } => {
                let (dir, path) = (self.fd(roles, *dir), name(path)?);
                self.run(if *directory {
                    Unlink::directory(dir, path)
                } else {
                    Unlink::file(dir, path)
                })
            }
            Step::Rename {
                dirs,
                from,
                to,
                no_replace,
                exchange,
                whiteout,
            } => {
                let [from_dir, to_dir] = dirs.map(|dir| self.fd(roles, dir));
                let op = Rename::new(from_dir, name(from)?, to_dir, name(to)?);
                let op = op.no_replace(*no_replace).exchange(*exchange);
                self.run(op.whiteout(*whiteout))
            }
            Step::MakeDir { dir, path, mode } => {
                self.run(MakeDir::new(self.fd(roles, *dir), name(path)?, *mode))
            }
            Step::Symlink { text, dir, path } => {
                self.run(Symlink::new(name(text)?, self.fd(roles, *dir), name(path)?))
            }
            Step::HardLink {
                dirs,
                from,
                to,
                follow,
                empty_path,
            } => {
                let [from_dir, to_dir] = dirs.map(|dir| self.fd(roles, dir));
                let op = HardLink::new(from_dir, name(from)?, to_dir, name(to)?);
                self.run(op.follow(*follow).empty_path(*empty_path))
            }
            Step::SetXattr {
                of,
                name: key,
                len,
                create_only,
                replace_only,
            } => {
                let (key, value) = (name(key)?, vec![7; *len]);
                match of {
                    Owner::Fd(fd) => {
                        let op = SetXattr::new(self.fd(roles, *fd), key, value);
                        self.run(op.create_only(*create_only).replace_only(*replace_only))
                    }
                    Owner::Path(path) => {
                        let op = SetPathXattr::new(self.site.path(path)?, key, value);
                        self.run(op.create_only(*create_only).replace_only(*replace_only))
                    }
                }
            }
            Step::Shutdown { fd, how } => self.run(Shutdown::new(self.fd(roles, *fd), *how)),
            other => return Err(io::Error::other(format!("{other:?} is taken elsewhere"))),
        })
    }

    fn fd(&self, roles: &Roles, pick: super::step::Pick) -> Fd {
        let fd = self.fds[roles.find(pick)];
        assert_eq!(fd.as_raw_fd(), self.site.number(roles.find(pick)));
        fd
    }

    fn run<O: Op + 'static>(&mut self, op: O) -> io::Result<O::Output> {
        self.flight(&mut Lent::new(op))
    }

    /// Does an operation. One that is to wait, or does not complete, is cancelled.
    fn flight<O: Op + 'static>(&mut self, op: &mut Lent<O>) -> io::Result<O::Output> {
        let id = self.session.start(op);
        if self.waits {
            for _ in 0..TURNS {
                self.session.turn(Some(Duration::ZERO));
            }
        }
        let limit = Duration::from_millis(HANGS_MS.load(Ordering::Relaxed));
        let deadline = Instant::now() + limit;
        let mut cancels = self.waits;
        loop {
            if let Some(entry) = self.session.take(id) {
                return Session::finish(op, entry);
            }
            if Instant::now() > deadline && !self.hung {
                self.hung = true;
                HANGS_MS.store(500, Ordering::Relaxed);
                cancels = true;
            }
            if cancels {
                // Full: the next turn makes room.
                cancels = self.session.driver.try_cancel(id).is_err();
            }
            self.session.turn(Some(limit));
        }
    }

    fn counted(&self, result: &io::Result<usize>) -> Outcome {
        match result {
            _ if self.hung => Outcome::Hangs,
            Ok(n) => Outcome::Done(*n as u64),
            Err(e) if self.waits && e.raw_os_error() == Some(libc::ECANCELED) => Outcome::Waits,
            Err(e) => Outcome::from(e),
        }
    }

    /// Of what makes descriptors.
    fn kept<T>(
        &self,
        result: io::Result<T>,
        made: &mut Vec<OwnedFd>,
        fds: impl FnOnce(T) -> Vec<OwnedFd>,
    ) -> Seen {
        let outcome = self.counted(&result.map(|output| {
            made.extend(fds(output));
            0
        }));
        Seen::only(outcome)
    }

    fn known(&self, result: io::Result<Metadata>) -> Seen {
        let mut facts = String::new();
        let outcome = self.counted(&result.map(|data| {
            facts = facts_of(&data);
            0
        }));
        Seen {
            facts,
            ..Seen::only(outcome)
        }
    }

    fn get_xattr(&mut self, roles: &Roles, of: Owner, name: &str, room: usize) -> io::Result<Seen> {
        let name = CString::new(name)?;
        let room = vec![0xa5_u8; room].into_boxed_slice();
        let (result, bytes) = match of {
            Owner::Fd(fd) => {
                let mut op = Lent::new(GetXattr::new(self.fd(roles, fd), name, room));
                (self.flight(&mut op), op.op().buf().to_vec())
            }
            Owner::Path(path) => {
                let path = self.site.path(path)?;
                let mut op = Lent::new(GetPathXattr::new(path, name, room));
                (self.flight(&mut op), op.op().buf().to_vec())
            }
        };
        Ok(Seen {
            bytes,
            ..Seen::only(self.counted(&result))
        })
    }

    fn transfer(&mut self, fd: Fd, m: &Move) -> Seen {
        let mut bytes = m.room();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len());
        let exact = m.exact;
        let (result, moved) = match (m.door, m.write, m.extent) {
            (Door::At { offset, flags }, false, Extent::Whole(_)) => {
                let op = ReadAt::new(fd, offset, lent(start, len));
                moved!(self, exact, op.flags(RwFlags::from_bits(flags)))
            }
            (Door::At { offset, flags }, true, Extent::Whole(_)) => {
                let op = WriteAt::new(fd, offset, lent(start, len));
                moved!(self, exact, op.flags(RwFlags::from_bits(flags)))
            }
            (Door::At { offset, flags }, false, extent) => {
                let op = ReadVectoredAt::new(fd, offset, split(start, extent));
                moved!(self, exact, op.flags(RwFlags::from_bits(flags)))
            }
            (Door::At { offset, flags }, true, extent) => {
                let op = WriteVectoredAt::new(fd, offset, split(start, extent));
                moved!(self, exact, op.flags(RwFlags::from_bits(flags)))
            }
            (Door::Stream, false, Extent::Whole(_)) => {
                moved!(self, exact, Read::new(fd, lent(start, len)))
            }
            (Door::Stream, true, Extent::Whole(_)) => {
                moved!(self, exact, Write::new(fd, lent(start, len)))
            }
            (Door::Stream, false, extent) => {
                moved!(self, exact, ReadVectored::new(fd, split(start, extent)))
            }
            (Door::Stream, true, extent) => {
                moved!(self, exact, WriteVectored::new(fd, split(start, extent)))
            }
            (Door::Socket { flags }, false, Extent::Whole(_)) => {
                let op = Recv::new(fd, lent(start, len));
                moved!(self, exact, op.flags(MsgFlags::from_bits(flags)))
            }
            (Door::Socket { flags }, true, Extent::Whole(_)) => {
                let op = Send::new(fd, lent(start, len));
                moved!(self, exact, op.flags(MsgFlags::from_bits(flags)))
            }
            (Door::Socket { flags }, false, extent) => {
                let op = RecvVectored::new(fd, split(start, extent));
                moved!(self, exact, op.flags(MsgFlags::from_bits(flags)))
            }
            (Door::Socket { flags }, true, extent) => {
                let op = SendVectored::new(fd, split(start, extent));
                moved!(self, exact, op.flags(MsgFlags::from_bits(flags)))
            }
        };
        Seen {
            moved,
            bytes,
            ..Seen::only(self.counted(&result))
        }
    }
}

/// The whole of a transfer's memory.
fn lent(start: *mut u8, len: usize) -> &'static mut [u8] {
    // SAFETY: of the vector in `transfer`, which outlives the operation and is not touched while
    // that has it; each byte is lent once.
    unsafe { slice::from_raw_parts_mut(start, len) }
}

/// The same in parts.
fn split(start: *mut u8, extent: Extent) -> Vec<&'static mut [u8]> {
    let mut at = 0;
    let part = |len: usize| {
        let from = start.wrapping_add(at);
        at += len;
        lent(from, len)
    };
    extent.lens().into_iter().map(part).collect()
}

fn options_of(how: How) -> OpenOptions {
    OpenOptions::new()
        .read(how.read)
        .write(how.write)
        .append(how.append)
        .truncate(how.truncate)
        .create(how.create)
        .create_new(how.create_new)
        .custom_flags(how.custom)
        .mode(how.mode)
}

/// As the plain way has them.
fn facts_of(data: &Metadata) -> String {
    let kind = match data.kind() {
        FileKind::File => libc::S_IFREG,
        FileKind::Directory => libc::S_IFDIR,
        FileKind::Symlink => libc::S_IFLNK,
        FileKind::BlockDevice => libc::S_IFBLK,
        FileKind::CharDevice => libc::S_IFCHR,
        FileKind::Pipe => libc::S_IFIFO,
        FileKind::Socket => libc::S_IFSOCK,
        _ => 0,
    };
    format!(
        "mode {:o}, {} names, {}:{}, {} bytes by {}, on {} is {}",
        kind | (data.mode() & !libc::S_IFMT),
        data.nlink(),
        data.uid(),
        data.gid(),
        data.size(),
        data.block_size(),
        data.dev(),
        data.rdev()
    )
}
