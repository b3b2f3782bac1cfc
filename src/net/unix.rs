//! Unix sockets.

use super::{BACKLOG, bind, connect, listen, open};
use crate::address::Address;
use crate::ancillary::Credentials;
use crate::fd::SharedFd;
use crate::op::{SockOpt, Socket};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net;
use std::path::Path;

/// A path, or behind a zero the name of an abstract address.
fn address(path: &Path) -> io::Result<Address> {
    match path.as_os_str().as_bytes() {
        [0, name @ ..] => Address::unix_abstract(name),
        _ => Address::unix(path),
    }
}

/// A Unix socket that takes connections.
///
/// ```
/// use completeio::io::{AsyncRead, AsyncWrite};
/// use completeio::net::{UnixListener, UnixStream};
///
/// completeio::task::block_on(async {
///     let path = format!("\0listener {}", std::process::id());
///     let listener = UnixListener::bind(&path).await?;
///     let mut client = UnixStream::connect(&path).await?;
///     client.write("hello").await.0?;
///     let (mut stream, _) = listener.accept().await?;
///     let (read, text) = stream.read(Vec::with_capacity(16)).await;
///     assert_eq!((read?, &text[..]), (5, &b"hello"[..]));
///     assert_eq!(stream.peer_cred().await?.pid as u32, std::process::id());
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UnixListener {
    pub(super) fd: SharedFd,
}

impl UnixListener {
    /// Listens on a path, with a backlog of 1,024. The path is made, and stays when the socket is
    /// closed; one that is there is an error. What begins with a zero byte is an
    /// [abstract](Address::unix_abstract) name.
    ///
    /// # Errors
    /// As [`Address::unix`], [`Socket`], [`Bind`](crate::op::Bind) and
    /// [`Listen`](crate::op::Listen).
    pub async fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = address(path.as_ref())?;
        let fd = open(Socket::stream(&address)).await?;
        bind(&fd, address).await?;
        listen(&fd, BACKLOG).await?;
        Ok(Self { fd })
    }
}

/// A connection within a machine, which may carry descriptors.
///
/// A reference reads and writes too, so that two futures of one task may share it.
///
/// ```
/// use completeio::ancillary::{ControlMessage, Incoming, Outgoing, space};
/// use completeio::net::UnixStream;
/// use std::{fs::File, io::Read, os::fd::OwnedFd};
///
/// let file = completeio::task::block_on(async {
///     let (a, b) = UnixStream::pair()?;
///     let file = OwnedFd::from(File::open("Cargo.toml")?);
///     let control = Outgoing::<{ space(4) }, _>::with_rights([file]).expect("there is room");
///     a.send_msg(["a file"], control).await.0?;
///
///     let room = Incoming::<{ space(4) }>::new();
///     let (received, (_text, mut control)) = b.recv_msg([[0; 16]], room).await;
///     assert_eq!(received?.len, 6);
///     let Some(ControlMessage::Rights(mut files)) = control.messages().next() else {
///         panic!("no descriptor came");
///     };
///     std::io::Result::Ok(files.next())
/// })?;
/// let mut text = String::new();
/// File::from(file.expect("one came")).read_to_string(&mut text)?;
/// assert!(text.starts_with("[workspace]"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UnixStream {
    pub(super) fd: SharedFd,
}

impl UnixStream {
    /// Connects to whoever listens on a path, or, behind a zero byte, on an abstract name.
    ///
    /// Where the backlog is full it waits, but on readiness, where it is `EAGAIN`.
    ///
    /// # Errors
    /// As [`Address::unix`], [`Socket`] and [`Connect`](crate::op::Connect).
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = address(path.as_ref())?;
        let fd = open(Socket::stream(&address)).await?;
        connect(&fd, address).await?;
        Ok(Self { fd })
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// As [`std::os::unix::net::UnixStream::pair`].
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = net::UnixStream::pair()?;
        Ok((a.try_into()?, b.try_into()?))
    }

    /// Who its peer was when the connection was made. Linux only.
    ///
    /// # Errors
    /// As [`GetSockOpt`](crate::op::GetSockOpt).
    pub async fn peer_cred(&self) -> io::Result<Credentials> {
        self.option(SockOpt::PEER_CREDENTIALS).await
    }
}

/// A Unix socket of datagrams, which come in their order and are not lost.
///
/// Where a receiver has no room, a datagram that has its address is `EAGAIN`:
/// [`SendTo`](crate::op::SendTo) says why. A connected one waits: [`Send`](crate::op::Send) says
/// what io_uring's kernel does with that.
///
/// ```
/// use completeio::net::UnixDatagram;
///
/// completeio::task::block_on(async {
///     let (a, b) = UnixDatagram::pair()?;
///     a.send("hello").await.0?;
///     assert_eq!(b.recv(Vec::with_capacity(16)).await.1, b"hello");
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UnixDatagram {
    pub(super) fd: SharedFd,
}

impl UnixDatagram {
    /// A socket with a path, which is made, and stays when the socket is closed; one that is there
    /// is an error. What begins with a zero byte is an [abstract](Address::unix_abstract) name.
    ///
    /// # Errors
    /// As [`Address::unix`], [`Socket`] and [`Bind`](crate::op::Bind).
    pub async fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let address = address(path.as_ref())?;
        let fd = open(Socket::datagram(&address)).await?;
        bind(&fd, address).await?;
        Ok(Self { fd })
    }

    /// A socket without an address, to which nobody can answer.
    ///
    /// # Errors
    /// As [`std::os::unix::net::UnixDatagram::unbound`].
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn unbound() -> io::Result<Self> {
        net::UnixDatagram::unbound()?.try_into()
    }

    /// Two that are connected to each other.
    ///
    /// # Errors
    /// As [`std::os::unix::net::UnixDatagram::pair`].
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = net::UnixDatagram::pair()?;
        Ok((a.try_into()?, b.try_into()?))
    }

    /// Sends to a path or an abstract name, unless it is said otherwise, and receives from there
    /// only.
    ///
    /// # Errors
    /// As [`Address::unix`] and [`Connect`](crate::op::Connect).
    pub async fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        connect(&self.fd, address(path.as_ref())?).await
    }
}
