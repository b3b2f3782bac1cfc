//! monoio, on io_uring.

use bench::child::Args;
use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
use io_uring_0_6::IoUring;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::udp::UdpSocket;
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::net as unix;
use std::time::Duration;
use std::{fs, io, net};

pub struct Monoio;

impl Peer for Monoio {
    type Tcp = TcpListener;
    type Unix = UnixListener;
    type Udp = UdpSocket;
    type File = monoio::fs::File;

    fn block_on<T: 'static>(
        args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        let mut ring = IoUring::builder();
        if args.is_tuned() {
            ring.setup_single_issuer().setup_defer_taskrun();
        }
        let runtime = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(1024)
            .uring_builder(ring)
            .enable_timer()
            .build();
        Ok(runtime.map_err(|e| e.to_string())?.block_on(future))
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        monoio::spawn(future)
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        monoio::time::sleep(duration)
    }

    fn tcp(listener: net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }

    fn unix(listener: unix::UnixListener) -> io::Result<UnixListener> {
        UnixListener::from_std(listener)
    }

    fn udp(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::from_std(socket)
    }

    async fn file(file: fs::File, _path: &str, _direct: bool) -> io::Result<monoio::fs::File> {
        monoio::fs::File::from_std(file)
    }
}

macro_rules! streams {
    ($($Listener:ident, $Stream:ident;)*) => {$(
        impl Listener<Monoio> for $Listener {
            type Stream = $Stream;

            async fn accept(&self) -> io::Result<$Stream> {
                Ok($Listener::accept(self).await?.0)
            }
        }

        impl Stream<Monoio> for $Stream {
            async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
                buffer.clear();
                AsyncReadRent::read(self, buffer).await
            }

            async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()> {
                let (written, buffer) = AsyncWriteRentExt::write_all(self, buffer).await;
                (written.map(drop), buffer)
            }
        }
    )*};
}
streams! {
    TcpListener, TcpStream;
    UnixListener, UnixStream;
}

impl Datagrams<Monoio> for UdpSocket {
    async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
        buffer.clear();
        let (received, buffer) = self.recv_from(buffer).await;
        (received.map(|(_, from)| from), buffer)
    }

    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
        self.send_to(buffer, to).await
    }
}

impl File<Monoio> for monoio::fs::File {
    async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        monoio::fs::File::read_at(self, buffer, offset).await
    }

    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        monoio::fs::File::write_at(self, buffer, offset).await
    }
}
