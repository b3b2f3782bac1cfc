//! tokio-uring: a ring that is waited for through tokio's epoll.

use bench::child::Args;
use bench::meter::Meter;
use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net as unix;
use std::rc::Rc;
use std::time::Duration;
use std::{fs, io, net};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};

pub struct TokioUring;

impl Peer for TokioUring {
    type Tcp = TcpListener;
    type Unix = UnixListener;
    type Udp = UdpSocket;
    type File = tokio_uring::fs::File;

    fn block_on<T: 'static>(
        args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        let mut ring = tokio_uring::uring_builder();
        if args.is_tuned() {
            // It is not waited for by a call of its own: what is deferred would never be done.
            ring.setup_coop_taskrun()
                .setup_taskrun_flag()
                .setup_single_issuer();
        }
        let mut builder = tokio_uring::builder();
        Ok(builder.entries(1024).uring_builder(&ring).start(future))
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        let task = tokio_uring::spawn(future);
        async { task.await.expect("no task panics") }
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }

    fn yield_now() -> impl Future<Output = ()> {
        tokio::task::yield_now()
    }

    fn tcp(listener: net::TcpListener) -> io::Result<TcpListener> {
        Ok(TcpListener::from_std(listener))
    }

    fn unix(listener: unix::UnixListener) -> io::Result<UnixListener> {
        // It takes none over.
        let path = listener.local_addr()?;
        let path = path.as_pathname().expect("it was bound to a path");
        fs::remove_file(path)?;
        UnixListener::bind(path)
    }

    fn udp(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        Ok(UdpSocket::from_std(socket))
    }

    async fn file(file: fs::File, _path: &str, _direct: bool) -> io::Result<tokio_uring::fs::File> {
        // SAFETY: the file's own descriptor, given up.
        Ok(unsafe { tokio_uring::fs::File::from_raw_fd(file.into_raw_fd()) })
    }

    /// Its driver has none: those of the runtime, by tasks.
    fn nops(args: &Args, batch: usize, meter: Rc<Meter>) -> Result<(), String> {
        Self::block_on(args, async move {
            let nops = |meter: Rc<Meter>| async move {
                while meter.step(1) {
                    tokio_uring::no_op().await.expect("a NOP does not fail");
                }
            };
            let tasks: Vec<_> = (0..batch)
                .map(|_| tokio_uring::spawn(nops(meter.clone())))
                .collect();
            for task in tasks {
                task.await.expect("no task panics");
            }
        })
    }
}

impl Listener<TokioUring> for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(TcpListener::accept(self).await?.0)
    }
}

impl Listener<TokioUring> for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        UnixListener::accept(self).await
    }
}

macro_rules! streams {
    ($($Stream:ident),*) => {$(
        impl Stream<TokioUring> for $Stream {
            async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
                buffer.clear();
                $Stream::read(self, buffer).await
            }

            async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()> {
                let (written, buffer) = $Stream::write_all(self, buffer.slice(..)).await;
                (written, buffer.into_inner())
            }
        }
    )*};
}
streams!(TcpStream, UnixStream);

impl Datagrams<TokioUring> for UdpSocket {
    async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
        buffer.clear();
        let (received, buffer) = self.recv_from(buffer).await;
        (received.map(|(_, from)| from), buffer)
    }

    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
        self.send_to(buffer, to).await
    }
}

impl File<TokioUring> for tokio_uring::fs::File {
    async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        tokio_uring::fs::File::read_at(self, buffer, offset).await
    }

    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        tokio_uring::fs::File::write_at(self, buffer, offset)
            .submit()
            .await
    }
}
