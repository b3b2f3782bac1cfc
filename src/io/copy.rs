//! From one stream to another.

use super::{AsyncRead, AsyncWrite, AsyncWriteExt, TransferError};
use crate::task::try_both;
use std::io;

/// Bytes that a copy has in memory at a time, for each direction.
const BUFFER: usize = 64 * 1024;

/// Copies until the reader ends, flushes the writer, and tells how many bytes that were.
///
/// It has one buffer, of 64 KiB, and reads when that is written: a slow writer slows the reader
/// down. The writer is not shut down. If the future is dropped, up to a buffer that was read is
/// lost.
///
/// ```
/// use completeio::{io::copy, task::block_on};
///
/// let mut to = Vec::new();
/// assert_eq!(block_on(copy(&mut &b"from here"[..], &mut to))?, 9);
/// assert_eq!(to, b"from here");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of both streams. [`TransferError::moved`] bytes were written; what the reader gave beyond
/// those is lost.
pub async fn copy<R: AsyncRead, W: AsyncWrite>(
    reader: &mut R,
    writer: &mut W,
) -> Result<u64, TransferError> {
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut moved = 0;
    loop {
        let (read, back) = reader.read(buffer).await;
        buffer = back;
        let n = read.map_err(|error| TransferError::new(error, moved))?;
        if n == 0 {
            break;
        }
        let (written, back) = writer.write_all(buffer).await;
        buffer = back;
        written.map_err(|error| {
            let moved = moved + error.moved();
            TransferError::new(error, moved)
        })?;
        moved += n as u64;
        buffer.clear();
    }
    match writer.flush().await {
        Ok(()) => Ok(moved),
        Err(error) => Err(TransferError::new(error, moved)),
    }
}

/// Copies in both directions, each as [`copy`], until both have ended; tells how many bytes went
/// from `a` to `b`, and back.
///
/// The end of one direction is passed on by a [shutdown](AsyncWrite::shutdown) of its writer, and
/// the other goes on: who has ended its side still gets its answer. An error of one direction ends
/// both.
///
/// Both streams are used by two futures at a time, so that a reference to each must read and write,
/// as those of [`net`](crate::net) do.
///
/// # Errors
/// The first one of both streams. That a peer is gone when its end is passed on is none.
pub async fn copy_bidirectional<A, B>(a: &A, b: &B) -> io::Result<(u64, u64)>
where
    for<'s> &'s A: AsyncRead + AsyncWrite,
    for<'s> &'s B: AsyncRead + AsyncWrite,
{
    try_both(pass(a, b), pass(b, a)).await
}

/// Copies to the end, and passes that on.
async fn pass<R: AsyncRead, W: AsyncWrite>(mut from: R, mut to: W) -> io::Result<u64> {
    let bytes = copy(&mut from, &mut to).await?;
    match to.shutdown().await {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(bytes),
    }
}
