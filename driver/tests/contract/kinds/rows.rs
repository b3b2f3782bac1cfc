//! The kinds of operations.

use super::rig::{HELP, Made, NAME, Rig, any_port};
use crate::kit::{self, code};
use completeio_driver::address::Address;
use completeio_driver::ancillary::{Incoming, Outgoing};
use completeio_driver::driver::{Cwd, FixedFd};
use completeio_driver::op::{
    Accept, Advice, Advise, Allocate, Bind, Close, Connect, Deadline, Exact, FutexWait, FutexWake,
    GetPathXattr, GetSockOpt, GetXattr, HardLink, Listen, MakeDir, Nop, OpenAt, Pipe, Poll,
    PollEvents, Read, ReadAt, ReadVectored, ReadVectoredAt, Recv, RecvFrom, RecvFromVectored,
    RecvMsg, RecvVectored, Rename, Send, SendMsg, SendTo, SendToVectored, SendVectored,
    SetPathXattr, SetSockOpt, SetXattr, Shutdown, SockOpt, Socket, Splice, Stat, StatAt, Symlink,
    Sync, SyncRange, Tee, Timeout, TimeoutUpdate, Truncate, Unlink, WaitId, Write, WriteAt,
    WriteVectored, WriteVectoredAt,
};
#[cfg(windows)]
use completeio_driver::op::{ConnectNamedPipe, Disconnect, TransmitFile};
use std::ffi::CStr;
use std::net;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// What a connect says that nobody listens for. A library that stands in for kqueue takes the
/// socket's own error; the socket remembers that there was one.
const REFUSED: i32 = if cfg!(libkqueue) {
    kit::code::ECONNABORTED
} else {
    code::ECONNREFUSED
};

/// Makes an operation, after what it needs; nothing where this system cannot have that.
pub(super) type Make = fn(&mut Rig) -> Option<Made>;

/// A kind of operation.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) completes: Make,
    /// With which error, if it can fail.
    pub(super) fails: Option<(i32, Make)>,
    /// Until something comes, if it can.
    pub(super) waits: Option<Make>,
}

const fn row(name: &'static str, completes: Make) -> Row {
    Row {
        name,
        completes,
        fails: None,
        waits: None,
    }
}

impl Row {
    const fn fails(self, errno: i32, fails: Make) -> Self {
        Self {
            fails: Some((errno, fails)),
            ..self
        }
    }

