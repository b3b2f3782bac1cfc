//! I18: a panic in code of the user's that runs inside the safe layer costs what was in its hands,
//! and the driver goes on. Each panics at its n-th call, for each n.

use crate::kit::{self, quietly, silent_panic};
use crate::ledger::{Cx, Ledger};
use crate::steps::{finished, next, run, start, take, wait};
use completeio_driver::buf::{IoBuf, IoBufMut};
use completeio_driver::driver::{AsFd, Cwd, OwnedFd};
use completeio_driver::op::{Nop, OpenAt, ReadAt, Recv, WriteAt};
use completeio_driver::scope::{Event, Scope};
use completeio_driver::sink::{self, Sink};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

contract! {
    everywhere: [
        in_a_sink,
        in_a_sink_that_the_closure_does_not_catch,
        in_the_room_of_a_sink,
        in_a_buffer_that_is_lent,
        in_a_buffer_in_a_queue,
        in_a_buffer_that_is_owned,
        in_a_buffer_that_was_filled,
        in_a_destructor_at_a_drop,
        in_a_destructor_beside_raw_operations,
        in_a_waker,
    ],
    on_host: [
        in_a_sink_with_descriptors_in_hand,
        in_a_path_that_is_owned,
        in_a_destructor_at_a_last_completion,
    ],
}

/// Panics at its n-th call, and is spent then.
#[derive(Debug, Clone)]
struct Fuse(Rc<Cell<Option<usize>>>);

impl Fuse {
    fn new(n: usize) -> Self {
        Self(Rc::new(Cell::new(Some(n))))
    }

    fn burn(&self) {
        match self.0.get() {
            Some(0) => {
                self.0.set(None);
                silent_panic()
            }
            Some(n) => self.0.set(Some(n - 1)),
            None => {}
        }
    }

    fn is_spent(&self) -> bool {
        self.0.get().is_none()
    }
}

/// Where a buffer burns its fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Parts,
    Filled,
    Drop,
}

#[derive(Debug)]
struct Fused {
    fuse: Fuse,
    at: At,
    bytes: [u8; 8],
}

impl Fused {
    fn new(fuse: &Fuse, at: At) -> Self {
        Self {
            fuse: fuse.clone(),
            at,
            bytes: *b"contents",
        }
    }

    fn burn(&self, at: At) {
        if self.at == at {
            self.fuse.burn();
        }
    }
}

// SAFETY: the bytes are the array's; a call that panics lends nothing.
unsafe impl IoBufMut for Fused {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        self.burn(At::Parts);
        self.bytes.parts_mut()
    }

    unsafe fn set_filled(&mut self, _n: usize) {
        self.burn(At::Filled);
    }
}

// SAFETY: as above.
unsafe impl IoBuf for Fused {
    fn parts(&self) -> (*const u8, usize) {
        self.burn(At::Parts);
        self.bytes.parts()
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        self.burn(At::Drop);
    }
}

/// The driver does everything that it did before.
fn assert_usable(l: &mut Ledger) {
    while l.in_flight() > 0 {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    assert_eq!(finished(l), []);
    assert_eq!(l.owned_capacity_left(), SLOTS);
    let file = l.site.file(b"text");
    let mut read = ReadAt::new(file.as_fd(), 0, [0; 8]);
    assert_eq!(l.scope(|s| run(s, &mut read).0).unwrap().unwrap(), 4);
    let keys = [(); SLOTS].map(|()| l.try_push_owned(Nop::new(), 0).unwrap());
    for key in keys {
        crate::steps::outcome(l, key).0.unwrap();
    }
    l.start(Nop::new(), 1);
    assert_eq!(kit::names(&l.take(1)), [1]);
}

const SLOTS: usize = 8;
const COUNT: usize = 6;

fn ledger(cx: &mut Cx) -> Ledger {
    cx.with(|limits| limits.entries(32).slots(SLOTS))
}

/// Takes `COUNT` completions by a sink that panics at its n-th; whether it did.
fn take_with(s: &mut Scope<'_, '_>, fuse: &Fuse, seen: &mut Vec<usize>) {
    while seen.len() < COUNT {
        let put = |event: Event<'_>| {
            fuse.burn();
            seen.push(event.token());
        };
        s.submit(None, &mut sink::bounded(COUNT, put)).unwrap();
    }
}

