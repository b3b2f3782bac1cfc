//! The first completeio, 0.1.0, on io_uring.

use bench::child::Args;
use bench::meter::Meter;
use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
use completeio_0_1::driver::{CompleteIo, Driver, Entry, FromRawFd, OpCode, Operation};
use completeio_0_1::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use completeio_0_1::{fs, task, time};
use io_uring_0_6::{opcode, squeue};
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::os::unix::net as unix;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;
use std::{io, net};

pub struct Completeio;

impl Peer for Completeio {
    type Tcp = TcpListener;
    type Unix = UnixListener;
    type Udp = UdpSocket;
    type File = fs::File;

    const WAKES_ACROSS_THREADS: bool = false;

    fn block_on<T: 'static>(
        _args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        Ok(task::block_on(future))
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        task::spawn(future)
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        time::sleep(duration)
    }

    /// Its driver makes none while tasks are ready.
    fn turn() -> impl Future<Output = ()> {
        time::sleep(Duration::from_micros(1))
    }

    fn tcp(listener: net::TcpListener) -> io::Result<TcpListener> {
        // SAFETY: the listener's own descriptor, given up.
        Ok(unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) })
    }

    fn unix(listener: unix::UnixListener) -> io::Result<UnixListener> {
        // SAFETY: the listener's own descriptor, given up.
        Ok(unsafe { UnixListener::from_raw_fd(listener.into_raw_fd()) })
    }

    fn udp(socket: net::UdpSocket) -> io::Result<UdpSocket> {
        // SAFETY: the socket's own descriptor, given up.
        Ok(unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) })
    }

    async fn file(file: std::fs::File, _path: &str, _direct: bool) -> io::Result<fs::File> {
        // SAFETY: the file's own descriptor, given up.
        Ok(unsafe { fs::File::from_raw_fd(file.into_raw_fd()) })
    }

    fn nops(_args: &Args, batch: usize, meter: Rc<Meter>) -> Result<(), String> {
        let mut driver = Driver::with_entries(512).map_err(|e| e.to_string())?;
        loop {
            for i in 0..batch {
                // SAFETY: it has no bytes that could be anywhere.
                let op = unsafe { NonNull::<Nop>::dangling().as_mut() };
                let pushed = driver.try_push(Operation::new(op, i));
                assert!(pushed.is_ok(), "a batch fits the queue");
            }
            let mut done = Done(0);
            while done.0 < batch {
                // SAFETY: there are no operations to outlive it.
                let submitted = unsafe { driver.submit_and_wait_completed(None, &mut done) };
                submitted.map_err(|e| e.to_string())?;
            }
            if !meter.step(batch as u64) {
                return Ok(());
            }
        }
    }
}

struct Nop;

impl OpCode for Nop {
    fn create_entry(&mut self) -> squeue::Entry {
        opcode::Nop::new().build()
    }
}

/// Counts NOPs that are done.
struct Done(usize);

impl Extend<Entry> for Done {
    fn extend<I: IntoIterator<Item = Entry>>(&mut self, entries: I) {
        for entry in entries {
            assert!(entry.into_result().is_ok());
            self.0 += 1;
        }
    }
}

macro_rules! streams {
    ($($Listener:ident, $Stream:ident;)*) => {$(
        impl Listener<Completeio> for $Listener {
            type Stream = $Stream;

            async fn accept(&self) -> io::Result<$Stream> {
                Ok($Listener::accept(self).await?.0)
            }
        }

        impl Stream<Completeio> for $Stream {
            async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
                buffer.clear();
                self.recv(buffer).await
            }

            async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()> {
                let (sent, buffer) = self.send_all(buffer).await;
                (sent.map(drop), buffer)
            }
        }
    )*};
}
streams! {
    TcpListener, TcpStream;
    UnixListener, UnixStream;
}

impl Datagrams<Completeio> for UdpSocket {
    async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
        buffer.clear();
        let (received, buffer) = self.recv_from(buffer).await;
        let from = received.map(|(_, from)| from.as_socket().expect("it is one of UDP"));
        (from, buffer)
    }

    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
        self.send_to(buffer, to).await
    }
}

impl File<Completeio> for fs::File {
    async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        fs::File::read_at(self, buffer, place(offset)).await
    }

    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        fs::File::write_at(self, buffer, place(offset)).await
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("the file is small")
}
