//! The small runtime: what its futures do when they are polled, dropped, or left behind.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use common::{Temp, bounded, code, open_on};
use completeio::buf::{BufResult, IoBufMut};
use completeio::fs::{File, metadata};
use completeio::io::AsyncWrite;
use completeio::net::TcpStream;
use completeio::task::{CancelToken, OPERATIONS_MAX, block_on, spawn, yield_now};
use completeio::time::{sleep, timeout};
use counting::allocations;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::Read as _;
use std::net;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

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

/// What a task has pushed when the future of `block_on` ends is handed over before the driver goes.
#[test]
fn what_tasks_have_pushed_is_handed_over() {
    let temp = Temp::new("handed-over", b"x");
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    block_on(async {
        let mut stream = TcpStream::try_from(socket).unwrap();
        let task = spawn(async move {
            // When it goes on, the future of `block_on` has nothing to do, and is polled after it.
            metadata(&temp.0).await.unwrap();
            drop(spawn(async move { stream.write("bye").await }));
        });
        task.await.unwrap();
    });
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bye");
}

#[test]
fn errors_give_the_buffer_back() {
    let temp = Temp::new("error", b"");
    block_on(async {
        let file = File::open(&temp.0).unwrap();
        let (written, back) = file.write_at(vec![1, 2, 3], 0).await;
        assert_eq!(
            written.unwrap_err().raw_os_error(),
            Some(code::NOT_FOR_WRITING)
        );
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

/// Each wake-up is waited for by the other side: one that is lost is the last.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: usize = 20_000;
    bounded(|| {
        let (ask, asked) = mpsc::channel::<Waker>();
        let answers = Arc::new(AtomicUsize::new(0));
        let given = answers.clone();
        let thread = thread::spawn(move || {
            for waker in asked {
                given.fetch_add(1, Ordering::Release);
                waker.wake();
            }
        });
        block_on(async {
            for round in 0..ROUNDS {
                let mut waits = false;
                poll_fn(|context| {
                    if answers.load(Ordering::Acquire) > round {
                        return Poll::Ready(());
                    }
                    if !waits {
                        waits = true;
                        ask.send(context.waker().clone()).unwrap();
                    }
                    Poll::Pending
                })
                .await;
            }
        });
        drop(ask);
        thread.join().unwrap();
    });
}

/// Turns end for operations that nobody waits for, too.
#[test]
fn it_is_polled_only_when_it_was_woken() {
    let temp = Temp::new("polls", b"x");
    let file = Rc::new(File::open(&temp.0).unwrap());
    let mut polls = 0;
    let mut read = read_one(&file);
    let text = block_on(poll_fn(|context| {
        polls += 1;
        if polls == 1 {
            for _ in 0..10 {
                assert!(read_one(&file).as_mut().poll(context).is_pending());
            }
        }
        read.as_mut().poll(context)
    }));
    assert_eq!((&text.1[..], polls), (&b"x"[..], 2));
}

type Read = Pin<Box<dyn Future<Output = BufResult<usize, Vec<u8>>>>>;

fn read_one(file: &Rc<File>) -> Read {
    let file = file.clone();
    Box::pin(async move { file.read_at(Vec::with_capacity(1), 0).await })
}

async fn poll_once(read: &mut Read) -> bool {
    poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_ready())).await
}

// Waiting for a place.

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A read, and who is woken for it.
struct Task {
    read: Read,
    count: Arc<Count>,
}

impl Task {
    fn new(file: &Rc<File>) -> Self {
        let (read, count) = (read_one(file), Arc::default());
        Self { read, count }
    }

    /// Whether it is ready with its byte.
    fn poll(&mut self) -> bool {
        let waker = Waker::from(self.count.clone());
        let polled = self.read.as_mut().poll(&mut Context::from_waker(&waker));
        let Poll::Ready((read, text)) = polled else {
            return false;
        };
        assert_eq!((read.unwrap(), &text[..]), (1, &b"x"[..]));
        true
    }