/// Operations that complete at once, one half in the kernel and one half refused, and some of the
/// driver's own between them.
macro_rules! several {
    ($nops:ident, $wrong:ident) => {
        let mut $nops = [(); COUNT / 2].map(|()| Nop::new());
        let mut $wrong = [(); COUNT / 2].map(|()| ReadAt::new(Cwd, u64::MAX, [0; 4]));
    };
    ($s:ident, $nops:ident, $wrong:ident) => {
        for (n, (nop, wrong)) in $nops.iter_mut().zip(&mut $wrong).enumerate() {
            let _lent = start($s, nop, 2 * n);
            drop($s.try_push_owned(Nop::new(), 100).unwrap());
            let _lent = start($s, wrong, 2 * n + 1);
        }
    };
}

fn in_a_sink(cx: &mut Cx) {
    for n in 0..COUNT {
        let mut l = ledger(cx);
        several!(nops, wrong);
        l.scope(|s| {
            several!(s, nops, wrong);
            let fuse = Fuse::new(n);
            let mut seen = Vec::new();
            quietly(|| take_with(s, &fuse, &mut seen));
            assert_eq!(seen.len(), n);
            let rest = take(s, COUNT - n - 1);
            seen.extend(rest.iter().map(|done| done.token()));
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(
                seen.len(),
                COUNT - 1,
                "one is lost, in the hands of the sink"
            );
        })
        .unwrap();
        assert_usable(&mut l);
    }
}

fn in_a_sink_that_the_closure_does_not_catch(cx: &mut Cx) {
    for n in 0..COUNT {
        let mut l = ledger(cx);
        several!(nops, wrong);
        quietly(|| {
            let _ = l.scope(|s| {
                several!(s, nops, wrong);
                take_with(s, &Fuse::new(n), &mut Vec::new());
            });
        });
        assert_eq!(l.in_flight(), 0);
        assert_usable(&mut l);
    }
}

/// I16: what the entry in hand names is closed as it unwinds.
fn in_a_sink_with_descriptors_in_hand(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    for n in 0..COUNT {
        let mut l = ledger(cx);
        let mut opens = [(); COUNT].map(|()| OpenAt::read(Cwd, path.c_string()));
        l.scope(|s| {
            for (n, open) in opens.iter_mut().enumerate() {
                let _lent = start(s, open, n);
            }
            let mut seen = Vec::new();
            quietly(|| take_with(s, &Fuse::new(n), &mut seen));
            assert_eq!(seen.len(), n);
            drop(take(s, COUNT - n - 1));
            assert!(!kit::is_open_somewhere(&path));
        })
        .unwrap();
        assert_usable(&mut l);
    }
}

/// A sink is asked for its room once, before anything is done.
fn in_the_room_of_a_sink(cx: &mut Cx) {
    struct Asked<'f>(&'f Fuse, usize);
    impl Sink<Event<'_>> for Asked<'_> {
        fn room(&self) -> usize {
            self.0.burn();
            COUNT
        }
        fn put(&mut self, _: Event<'_>) {
            self.1 += 1;
        }
    }
    for n in 0..3 {
        let mut l = ledger(cx);
        let mut nops = [(); COUNT].map(|()| Nop::new());
        l.scope(|s| {
            let fuse = Fuse::new(n);
            let mut sink = Asked(&fuse, 0);
            let mut lent = 0;
            for pair in nops.chunks_mut(2) {
                let mut queue = VecDeque::new();
                for nop in pair {
                    queue.push_back(s.lend(nop, lent).0);
                    lent += 1;
                }
                if lent == 2 * n + 2 {
                    quietly(|| drop(s.submit_queue(&mut queue, Default::default(), &mut sink)));
                    assert_eq!(queue.len(), 2, "nothing was pushed");
                }
                while sink.1 < lent {
                    s.submit_queue(&mut queue, Default::default(), &mut sink)
                        .unwrap();
                }
            }
            assert!(fuse.is_spent());
        })
        .unwrap();
        assert_usable(&mut l);
    }
}

