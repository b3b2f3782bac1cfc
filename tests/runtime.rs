//! The small runtime: what its futures do when they are polled, dropped, or left behind.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

use completeio::buf::BufResult;
use completeio::driver::{Backend, Driver, FromRawFd};
use completeio::fs::File;
use completeio::task::block_on;
use std::cell::RefCell;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A file in the target's directory that is removed with its handle.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// How many descriptors of this process are open on `temp`; other tests open others meanwhile.
fn open_on(temp: &Temp) -> usize {
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    fds.filter(|fd| fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to == temp.0))
        .count()
}

#[test]
fn a_file_is_read_to_its_end_and_written_whole() {
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let temp = Temp::new("whole", b"");
    block_on(async {
        let file = File::create(&temp.0).unwrap();
        let (written, back) = file.write_all_at(bytes.clone(), 3).await;
        written.unwrap();
        assert_eq!(back, bytes);
        let file = File::open(&temp.0).unwrap();
        let (read, text) = file.read_to_end_at(vec![9], 3).await;
        assert_eq!(read.unwrap(), bytes.len());
        assert_eq!(text[0], 9, "what was in the buffer stays");
        assert_eq!(text[1..], bytes);
        let (read, text) = file.read_to_end_at(Vec::new(), u64::MAX).await;
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        assert!(text.is_empty());
    });
}

#[test]
fn errors_give_the_buffer_back() {
    let temp = Temp::new("error", b"");
    block_on(async {
        let file = File::open(&temp.0).unwrap();
        let (written, back) = file.write_at(vec![1, 2, 3], 0).await;
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(back, [1, 2, 3]);
    });
}

#[test]
fn two_operations_run_at_once() {
    let temp = Temp::new("two", b"abcdef");
    let (one, two) = block_on(async {
        let file = File::open(&temp.0).unwrap();
        let mut first = pin!(file.read_at(Vec::with_capacity(3), 0));
        let mut second = pin!(file.read_at(Vec::with_capacity(3), 3));
        let (mut one, mut two) = (None, None);
        poll_fn(|context| {
            if one.is_none() {
                if let Poll::Ready((read, text)) = first.as_mut().poll(context) {
                    assert_eq!(read.unwrap(), 3);
                    one = Some(text);
                }
            }
            if two.is_none() {
                if let Poll::Ready((read, text)) = second.as_mut().poll(context) {
                    assert_eq!(read.unwrap(), 3);
                    two = Some(text);
                }
            }
            if one.is_some() && two.is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        (one.unwrap(), two.unwrap())
    });
    assert_eq!((&one[..], &two[..]), (&b"abc"[..], &b"def"[..]));
}

/// I5, I16: futures that are dropped in flight leave their operations, buffers and files to the
/// runtime until the kernel is done.
#[test]
fn futures_dropped_in_flight_leak_nothing() {
    let temp = Temp::new("dropped", &vec![7; 1 << 20]);
    for rounds in 0..20 {
        block_on(async {
            for _ in 0..30 {
                let file = File::open(&temp.0).unwrap();
                let mut read = Box::pin(file.read_at(Vec::with_capacity(1 << 20), 0));
                let polled = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
                assert!(polled.is_pending());
                drop(read);
                drop(file);
            }
            if rounds % 2 == 0 {
                // Another operation makes the runtime turn, so that the orphans are submitted.
                let file = File::open(&temp.0).unwrap();
                let (read, _) = file.read_at(Vec::with_capacity(1), 0).await;
                assert_eq!(read.unwrap(), 1);
            }
        });
    }
    assert_eq!(open_on(&temp), 0);
}

#[test]
fn a_nested_block_on_is_refused() {
    let panic = catch_unwind(|| block_on(async { block_on(async {}) })).unwrap_err();
    let message = panic.downcast_ref::<&str>().unwrap();
    assert!(
        message.contains("`block_on` inside `block_on`"),
        "{message}"
    );
    // The outer one was unwound: the thread can run a future again.
    assert_eq!(block_on(async { 1 }), 1);
}

#[test]
fn another_thread_wakes_it() {
    let mut thread = None;
    let mut polls = 0;
    block_on(poll_fn(|context| {
        polls += 1;
        if thread.is_none() {
            let waker = context.waker().clone();
            thread = Some(std::thread::spawn(move || waker.wake()));
            return Poll::Pending;
        }
        Poll::Ready(())
    }));
    assert_eq!(polls, 2);
    thread.unwrap().join().unwrap();
}

/// Whether reads of a pipe wait, as io_uring's do; `pread` refuses them.
fn pipes_can_be_read() -> bool {
    let io_uring = Driver::new().unwrap().backend() == Backend::IoUring;
    if !io_uring {
        eprintln!("skipped: the readiness backend reads no pipes");
    }
    io_uring
}

/// The reading end as a `File` of ours, and the writing end.
fn pipe() -> (File, fs::File) {
    let mut fds = [-1; 2];
    // SAFETY: the kernel writes two descriptors to a local.
    assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: new, and nobody else knows them.
    let [reader, writer] = fds.map(|fd| unsafe { fs::File::from_raw_fd(fd) });
    (reader.into(), writer)
}

type Read = Pin<Box<dyn Future<Output = BufResult<usize, Vec<u8>>>>>;

fn read_one(file: &Rc<File>) -> Read {
    let file = file.clone();
    Box::pin(async move { file.read_at(Vec::with_capacity(1), 0).await })
}

async fn poll_once(read: &mut Read) -> bool {
    poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_ready())).await
}

