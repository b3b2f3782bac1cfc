//! The standard streams of this process.
//!
//! They may be terminals, files, pipes or sockets, in blocking mode, shared with other processes,
//! so that no operation on them is sure not to hold up the loop, and their mode is not this
//! process's to change. So they are read and written on the pool of [`spawn_blocking`], through
//! std's handles: in one order with `println!` and with [`std::io::stdin`]. That costs a copy, an
//! allocation and two wake-ups of threads each time; what is known to be a pipe is faster as a
//! [`PipeReader`](crate::pipe::PipeReader).
//!
//! A console of Windows takes and gives text in UTF-8, as std does it.

use crate::buf::{each_slice, fill_all};
use crate::io::{AsyncRead, AsyncWrite, BufResult, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::task::{JoinHandle, spawn_blocking};
use std::io::{self, Read, Write};
use std::mem;

/// So many bytes are read or written at once.
const AT_ONCE: usize = 64 << 10;

/// What the pool does for a handle: one thing at a time. It goes on when the future that waits for
/// it is dropped.
#[derive(Debug, Default)]
struct Blocking {
    /// Empty while the pool has them.
    bytes: Vec<u8>,
    job: Option<JoinHandle<(io::Result<usize>, Vec<u8>)>>,
}

impl Blocking {
    fn begin(&mut self, work: fn(&mut Vec<u8>) -> io::Result<usize>) {
        let mut bytes = mem::take(&mut self.bytes);
        self.job = Some(spawn_blocking(move || (work(&mut bytes), bytes)));
    }

    /// Waits for the end of what has begun, if anything has.
    async fn end(&mut self) -> io::Result<usize> {
        let Some(job) = &mut self.job else {
            return Ok(0);
        };
        let ended = job.await;
        self.job = None;
        let (done, bytes) = ended?;
        self.bytes = bytes;
        done
    }
}

/// The standard input: see [`Stdin`].
#[must_use]
pub fn stdin() -> Stdin {
    Stdin(Blocking::default())
}

/// The standard input of this process, as [`std::io::stdin`].
///
/// A read whose future is dropped goes on, and what it finds is the next one's of this handle. A
/// thread that reads a terminal holds up neither the end of the runtime nor that of the process.
#[derive(Debug)]
pub struct Stdin(Blocking);

impl AsyncRead for Stdin {
    async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
        let (read, [buffer]) = self.read_vectored([buffer]).await;
        (read, buffer)
    }

    async fn read_vectored<V: IoBufsMut + 'static>(
        &mut self,
        mut buffers: V,
    ) -> BufResult<usize, V> {
        let mut room = 0;
        buffers.each_part_mut(|_, len| room += len);
        let Stdin(input) = self;
        if room > 0 && input.bytes.is_empty() {
            if input.job.is_none() {
                input.bytes.resize(room.min(AT_ONCE), 0);
                input.begin(|bytes| {
                    let read = io::stdin().read(bytes);
                    bytes.truncate(*read.as_ref().unwrap_or(&0));
                    read
                });
            }
            if let Err(error) = input.end().await {
                return (Err(error), buffers);
            }
        }
        let read = fill_all(&mut buffers, &input.bytes);
        input.bytes.drain(..read);
        (Ok(read), buffers)
    }
}

macro_rules! outputs {
    ($($name:ident, $output:ident, $what:literal;)*) => {$(
        #[doc = concat!("The standard ", $what, ": see [`", stringify!($output), "`].")]
        #[must_use]
        pub fn $name() -> $output {
            $output(Blocking::default())
        }

        #[doc = concat!("The standard ", $what, " of this process, as [`std::io::", stringify!($name), "`].")]
        ///
        /// What a write has taken is written out when it is ready, up to 64 KiB of it. One whose
        /// future is dropped goes on; the next one of this handle waits for it, and has its error.
        ///
        /// ```
        #[doc = concat!("use completeio::stdio::", stringify!($name), ";")]
        /// use completeio::{io::AsyncWrite, task::block_on};
        ///
        #[doc = concat!("let (written, _) = block_on(", stringify!($name), "().write(\"hello\\n\"));")]
        /// assert_eq!(written?, 6);
        /// # Ok::<(), std::io::Error>(())
        /// ```
        #[derive(Debug)]
        pub struct $output(Blocking);

        impl AsyncWrite for $output {
            async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                let (written, [buffer]) = self.write_vectored([buffer]).await;
                (written, buffer)
            }

            async fn write_vectored<V: IoBufs + 'static>(
                &mut self,
                buffers: V,
            ) -> BufResult<usize, V> {
                let $output(output) = self;
                if let Err(error) = output.end().await {
                    return (Err(error), buffers);
                }
                output.bytes.clear();
                each_slice(&buffers, |bytes| {
                    let room = AT_ONCE - output.bytes.len();
                    output.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
                });
                output.begin(|bytes| {
                    let mut output = io::$name().lock();
                    let written = output.write(bytes)?;
                    output.flush()?;
                    Ok(written)
                });
                (output.end().await, buffers)
            }

            async fn flush(&mut self) -> io::Result<()> {
                self.0.end().await.map(drop)
            }

            /// It stays open: others of this process write to it.
            async fn shutdown(&mut self) -> io::Result<()> {
                self.flush().await
            }
        }
    )*};
}
outputs! {
    stdout, Stdout, "output";
    stderr, Stderr, "error";
}