/// Nothing is accepted; what was pushed before it is.
fn in_a_buffer_that_is_lent(cx: &mut Cx) {
    let file = cx.file(b"text");
    for (n, at_once) in (0..COUNT).flat_map(|n| [(n, false), (n, true)]) {
        let mut l = ledger(cx);
        let fuse = Fuse::new(n);
        let mut reads: Vec<_> = (0..COUNT)
            .map(|_| ReadAt::new(file.as_fd(), 0, Fused::new(&fuse, At::Parts)))
            .collect();
        l.scope(|s| {
            for (index, read) in reads.iter_mut().enumerate() {
                let before = (s.in_flight(), s.capacity_left(), s.stats());
                if at_once && index == n {
                    quietly(|| drop(s.try_lend(read, index)));
                    assert_eq!((s.in_flight(), s.capacity_left(), s.stats()), before);
                    continue;
                }
                let (prepared, _ticket) = s.lend(read, index);
                if index == n {
                    quietly(|| drop(s.try_push(prepared)));
                    assert_eq!((s.in_flight(), s.capacity_left(), s.stats()), before);
                } else {
                    s.try_push(prepared).unwrap();
                }
            }
            let mut seen: Vec<_> = take(s, COUNT - 1).iter().map(|done| done.token()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..COUNT).filter(|i| *i != n).collect::<Vec<_>>());
            assert_eq!(s.in_flight(), 0);
        })
        .unwrap();
        assert_usable(&mut l);
    }
}

/// What stands before it is accepted; it stays in the queue, and so does what stands behind it.
fn in_a_buffer_in_a_queue(cx: &mut Cx) {
    let file = cx.file(b"text");
    for n in 0..COUNT {
        for by_submit in [false, true] {
            let mut l =
                cx.with(|limits| limits.entries(if by_submit { 2 } else { 32 }).slots(SLOTS));
            let fuse = Fuse::new(n);
            let mut writes: Vec<_> = (0..COUNT)
                .map(|_| WriteAt::new(file.as_fd(), 0, Fused::new(&fuse, At::Parts)))
                .collect();
            l.scope(|s| {
                let mut queue: VecDeque<_> = writes
                    .iter_mut()
                    .enumerate()
                    .map(|(index, write)| s.lend(write, index).0)
                    .collect();
                quietly(|| {
                    if by_submit {
                        let mut events = Vec::with_capacity(COUNT);
                        s.submit_queue(&mut queue, Default::default(), &mut events)
                            .unwrap();
                    } else {
                        s.push_queue(&mut queue);
                    }
                });
                assert_eq!((queue.len(), s.in_flight()), (COUNT - n, n));
                let seen = take(s, n);
                assert_eq!(seen.len(), n);
                while !queue.is_empty() {
                    let before = queue.len();
                    s.push_queue(&mut queue);
                    drop(take(s, before - queue.len()));
                }
            })
            .unwrap();
            drop(writes);
            if !by_submit {
                assert_usable(&mut l);
            }
        }
    }
}

/// The operation is dropped with the push, and its slot is free.
fn in_a_buffer_that_is_owned(cx: &mut Cx) {
    let file = Rc::new(kit::owned(cx.file(b"text")));
    for n in 0..COUNT {
        let mut l = ledger(cx);
        let fuse = Fuse::new(n);
        let mut keys = Vec::new();
        for index in 0..COUNT {
            let read = ReadAt::new(file.clone(), 0, Fused::new(&fuse, At::Parts));
            let before = (l.in_flight(), l.owned_capacity_left(), l.stats());
            let held = Rc::strong_count(&file);
            if index == n {
                quietly(|| drop(l.try_push_owned(read, index)));
                assert_eq!((l.in_flight(), l.owned_capacity_left(), l.stats()), before);
                assert_eq!(Rc::strong_count(&file), held - 1, "dropped");
            } else {
                keys.push(l.try_push_owned(read, index).unwrap());
            }
        }
        assert!(fuse.is_spent());
        for key in keys {
            assert_eq!(crate::steps::outcome(&mut l, key).0.unwrap(), 4);
        }
        assert_eq!(Rc::strong_count(&file), 1);
        assert_usable(&mut l);
        // The same in a scope: its end has nothing to wait for.
        let fuse = Fuse::new(n);
        l.scope(|s| {
            for index in 0..COUNT {
                let read = ReadAt::new(file.clone(), 0, Fused::new(&fuse, At::Parts));
                if index == n {
                    quietly(|| drop(s.try_push_owned(read, index)));
                } else {
                    drop(s.try_push_owned(read, index).unwrap());
                }
            }
        })
        .unwrap();
        assert_eq!((Rc::strong_count(&file), l.in_flight()), (1, 0));
        assert_usable(&mut l);
    }
}