/// A future that is dropped before its first turn is cancelled too: it takes no bytes.
#[test]
fn a_future_dropped_at_once_reads_nothing() {
    if !pipes_can_be_read() {
        return;
    }
    block_on(async {
        let (reader, mut writer) = pipe();
        let reader = Rc::new(reader);
        let mut dropped = read_one(&reader);
        assert!(!poll_once(&mut dropped).await);
        drop(dropped);
        let temp = Temp::new("turn", b"x");
        let file = Rc::new(File::open(&temp.0).unwrap());
        // A few turns before the byte comes, and a few in which it could be stolen.
        for byte in [None, Some(b"a"), Some(b"b")] {
            if let Some(byte) = byte {
                writer.write_all(byte).unwrap();
            }
            for _ in 0..3 {
                assert_eq!(read_one(&file).await.1, b"x");
            }
        }
        assert_eq!(read_one(&reader).await.1, b"a");
    });
}

/// More operations than the driver's queue has places, the last of which ends the wait.
#[test]
fn a_full_queue_does_not_hang() {
    if !pipes_can_be_read() {
        return;
    }
    block_on(async {
        let (reader, writer) = pipe();
        let reader = Rc::new(reader);
        let writer = File::from(writer);
        let mut reads: Vec<Read> = (0..1024).map(|_| read_one(&reader)).collect();
        for read in &mut reads {
            assert!(!poll_once(read).await);
        }
        let (written, _) = writer.write_at(vec![b'x'; 1024], 0).await;
        assert_eq!(written.unwrap(), 1024);
        for read in reads {
            assert_eq!(read.await.1, b"x");
        }
    });
}

thread_local! {
    static HELD: RefCell<Option<Read>> = const { RefCell::new(None) };
}

/// A waker whose drop drops another future: user code that comes back into the runtime.
struct DropsAnother;

impl Wake for DropsAnother {
    fn wake(self: Arc<Self>) {}
}

impl Drop for DropsAnother {
    fn drop(&mut self) {
        HELD.take();
    }
}

#[test]
fn a_waker_may_drop_another_future() {
    if !pipes_can_be_read() {
        return;
    }
    block_on(async {
        let (reader, _writer) = pipe();
        let reader = Rc::new(reader);
        let mut held = read_one(&reader);
        assert!(!poll_once(&mut held).await);
        HELD.set(Some(held));
        let mut other = read_one(&reader);
        let waker = Waker::from(Arc::new(DropsAnother));
        let polled = other.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        drop(waker);
        // The slot holds the last waker.
        drop(other);
        assert!(HELD.take().is_none());
    });
}

#[test]
fn a_future_stays_in_its_runtime() {
    let temp = Temp::new("escaped", b"x");
    let file = Rc::new(File::open(&temp.0).unwrap());
    let mut read = read_one(&file);
    block_on(poll_once(&mut read));
    let panic = catch_unwind(AssertUnwindSafe(|| block_on(read))).unwrap_err();
    let message = panic.downcast_ref::<&str>().unwrap();
    assert!(message.contains("in which it began"), "{message}");
}
