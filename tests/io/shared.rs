//! One stream of several tasks, and what a round trip allocates.

use crate::common::bounded;
use crate::counting::allocations;
use crate::kit::{TakeAll, sockets};
use completeio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter,
};
use completeio::net::TcpStream;
use completeio::task::{block_on, spawn};
use std::rc::Rc;

/// Two tasks of each side use one stream; more bytes than the system keeps.
pub(crate) async fn shared_by_tasks((one, other): (TcpStream, TcpStream)) {
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
