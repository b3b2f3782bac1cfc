//! glommio, on io_uring: three rings.

use bench::child::Args;
use bench::machine;
use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::io::{BufferedFile, DmaFile, OpenOptions, ReadResult};
use glommio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use glommio::{LocalExecutorBuilder, Placement};
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net as unix;
use std::time::Duration;
use std::{fs, io, net};

pub struct Glommio;

impl Peer for Glommio {
    type Tcp = TcpListener;
    type Unix = UnixListener;
    type Udp = UdpSocket;
    type File = Opened;

    fn block_on<T: 'static>(
        _args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(machine::cpus().0)).make();
        Ok(executor.map_err(|e| e.to_string())?.run(future))
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        let task = glommio::spawn_local(future).detach();
        async { task.await.expect("no task is cancelled") }
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        glommio::timer::sleep(duration)
    }

    fn tcp(listener: net::TcpListener) -> io::Result<TcpListener> {
        // SAFETY: the listener's own descriptor, given up.
        Ok(unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) })
    }

    fn unix(listener: unix::UnixListener) -> io::Result<UnixListener> {
        // It takes none over.
        let path = listener.local_addr()?;
        let path = path.as_pathname().expect("it was bound to a path");
        fs::remove_file(path)?;
        Ok(UnixListener::bind(path)?)
    }

    fn udp(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        // SAFETY: the socket's own descriptor, given up.
        Ok(unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) })
    }

    async fn file(_file: fs::File, path: &str, direct: bool) -> io::Result<Opened> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(match direct {
            true => Opened::Direct(options.dma_open(path).await?),
            false => Opened::Buffered(options.buffered_open(path).await?),
        })
    }
}

macro_rules! streams {
    ($($Listener:ident, $Stream:ident;)*) => {$(
        impl Listener<Glommio> for $Listener {
            type Stream = $Stream;

            async fn accept(&self) -> io::Result<$Stream> {
                Ok($Listener::accept(self).await?)
            }
        }

        impl Stream<Glommio> for $Stream {
            async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
                buffer.resize(buffer.capacity(), 0);
                let read = AsyncReadExt::read(self, &mut buffer).await;
                buffer.truncate(*read.as_ref().unwrap_or(&0));
                (read, buffer)
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

impl Datagrams<Glommio> for UdpSocket {
    async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
        buffer.resize(buffer.capacity(), 0);
        let received = self.recv_from(&mut buffer).await;
        buffer.truncate(received.as_ref().map_or(0, |(len, _)| *len));
        (
            received.map(|(_, from)| from).map_err(io::Error::from),
            buffer,
        )
    }

    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
        let sent = self.send_to(&buffer, to).await;
        (sent.map_err(io::Error::from), buffer)
    }
}

pub enum Opened {
    Buffered(BufferedFile),
    Direct(DmaFile),
}

/// It has its own buffers. What it has read is looked at there; only the mark of the block is
/// copied.
impl File<Glommio> for Opened {
    async fn read_at(&self, mut buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        const MARK: usize = 8;
        let read = match self {
            Self::Buffered(file) => file.read_at(offset, buffer.capacity()).await,
            Self::Direct(file) => file.read_at_aligned(offset, buffer.capacity()).await,
        };
        let read = read.map(|read: ReadResult| {
            buffer.clear();
            buffer.extend_from_slice(&read[..MARK]);
            read.len()
        });
        (read.map_err(io::Error::from), buffer)
    }

    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        match self {
            // It takes the buffer, and does not give it back.
            Self::Buffered(file) => {
                let next = buffer.clone();
                let written = file.write_at(buffer, offset).await;
                (written.map_err(io::Error::from), next)
            }
            Self::Direct(file) => {
                let mut own = file.alloc_dma_buffer(buffer.len());
                own.as_bytes_mut().copy_from_slice(&buffer);
                let written = file.write_at(own, offset).await;
                (written.map_err(io::Error::from), buffer)
            }
        }
    }
}