/// Not only buffers are asked at a push.
fn in_a_path_that_is_owned(cx: &mut Cx) {
    #[derive(Debug)]
    struct Path(Fuse);
    impl AsRef<CStr> for Path {
        fn as_ref(&self) -> &CStr {
            self.0.burn();
            c"Cargo.toml"
        }
    }
    for n in 0..3 {
        let mut l = ledger(cx);
        let fuse = Fuse::new(n);
        for index in 0..3 {
            let open = OpenAt::read(Cwd, Path(fuse.clone()));
            if index == n {
                quietly(|| drop(l.try_push_owned(open, index)));
            } else {
                let key = l.try_push_owned(open, index).unwrap();
                crate::steps::outcome(&mut l, key).0.unwrap();
            }
            assert_eq!((l.in_flight(), l.owned_capacity_left()), (0, SLOTS));
        }
        assert_usable(&mut l);
    }
}

/// Told of its bytes at the redemption: the loan is over, and a slot is free.
fn in_a_buffer_that_was_filled(cx: &mut Cx) {
    let file = Rc::new(kit::owned(cx.file(b"text")));
    for n in 0..3 {
        let mut l = ledger(cx);
        let fuse = Fuse::new(n);
        for index in 0..3 {
            let read = ReadAt::new(file.clone(), 0, Fused::new(&fuse, At::Filled));
            let key = l.try_push_owned(read, index).unwrap();
            wait(&mut l, &key);
            if index == n {
                quietly(|| drop(key.redeem()));
            } else {
                assert_eq!(key.redeem().unwrap().0.unwrap(), 4);
            }
            assert_eq!((l.in_flight(), l.owned_capacity_left()), (0, SLOTS));
            assert_eq!(Rc::strong_count(&file), 1, "dropped as it unwinds");
        }
        let fuse = Fuse::new(n);
        let mut reads =
            [(); 3].map(|()| ReadAt::new(file.clone(), 0, Fused::new(&fuse, At::Filled)));
        l.scope(|s| {
            for (index, read) in reads.iter_mut().enumerate() {
                let ticket = start(s, read, index);
                let done = next(s);
                if index == n {
                    quietly(|| drop(ticket.redeem(done)));
                } else {
                    assert_eq!(ticket.redeem(done).unwrap().0.unwrap(), 4);
                }
            }
        })
        .unwrap();
        drop(reads);
        assert_usable(&mut l);
    }
}

/// Of a key whose operation is done: it unwinds out of the drop, and the slot is free.
fn in_a_destructor_at_a_drop(cx: &mut Cx) {
    let file = Rc::new(kit::owned(cx.file(b"text")));
    for n in 0..COUNT {
        let mut l = ledger(cx);
        let fuse = Fuse::new(n);
        let keys: Vec<_> = (0..COUNT)
            .map(|index| {
                let read = ReadAt::new(file.clone(), 0, Fused::new(&fuse, At::Drop));
                l.try_push_owned(read, index).unwrap()
            })
            .collect();
        for key in &keys {
            wait(&mut l, key);
        }
        for (index, key) in keys.into_iter().enumerate() {
            if index == n {
                quietly(|| drop(key));
            } else {
                drop(key);
            }
            assert_eq!(l.owned_capacity_left(), SLOTS - COUNT + index + 1);
        }
        assert_eq!(Rc::strong_count(&file), 1);
        assert_usable(&mut l);
    }
}

