//! Sockets: TCP, UDP, and, on Unix, those of Unix.
//!
//! All that waits is an operation of the driver. One that is in flight holds its socket open:
//! dropping the socket, or the future, closes nothing under it. The future that is dropped cancels
//! its operation, and what that had received by then is lost with its buffer;
//! [`readable`](TcpStream::readable) waits and takes nothing.
//!
//! Methods take `&self`, so that one task may read and write at once. Sockets have the common
//! [options](crate::op::SockOpt) by [`set_option`](TcpStream::set_option), and, for they are
//! `AsFd`, on Windows `AsSocket`, all others by the `socket2` crate:
//! `SockRef::from(&stream).set_tcp_keepalive(…)`. One with unusual options from its
//! beginning may be made by that crate, and taken over from std's type by `try_from`.
//!
//! # Panics
//! Outside of a runtime: whatever is awaited, `try_from`, and pairs.
//!
//! # Simulated hosts
//! On a [simulated](crate::driver::Backend) host everything runs but what is no operation: the
//! addresses of a socket, [`set_nodelay`](TcpStream::set_nodelay) and its like, pairs and what
//! `try_from` takes over, the lookup of names, which is the real system's.

mod address;
mod socket;
pub(crate) mod split;
mod tcp;
mod udp;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use self::address::{ToSocketAddrs, lookup_host};
pub use self::socket::Incoming;
pub use self::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use self::tcp::{TcpListener, TcpSocket, TcpStream};
pub use self::udp::UdpSocket;
#[cfg(unix)]
pub use self::unix::{UnixDatagram, UnixListener, UnixStream};

use crate::address::Address;
use crate::fd::SharedFd;
use crate::op::{Bind, Connect, Listen, Socket};
use crate::task::submit;
use std::io;

/// Whether listeners say `SO_REUSEADDR`. On Windows they would share their address with whoever
/// says so too; there, connections that are over do not keep it.
const REUSE_ADDR: bool = cfg!(unix);

/// Connections that wait to be accepted, unless it is said otherwise; the system's limit (4,096 on
/// Linux, `net.core.somaxconn`) may be less.
const BACKLOG: u32 = 1024;

/// A new socket, attached.
async fn open(socket: Socket) -> io::Result<SharedFd> {
    SharedFd::new(submit(socket).await.0?)
}

async fn bind(fd: &SharedFd, address: impl Into<Address>) -> io::Result<()> {
    submit(Bind::new(fd.hold(), address)).await.0
}

async fn listen(fd: &SharedFd, backlog: u32) -> io::Result<()> {
    submit(Listen::new(fd.hold(), backlog)).await.0
}

async fn connect(fd: &SharedFd, address: impl Into<Address>) -> io::Result<()> {
    submit(Connect::new(fd.hold(), address)).await.0
}
