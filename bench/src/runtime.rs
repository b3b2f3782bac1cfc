//! The runtime, on either backend.

use bench::child::Args;
use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
use completeio::driver::{Backend, Driver};
use completeio::io::{AsyncRead, AsyncWriteExt};
use completeio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use completeio::task::{self, OPERATIONS_MAX};
use completeio::{fs, time};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::net as unix;
use std::time::Duration;
use std::{io, net};

/// On io_uring, or on readiness.
pub(crate) struct Runtime<const READINESS: bool>;

impl<const READINESS: bool> Peer for Runtime<READINESS> {
    type Tcp = TcpListener;
    type Unix = UnixListener;
    type Udp = UdpSocket;
    type File = fs::File;

    /// An operation may wait on each connection, if these are many.
    fn block_on<T: 'static>(
        args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        const ENTRIES: usize = 512;
        let connections = args.get("room-for")?.or(args.get("connections")?);
        let operations = OPERATIONS_MAX.max(connections.unwrap_or(0) + 1);
        let driver = Driver::builder()
            .backend(match READINESS {
                true => Backend::Readiness,
                false => Backend::IoUring,
            })
            .entries(ENTRIES)
            .in_flight(operations)
            .slots(operations);
        let runtime = task::Runtime::builder().driver(driver).build();
        Ok(runtime.map_err(|e| e.to_string())?.block_on(future))
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        let task = task::spawn(future);
        async { task.await.expect("no task panics") }
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        time::sleep(duration)
    }

    fn yield_now() -> impl Future<Output = ()> {
        task::yield_now()
    }

    fn tcp(listener: net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::try_from(listener)
    }

    fn unix(listener: unix::UnixListener) -> io::Result<UnixListener> {
        UnixListener::try_from(listener)
    }

    fn udp(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::try_from(socket)
    }

    async fn file(file: std::fs::File, _path: &str, _direct: bool) -> io::Result<fs::File> {
        Ok(file.into())
    }
}

macro_rules! streams {
    ($($Listener:ident, $Stream:ident;)*) => {$(
        impl<const READINESS: bool> Listener<Runtime<READINESS>> for $Listener {
            type Stream = $Stream;

            async fn accept(&self) -> io::Result<$Stream> {
                Ok($Listener::accept(self).await?.0)
            }
        }

        impl<const READINESS: bool> Stream<Runtime<READINESS>> for $Stream {
            async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
                buffer.clear();
                AsyncRead::read(self, buffer).await
            }

            async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()> {
                let (written, buffer) = AsyncWriteExt::write_all(self, buffer).await;
                (written.map_err(io::Error::from), buffer)
            }
        }
    )*};
}
streams! {
    TcpListener, TcpStream;
    UnixListener, UnixStream;
}

impl<const READINESS: bool> Datagrams<Runtime<READINESS>> for UdpSocket {
    async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
        buffer.clear();
        let (received, buffer) = self.recv_from(buffer).await;
        (received.map(|(_, from)| from), buffer)
    }

    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
        self.send_to(buffer, to).await
    }
}

impl<const READINESS: bool> File<Runtime<READINESS>> for fs::File {
    async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        fs::File::read_at(self, buffer, offset).await
    }

    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        fs::File::write_at(self, buffer, offset).await
    }
}
