//! What holds of pipes, whoever makes them.

use completeio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use completeio::pipe::pipe;
use completeio::task::{spawn, yield_now};
use std::io::ErrorKind;

/// What is in it when the writer ends is read; then it ends.
pub(crate) async fn ends_with_its_writer() {
    let (mut reader, mut writer) = pipe().await.unwrap();
    let parts = ("one ", vec![b't'], "wo");
    writer.write_vectored_all(parts).await.0.unwrap();
    writer.flush().await.unwrap();
    writer.shutdown().await.unwrap();
    let (written, back) = writer.write(vec![1]).await;
    assert_eq!(
        (written.unwrap_err().kind(), back),
        (ErrorKind::BrokenPipe, vec![1])
    );
    let (written, _) = writer.write_vectored([[1]]).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    writer.shutdown().await.unwrap();
    let (read, text) = reader.read_vectored((Vec::with_capacity(3), [0; 8])).await;
    // A handle of Windows takes one part at a time.
    let expected = if cfg!(windows) { 3 } else { 7 };
    assert_eq!((read.unwrap(), &text.0[..]), (expected, &b"one"[..]));
    let second = expected - 3;
    assert_eq!(text.1[..second], b" two"[..second]);
    let (read, rest) = reader.read_to_end(Vec::new()).await;
    assert_eq!(
        (read.unwrap(), &rest[..]),
        (7 - expected, &b" two"[second..])
    );
    assert_eq!(reader.read([0; 8]).await.0.unwrap(), 0);
}

/// A write into a full pipe waits, beside others, until there is room.
pub(crate) async fn fills_and_empties() {
    let (mut reader, mut writer) = pipe().await.unwrap();
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let all = bytes.clone();
    let writer = spawn(async move { writer.write_all(all).await.0.unwrap() });
    for _ in 0..10 {
        yield_now().await;
    }
    assert!(!writer.is_finished(), "it is more than a pipe holds");
    assert!(reader.read_to_end(Vec::new()).await.1 == bytes);
    writer.await.unwrap();
}