    /// One that was polled for the first time.
    fn begun(file: &Rc<File>) -> Self {
        let mut task = Self::new(file);
        assert!(!task.poll());
        task
    }

    fn woken(&self) -> usize {
        self.count.0.load(Ordering::Relaxed)
    }
}

/// Lets the runtime make a turn that does not wait.
async fn turn() {
    let mut turned = false;
    poll_fn(|context| {
        if turned {
            return Poll::Ready(());
        }
        turned = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Tasks that hold all places: they have ended, and are not asked for their results.
async fn fill(file: &Rc<File>) -> Vec<Task> {
    let mut held = Vec::new();
    while held.len() < OPERATIONS_MAX {
        // Fewer than a turn hands over.
        held.extend((0..128).map(|_| Task::begun(file)));
        turn().await;
    }
    assert_eq!(held.len(), OPERATIONS_MAX);
    while held.iter().any(|task| task.woken() == 0) {
        turn().await;
    }
    held
}

#[test]
fn more_operations_than_places() {
    let temp = Temp::new("many", b"x");
    bounded(move || {
        block_on(async {
            let file = Rc::new(File::open(&temp.0).unwrap());
            let all = 2 * OPERATIONS_MAX + 7;
            let mut reads: Vec<Read> = (0..all).map(|_| read_one(&file)).collect();
            for read in &mut reads {
                assert!(!poll_once(read).await);
            }
            // Those that were called wait for their turn here, and hold up nobody.
            for read in reads {
                assert_eq!(read.await.1, b"x");
            }
        });
    });
}

/// A place that is freed in a poll: no operation ends then.
#[test]
fn whoever_waits_is_called_before_the_thread_sleeps() {
    let temp = Temp::new("last", b"x");
    bounded(move || {
        block_on(async {
            let file = Rc::new(File::open(&temp.0).unwrap());
            let mut held = fill(&file).await;
            for redeem in [false, true] {
                let mut late = read_one(&file);
                for _ in 0..3 {
                    assert!(!poll_once(&mut late).await);
                    turn().await;
                }
                let mut task = held.swap_remove(0);
                assert!(!redeem || task.poll());
                drop(task);
                assert_eq!(late.await.1, b"x");
                held.push(Task::begun(&file));
            }
        });
    });
}

#[test]
fn places_are_offered_in_order() {
    let temp = Temp::new("order", b"x");
    bounded(move || {
        block_on(async {
            let file = Rc::new(File::open(&temp.0).unwrap());
            let mut held = fill(&file).await;
            let [a, mut b, mut c] = [(); 3].map(|()| Task::begun(&file));
            let woken = |tasks: [&Task; 3]| tasks.map(Task::woken);
            turn().await;
            assert_eq!(woken([&a, &b, &c]), [0, 0, 0]);

            drop(held.pop());
            assert!(!c.poll(), "it is not the turn of this one");
            turn().await;
            assert_eq!(woken([&a, &b, &c]), [1, 0, 0]);
            // Whoever was called and goes leaves the place to the next one.
            drop(a);
            turn().await;
            assert_eq!(woken([&b, &b, &c]), [1, 1, 0]);
            assert!(!b.poll());
            while b.woken() == 1 {
                turn().await;
            }
            assert!(b.poll());
            turn().await;
            assert_eq!(c.woken(), 1);

            // Nobody else waits, so that a newcomer may be faster: then the place in the queue
            // stays.
            let newcomer = Task::begun(&file);
            let later = Task::begun(&file);
            assert!(!c.poll());
            turn().await;
            assert_eq!(woken([&c, &later, &later]), [1, 0, 0]);
            drop(newcomer);
            while c.woken() == 1 {
                turn().await;
            }
            assert_eq!(later.woken(), 0);
        });
    });
}

/// Whoever waits is polled by another task: the last waker is woken, and all are let go.
#[test]
fn a_dropped_future_leaves_the_queue() {
    let temp = Temp::new("leaves", b"x");
    bounded(move || {
        block_on(async {
            let file = Rc::new(File::open(&temp.0).unwrap());
            let mut held = fill(&file).await;
            let mut waiting: Vec<Task> = (0..100).map(|_| Task::begun(&file)).collect();
            let counts: Vec<_> = waiting.iter().map(|task| task.count.clone()).collect();
            let first = waiting[0].count.clone();
            waiting[0].count = Arc::default();
            assert!(!waiting[0].poll());
            assert_eq!(Arc::strong_count(&first), 2, "here, and in `counts`");
            // From the middle, from the end, from the start.
            for at in [50, 98, 0] {
                drop(waiting.remove(at));
            }
            for (at, count) in counts.iter().enumerate().skip(1) {
                let kept = if [50, 99].contains(&at) { 1 } else { 3 };
                assert_eq!(Arc::strong_count(count), kept, "{at}");
            }
            drop(held.pop());
            turn().await;
            let woken = waiting.iter().position(|task| task.woken() > 0);
            assert_eq!((woken, waiting.len()), (Some(0), 97));
            drop(waiting);
            assert!(counts.iter().all(|count| Arc::strong_count(count) <= 2));
            assert!(
                counts[1..]
                    .iter()
                    .all(|count| Arc::strong_count(count) == 1)
            );
        });
    });
}

thread_local! {
    static HELD: RefCell<Option<Read>> = const { RefCell::new(None) };
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

/// A buffer whose destructor begins the operation in `HELD`.
struct BeginsAnother {
    bytes: Vec<u8>,
    gone: Rc<Cell<bool>>,
}

// SAFETY: the promises are those of the vector, which nobody else reaches.
unsafe impl IoBufMut for BeginsAnother {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        self.bytes.parts_mut()
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.bytes.set_filled(n) }
    }
}

impl Drop for BeginsAnother {
    fn drop(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        HELD.with_borrow_mut(|held| {
            let read = held.as_mut().unwrap().as_mut();
            assert!(read.poll(&mut context).is_pending());
        });
        self.gone.set(true);
    }
}

/// In the midst of a turn.
#[test]
fn a_destructor_may_begin_an_operation() {
    let temp = Temp::new("destructor", b"x");
    bounded(move || {
        block_on(async {
            let file = Rc::new(File::open(&temp.0).unwrap());
            let gone = Rc::new(Cell::new(false));
            let buffer = BeginsAnother {
                bytes: Vec::with_capacity(1),
                gone: gone.clone(),
            };
            let mut dropped = Box::pin(file.read_at(buffer, 0));
            let polled = poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context)));
            assert!(polled.await.is_pending());
            HELD.set(Some(read_one(&file)));
            drop(dropped);
            while !gone.get() {
                assert_eq!(read_one(&file).await.1, b"x");
            }
            let held = HELD.take().unwrap();
            assert_eq!(held.await.1, b"x");
        });
    });
}

