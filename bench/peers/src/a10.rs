//! a10: operations as futures, on io_uring. It has no executor; this one is the smallest that
//! works.

use a10::{AsyncFd, Extract, Ring, SubmissionQueue};
use async_task::{Runnable, Task};
use bench::child::Args;
use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net as unix;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fs, io, net};

thread_local! {
    static READY: RefCell<VecDeque<Runnable>> = RefCell::default();
    static QUEUE: RefCell<Option<SubmissionQueue>> = const { RefCell::new(None) };
}

pub struct A10;

fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let schedule = |task| READY.with_borrow_mut(|ready| ready.push_back(task));
    let (runnable, task) = async_task::spawn_local(future, schedule);
    runnable.schedule();
    task
}

fn fd(fd: impl Into<OwnedFd>) -> AsyncFd {
    let queue = QUEUE.with_borrow(|queue| queue.clone());
    AsyncFd::new(fd.into(), queue.expect("inside of `block_on`"))
}

impl Peer for A10 {
    type Tcp = AsyncFd;
    type Unix = AsyncFd;
    type Udp = AsyncFd;
    type File = AsyncFd;

    const WAKES_ACROSS_THREADS: bool = false;
    const IS_RUNTIME: bool = false;

    fn block_on<T: 'static>(
        args: &Args,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, String> {
        let mut ring = Ring::config()
            .with_submission_queue_size(1024)
            .with_completion_queue_size(16_384);
        if args.is_tuned() {
            ring = ring.single_issuer().defer_task_run();
        }
        let mut ring = ring.build().map_err(|e| e.to_string())?;
        QUEUE.set(Some(ring.sq()));
        let mut task = pin!(spawn(future));
        loop {
            for _ in 0..READY.with_borrow(VecDeque::len) {
                if let Some(task) = READY.with_borrow_mut(VecDeque::pop_front) {
                    task.run();
                }
            }
            if let Poll::Ready(output) = task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return Ok(output);
            }
            let idle = READY.with_borrow(VecDeque::is_empty);
            let polled = ring.poll((!idle).then_some(Duration::ZERO));
            polled.map_err(|e| e.to_string())?;
        }
    }

    fn spawn<T: 'static>(
        future: impl Future<Output = T> + 'static,
    ) -> impl Future<Output = T> + 'static {
        spawn(future)
    }

    async fn sleep(_duration: Duration) {
        unreachable!("it has no timers");
    }

    fn tcp(listener: net::TcpListener) -> io::Result<AsyncFd> {
        Ok(fd(listener))
    }

    fn unix(listener: unix::UnixListener) -> io::Result<AsyncFd> {
        Ok(fd(listener))
    }

    fn udp(socket: net::UdpSocket) -> io::Result<AsyncFd> {
        Ok(fd(socket))
    }

    async fn file(file: fs::File, _path: &str, _direct: bool) -> io::Result<AsyncFd> {
        Ok(fd(file))
    }
}

impl Listener<A10> for AsyncFd {
    type Stream = AsyncFd;

    async fn accept(&self) -> io::Result<AsyncFd> {
        Ok(AsyncFd::accept::<a10::net::NoAddress>(self).await?.0)
    }
}

/// A result, and the buffer, which an error keeps.
fn moved<T>(result: io::Result<(Vec<u8>, T)>) -> Moved<T> {
    match result {
        Ok((buffer, done)) => (Ok(done), buffer),
        Err(error) => (Err(error), Vec::new()),
    }
}

impl Stream<A10> for AsyncFd {
    async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
        buffer.clear();
        let received = self.recv(buffer).await;
        moved(received.map(|buffer| {
            let len = buffer.len();
            (buffer, len)
        }))
    }

    async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()> {
        moved(
            self.send_all(buffer)
                .extract()
                .await
                .map(|buffer| (buffer, ())),
        )
    }
}

impl Datagrams<A10> for AsyncFd {
    async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
        buffer.clear();
        let received = self.recv_from(buffer).await;
        moved(received.map(|(buffer, from, _flags)| (buffer, from)))
    }

    async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
        moved(self.send_to(buffer, to).extract().await)
    }
}

impl File<A10> for AsyncFd {
    async fn read_at(&self, mut buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        buffer.clear();
        let read = self.read(buffer).from(offset).await;
        moved(read.map(|buffer| {
            let len = buffer.len();
            (buffer, len)
        }))
    }

    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
        moved(self.write(buffer).at(offset).extract().await)
    }
}
