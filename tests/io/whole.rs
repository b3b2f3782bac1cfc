//! Whole buffers.

use crate::common::bounded;
use crate::kit::{TakeAll, pair, reader, sockets, writer};
use completeio::buf::{IntoInner, Sliceable};
use completeio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    BufResult, BufWriter, IoBuf, IoBufs, copy, split,
};
#[cfg(unix)]
use completeio::net::UnixStream;
use completeio::pipe::pipe;
use completeio::task::{block_on, spawn, yield_now};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

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
pub(crate) struct Full;

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
