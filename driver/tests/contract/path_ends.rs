//! Operations on names that end early: their directory is closed, they are cancelled, their driver
//! is dropped. Each is carried out wholly or not at all.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use crate::path::c;
use crate::tree::Tree;
use completeio_driver::driver::{AsRawFd, BorrowedFd, CompleteIo, Cwd, Entry};
#[cfg(windows)]
use completeio_driver::op::Read;
use completeio_driver::op::{
    HardLink, MakeDir, OpenAt, OpenOptions, Rename, StatAt, Symlink, Unlink,
};
use std::fs::{self, File};
#[cfg(windows)]
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

contract! {
    everywhere: [
        a_directory_closed_before_the_submit,
        what_was_only_pushed_is_not_executed,
    ],
    on_host: [
        a_directory_number_reused_before_the_submit,
        a_directory_closed_in_flight,
        cancelled_before_the_submit,
        cancelled_behind_others,
        cancelled_too_late,
        done_or_cancelled,
        a_dropped_driver_leaves_no_halves,
    ],
}

/// I11: nothing is resolved by the push.
fn a_directory_closed_before_the_submit(cx: &mut Cx) {
    let tree = Tree::full();
    let before = tree.listing();
    let open = tree.open();
    let mut l = cx.ledger();
    for n in 0..9 {
        let closed = kit::owned(tree.open());
        let (gone, kept) = (kit::plain(&closed), kit::plain(&open));
        match n {
            0 => drop(l.start(Unlink::file(gone, c"file"), n)),
            1 => drop(l.start(Unlink::directory(gone, c"empty"), n)),
            2 => drop(l.start(MakeDir::new(gone, c"new", 0o777), n)),
            3 => drop(l.start(Symlink::new(c"text", gone, c"new"), n)),
            4 => drop(l.start(Rename::new(gone, c"file", kept, c"new"), n)),
            5 => drop(l.start(Rename::new(kept, c"file", gone, c"new"), n)),
            6 => drop(l.start(HardLink::new(gone, c"file", kept, c"new"), n)),
            7 => drop(l.start(HardLink::new(kept, c"file", gone, c"new"), n)),
            _ => drop(l.start(StatAt::new(gone, c"file"), n)),
        }
        drop(closed);
        let entry = l.one();
        // Wine looks for no directory when it makes no link.
        if n != 3 || kit::makes_links() {
            assert_eq!(entry.raw_os_error(), Some(code::EBADF), "{n}");
        }
    }
    assert_eq!(tree.listing(), before);
}

/// I11: a number means what it means when it is submitted.
fn a_directory_number_reused_before_the_submit(cx: &mut Cx) {
    let [old, new] = [Tree::full(), Tree::full()];
    let before = old.listing();
    let place = old.open();
    let dir = kit::plain(&place);
    let mut l = cx.ledger();
    macro_rules! reused {
        ($op:expr) => {
            kit::replace(&old.open(), place.as_raw_fd());
            l.start($op, 1);
            kit::replace(&new.open(), place.as_raw_fd());
            assert_eq!(l.one().into_result().unwrap(), 0);
        };
    }
    reused!(MakeDir::new(dir, c"new", 0o777));
    reused!(Rename::new(dir, c"new", dir, c"moved"));
    reused!(HardLink::new(dir, c"file", dir, c"linked"));
    reused!(Symlink::new(c"text", dir, c"symbolic"));
    reused!(StatAt::new(dir, c"linked"));
    reused!(Unlink::file(dir, c"file"));
    assert_eq!(old.listing(), before);
    assert!(["moved", "linked"].iter().all(|name| new.has(name)));
    assert!(new.has("symbolic") || !kit::makes_links());
    assert!(!new.has("new") && !new.has("file"));
}

/// Calls that no worker finishes until it is pulled: what is submitted after them waits.
pub(crate) struct Plug(Stopper);

/// A FIFO that nobody has opened to write.
#[cfg(unix)]
struct Stopper(kit::TempPath);

#[cfg(unix)]
impl Stopper {
    fn new() -> Self {
        let path = kit::TempPath::new();
        // SAFETY: a path that lives as long as the call.
        kit::checked(unsafe { libc::mkfifo(path.c_string().as_ptr(), 0o600) });
        Self(path)
    }

    /// An open of it, which waits until it is pulled.
    fn start(&self, l: &mut Ledger, user_data: usize) {
        // io_uring gives what may create a file to its workers at once.
        let options = OpenOptions::new().read(true).create(true);
        l.start(OpenAt::new(Cwd, self.0.c_string(), options), user_data);
    }

    fn pull(&self) -> impl Sized {
        File::options().write(true).open(&*self.0).unwrap()
    }
}

/// A pipe whose reads wait, whoever makes them.
#[cfg(windows)]
struct Stopper(File, File);

#[cfg(windows)]
impl Stopper {
    fn new() -> Self {
        let (reader, writer) = kit::waiting_pipe();
        Self(reader, writer)
    }

