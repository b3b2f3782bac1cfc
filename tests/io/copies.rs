//! Copies.

use crate::common::bounded;
use crate::kit::{TakeAll, pair, poll_once, reader, writer};
use completeio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, copy_bidirectional};
use completeio::task::{block_on, spawn};
use std::io::ErrorKind;
use std::rc::Rc;

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
