//! Streams: whole buffers, copies, buffered ones, and what is left of those that are dropped.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use common::bounded;
use completeio::buf::{IntoInner, Sliceable, each_slice, fill_all};
use completeio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    BufResult, BufWriter, IoBuf, IoBufMut, IoBufs, IoBufsMut, copy, copy_bidirectional, split,
};
#[cfg(unix)]
use completeio::net::UnixStream;
use completeio::net::{TcpListener, TcpStream};
use completeio::pipe::pipe;
use completeio::task::{block_on, spawn, yield_now};
use counting::allocations;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

// A stream in memory.

/// One direction of a pair. A step moves three bytes at most.
#[derive(Default)]
struct Way {
    bytes: RefCell<VecDeque<u8>>,
    room: Cell<usize>,
    moved: Cell<usize>,
    ended: Cell<bool>,
    /// After how many bytes it fails, for the reader and for the writer.
    breaks: Cell<Option<usize>>,
    wakers: RefCell<Vec<Waker>>,
}

const STEP: usize = 3;

impl Way {
    fn new(room: usize) -> Rc<Self> {
        let way = Self::default();
        way.room.set(room);
        Rc::new(way)
    }

    fn holding(bytes: &[u8]) -> Rc<Self> {
        let way = Self::new(bytes.len());
        way.bytes.borrow_mut().extend(bytes);
        way.ended.set(true);
        way
    }