    /// A read of it, which waits until it is pulled.
    fn start(&self, l: &mut Ledger, user_data: usize) {
        l.start(Read::new(kit::plain(&self.0), [0; 1]), user_data);
    }

    fn pull(&self) -> &File {
        (&self.1).write_all(&[0; Plug::CALLS]).unwrap();
        &self.1
    }
}

impl Plug {
    /// As many as a kernel with so few entries has workers: four for each processor, but no more
    /// than entries.
    const CALLS: usize = 16;
    /// The user data of all of them.
    const NAME: usize = 1_000_000;

    pub(crate) fn ledger(cx: &Cx) -> Ledger {
        cx.with(|limits| limits.entries(8).cancels(1).in_flight(64).workers(1))
    }

    pub(crate) fn new(l: &mut Ledger) -> Self {
        let stopper = Stopper::new();
        for _ in 0..Self::CALLS {
            stopper.start(l, Self::NAME);
            l.hand_over();
        }
        Self(stopper)
    }

    /// Lets them go; so many others complete with them.
    pub(crate) fn pull(self, l: &mut Ledger, others: usize) -> Vec<Entry> {
        let _open = self.0.pull();
        let (plugs, others) = l
            .take(Self::CALLS + others)
            .into_iter()
            .partition::<Vec<_>, _>(|entry| entry.user_data() == Self::NAME);
        plugs.into_iter().for_each(|entry| l.dispose(entry));
        others
    }
}

/// Workers look a directory up by its number when they come to it: whoever closes it in flight may
/// change another one. What readiness was told to attach, it keeps open, both of two.
fn a_directory_closed_in_flight(cx: &mut Cx) {
    for attached in [false, true] {
        let [first, second, new] = [Tree::new(), Tree::new(), Tree::new()];
        for tree in [&first, &second, &new] {
            tree.file("file");
            tree.file("other");
        }
        let places = [first.open(), second.open()];
        let mut l = Plug::ledger(cx);
        let plug = Plug::new(&mut l);
        if attached {
            for place in &places {
                l.at(place);
            }
        }
        let [a, b] = places.each_ref().map(kit::plain);
        l.start(MakeDir::new(a, c"made", 0o777), 1);
        l.start(Rename::new(a, c"file", b, c"renamed"), 2);
        l.start(HardLink::new(b, c"other", a, c"linked"), 3);
        let create = OpenOptions::new().write(true).create_new(true);
        let open = l.start(OpenAt::new(a, c"opened", create), 4);
        l.hand_over();
        for place in &places {
            kit::replace(&new.open(), place.as_raw_fd());
        }
        for entry in plug.pull(&mut l, 4) {
            if entry.user_data() == 4 {
                drop(l.finish(open, entry).unwrap());
            } else {
                assert_eq!(entry.into_result().unwrap(), 0);
            }
        }
        let [first, second, new] = [first, second, new].map(|tree| {
            let has = ["file", "made", "linked", "renamed", "opened"].map(|name| tree.has(name));
            has.map(u8::from)
        });
        if attached && !cx.is_io_uring() {
            assert_eq!([first, second], [[0, 1, 1, 0, 1], [1, 0, 0, 1, 0]]);
            assert_eq!(new, [1, 0, 0, 0, 0]);
        } else {
            assert_eq!([first, second], [[1, 0, 0, 0, 0]; 2]);
            assert_eq!(new, [0, 1, 1, 1, 1]);
        }
    }
}

/// One of each kind, by its directory.
fn start_each(l: &mut Ledger, dir: BorrowedFd<'static>) -> usize {
    l.start(Unlink::file(dir, c("full/x")), 0);
    l.start(Unlink::directory(dir, c("empty")), 1);
    l.start(Rename::new(dir, c("file"), dir, c("renamed")), 2);
    l.start(MakeDir::new(dir, c("made"), 0o777), 3);
    l.start(Symlink::new(c("text"), dir, c("symbolic")), 4);
    l.start(HardLink::new(dir, c("other"), dir, c("linked")), 5);
    l.start(StatAt::new(dir, c("other")).follow(false), 6);
    7
}

fn cancelled_before_the_submit(cx: &mut Cx) {
    let tree = Tree::full();
    let before = tree.listing();
    let directory = tree.open();
    let mut l = cx.ledger();
    let n = start_each(&mut l, kit::plain(&directory));
    for user_data in 0..n {
        l.try_cancel(user_data).unwrap();
    }
    let errnos = kit::errnos(&l.take(n));
    // io_uring starts them all first: some may be done by then.
    if !cx.is_io_uring() {
        assert_eq!(errnos, [code::ECANCELED].repeat(n));
        assert_eq!(tree.listing(), before);
    }
    assert!(
        errnos
            .iter()
            .all(|errno| [0, code::ECANCELED].contains(errno))
    );
}