/// Of an orphan: it unwinds out of the submit that took the completion, and nothing else is lost.
fn in_a_destructor_at_a_last_completion(cx: &mut Cx) {
    for n in 0..COUNT {
        for handed_over in [true, false] {
            let (ours, theirs) = kit::pair();
            let ours: Rc<OwnedFd> = Rc::new(kit::owned(ours));
            let mut l = ledger(cx);
            let fuse = Fuse::new(n);
            let mut nops = [(); COUNT].map(|()| Nop::new());
            let done = l.try_push_owned(Nop::new(), 7).unwrap();
            let keys = [(); COUNT].map(|()| {
                let recv = Recv::new(ours.clone(), Fused::new(&fuse, At::Drop));
                l.try_push_owned(recv, 8).unwrap()
            });
            if handed_over {
                l.turn();
            }
            drop(keys);
            let mut seen = 0;
            l.scope(|s| {
                for nop in &mut nops {
                    let _lent = start(s, nop, 0);
                }
                quietly(|| {
                    loop {
                        let count = |_: Event<'_>| seen += 1;
                        s.submit(None, &mut sink::bounded(COUNT, count)).unwrap();
                    }
                });
                assert!(fuse.is_spent());
                seen += take(s, COUNT - seen).len();
                while s.in_flight() > 0 {
                    s.submit(None, &mut None).unwrap();
                }
            })
            .unwrap();
            assert_eq!((seen, Rc::strong_count(&ours)), (COUNT, 1));
            done.redeem().unwrap().0.unwrap();
            assert_usable(&mut l);
            (&theirs).write_all(b"later").unwrap();
            drop(theirs);
            assert_eq!(kit::arrived(&ours), b"later");
        }
    }
}

/// The raw layer's entries come out of the next submit.
fn in_a_destructor_beside_raw_operations(cx: &mut Cx) {
    for n in 0..COUNT {
        let mut l = ledger(cx);
        let fuse = Fuse::new(n);
        for index in 0..COUNT {
            l.start(Nop::new(), 2 * index);
            let wrong = ReadAt::new(Cwd, u64::MAX, Fused::new(&fuse, At::Drop));
            drop(l.try_push_owned(wrong, index).unwrap());
        }
        let mut entries = Vec::with_capacity(2 * COUNT);
        quietly(|| {
            loop {
                l.submit(Some(Duration::ZERO), &mut entries).unwrap();
            }
        });
        let left = COUNT - entries.len();
        entries.extend(l.take(left));
        let mut names = kit::names(&entries);
        names.sort_unstable();
        assert_eq!(names, (0..COUNT).map(|n| 2 * n).collect::<Vec<_>>());
        assert_usable(&mut l);
    }
}

/// Woken, or let go, with the slots in order.
fn in_a_waker(cx: &mut Cx) {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    struct Fused {
        at_wake: bool,
    }
    impl Fused {
        fn burn(&self, at_wake: bool) {
            if self.at_wake == at_wake && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
                silent_panic()
            }
        }
    }
    impl Wake for Fused {
        fn wake(self: Arc<Self>) {
            self.burn(true);
        }
    }
    impl Drop for Fused {
        fn drop(&mut self) {
            self.burn(false);
        }
    }
    let poll = |key: &mut (dyn Future<Output = _> + Unpin), at_wake| {
        let waker = Waker::from(Arc::new(Fused { at_wake }));
        Pin::new(key)
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    };
    for way in 0..5 {
        let mut l = ledger(cx);
        let mut key = l.try_push_owned(Nop::new(), 0).unwrap();
        LEFT.store(usize::MAX / 2, Ordering::Relaxed);
        assert!(!poll(&mut key, way == 0));
        LEFT.store(1, Ordering::Relaxed);
        match way {
            0 => {
                wait(&mut l, &key);
                let finished = l.next_finished().unwrap();
                quietly(|| finished.wake());
                key.redeem().unwrap().0.unwrap();
            }
            // Replaced by another.
            1 => {
                let other = Waker::noop();
                let mut context = Context::from_waker(other);
                quietly(|| drop(Pin::new(&mut key).poll(&mut context)));
                crate::steps::outcome(&mut l, key).0.unwrap();
                finished(&mut l);
            }
            // Dropped in flight, when done, redeemed.
            2 => quietly(|| drop(key)),
            3 => {
                wait(&mut l, &key);
                quietly(|| drop(key));
            }
            _ => {
                wait(&mut l, &key);
                quietly(|| drop(key.redeem()));
            }
        }
        assert_eq!(LEFT.load(Ordering::Relaxed), 0);
        assert_usable(&mut l);
    }
}