    const fn waits(self, waits: Make) -> Self {
        Self {
            waits: Some(waits),
            ..self
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const NOWHERE: &CStr = c"/nowhere/at/all";
const TEXT: [u8; 4] = *b"text";
const ROOM: [u8; 64] = [0; 64];
const TEXTS: [[u8; 2]; 2] = [*b"te", *b"xt"];
const ROOMS: [[u8; 32]; 2] = [[0; 32]; 2];

/// No descriptor.
fn none() -> super::rig::Borrowed {
    kit::number(kit::CLOSED)
}

pub(super) const ROWS: &[Row] = &[
    row("Nop", |r| r.op(Nop::new())),
    // Time.
    row("Timeout", |r| r.op(Timeout::after(Duration::ZERO))).waits(|r| r.op(Timeout::after(HOUR))),
    row("TimeoutUpdate", |r| {
        r.l.start(Timeout::after(HOUR), HELP);
        r.op(TimeoutUpdate::after(HELP, 2 * HOUR))
    })
    .fails(code::ENOENT, |r| r.op(TimeoutUpdate::after(HELP, HOUR))),
    row("Deadline", |r| {
        let recv = Recv::new(r.filled_socket(), ROOM);
        r.op(Deadline::after(recv, HOUR))
    })
    .fails(code::NO_SOCKET, |r| {
        r.op(Deadline::after(Recv::new(none(), ROOM), HOUR))
    })
    .waits(|r| {
        let recv = Recv::new(r.quiet_socket(), ROOM);
        r.op(Deadline::after(recv, HOUR))
    }),
    // On files.
    row("ReadAt", |r| {
        let file = r.file();
        r.op(ReadAt::new(file, 0, ROOM))
    })
    .fails(code::EBADF, |r| r.op(ReadAt::new(none(), 0, ROOM))),
    row("WriteAt", |r| {
        let file = r.file();
        r.op(WriteAt::new(file, 0, TEXT))
    })
    .fails(code::EBADF, |r| r.op(WriteAt::new(none(), 0, TEXT))),
    row("ReadVectoredAt", |r| {
        let file = r.file();
        r.op(ReadVectoredAt::new(file, 0, ROOMS))
    })
    .fails(code::EBADF, |r| r.op(ReadVectoredAt::new(none(), 0, ROOMS))),
    row("WriteVectoredAt", |r| {
        let file = r.file();
        r.op(WriteVectoredAt::new(file, 0, TEXTS))
    })
    .fails(code::EBADF, |r| {
        r.op(WriteVectoredAt::new(none(), 0, TEXTS))
    }),
    row("Sync", |r| {
        let file = r.file();
        r.op(Sync::new(file))
    })
    .fails(code::EBADF, |r| r.op(Sync::new(none()))),
    row("SyncRange", |r| {
        let file = r.file();
        r.op(SyncRange::new(file, 0, 4))
    })
    .fails(code::EBADF, |r| r.op(SyncRange::new(none(), 0, 4))),
    row("Truncate", |r| {
        let file = r.file();
        r.op(Truncate::new(file, 2))
    })
    .fails(code::EBADF, |r| r.op(Truncate::new(none(), 2))),
    row("Allocate", |r| {
        let file = r.file();
        r.op(Allocate::new(file, 0, 4096))
    })
    .fails(code::EBADF, |r| r.op(Allocate::new(none(), 0, 4096))),
    row("Advise", |r| {
        let file = r.file();
        r.op(Advise::new(file, Advice::Sequential))
    })
    .fails(code::EBADF, |r| {
        r.op(Advise::new(none(), Advice::Sequential))
    }),
    row("Stat", |r| {
        let file = r.file();
        r.op(Stat::new(file))
    })
    .fails(code::EBADF, |r| r.op(Stat::new(none()))),
    row("GetXattr", |r| {
        let path = r.marked_file()?;
        let file = r.open(path);
        r.op(GetXattr::new(file, NAME, ROOM))
    })
    .fails(code::EBADF, |r| r.op(GetXattr::new(none(), NAME, ROOM))),
    row("SetXattr", |r| {
        let path = r.marked_file()?;
        let file = r.open(path);
        r.op(SetXattr::new(file, NAME, TEXT))
    })
    .fails(code::EBADF, |r| r.op(SetXattr::new(none(), NAME, TEXT))),
    // On names.
    row("StatAt", |r| r.op(StatAt::new(Cwd, c"/")))
        .fails(code::NO_PATH, |r| r.op(StatAt::new(Cwd, NOWHERE))),
    row("OpenAt", |r| {
        let path = r.named_file();
        r.op(OpenAt::read(Cwd, path))
    })
    .fails(code::NO_PATH, |r| r.op(OpenAt::read(Cwd, NOWHERE))),
    row("Unlink", |r| {
        let path = r.named_file();
        r.op(Unlink::file(Cwd, path))
    })
    .fails(code::NO_PATH, |r| r.op(Unlink::file(Cwd, NOWHERE))),
    row("Rename", |r| {
        let (from, to) = (r.named_file(), r.path());
        r.op(Rename::new(Cwd, from, Cwd, to))
    })
    .fails(code::NO_PATH, |r| {
        r.op(Rename::new(Cwd, NOWHERE, Cwd, NOWHERE))
    }),
    row("MakeDir", |r| {
        let path = r.path();
        r.op(MakeDir::new(Cwd, path, 0o700))
    })
    .fails(code::TAKEN, |r| {
        let path = r.named_file();
        r.op(MakeDir::new(Cwd, path, 0o700))
    }),
    row("Symlink", |r| {
        let path = r.path();
        r.op(Symlink::new(c"text", Cwd, path))
    })
    .fails(code::TAKEN, |r| {
        if !kit::makes_links() {
            kit::skip("this system makes no symbolic links");
            return None;
        }
        let path = r.named_file();
        r.op(Symlink::new(c"text", Cwd, path))
    }),
    row("HardLink", |r| {
        let (from, to) = (r.named_file(), r.path());
        r.op(HardLink::new(Cwd, from, Cwd, to))
    })
    .fails(code::NO_PATH, |r| {
        r.op(HardLink::new(Cwd, NOWHERE, Cwd, NOWHERE))
    }),
    row("GetPathXattr", |r| {
        let path = r.marked_file()?;
        r.op(GetPathXattr::new(path, NAME, ROOM))
    })
    .fails(code::NO_PATH, |r| {
        r.op(GetPathXattr::new(NOWHERE, NAME, ROOM))
    }),
    row("SetPathXattr", |r| {
        let path = r.marked_file()?;
        r.op(SetPathXattr::new(path, NAME, TEXT))
    })
    .fails(code::NO_PATH, |r| {
        r.op(SetPathXattr::new(NOWHERE, NAME, TEXT))
    }),
    // On pipes.
    row("Pipe", |r| r.op(Pipe::new())),
    row("Read", |r| {
        let pipe = r.filled_pipe();
        r.op(Read::new(pipe, ROOM))
    })
    .fails(code::EBADF, |r| r.op(Read::new(none(), ROOM)))
    .waits(|r| {
        let pipe = r.empty_pipe();
        r.op(Read::new(pipe, ROOM))
    }),
    row("Write", |r| {
        let [_, writer] = r.pipe();
        r.op(Write::new(writer, TEXT))
    })
    .fails(code::EBADF, |r| r.op(Write::new(none(), TEXT)))
    .waits(|r| {
        let pipe = r.full_pipe();
        r.op(Write::new(pipe, TEXT))
    }),
    row("ReadVectored", |r| {
        let pipe = r.filled_pipe();
        r.op(ReadVectored::new(pipe, ROOMS))
    })
    .fails(code::EBADF, |r| r.op(ReadVectored::new(none(), ROOMS)))
    .waits(|r| {
        let pipe = r.empty_pipe();
        r.op(ReadVectored::new(pipe, ROOMS))
    }),
    row("WriteVectored", |r| {
        let [_, writer] = r.pipe();
        r.op(WriteVectored::new(writer, TEXTS))
    })
    .fails(code::EBADF, |r| r.op(WriteVectored::new(none(), TEXTS)))
    .waits(|r| {
        let pipe = r.full_pipe();
        r.op(WriteVectored::new(pipe, TEXTS))
    }),
    row("Splice", |r| {
        let (from, [_, to]) = (r.filled_pipe(), r.pipe());
        r.op(Splice::new(from, to, 64))
    })
    .fails(code::EBADF, |r| r.op(Splice::new(none(), none(), 64)))
    .waits(|r| {
        let (from, [_, to]) = (r.empty_pipe(), r.pipe());
        r.op(Splice::new(from, to, 64))
    }),
    row("Tee", |r| {
        let (from, [_, to]) = (r.filled_pipe(), r.pipe());
        r.op(Tee::new(from, to, 64))
    })
    .fails(code::EBADF, |r| r.op(Tee::new(none(), none(), 64)))
    .waits(|r| {
        let (from, [_, to]) = (r.empty_pipe(), r.pipe());
        r.op(Tee::new(from, to, 64))
    }),
    // On descriptors of any kind.
    row("Close", |r| {
        let socket = r.owned_socket();
        r.op(Close::new(socket))
    })
    .fails(code::EBADF, |r| r.op(Close::new(FixedFd::from_id(0)))),
    row("Poll", |r| {
        let [ours, _] = r.pair();
        r.op(Poll::new(ours, PollEvents::WRITABLE))
    })
    .fails(code::NO_SOCKET, |r| {
        r.op(Poll::new(none(), PollEvents::READABLE))
    })
    .waits(|r| {
        let socket = r.quiet_socket();
        r.op(Poll::new(socket, PollEvents::READABLE))
    }),
    // On sockets.
    row("Socket", |r| {
        r.op(Socket::new(kit::AF_INET, kit::SOCK_STREAM, 0))
    })
    .fails(code::EAFNOSUPPORT, |r| {
        r.op(Socket::new(12_345, kit::SOCK_STREAM, 0))
    }),
    row("Bind", |r| {
        let socket = r.socket(kit::SOCK_STREAM);
        r.op(Bind::new(socket, any_port()))
    })
    .fails(code::WRONG_STATE, |r| {
        let (socket, _) = r.bound(kit::SOCK_STREAM);
        r.op(Bind::new(socket, any_port()))
    }),
    row("Listen", |r| {
        let (socket, _) = r.bound(kit::SOCK_STREAM);
        r.op(Listen::new(socket, 8))
    })
    .fails(code::ENOTSOCK, |r| {
        let [reader, _] = r.pipe();
        r.op(Listen::new(reader, 8))
    }),
    row("Shutdown", |r| {
        let [ours, _] = r.pair();
        r.op(Shutdown::new(ours, net::Shutdown::Both))
    })
    .fails(code::ENOTCONN, |r| {
        let socket = r.socket(kit::SOCK_STREAM);
        r.op(Shutdown::new(socket, net::Shutdown::Both))
    }),
    row("SetSockOpt", |r| {
        let socket = r.socket(kit::SOCK_STREAM);
        r.op(SetSockOpt::new(socket, SockOpt::REUSE_ADDR, true))
    })
    .fails(code::ENOTSOCK, |r| {
        let [reader, _] = r.pipe();
        r.op(SetSockOpt::new(reader, SockOpt::REUSE_ADDR, true))
    }),
    row("GetSockOpt", |r| {
        let socket = r.socket(kit::SOCK_STREAM);
        r.op(GetSockOpt::new(socket, SockOpt::REUSE_ADDR))
    })
    .fails(code::ENOTSOCK, |r| {
        let [reader, _] = r.pipe();
        r.op(GetSockOpt::new(reader, SockOpt::REUSE_ADDR))
    }),
    row("Accept", |r| {
        let listener = r.busy_listener();
        r.op(Accept::new(listener))
    })
    .fails(code::ENOTSOCK, |r| {
        let pipe = r.filled_pipe();
        r.op(Accept::new(pipe))
    })
    .waits(|r| {
        let listener = r.idle_listener();
        r.op(Accept::new(listener))
    }),
    row("Connect", |r| {
        let ((_, addr), socket) = (r.listener(8), r.socket(kit::SOCK_STREAM));
        r.op(Connect::new(socket, addr))
    })
    .fails(REFUSED, |r| {
        let ((_, addr), socket) = (r.bound(kit::SOCK_STREAM), r.socket(kit::SOCK_STREAM));
        r.op(Connect::new(socket, addr))
    })
    .waits(|r| {
        let (socket, addr) = (r.socket(kit::SOCK_STREAM), r.full_listener()?);
        r.op(Connect::new(socket, addr))
    }),
    row("Recv", |r| {
        let socket = r.filled_socket();
        r.op(Recv::new(socket, ROOM))
    })
    .fails(code::ENOTSOCK, |r| {
        let pipe = r.filled_pipe();
        r.op(Recv::new(pipe, ROOM))
    })
    .waits(|r| {
        let socket = r.quiet_socket();
        r.op(Recv::new(socket, ROOM))
    }),
    row("Send", |r| {
        let [ours, _] = r.pair();
        r.op(Send::new(ours, TEXT))
    })
    .fails(code::ENOTSOCK, |r| {
        let [_, writer] = r.pipe();
        r.op(Send::new(writer, TEXT))
    })
    .waits(|r| {
        let socket = r.full_socket();
        r.op(Send::new(socket, TEXT))
    }),
    row("RecvFrom", |r| {
        let socket = r.filled_datagrams();
        r.op(RecvFrom::new(socket, ROOM))
    })
    .fails(code::ENOTSOCK, |r| {
        let pipe = r.filled_pipe();
        r.op(RecvFrom::new(pipe, ROOM))
    })
    .waits(|r| {
        let socket = r.quiet_datagrams();
        r.op(RecvFrom::new(socket, ROOM))
    }),
    row("SendTo", |r| {
        let (socket, addr) = r.bound(kit::SOCK_DGRAM);
        r.op(SendTo::new(socket, TEXT, addr))
    })
    .fails(code::ENOTSOCK, |r| {
        let [_, writer] = r.pipe();
        r.op(SendTo::new(writer, TEXT, any_port()))
    })
    .waits(|r| {
        let socket = r.full_socket();
        r.op(SendTo::new(socket, TEXT, Address::unspecified()))
    }),
    row("RecvVectored", |r| {
        let socket = r.filled_socket();
        r.op(RecvVectored::new(socket, ROOMS))
    })
    .fails(code::ENOTSOCK, |r| {
        let pipe = r.filled_pipe();
        r.op(RecvVectored::new(pipe, ROOMS))
    })
    .waits(|r| {
        let socket = r.quiet_socket();
        r.op(RecvVectored::new(socket, ROOMS))
    }),
    row("SendVectored", |r| {
        let [ours, _] = r.pair();
        r.op(SendVectored::new(ours, TEXTS))
    })
    .fails(code::ENOTSOCK, |r| {
        let [_, writer] = r.pipe();
        r.op(SendVectored::new(writer, TEXTS))
    })
    .waits(|r| {
        let socket = r.full_socket();
        r.op(SendVectored::new(socket, TEXTS))
    }),
    row("RecvFromVectored", |r| {
        let socket = r.filled_datagrams();
        r.op(RecvFromVectored::new(socket, ROOMS))
    })
    .fails(code::ENOTSOCK, |r| {
        let pipe = r.filled_pipe();
        r.op(RecvFromVectored::new(pipe, ROOMS))
    })
    .waits(|r| {
        let socket = r.quiet_datagrams();
        r.op(RecvFromVectored::new(socket, ROOMS))
    }),
    row("SendToVectored", |r| {
        let (socket, addr) = r.bound(kit::SOCK_DGRAM);
        r.op(SendToVectored::new(socket, TEXTS, addr))
    })
    .fails(code::ENOTSOCK, |r| {
        let [_, writer] = r.pipe();
        r.op(SendToVectored::new(writer, TEXTS, any_port()))
    })
    .waits(|r| {
        let socket = r.full_socket();
        r.op(SendToVectored::new(socket, TEXTS, Address::unspecified()))
    }),
    row("RecvMsg", |r| {
        let socket = r.filled_datagrams();
        r.op(RecvMsg::new(socket, ROOMS, Incoming::<0>::new()))
    })
    .fails(code::ENOTSOCK, |r| {
        let pipe = r.filled_pipe();
        r.op(RecvMsg::new(pipe, ROOMS, Incoming::<0>::new()))
    })
    .waits(|r| {
        let socket = r.quiet_datagrams();
        r.op(RecvMsg::new(socket, ROOMS, Incoming::<0>::new()))
    }),
    row("SendMsg", |r| {
        let (socket, addr) = r.bound(kit::SOCK_DGRAM);
        r.op(SendMsg::new(socket, TEXTS, Outgoing::<0>::new()).to(addr))
    })
    .fails(code::ENOTSOCK, |r| {
        let [_, writer] = r.pipe();
        r.op(SendMsg::new(writer, TEXTS, Outgoing::<0>::new()))
    })
    .waits(|r| {
        let socket = r.full_socket();
        r.op(SendMsg::new(socket, TEXTS, Outgoing::<0>::new()))
    }),
    // On other things.
    row("WaitId", |r| {
        let child = r.child();
        drop(child.stdin.take());
        let pid = child.id();
        r.op(WaitId::child(pid).unwrap())
    })
    .fails(code::EBADF, |r| r.op(WaitId::pidfd(none())))
    .waits(|r| {
        let pid = r.child().id();
        r.op(WaitId::child(pid).unwrap())
    }),
    row("FutexWait", |r| {
        let word = Arc::new(AtomicU32::new(0));
        let woken = word.clone();
        r.help(move |l| {
            l.start(FutexWake::new(woken, 1), HELP);
        });
        r.op(FutexWait::new(word, 0))
    })
    .fails(code::EAGAIN, |r| r.op(FutexWait::new(Arc::default(), 1)))
    .waits(|r| r.op(FutexWait::new(Arc::default(), 0))),
    row("FutexWake", |r| r.op(FutexWake::new(Arc::default(), 1))).fails(code::EINVAL, |r| {
        r.op(FutexWake::new(Arc::default(), 1).bits(0))
    }),
    row("Exact", |r| {
        let recv = Recv::new(r.filled_socket(), [0; 4]);
        r.op(Exact::new(recv))
    })
    .fails(code::ENOTSOCK, |r| {
        let recv = Recv::new(r.filled_pipe(), [0; 4]);
        r.op(Exact::new(recv))
    })
    .waits(|r| {
        let recv = Recv::new(r.quiet_socket(), [0; 8]);
        r.op(Exact::new(recv))
    }),
    row("Raw", |r| r.raw(0)).fails(code::EINVAL, |r| r.raw(u8::MAX)),
    // Of Windows alone.
    #[cfg(windows)]
    row("ConnectNamedPipe", |r| {
        let end = r.named_pipe(true);
        r.op(ConnectNamedPipe::new(end))
    })
    .fails(code::EBADF, |r| r.op(ConnectNamedPipe::new(none())))
    .waits(|r| {
        let end = r.named_pipe(false);
        r.op(ConnectNamedPipe::new(end))
    }),
    #[cfg(windows)]
    row("Disconnect", |r| {
        let end = r.named_pipe(true);
        r.op(Disconnect::new(end))
    })
    .fails(code::EBADF, |r| r.op(Disconnect::new(none()))),
    #[cfg(windows)]
    row("TransmitFile", |r| {
        let (file, [socket, _]) = (r.file(), r.pair());
        r.op(TransmitFile::new(file, 0, 4, socket))
    })
    .fails(code::NO_SOCKET, |r| {
        let file = r.file();
        r.op(TransmitFile::new(file, 0, 4, none()))
    }),
];