    fn changed(&self) {
        let wakers = self.wakers.take();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn give(&self, room: usize) {
        self.room.set(room);
        self.changed();
    }

    fn end(&self) {
        self.ended.set(true);
        self.changed();
    }

    fn take(&self) -> Vec<u8> {
        self.bytes.borrow_mut().drain(..).collect()
    }

    /// Waits until there is something to be moved, and counts it.
    async fn step(&self, ready: impl Fn() -> Option<usize>) -> io::Result<usize> {
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

    async fn read<V: IoBufsMut>(&self, mut buffers: V) -> BufResult<usize, V> {
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

    async fn write<V: IoBufs>(&self, buffers: V) -> BufResult<usize, V> {
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

struct End {
    from: Rc<Way>,
    to: Rc<Way>,
}

/// Two that are connected.
fn pair(room: usize) -> (End, End) {
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

fn reader(bytes: &[u8]) -> Rc<End> {
    Rc::new(End {
        from: Way::holding(bytes),
        to: Way::new(0),
    })
}

fn writer(room: usize) -> Rc<End> {
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
async fn poll_once<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

// Whole buffers.

#[test]
fn the_room_of_a_buffer_is_filled() {
    block_on(async {
        let mut stream = reader(b"0123456789abcdefghijklmnopqrstuvwxyz");
        let mut vec = Vec::with_capacity(10);
        vec.extend(b"so: ");
        let room = vec.capacity() - vec.len();
        let (read, text) = stream.read_exact(vec).await;
        read.unwrap();
        assert_eq!(text, [&b"so: "[..], &b"0123456789"[..room]].concat());
        let mut rest = stream.from.bytes.borrow().clone();
        let (read, text) = stream.read_exact([0; 7]).await;
        read.unwrap();
        assert!(text.iter().copied().eq(rest.drain(..7)));
        let (read, window) = stream.read_exact(vec![b'-'; 9].slice(2..7)).await;
        read.unwrap();
        let text = window.into_inner();
        assert_eq!(text[..2], *b"--");
        assert!(
            text[2..].iter().copied().eq(rest.drain(..5)),
            "a vector ends there"
        );
        let (read, boxed) = stream.read_exact(vec![b'-'; 5].into_boxed_slice()).await;
        read.unwrap();
        assert!(boxed.iter().copied().eq(rest.drain(..5)));
        stream.read_exact([0; 0]).await.0.unwrap();
        assert_eq!(
            stream.take_all().await,
            rest.into_iter().collect::<Vec<_>>()
        );
        stream.read_exact([0; 0]).await.0.unwrap();
    });
}

trait TakeAll {
    async fn take_all(&mut self) -> Vec<u8>;
}

impl<R: AsyncRead> TakeAll for R {
    async fn take_all(&mut self) -> Vec<u8> {
        let (read, bytes) = self.read_to_end(Vec::new()).await;
        assert_eq!(read.unwrap(), bytes.len());
        bytes
    }
}

/// I9: how far it came.
#[test]
fn an_exact_read_that_fails_says_how_far_it_came() {
    block_on(async {
        let (read, text) = reader(b"short").read_exact([b'-'; 8]).await;
        let error = read.unwrap_err();
        assert_eq!((error.kind(), error.moved()), (ErrorKind::UnexpectedEof, 5));
        assert_eq!(&text, b"short---");
        assert_eq!(io::Error::from(error).kind(), ErrorKind::UnexpectedEof);

        let mut stream = reader(b"broken off");
        stream.from.breaks.set(Some(4));
        let (read, text) = stream.read_exact(Vec::with_capacity(8)).await;
        let error = read.unwrap_err();
        assert_eq!(
            (error.kind(), error.moved()),
            (ErrorKind::ConnectionReset, 4)
        );
        assert_eq!(error.to_string(), "connection reset, after 4 bytes");
        assert_eq!(text, b"brok");
    });
}

#[test]
fn everything_up_to_the_end() {
    block_on(async {
        let (read, text) = reader(b"to the end").read_to_end(b"all ".to_vec()).await;
        assert_eq!((read.unwrap(), &text[..]), (10, &b"all to the end"[..]));
        let (read, text) = reader("très".as_bytes())
            .read_to_string("C'est ".into())
            .await;
        assert_eq!((read.unwrap(), &*text), (5, "C'est très"));
        let (read, text) = reader(b"\xff").read_to_string("as it was".into()).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(text, "as it was");
        let broken = reader(b"broken off");
        broken.from.breaks.set(Some(6));
        let (read, text) = broken.clone().read_to_string("is ".into()).await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(text, "is broken", "what came before");
    });
}

#[test]
fn all_is_written_or_told() {
    block_on(async {
        let mut stream = writer(100);
        let (written, buffer) = stream.write_all(b"one buffer; ".to_vec()).await;
        written.unwrap();
        assert_eq!(buffer, b"one buffer; ");
        let buffers = ("several", [0; 0], " of them".to_owned(), b"!".to_vec());
        stream.write_vectored_all(buffers).await.0.unwrap();
        stream.write_all("").await.0.unwrap();
        stream.write_vectored_all(["", ""]).await.0.unwrap();
        assert_eq!(stream.to.take(), b"one buffer; several of them!");

        let failing = || {
            let stream = writer(100);
            stream.to.breaks.set(Some(7));
            stream
        };
        let error = failing().write_all("0123456789").await.0.unwrap_err();
        assert_eq!(
            (error.kind(), error.moved()),
            (ErrorKind::ConnectionReset, 7)
        );
        let mut stream = failing();
        let error = stream
            .write_vectored_all(["0123", "456789"])
            .await
            .0
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.moved()),
            (ErrorKind::ConnectionReset, 7)
        );
        assert_eq!(stream.to.take(), b"0123456");
    });
}

/// A writer that takes nothing.
struct Full;

impl AsyncWrite for Full {
    async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        (Ok(0), buffer)
    }

    async fn write_vectored<V: IoBufs + 'static>(&mut self, buffers: V) -> BufResult<usize, V> {
        (Ok(0), buffers)
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_write_that_moves_nothing_is_an_error() {
    block_on(async {
        let one = Full.write_all("x").await.0.unwrap_err();
        let several = Full.write_vectored_all(["", "x"]).await.0.unwrap_err();
        let copied = copy(&mut &b"x"[..], &mut Full).await.unwrap_err();
        for error in [one, several, copied] {
            assert_eq!((error.kind(), error.moved()), (ErrorKind::WriteZero, 0));
        }
        let mut buffered = BufWriter::new(Full);
        buffered.write_all("x").await.0.unwrap();
        let error = buffered.flush().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
    });
}

#[test]
fn a_part_of_a_stream() {
    block_on(async {
        let stream = reader(b"0123456789abcdef");
        let mut part = stream.clone().take(5);
        let (read, text) = part.read(Vec::with_capacity(2)).await;
        assert_eq!((read.unwrap(), &text[..]), (2, &b"01"[..]));
        let (read, text) = part.read_vectored([[b'-'; 2]; 4]).await;
        assert_eq!((read.unwrap(), text.concat()), (3, b"234-----".to_vec()));
        assert_eq!(part.limit(), 0);
        assert_eq!(part.read([0; 1]).await.0.unwrap(), 0);
        assert_eq!(
            part.into_inner().take(u64::MAX).take_all().await,
            b"56789abcdef"
        );

        let mut part = BufReader::new(&b"one\ntwo\nthree"[..]).take(5);
        let mut line = String::new();
        assert_eq!(part.read_line(&mut line).await.unwrap(), 4);
        assert_eq!(part.read_line(&mut line).await.unwrap(), 1);
        assert_eq!(part.read_line(&mut line).await.unwrap(), 0);
        assert_eq!(line, "one\nt");
    });
}

/// A half that is dropped ends its side, or does not.
#[test]
fn halves_of_a_stream() {
    bounded(|| {
        block_on(async {
            let (one, other) = pair(100);
            let (mut reader, mut writer) = split(one);
            let (mut from, mut to) = split(other);
            let echo = spawn(async move { copy(&mut from, &mut to).await });
            writer.write_all("there and back").await.0.unwrap();
            drop(writer);
            let (read, text) = reader.read_to_end(Vec::new()).await;
            assert_eq!((read.unwrap(), &text[..]), (14, &b"there and back"[..]));
            assert_eq!(echo.await.unwrap().unwrap(), 14);
            let (one, _other) = pair(100);
            let way = one.to.clone();
            let (reader, writer) = split(one);
            let (reader, writer) = split(reader.reunite(writer).unwrap());
            writer.forget();
            yield_now().await;
            assert!(!way.ended.get());
            drop(reader);
        });
    });
}

/// More than one call of the system's takes.
#[test]
fn very_many_buffers_are_written() {
    const BUFFERS: usize = 3000;
    async fn passes(mut to: impl AsyncWrite + 'static, mut from: impl AsyncRead) {
        let texts: Vec<_> = (0..BUFFERS).map(|n| format!("{n:07} ")).collect();
        let expected = texts.concat();
        let writer = spawn(async move {
            to.write_vectored_all(texts).await.0?;
            io::Result::Ok(to) // Open until it was read.
        });
        let (read, text) = from.read_exact(vec![0; expected.len()].slice(..)).await;
        read.unwrap();
        assert!(text.into_inner() == expected.into_bytes());
        writer.await.unwrap().unwrap();
    }
    block_on(async {
        let (reader, writer) = pipe().await.unwrap();
        passes(writer, reader).await;
        let (reader, writer) = sockets().await;
        passes(writer, reader).await;
        #[cfg(unix)]
        {
            let (reader, writer) = UnixStream::pair().unwrap();
            passes(writer, reader).await;
        }
    });
}

/// Of a peer that is silent, too.
#[test]
fn a_read_into_no_room_is_over_at_once() {
    async fn reads_nothing(mut reader: impl AsyncRead) {
        async fn at_once<T>(read: impl Future<Output = T>) -> T {
            let mut read = pin!(read);
            poll_fn(|context| match read.as_mut().poll(context) {
                Poll::Ready(read) => Poll::Ready(read),
                Poll::Pending => panic!("it waits"),
            })
            .await
        }
        assert_eq!(at_once(reader.read([0; 0])).await.0.unwrap(), 0);
        assert_eq!(at_once(reader.read(Vec::new())).await.0.unwrap(), 0);
        let no_buffers = Vec::<Vec<u8>>::new();
        let read = at_once(reader.read_vectored(no_buffers)).await;
        assert_eq!(read.0.unwrap(), 0);
        let read = at_once(reader.read_vectored([[0; 0]; 2])).await;
        assert_eq!(read.0.unwrap(), 0);
    }
    block_on(async {
        let (own, _peer) = sockets().await;
        reads_nothing(&own).await;
        reads_nothing((&own).take(1)).await;
        reads_nothing(BufReader::new(own)).await;
        #[cfg(unix)]
        {
            let (own, _peer) = UnixStream::pair().unwrap();
            reads_nothing(own).await;
        }
    });
}

/// Nothing is taken then.
#[test]
fn more_is_consumed_than_there_is() {
    async fn refused(reader: &mut impl AsyncBufRead, expected: &[u8]) {
        assert_eq!(reader.fill_buf().await.unwrap(), expected);
        for n in [expected.len() + 1, usize::MAX] {
            let panic = catch_unwind(AssertUnwindSafe(|| reader.consume(n))).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"consumed too much"));
            assert_eq!(reader.fill_buf().await.unwrap(), expected);
        }
    }
    block_on(async {
        let mut reader = BufReader::new(&b"_text and more"[..]);
        reader.fill_buf().await.unwrap();
        reader.consume(1);
        refused(&mut reader, b"text and more").await;
        let mut part = reader.take(5);
        part.consume(1);
        refused(&mut part, b"ext ").await;
        part.consume(4);
        refused(&mut part, b"").await;
    });
}

/// A peer that is silent, and does not end, behind the part.
#[test]
fn a_part_ends_whatever_comes_behind_it() {
    bounded(|| {
        block_on(async {
            let (one, mut other) = sockets().await;
            other.write_all("head").await.0.unwrap();
            let mut head = one.take(4);
            let (read, text) = head.read_to_end(Vec::new()).await;
            assert_eq!((read.unwrap(), &text[..]), (4, &b"head"[..]));
            assert_eq!(head.read_vectored([[0; 1]; 2]).await.0.unwrap(), 0);
        });
    });
}

// Copies.

#[test]
fn a_copy_says_how_far_it_came() {
    block_on(async {
        let mut to = writer(100);
        assert_eq!(copy(&mut reader(b"all of it"), &mut to).await.unwrap(), 9);
        assert_eq!(to.to.take(), b"all of it");
        assert!(!to.to.ended.get(), "who copies may go on writing");

        let mut from = reader(b"broken off");
        from.from.breaks.set(Some(6));
        let error = copy(&mut from, &mut to).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.moved()),
            (ErrorKind::ConnectionReset, 6)
        );
        assert_eq!(to.to.take(), b"broken");

        let mut to = writer(100);
        to.to.breaks.set(Some(7));
        let error = copy(&mut reader(b"0123456789"), &mut to).await.unwrap_err();
        assert_eq!(error.moved(), 7);
        assert_eq!(to.to.take(), b"0123456");
    });
}

/// A slow writer slows the reader down.
#[test]
fn a_copy_has_one_buffer() {
    block_on(async {
        let bytes = vec![7; 1 << 20];
        let mut from = &bytes[..];
        let mut to = writer(0);
        let mut copying = Box::pin(copy(&mut from, &mut to));
        assert!(poll_once(&mut copying.as_mut()).await.is_pending());
        drop(copying);
        assert_eq!(from.len(), (1 << 20) - (64 << 10));
    });
}

/// Who has ended its side gets its answer, and more than the streams have room for.
#[test]
fn both_directions_end_on_their_own() {
    bounded(|| {
        block_on(async {
            let (client, front) = pair(5);
            let (back, server) = pair(5);
            let serving = spawn(async move {
                let mut server = Rc::new(server);
                server.write_all("first ").await.0.unwrap();
                let asked = server.take_all().await;
                let answer = [b"you asked: ", &asked[..]].concat();
                server.write_all(answer).await.0.unwrap();
                server.shutdown().await.unwrap();
            });
            let asking = spawn(async move {
                let mut client = Rc::new(client);
                let (read, text) = client.read_exact([0; 6]).await;
                read.unwrap();
                assert_eq!(&text, b"first ");
                client.write_all("a question").await.0.unwrap();
                client.shutdown().await.unwrap();
                client.take_all().await
            });
            let bytes = copy_bidirectional(&front, &back).await.unwrap();
            assert_eq!(bytes, (10, 6 + 21));
            serving.await.unwrap();
            assert_eq!(asking.await.unwrap(), b"you asked: a question");
        });
    });
}

#[test]
fn an_error_ends_both_directions() {
    bounded(|| {
        block_on(async {
            let (_client, front) = pair(5);
            let (back, _server) = pair(5);
            back.from.breaks.set(Some(0));
            let error = copy_bidirectional(&front, &back).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    });
}

// Buffers.

#[test]
fn lines_of_all_kinds() {
    block_on(async {
        let text = "one\r\n\n\r\ntwö, longer than a step or a buffer\nlast";
        for capacity in 1..20 {
            let stream = BufReader::with_capacity(capacity, reader(text.as_bytes()));
            let mut lines = stream.lines();
            let mut all = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                all.push(line);
            }
            assert_eq!(all, text.lines().collect::<Vec<_>>());
            assert_eq!(lines.next_line().await.unwrap(), None);
        }
        let mut lines = BufReader::new(reader(b"good\n\xff\xff\nagain\n")).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "good");
        let error = lines.next_line().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "again");
        assert_eq!(lines.next_line().await.unwrap(), None);

        let mut buffered = BufReader::new(reader(b"good\n\xff\xff\nagain"));
        let mut line = "so ".to_owned();
        assert_eq!(buffered.read_line(&mut line).await.unwrap(), 5);
        let error = buffered.read_line(&mut line).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(buffered.read_line(&mut line).await.unwrap(), 5);
        assert_eq!(line, "so good\nagain");
    });
}