// Memory.

/// I15, of the runtime: reads, futures that are dropped, futures that wait for a place.
#[test]
fn nothing_is_allocated_for_an_operation() {
    let temp = Temp::new("allocations", b"0123456789abcdef");
    block_on(async {
        let file = Rc::new(File::open(&temp.0).unwrap());
        let one = |file: Rc<File>| async move { file.read_at([0; 16], 0).await };
        let mut counted = 0;
        // The queue of those that wait grows in the first round.
        for _ in 0..2 {
            let many: Vec<_> = (0..OPERATIONS_MAX + 10)
                .map(|_| Box::pin(one(file.clone())))
                .collect();
            let before = allocations();
            for _ in 0..100 {
                let (read, text) = file.read_at([0; 16], 0).await;
                assert_eq!((read.unwrap(), &text), (16, b"0123456789abcdef"));
                let mut dropped = pin!(one(file.clone()));
                let polled = poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context)));
                assert!(polled.await.is_pending());
            }
            let mut many = many;
            for read in &mut many {
                let polled = poll_fn(|context| Poll::Ready(read.as_mut().poll(context)));
                assert!(polled.await.is_pending());
            }
            for read in many {
                assert_eq!(read.await.0.unwrap(), 16);
            }
            counted = allocations() - before;
        }
        assert_eq!(counted, 0);
    });
}

