//! TCP.

use super::address::{ToSocketAddrs, first};
use super::{BACKLOG, REUSE_ADDR, bind, connect, listen, open};
use crate::fd::SharedFd;
use crate::op::{SockOpt, Socket};
use crate::time::{Duration, timeout};
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket that takes connections.
///
/// ```
/// use completeio::io::{AsyncRead, AsyncWrite};
/// use completeio::net::{TcpListener, TcpStream};
/// use completeio::task::{block_on, spawn};
///
/// block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let client = spawn(async move {
///         let mut stream = TcpStream::connect(address).await?;
///         stream.write("hello").await.0
///     });
///     let (mut stream, _) = listener.accept().await?;
///     let (read, text) = stream.read(Vec::with_capacity(16)).await;
///     assert_eq!((read?, &text[..]), (5, &b"hello"[..]));
///     client.await?
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TcpListener {
    pub(super) fd: SharedFd,
}

impl TcpListener {
    /// Listens on the first of the addresses on which it can, with a backlog of 1,024, and on Unix
    /// with `SO_REUSEADDR`: [`TcpSocket`] has others.
    ///
    /// # Errors
    /// As [`Socket`], [`Bind`](crate::op::Bind) and [`Listen`](crate::op::Listen).
    pub async fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(addresses, async |address| {
            let socket = TcpSocket::open(address).await?;
            socket.set_option(SockOpt::REUSE_ADDR, REUSE_ADDR).await?;
            socket.bind(address).await?;
            socket.listen(BACKLOG).await
        })
        .await
    }
}

/// A socket that neither listens nor is connected yet, for those who set its options before.
///
/// ```
/// use completeio::net::TcpSocket;
/// use completeio::op::SockOpt;
/// use completeio::task::block_on;
///
/// let listener = block_on(async {
///     let socket = TcpSocket::new_v4().await?;
///     socket.set_option(SockOpt::REUSE_PORT, true).await?;
///     socket.bind("127.0.0.1:0".parse().unwrap()).await?;
///     socket.listen(16).await
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TcpSocket {
    pub(super) fd: SharedFd,
}

impl TcpSocket {
    /// One of IPv4.
    ///
    /// # Errors
    /// As [`Socket`].
    pub async fn new_v4() -> io::Result<Self> {
        Self::open((Ipv4Addr::UNSPECIFIED, 0).into()).await
    }

    /// One of IPv6.
    ///
    /// # Errors
    /// As [`Socket`].
    pub async fn new_v6() -> io::Result<Self> {
        Self::open((Ipv6Addr::UNSPECIFIED, 0).into()).await
    }

    /// One for addresses like this one.
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let fd = open(Socket::stream(&address.into())).await?;
        Ok(Self { fd })
    }

    /// Gives it its own address.
    ///
    /// # Errors
    /// As [`Bind`](crate::op::Bind).
    pub async fn bind(&self, address: SocketAddr) -> io::Result<()> {
        bind(&self.fd, address).await
    }

    /// Takes connections, of which so many may wait; the system may have a lower limit.
    ///
    /// # Errors
    /// As [`Listen`](crate::op::Listen).
    pub async fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        listen(&self.fd, backlog).await?;
        Ok(TcpListener { fd: self.fd })
    }

    /// Connects it.
    ///
    /// # Errors
    /// As [`Connect`](crate::op::Connect).
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        connect(&self.fd, address).await?;
        Ok(TcpStream { fd: self.fd })
    }
}

/// A connection.
///
/// A reference reads and writes too, so that two futures of one task may share it.
///
/// ```
/// use completeio::io::{AsyncRead, AsyncWrite};
/// use completeio::net::{TcpListener, TcpStream};
/// use completeio::task::{block_on, spawn};
///
/// block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let stream = TcpStream::connect(listener.local_addr()?).await?;
///     stream.set_nodelay(true)?;
///     let (mut accepted, _) = listener.accept().await?;
///     let (mut reader, mut writer) = stream.into_split();
///     let written = spawn(async move {
///         writer.write("all").await.0?;
///         writer.shutdown().await
///     });
///     let (read, text) = accepted.read([0; 16]).await;
///     assert_eq!(&text[..read?], b"all");
///     assert_eq!(accepted.read(text).await.0?, 0, "the end");
///     accepted.write("answer").await.0?;
///     assert_eq!(reader.read([0; 16]).await.0?, 6);
///     written.await?
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TcpStream {
    pub(super) fd: SharedFd,
}

impl TcpStream {
    /// Connects to the first of the addresses to which it can; the error is that of the last.
    ///
    /// A future of it that is dropped leaves nothing behind.
    ///
    /// # Errors
    /// As [`Socket`] and [`Connect`](crate::op::Connect).
    pub async fn connect(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(addresses, async |address| {
            TcpSocket::open(address).await?.connect(address).await
        })
        .await
    }

    /// The same, in so much time at most for all of them.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`TimedOut`](io::ErrorKind::TimedOut).
    pub async fn connect_timeout(
        addresses: impl ToSocketAddrs,
        duration: Duration,
    ) -> io::Result<Self> {
        timeout(duration, Self::connect(addresses)).await?
    }

    /// Whether small messages are sent at once.
    ///
    /// # Errors
    /// As [`std::net::TcpStream::nodelay`].
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(&self.fd).tcp_nodelay()
    }

    /// Sets whether small messages are sent at once, as [`SockOpt::NO_DELAY`] does.
    ///
    /// # Errors
    /// As [`std::net::TcpStream::set_nodelay`].
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(&self.fd).set_tcp_nodelay(nodelay)
    }
}
