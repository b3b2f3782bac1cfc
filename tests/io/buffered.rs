//! Buffered ones, and what is left of those that are dropped.

use crate::common::bounded;
use crate::kit::{poll_once, reader, sockets, writer};
use completeio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    BufWriter, copy,
};
use completeio::net::TcpStream;
use completeio::task::block_on;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

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
pub(crate) struct Called(pub(crate) Mutex<(bool, Option<Waker>)>);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        let mut called = self.0.lock().unwrap();
        called.0 = true;
        called.1.take().into_iter().for_each(Waker::wake);
    }
}

impl Called {
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut called = self.0.lock().unwrap();
        if called.0 {
            return Poll::Ready(());
        }
        called.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Polls a future once, and drops it when what it waits for is there, and nobody has looked.
pub(crate) async fn drop_when_done<F: Future>(future: F, then: impl AsyncFnOnce()) {
    let mut future = Box::pin(future);
    let called = Arc::new(Called::default());
    let waker = Waker::from(called.clone());
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    then().await;
    poll_fn(|context| called.poll(context)).await;
}

/// A read that has completed while its future was dropped.
pub(crate) async fn dropped_reads_lose_nothing((one, mut other): (TcpStream, TcpStream)) {
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
pub(crate) fn buffered_room(written: usize) -> usize {
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