/// From the first one on.
#[test]
fn nothing_is_allocated_for_a_sleep() {
    block_on(async {
        let mut sleeps: Vec<_> = (0..1000)
            .map(|_| sleep(Duration::from_secs(3600)))
            .collect();
        let before = allocations();
        for sleep in &mut sleeps {
            let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut *sleep).poll(context)));
            assert!(polled.await.is_pending());
        }
        drop(sleeps);
        sleep(Duration::from_nanos(1)).await;
        assert_eq!(allocations() - before, 0);
    });
}

/// A task is one allocation; what it does is none: sleeps, yields, wake-ups, cancellations.
#[test]
fn one_allocation_for_a_task() {
    block_on(async {
        let mut counted = [0; 2];
        // Queues and lists grow in the first round.
        for _ in 0..2 {
            let before = allocations();
            let task = spawn(async {
                yield_now().await;
                sleep(Duration::from_nanos(1)).await;
                timeout(Duration::from_secs(3600), yield_now())
                    .await
                    .unwrap();
                let token = CancelToken::new();
                token.run(yield_now()).await;
            });
            counted[0] = allocations() - before;
            task.await.unwrap();
            counted[1] = allocations() - before;
        }
        assert_eq!(counted, [1, 2], "a task; a token is one, too");
    });
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

/// Reads of pipes as files, which wait.
#[cfg(unix)]
mod unix {
    use super::*;
    use completeio::driver::{Backend, Driver, FromRawFd};
    use std::fs;
    use std::io::Write;

    /// A waker whose drop drops another future: user code that comes back into the runtime.
    struct DropsAnother;

    impl Wake for DropsAnother {
        fn wake(self: Arc<Self>) {
            drop(self);
        }
    }

    impl Drop for DropsAnother {
        fn drop(&mut self) {
            HELD.take();
        }
    }

    /// Whether reads of a pipe wait, as io_uring's do; `pread` refuses them.
    fn pipes_can_be_read() -> bool {
        let io_uring = Driver::new().unwrap().backend() == Backend::IoUring;
        if !io_uring {
            eprintln!("skipped: the readiness backend reads no pipes");
        }
        io_uring
    }

    /// The reading end, and the writing end.
    fn pipe() -> [fs::File; 2] {
        let mut fds = [-1; 2];
        // SAFETY: the kernel writes two descriptors to a local.
        assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
        // SAFETY: new, and nobody else knows them.
        fds.map(|fd| unsafe { fs::File::from_raw_fd(fd) })
    }

    /// A future that is dropped before its first turn is cancelled too: it takes no bytes.
    #[test]
    fn a_future_dropped_at_once_reads_nothing() {
        if !pipes_can_be_read() {
            return;
        }
        block_on(async {
            let [reader, mut writer] = pipe();
            let reader = Rc::new(File::from(reader));
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

    /// More operations than one turn hands over, the last of which ends the wait.
    #[test]
    fn a_full_queue_does_not_hang() {
        if !pipes_can_be_read() {
            return;
        }
        bounded(|| {
            block_on(async {
                let [reader, writer] = pipe();
                let reader = Rc::new(File::from(reader));
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
        });
    }

    /// The kernel takes of it what a pipe has room for.
    #[test]
    fn short_writes_go_on_where_they_ended() {
        if !pipes_can_be_read() {
            return;
        }
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        bounded(move || {
            let [mut reader, writer] = pipe();
            let all = bytes.clone();
            let thread = thread::spawn(move || {
                let mut text = Vec::new();
                reader.read_to_end(&mut text).unwrap();
                assert!(text == all, "{} bytes differ", text.len());
            });
            let (written, back) = block_on(File::from(writer).write_all_at(bytes, 0));
            written.unwrap();
            drop(back);
            thread.join().unwrap();
        });
    }

    #[test]
    fn a_waker_may_drop_another_future() {
        if !pipes_can_be_read() {
            return;
        }
        block_on(async {
            let [reader, _writer] = pipe();
            let reader = Rc::new(File::from(reader));
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
}
