//! TCP.

use super::ip_address;
use crate::driver::{AsFd, AsRawFd, BorrowedFd, RawFd};
use crate::fd::SharedFd;
use crate::io::{AsyncRead, AsyncWrite, BufResult, IntoInner, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::op::{Accept, Connect, Recv, RecvVectored, Send, SendVectored, Shutdown, Socket};
use crate::task::submit;
use std::io;
use std::net::{self, SocketAddr};

/// A socket that takes connections.
///
/// ```
/// use completeio::io::{AsyncRead, AsyncWrite};
/// use completeio::net::{TcpListener, TcpStream};
/// use completeio::task::{block_on, spawn};
///
/// block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
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
    fd: SharedFd,
}

impl TcpListener {
    /// Binds a socket that reuses the address, and listens on it.
    ///
    /// # Errors
    /// As [`std::net::TcpListener::bind`].
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        net::TcpListener::bind(address)?.try_into()
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// As [`Accept`].
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (accepted, _) = submit(Accept::new(self.fd.hold())).await;
        let accepted = accepted?;
        let peer = ip_address(&accepted.addr)?;
        let fd = SharedFd::new(accepted.fd)?;
        Ok((TcpStream { fd }, peer))
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// As [`std::net::TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let socket = self.fd.as_fd().try_clone_to_owned()?;
        net::TcpListener::from(socket).local_addr()
    }
}

impl TryFrom<net::TcpListener> for TcpListener {
    type Error = io::Error;

    fn try_from(listener: net::TcpListener) -> io::Result<Self> {
        SharedFd::new(listener).map(|fd| Self { fd })
    }
}

/// A connection.
#[derive(Debug)]
pub struct TcpStream {
    fd: SharedFd,
}

impl TcpStream {
    /// Connects to an address.
    ///
    /// # Errors
    /// As [`Connect`].
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = submit(Socket::stream(&address.into())).await.0?;
        let fd = SharedFd::new(socket)?;
        submit(Connect::new(fd.hold(), address)).await.0?;
        Ok(Self { fd })
    }
}

impl TryFrom<net::TcpStream> for TcpStream {
    type Error = io::Error;

    fn try_from(stream: net::TcpStream) -> io::Result<Self> {
        SharedFd::new(stream).map(|fd| Self { fd })
    }
}

impl AsyncRead for TcpStream {
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (read, op) = submit(Recv::new(self.fd.hold(), buffer)).await;
        (read, op.into_inner())
    }

    async fn read_vectored<V: IoBufsMut + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        let (read, op) = submit(RecvVectored::new(self.fd.hold(), buffers)).await;
        (read, op.into_inner())
    }
}

impl AsyncWrite for TcpStream {
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (written, op) = submit(Send::new(self.fd.hold(), buffer)).await;
        (written, op.into_inner())
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        let (written, op) = submit(SendVectored::new(self.fd.hold(), buffers)).await;
        (written, op.into_inner())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        submit(Shutdown::new(self.fd.hold(), net::Shutdown::Write))
            .await
            .0
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