/// What no worker has begun is cancelled at once, and changes nothing.
fn cancelled_behind_others(cx: &mut Cx) {
    let tree = Tree::full();
    let before = tree.listing();
    let directory = tree.open();
    let mut l = Plug::ledger(cx);
    let plug = Plug::new(&mut l);
    let n = start_each(&mut l, kit::plain(&directory));
    l.hand_over();
    for user_data in 0..n {
        l.try_cancel(user_data).unwrap();
        let entry = l.one();
        assert_eq!(entry.user_data(), user_data);
        assert_eq!(entry.raw_os_error(), Some(code::ECANCELED));
    }
    assert!(plug.pull(&mut l, 0).is_empty());
    assert_eq!(tree.listing(), before);
}

/// A cancel that comes late hits neither the old operation nor one that is pushed after it.
fn cancelled_too_late(cx: &mut Cx) {
    let tree = Tree::new();
    let directory = tree.open();
    let mut l = cx.ledger();
    let dir = l.at(&directory);
    l.start(MakeDir::new(dir, c"made", 0o777), 1);
    assert_eq!(l.one().into_result().unwrap(), 0);
    l.try_cancel(1).unwrap();
    l.start(Unlink::directory(dir, c"made"), 1);
    assert_eq!(l.one().into_result().unwrap(), 0);
    assert!(!tree.has("made"));
}

/// I1: wholly, or not at all; the entry says which.
fn done_or_cancelled(cx: &mut Cx) {
    let tree = Tree::new();
    let directory = tree.open();
    let mut l = cx.ledger();
    let dir = l.at(&directory);
    let make = l.lend(MakeDir::new(dir, c"a", 0o777));
    let rename = l.lend(Rename::new(dir, c"a", dir, c"b"));
    for n in 0..500 {
        let _ = fs::remove_dir(tree.at("a"));
        let _ = fs::remove_dir(tree.at("b"));
        l.push(make, n);
        let entry = cancel_soon(&mut l, n);
        assert_eq!(tree.has("a"), entry.result().is_ok(), "{entry:?}");
        let _ = fs::create_dir(tree.at("a"));
        l.push(rename, n);
        let entry = cancel_soon(&mut l, n);
        assert_eq!(tree.has("b"), entry.result().is_ok(), "{entry:?}");
        assert_ne!(tree.has("b"), tree.has("a"));
    }
}

/// Cancels what was pushed, in a third of the rounds at once; its entry.
fn cancel_soon(l: &mut Ledger, round: usize) -> Entry {
    let mut entry = None;
    if round % 3 != 0 {
        l.submit(Some(Duration::ZERO), &mut entry).unwrap();
    }
    for _ in 0..round * 7 % 64 * 64 {
        std::hint::spin_loop();
    }
    l.try_cancel(round).unwrap();
    let entry = entry.unwrap_or_else(|| l.one());
    assert!(
        [0, code::ECANCELED].contains(&kit::errno(&entry)),
        "{entry:?}"
    );
    entry
}

/// I5: nor are the names read: their memory is gone.
fn what_was_only_pushed_is_not_executed(cx: &mut Cx) {
    let tree = Tree::full();
    let before = tree.listing();
    let directory = tree.open();
    let dir = kit::plain(&directory);
    let mut l = cx.ledger();
    start_each(&mut l, dir);
    let op = l.start(MakeDir::new(dir, c("freed"), 0o777), 10);
    l.free(op);
    let op = l.start(Rename::new(dir, c("file"), dir, c("freed")), 11);
    l.free(op);
    l.abandon();
    assert_eq!(tree.listing(), before);
}

/// I5: each is carried out wholly or not at all, and no more once the driver is gone.
fn a_dropped_driver_leaves_no_halves(cx: &mut Cx) {
    for round in 0..20 {
        let tree = Tree::full();
        let directory = tree.open();
        let mut l = cx.ledger();
        start_each(&mut l, kit::plain(&directory));
        if kit::EXCHANGES {
            let exchange = Rename::new(Cwd, tree.c_string("link"), Cwd, tree.c_string("dangling"));
            l.start(exchange.exchange(true), 7);
        }
        let mut entries = Vec::with_capacity(8);
        if round % 2 == 0 {
            l.submit(Some(Duration::ZERO), &mut entries).unwrap();
        } else {
            l.submit(None, &mut entries).unwrap();
        }
        l.abandon();
        drop(directory);
        let after = tree.listing();
        assert_ne!(tree.has("file"), tree.has("renamed"));
        if kit::EXCHANGES {
            let links = ["link", "dangling"].map(|name| fs::read_link(tree.at(name)).unwrap());
            let texts = ["file", "nowhere"].map(PathBuf::from);
            assert!(links == texts || links.iter().rev().eq(&texts));
        }
        let other = fs::read(tree.at("other")).unwrap();
        assert_eq!(other, b"other");
        for entry in &entries {
            assert_eq!(entry.result().unwrap(), 0, "{entry:?}");
        }
        assert_eq!(tree.listing(), after, "nothing happens later");
    }
}