#[test]
fn a_buffered_stream_is_read_as_any() {
    block_on(async {
        let mut buffered = BufReader::with_capacity(4, reader(b"0123456789abcdef"));
        assert_eq!(buffered.fill_buf().await.unwrap(), b"012");
        buffered.consume(1);
        let (read, text) = buffered.read_exact([0; 5]).await;
        read.unwrap();
        assert_eq!(&text, b"12345");
        let (read, text) = buffered.read_vectored([[b'-'; 2]; 2]).await;
        assert_eq!((read.unwrap(), text.concat()), (3, b"678-".to_vec()));
        let mut to = Vec::new();
        assert_eq!(copy(&mut buffered, &mut to).await.unwrap(), 7);
        assert_eq!(to, b"9abcdef");
        assert_eq!(buffered.get_ref().unwrap().from.moved.get(), 16);
    });
}

/// Whether it was called, and whom to tell.
#[derive(Default)]
struct Called(Mutex<(bool, Option<Waker>)>);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        let mut called = self.0.lock().unwrap();
        called.0 = true;
        called.1.take().into_iter().for_each(Waker::wake);
    }
}

impl Called {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut called = self.0.lock().unwrap();
        if called.0 {
            return Poll::Ready(());
        }
        called.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Polls a future once, and drops it when what it waits for is there, and nobody has looked.
async fn drop_when_done<F: Future>(future: F, then: impl AsyncFnOnce()) {
    let mut future = Box::pin(future);
    let called = Arc::new(Called::default());
    let waker = Waker::from(called.clone());
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    then().await;
    poll_fn(|context| called.poll(context)).await;
}

/// Two sockets that are connected.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TcpListener::try_from(listener).unwrap();
    let one = TcpStream::connect(address).await.unwrap();
    (one, listener.accept().await.unwrap().0)
}

