//! tokio, `current_thread`: readiness, and a pool of threads for files.

use bench::child::Args;
use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::os::unix::net as unix;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, net};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task;

pub struct Tokio;

impl Peer for Tokio {
    type Tcp = TcpListener;
    type Unix = UnixListener;
    type Udp = UdpSocket;
    type File = Arc<fs::File>;

    fn block_on<T: 'static>(
        _args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        Ok(runtime.map_err(|e| e.to_string())?.block_on(future))
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        let task = task::spawn_local(future);
        async { task.await.expect("no task panics") }
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }

    fn yield_now() -> impl Future<Output = ()> {
        task::yield_now()
    }

    fn tcp(listener: net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    fn unix(listener: unix::UnixListener) -> io::Result<UnixListener> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    }

    fn udp(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }

    async fn file(file: fs::File, _path: &str, _direct: bool) -> io::Result<Arc<fs::File>> {
        Ok(Arc::new(file))
    }
}

macro_rules! streams {
    ($($Listener:ident, $Stream:ident;)*) => {$(
        impl Listener<Tokio> for $Listener {
            type Stream = $Stream;

            async fn accept(&self) -> io::Result<$Stream> {
                Ok($Listener::accept(self).await?.0)
            }
        }

        impl Stream<Tokio> for $Stream {
            async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
                buffer.clear();
                (self.read_buf(&mut buffer).await, buffer)
            }

            async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()> {
                (AsyncWriteExt::write_all(self, &buffer).await, buffer)
            }
        }
    )*};
}
streams! {
    TcpListener, TcpStream;
    UnixListener, UnixStream;
}

impl Datagrams<Tokio> for UdpSocket {
    async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
        buffer.clear();
        let received = self.recv_buf_from(&mut buffer).await;
        (received.map(|(_, from)| from), buffer)
    }

    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
        (self.send_to(&buffer, to).await, buffer)
    }
}

/// The runtime's own files keep a buffer; this is the least that its pool costs.
impl File<Tokio> for Arc<fs::File> {
    async fn read_at(&self, mut buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        let file = self.clone();
        let read = move || {
            buffer.resize(buffer.capacity(), 0);
            (FileExt::read_at(&*file, &mut buffer, offset), buffer)
        };
        task::spawn_blocking(read).await.expect("it does not panic")
    }

    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        let file = self.clone();
        let write = move || (FileExt::write_at(&*file, &buffer, offset), buffer);
        task::spawn_blocking(write)
            .await
            .expect("it does not panic")
    }
}
