//! What a runtime must offer for the work to be done on it.
//!
//! The work is written once, over these traits. What a runtime lacks is [`Lacks`], and its
//! constructor says so. Each of its types implements them for this peer, the `P`, so that it may be
//! another crate's.

use crate::child::Args;
use crate::meter::Meter;
use std::fs;
use std::future::Future;
use std::io;
use std::net::{self, SocketAddr};
use std::os::unix::net as unix;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A result, and the buffer that went along.
pub type Moved<T> = (io::Result<T>, Vec<u8>);

/// A runtime, or a driver with the smallest executor that works.
#[expect(async_fn_in_trait, reason = "all is done on one thread")]
pub trait Peer: Sized + 'static {
    /// Takes TCP connections.
    type Tcp: Listener<Self>;
    /// Takes connections of Unix sockets.
    type Unix: Listener<Self>;
    /// UDP.
    type Udp: Datagrams<Self>;
    /// A file.
    type File: File<Self>;

    /// Whether a future may be woken from another thread.
    const WAKES_ACROSS_THREADS: bool = true;
    /// Whether it has tasks and timers of its own.
    const IS_RUNTIME: bool = true;

    /// Runs a future to its end.
    ///
    /// # Errors
    /// It cannot run here.
    fn block_on<T: 'static>(
        args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String>;

    /// Starts a task, which goes on without its handle.
    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static;

    /// Waits for so long.
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;

    /// Lets other tasks run.
    fn yield_now() -> impl Future<Output = ()> {
        Yield(false)
    }

    /// Lets the driver make a turn.
    fn turn() -> impl Future<Output = ()> {
        Self::yield_now()
    }

    /// Takes a listener over.
    ///
    /// # Errors
    /// It cannot.
    fn tcp(listener: net::TcpListener) -> io::Result<Self::Tcp>;

    /// Takes a listener over.
    ///
    /// # Errors
    /// It cannot.
    fn unix(_listener: unix::UnixListener) -> io::Result<Self::Unix> {
        Err(lacks("Unix sockets"))
    }

    /// Takes a socket over.
    ///
    /// # Errors
    /// It cannot.
    fn udp(_socket: net::UdpSocket) -> io::Result<Self::Udp> {
        Err(lacks("UDP sockets"))
    }

    /// Takes a file over, which was opened with O_DIRECT if `direct`.
    async fn file(file: fs::File, path: &str, direct: bool) -> io::Result<Self::File>;

    /// Does NOPs, `batch` at a time, at its lowest level.
    ///
    /// # Errors
    /// There is no such thing.
    fn nops(_args: &Args, _batch: usize, _meter: Rc<Meter>) -> Result<(), String> {
        Err("it offers no NOP".to_owned())
    }
}

/// Takes connections.
#[expect(async_fn_in_trait, reason = "all is done on one thread")]
pub trait Listener<P>: 'static {
    /// A connection.
    type Stream: Stream<P>;

    /// The next one.
    async fn accept(&self) -> io::Result<Self::Stream>;
}

/// A connection.
#[expect(async_fn_in_trait, reason = "all is done on one thread")]
pub trait Stream<P>: 'static {
    /// Reads once, from the buffer's begin on; what it has read is all that is in the buffer.
    async fn read(&mut self, buffer: Vec<u8>) -> Moved<usize>;

    /// Writes the whole buffer.
    async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()>;
}

/// A socket of datagrams.
#[expect(async_fn_in_trait, reason = "all is done on one thread")]
pub trait Datagrams<P>: 'static {
    /// Receives one, from the buffer's begin on; it is all that is in the buffer.
    async fn receive(&self, buffer: Vec<u8>) -> Moved<SocketAddr>;

    /// Sends one.
    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize>;
}

/// A file.
#[expect(async_fn_in_trait, reason = "all is done on one thread")]
pub trait File<P>: 'static {
    /// Reads once, as much as the buffer has room for.
    async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize>;

    /// Writes the whole buffer once.
    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize>;
}

/// Why a peer cannot.
pub fn lacks(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("it has no {what}"))
}

/// What a peer does not have.
#[derive(Debug)]
pub enum Lacks {}

impl<P> Listener<P> for Lacks {
    type Stream = Self;

    async fn accept(&self) -> io::Result<Self> {
        match *self {}
    }
}

impl<P> Stream<P> for Lacks {
    async fn read(&mut self, _buffer: Vec<u8>) -> Moved<usize> {
        match *self {}
    }

    async fn write_all(&mut self, _buffer: Vec<u8>) -> Moved<()> {
        match *self {}
    }
}

impl<P> Datagrams<P> for Lacks {
    async fn receive(&self, _buffer: Vec<u8>) -> Moved<SocketAddr> {
        match *self {}
    }

    async fn send(&self, _buffer: Vec<u8>, _to: SocketAddr) -> Moved<usize> {
        match *self {}
    }
}

/// Pending once.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