/// A read that has completed while its future was dropped.
async fn dropped_reads_lose_nothing((one, mut other): (TcpStream, TcpStream)) {
    let mut buffered = BufReader::new(one);
    for round in 0..20 {
        let text = format!("line {round}\n");
        let fill = buffered.fill_buf();
        drop_when_done(fill, async || {
            other.write_all(text.clone()).await.0.unwrap()
        })
        .await;
        assert!(buffered.get_ref().is_none(), "the read has the stream");
        let mut line = String::new();
        buffered.read_line(&mut line).await.unwrap();
        assert_eq!(line, text);
    }
    let mut lines = buffered.lines();
    for round in 0..20 {
        // In the middle of a line.
        other.write_all("half, ").await.0.unwrap();
        lines.get_mut().fill_buf().await.unwrap();
        let rest = format!("and half {round}\n");
        let next = lines.next_line();
        drop_when_done(next, async || {
            other.write_all(rest.clone()).await.0.unwrap()
        })
        .await;
        let line = lines.next_line().await.unwrap().unwrap();
        assert_eq!(line, format!("half, and half {round}"));
    }
    other.shutdown().await.unwrap();
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[test]
fn a_buffered_read_that_is_dropped_loses_nothing() {
    bounded(|| block_on(async { dropped_reads_lose_nothing(sockets().await).await }));
}

/// What a plain read had is lost with its buffer, as is told; the stream goes on behind it.
#[test]
fn an_exact_read_that_is_dropped_loses_what_it_had() {
    bounded(|| {
        block_on(async {
            let (mut one, mut other) = sockets().await;
            let read = one.read_exact([0; 6]);
            drop_when_done(read, async || other.write_all("lost").await.0.unwrap()).await;
            other.write_all("kept").await.0.unwrap();
            let (read, text) = one.read_exact([0; 4]).await;
            read.unwrap();
            assert_eq!(&text, b"kept");
        });
    });
}

#[test]
fn small_writes_are_gathered() {
    block_on(async {
        let stream = writer(1000);
        let mut buffered = BufWriter::with_capacity(10, stream.clone());
        buffered.write_all("0123").await.0.unwrap();
        buffered.write_vectored_all(["45", "67"]).await.0.unwrap();
        assert_eq!(stream.to.take(), b"", "it is kept");
        let (written, _) = buffered.write_vectored(["89", "ab"]).await;
        let room = buffered_room(written.unwrap());
        buffered
            .write_all("cdefghijklmnopqrstuvwxyz")
            .await
            .0
            .unwrap();
        buffered.flush().await.unwrap();
        let all = [&b"0123456789ab"[..8 + room], b"cdefghijklmnopqrstuvwxyz"].concat();
        assert_eq!(stream.to.take(), all);
        buffered.write_all("the end").await.0.unwrap();
        buffered.shutdown().await.unwrap();
        assert_eq!(stream.to.take(), b"the end");
        assert!(stream.to.ended.get());
    });
}

/// As much as had room; a vector may have more than it was asked for.
fn buffered_room(written: usize) -> usize {
    assert!((2..=4).contains(&written));
    written
}

/// Nothing is lost, and nothing is written twice.
#[test]
fn a_buffered_write_that_is_dropped_goes_on() {
    block_on(async {
        let stream = writer(0);
        let mut buffered = BufWriter::with_capacity(16, stream.clone());
        let mut all = Vec::new();
        for round in 0..20 {
            let text = format!("<{round}>");
            buffered.write_all(text.clone()).await.0.unwrap();
            all.extend(text.bytes());
            let mut flush = Box::pin(buffered.flush());
            // In the middle of the write.
            stream.to.give(stream.to.bytes.borrow().len() + 2);
            assert!(poll_once(&mut flush.as_mut()).await.is_pending());
            drop(flush);
            assert!(buffered.get_ref().is_none(), "the write has the stream");
            stream.to.give(1000);
        }
        buffered.flush().await.unwrap();
        assert_eq!(stream.to.take(), all);
    });
}

/// What was not written stays.
#[test]
fn a_buffered_write_that_fails_keeps_the_rest() {
    block_on(async {
        let stream = writer(1000);
        let mut buffered = BufWriter::new(stream.clone());
        buffered.write_all("0123456789").await.0.unwrap();
        stream.to.breaks.set(Some(4));
        let error = buffered.flush().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        stream.to.breaks.set(None);
        buffered.flush().await.unwrap();
        assert_eq!(stream.to.take(), b"0123456789");
    });
}

// Sockets.

/// Two tasks of each side use one stream; more bytes than the system keeps.
async fn shared_by_tasks((one, other): (TcpStream, TcpStream)) {
    const BYTES: usize = 4 << 20;
    let mut tasks = Vec::new();
    for stream in [one, other] {
        let mut read = Rc::new(stream);
        let mut write = read.clone();
        tasks.push(spawn(async move {
            write.write_all(vec![7; BYTES]).await.0.unwrap();
            write.shutdown().await.unwrap();
        }));
        tasks.push(spawn(async move {
            let bytes = read.take_all().await;
            assert_eq!(bytes.len(), BYTES);
            assert!(bytes.iter().all(|byte| *byte == 7));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn one_stream_is_shared_by_tasks() {
    bounded(|| block_on(async { shared_by_tasks(sockets().await).await }));
}

/// I15: an echo, with plain buffers, in a buffered reader and out of a buffered writer.
#[test]
fn a_round_trip_allocates_nothing() {
    bounded(|| {
        block_on(async {
            let (mut client, server) = sockets().await;
            let server = Rc::new(server);
            let echo = spawn(async move {
                let mut from = BufReader::new(server.clone());
                let mut to = BufWriter::new(server);
                let mut line = String::with_capacity(64);
                while from.read_line(&mut line).await.unwrap() > 0 {
                    let (written, back) = to.write_all(line).await;
                    written.unwrap();
                    to.flush().await.unwrap();
                    line = back;
                    line.clear();
                }
            });
            let mut before = 0;
            let mut answer = [0; 13];
            for round in 0..1000 {
                if round == 100 {
                    before = allocations();
                }
                client
                    .write_vectored_all(["a message", " to\n"])
                    .await
                    .0
                    .unwrap();
                let (read, text) = client.read_exact(answer).await;
                read.unwrap();
                answer = text;
                assert_eq!(&answer, b"a message to\n");
            }
            assert_eq!(allocations() - before, 0);
            client.shutdown().await.unwrap();
            echo.await.unwrap();
        });
    });
}

#[cfg(feature = "sim")]
mod simulated {
    use super::{TcpStream, dropped_reads_lose_nothing, shared_by_tasks};
    use completeio::driver::Driver;
    use completeio::sim::{Faults, check};
    use completeio::task::Runtime;
    use std::future::Future;
    use std::net;

    /// Runs it where completions are late, short, and in spite of their cancellation.
    fn simulated<F: Future>(seeds: u64, test: impl Fn((TcpStream, TcpStream)) -> F) {
        check(0..seeds, &Faults::default(), |world| {
            let host = world.host("a");
            let runtime = Runtime::builder().build_on(host.driver(Driver::builder()).unwrap());
            let (one, other) = host.socket_pair().unwrap();
            runtime.block_on(async {
                let stream = |fd| TcpStream::try_from(net::TcpStream::from(fd)).unwrap();
                test((stream(one), stream(other))).await;
            });
        });
    }

    #[test]
    fn a_buffered_read_that_is_dropped_loses_nothing() {
        simulated(20, dropped_reads_lose_nothing);
    }

    #[test]
    fn one_stream_is_shared_by_tasks() {
        simulated(2, shared_by_tasks);
    }
}
