//! A stream in memory, and who drops a future.

use completeio::buf::{each_slice, fill_all};
use completeio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut,
};
use completeio::net::{TcpListener, TcpStream};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// One direction of a pair. A step moves three bytes at most.
#[derive(Default)]
pub(crate) struct Way {
    pub(crate) bytes: RefCell<VecDeque<u8>>,
    pub(crate) room: Cell<usize>,
    pub(crate) moved: Cell<usize>,
    pub(crate) ended: Cell<bool>,
    /// After how many bytes it fails, for the reader and for the writer.
    pub(crate) breaks: Cell<Option<usize>>,
    pub(crate) wakers: RefCell<Vec<Waker>>,
}

pub(crate) const STEP: usize = 3;

impl Way {
    pub(crate) fn new(room: usize) -> Rc<Self> {
        let way = Self::default();
        way.room.set(room);
        Rc::new(way)
    }

    pub(crate) fn holding(bytes: &[u8]) -> Rc<Self> {
        let way = Self::new(bytes.len());
        way.bytes.borrow_mut().extend(bytes);
        way.ended.set(true);
        way
    }

    pub(crate) fn changed(&self) {
        let wakers = self.wakers.take();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn give(&self, room: usize) {
        self.room.set(room);
        self.changed();
    }

    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.changed();
    }

    pub(crate) fn take(&self) -> Vec<u8> {
        self.bytes.borrow_mut().drain(..).collect()
    }

    /// Waits until there is something to be moved, and counts it.
    pub(crate) async fn step(&self, ready: impl Fn() -> Option<usize>) -> io::Result<usize> {
        poll_fn(|context| {
            let left = self.breaks.get().map(|at| at - self.moved.get());
            if left == Some(0) {
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
            if let Some(n) = ready() {
                let n = n.min(STEP).min(left.unwrap_or(n));
                self.moved.set(self.moved.get() + n);
                return Poll::Ready(Ok(n));
            }
            self.wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub(crate) async fn read<V: IoBufsMut>(&self, mut buffers: V) -> BufResult<usize, V> {
        let mut room = 0;
        buffers.each_part_mut(|_, part| room += part);
        let ready = || {
            let there = self.bytes.borrow().len();
            (there > 0 || self.ended.get()).then_some(there.min(room))
        };
        let n = match self.step(ready).await {
            Ok(n) => n,
            Err(error) => return (Err(error), buffers),
        };
        let bytes: Vec<u8> = self.bytes.borrow_mut().drain(..n).collect();
        assert_eq!(fill_all(&mut buffers, &bytes), n);
        self.changed();
        (Ok(n), buffers)
    }

    pub(crate) async fn write<V: IoBufs>(&self, buffers: V) -> BufResult<usize, V> {
        let mut all = Vec::new();
        each_slice(&buffers, |bytes| all.extend_from_slice(bytes));
        let ready = || {
            let room = self.room.get() - self.bytes.borrow().len();
            (room > 0).then_some(room.min(all.len()))
        };
        let written = self.step(ready).await;
        if let Ok(n) = written {
            self.bytes.borrow_mut().extend(&all[..n]);
            self.changed();
        }
        (written, buffers)
    }
}

pub(crate) struct End {
    pub(crate) from: Rc<Way>,
    pub(crate) to: Rc<Way>,
}

/// Two that are connected.
pub(crate) fn pair(room: usize) -> (End, End) {
    let (there, back) = (Way::new(room), Way::new(room));
    let one = End {
        from: back.clone(),
        to: there.clone(),
    };
    let other = End {
        from: there,
        to: back,
    };
    (one, other)
}

pub(crate) fn reader(bytes: &[u8]) -> Rc<End> {
    Rc::new(End {
        from: Way::holding(bytes),
        to: Way::new(0),
    })
}

pub(crate) fn writer(room: usize) -> Rc<End> {
    Rc::new(End {
        from: Way::new(0),
        to: Way::new(room),
    })
}

impl AsyncRead for &End {
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (read, [buffer]) = self.from.read([buffer]).await;
        (read, buffer)
    }

    async fn read_vectored<V: IoBufsMut + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        self.from.read(buffers).await
    }
}

impl AsyncWrite for &End {
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (written, [buffer]) = self.to.write([buffer]).await;
        (written, buffer)
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        self.to.write(buffers).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.to.end();
        Ok(())
    }
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Two sockets that are connected.
pub(crate) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TcpListener::try_from(listener).unwrap();
    let one = TcpStream::connect(address).await.unwrap();
    (one, listener.accept().await.unwrap().0)
}

pub(crate) trait TakeAll {
    async fn take_all(&mut self) -> Vec<u8>;
}

impl<R: AsyncRead> TakeAll for R {
    async fn take_all(&mut self) -> Vec<u8> {
        let (read, bytes) = self.read_to_end(Vec::new()).await;
        assert_eq!(read.unwrap(), bytes.len());
        bytes
    }
}
