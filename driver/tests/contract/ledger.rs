//! The harness: a driver whose books are kept, and the runner that checks what a test leaves.

pub(crate) use crate::book::Lent;
use crate::book::{Book, Booked, Held};
use crate::ends::Site;
use crate::kit;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{
    AsRawFd, Backend, Builder, CompleteIo, Driver, Entry, Fd, Full, SetupError, Support, Wait,
};
use completeio_driver::op::{Op, OpObject};
use completeio_driver::sink::Sink;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// One `#[test]` for each function and each backend of this build. What is about the system itself
/// stands under `on_host`, and runs on its backends alone; the simulated one has what is
/// `everywhere`. What is about Unix stands under `on_unix`, and what is about Linux, whatever the
/// backend, under `on_linux`; what cannot be set up on macOS and the BSDs under `not_on_bsd`.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        contract! { on_host: [$($name),*] }
    };
    (
        $(everywhere: [$($all:ident),* $(,)?] $(,)?)?
        $(on_host: [$($host:ident),* $(,)?] $(,)?)?
        $(on_unix: [$($unix:ident),* $(,)?] $(,)?)?
        $(not_on_bsd: [$($known:ident),* $(,)?] $(,)?)?
        $(on_linux: [$($linux:ident),* $(,)?] $(,)?)?
    ) => {
        #[cfg(io_uring)]
        column! {
            io_uring IoUring
            $($($all)*)? $($($host)*)? $($($unix)*)? $($($known)*)? $($($linux)*)?
        }
        #[cfg(all(readiness, target_os = "linux"))]
        column! {
            readiness Readiness
            $($($all)*)? $($($host)*)? $($($unix)*)? $($($known)*)? $($($linux)*)?
        }
        #[cfg(all(readiness, not(target_os = "linux")))]
        column! { readiness Readiness $($($all)*)? $($($host)*)? $($($unix)*)? }
        #[cfg(iocp)]
        column! { iocp Iocp $($($all)*)? $($($host)*)? $($($known)*)? }
        #[cfg(sim)]
        column! { sim Sim $($($all)*)? }
    };
}

/// The tests of one backend.
macro_rules! column {
    ($column:ident $backend:ident $($name:ident)*) => {
        mod $column {
            $(#[test]
            fn $name() {
                let name = concat!(module_path!(), "::", stringify!($name));
                let backend = completeio_driver::driver::Backend::$backend;
                crate::ledger::run(backend, name, super::$name);
            })*
        }
    };
}

/// After so long without a completion a test is taken for hung: with a planted defect many are, and
/// nothing else runs.
const PATIENCE: Duration = Duration::from_secs(if cfg!(planted) { 20 } else { 60 });

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs one test on one backend, alone in the process; insists on no leaked descriptor (I16) and on
/// an end, or a completion within each minute.
pub(crate) fn run(backend: Backend, name: &'static str, body: fn(&mut Cx)) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Miri is slow, and its descriptors are its own.
    let _watchdog = (!cfg!(miri)).then(|| kit::Watchdog::new(name, PATIENCE));
    let before = kit::open_fds();
    match Cx::new(backend) {
        Ok(mut cx) => {
            body(&mut cx);
            assert_eq!(cx.open_descriptors(), 0, "I16: on a simulated host");
        }
        Err(error) if error.is_restricted() => {
            // Not `eprintln!`, which the test harness would swallow.
            let _ = writeln!(io::stderr(), "skipped: {name}: {error}");
        }
        Err(error) => panic!("{error}"),
    }
    assert_eq!(before, kit::open_fds(), "descriptors before and after");
}

/// What a test is given.
pub(crate) struct Cx {
    backend: Backend,
    site: Site,
}

impl Deref for Cx {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Cx {
    pub(crate) fn new(backend: Backend) -> Result<Self, SetupError> {
        #[cfg(sim)]
        if backend == Backend::Sim {
            let site = Site::simulated();
            return Ok(Self { backend, site });
        }
        Driver::builder().backend(backend).build()?;
        let site = Site::default();
        Ok(Self { backend, site })
    }

    pub(crate) fn is_io_uring(&self) -> bool {
        self.backend == Backend::IoUring
    }

    pub(crate) fn is_readiness(&self) -> bool {
        self.backend == Backend::Readiness
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.with(|limits| limits)
    }

    /// A driver without a ledger.
    pub(crate) fn driver(&self, limits: impl FnOnce(Builder) -> Builder) -> Driver<'static> {
        let builder = limits(Driver::builder().backend(self.backend));
        self.site.driver(builder)
    }

    pub(crate) fn with(&self, limits: impl FnOnce(Builder) -> Builder) -> Ledger {
        Ledger {
            site: self.site.clone(),
            driver: Some(self.driver(limits)),
            book: Book::default(),
            held: Vec::new(),
            fresh: 1 << 40,
            typed: false,
        }
    }
}

/// A driver, the operations that are lent to it, and the books.
///
/// Its drop cancels what is left, takes it out, and checks the books. Sockets and files that
/// operations name are declared before it, so that they outlive it.
pub(crate) struct Ledger {
    pub(crate) site: Site,
    driver: Option<Driver<'static>>,
    book: Book,
    /// Freed after the driver is gone.
    held: Vec<Held>,
    /// User data that no test uses.
    fresh: usize,
    /// The door that the last push went through.
    typed: bool,
}

impl Deref for Ledger {
    type Target = Driver<'static>;

    fn deref(&self) -> &Driver<'static> {
        self.driver.as_ref().expect("the driver was abandoned")
    }
}

impl DerefMut for Ledger {
    fn deref_mut(&mut self) -> &mut Driver<'static> {
        self.driver.as_mut().expect("the driver was abandoned")
    }
}

impl Ledger {
    /// Whether the report has this operation.
    pub(crate) fn supports(&self, operation: &'static str) -> bool {
        let operations = &self.capabilities().operations;
        !operations.contains(&(operation, Support::Missing))
    }

    /// Attaches what the test keeps open.
    pub(crate) fn at(&mut self, fd: &impl AsRawFd) -> Fd {
        self.attach(fd.as_raw_fd()).unwrap()
    }

    /// Takes an operation into keeping.
    pub(crate) fn lend<O: Op + 'static>(&mut self, op: O) -> Lent<O> {
        let (held, op) = Held::new(op);
        self.held.push(held);
        op
    }

    /// The same, of one that lies in `place`: memory that is left alone as long as the ledger
    /// lives.
    pub(crate) fn lend_at<O: Op + 'static>(&mut self, op: O, place: NonNull<O>) -> Lent<O> {
        let (held, op) = Held::at(op, place);
        self.held.push(held);
        op
    }

    /// Frees the memory of an operation that is not in flight.
    pub(crate) fn free<O: Op>(&mut self, op: Lent<O>) {
        self.held.retain(|held| !held.is(op));
    }

    /// An operation that is not in flight.
    pub(crate) fn op<O>(&mut self, mut op: Lent<O>) -> &mut O {
        // SAFETY: held until the ledger's drop, and out of flight as the test says.
        unsafe { op.0.as_mut() }
    }

    /// The operation as it is pushed; booked by `push_queue`.
    pub(crate) fn object<O: Op + 'static>(
        &mut self,
        op: Lent<O>,
        user_data: usize,
    ) -> OpObject<'static> {
        self.book.open(op, user_data);
        // SAFETY: out of flight as the test says, and held until the driver is gone.
        unsafe { OpObject::from_ptr(op.0, user_data) }
    }

    /// Pushes; whether it was accepted.
    pub(crate) fn try_push<O: Op + 'static>(
        &mut self,
        op: Lent<O>,
        user_data: usize,
    ) -> Result<(), Full<OpObject<'static>>> {
        let object = self.object(op, user_data);
        self.try_push_dyn(object)?;
        self.book.pushed(user_data);
        Ok(())
    }

    /// The same through the typed door, which hands back a reference.
    pub(crate) fn try_push_typed<O: Op + 'static>(
        &mut self,
        mut op: Lent<O>,
        user_data: usize,
    ) -> Result<(), Full<&'static mut O>> {
        self.book.open(op, user_data);
        // SAFETY: out of flight as the test says, and held until the driver is gone.
        Driver::try_push(self, unsafe { op.0.as_mut() }, user_data)?;
        self.book.pushed(user_data);
        Ok(())
    }

    /// Pushes through both doors in turn.
    pub(crate) fn push<O: Op + 'static>(&mut self, op: Lent<O>, user_data: usize) {
        self.typed = !self.typed;
        let pushed = if self.typed {
            self.try_push_typed(op, user_data).map_err(drop)
        } else {
            self.try_push(op, user_data).map_err(drop)
        };
        pushed.expect("there is room");
    }

    /// Takes into keeping, and pushes.
    pub(crate) fn start<O: Op + 'static>(&mut self, op: O, user_data: usize) -> Lent<O> {
        let op = self.lend(op);
        self.push(op, user_data);
        op
    }

    pub(crate) fn push_queue(&mut self, queue: &mut VecDeque<OpObject<'static>>) {
        let before: Vec<_> = queue.iter().map(OpObject::user_data).collect();
        CompleteIo::push_queue(&mut **self, queue);
        self.expect(&before[..before.len() - queue.len()]);
    }

    /// Books pushes that were made around the ledger.
    pub(crate) fn expect(&mut self, user_data: &[usize]) {
        for user_data in user_data {
            self.book.pushed(*user_data);
        }
    }

    pub(crate) fn submit<S: Sink + ?Sized>(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut S,
    ) -> io::Result<()> {
        let driver = self.driver.as_mut().unwrap();
        // SAFETY: the operations are held until the driver is gone; the test keeps files open.
        unsafe {
            driver.submit(
                timeout,
                &mut Booked {
                    book: &mut self.book,
                    sink,
                },
            )
        }
    }

    pub(crate) fn submit_until<S: Sink>(&mut self, wait: Wait, sink: &mut S) -> io::Result<()> {
        let driver = self.driver.as_mut().unwrap();
        // SAFETY: as in `submit`.
        unsafe {
            driver.submit_until(
                wait,
                &mut Booked {
                    book: &mut self.book,
                    sink,
                },
            )
        }
    }

    pub(crate) fn submit_queue<S: Sink>(
        &mut self,
        queue: &mut VecDeque<OpObject<'static>>,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()> {
        let before: Vec<_> = queue.iter().map(OpObject::user_data).collect();
        // Entries may come before it is known what was pushed.
        self.expect(&before);
        let driver = self.driver.as_mut().unwrap();
        let book = &mut self.book;
        // SAFETY: as in `submit`.
        let result = unsafe { driver.submit_queue(queue, wait, &mut Booked { book, sink }) };
        for op in queue {
            self.book.kept(op.user_data());
        }
        result
    }

    pub(crate) fn quiesce<S: Sink>(&mut self, deadline: Instant, sink: &mut S) -> usize {
        let driver = self.driver.as_mut().unwrap();
        // SAFETY: as in `submit`.
        unsafe {
            driver.quiesce(
                deadline,
                &mut Booked {
                    book: &mut self.book,
                    sink,
                },
            )
        }
        .unwrap()
    }

    pub(crate) fn prepare_wait(&mut self) -> completeio_driver::driver::PreparedWait {
        // SAFETY: as in `submit`.
        unsafe { (**self).prepare_wait() }.unwrap()
    }

    /// One turn without waiting: hands over, and takes what is there.
    pub(crate) fn turn(&mut self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.in_flight().max(1));
        self.submit(Some(Duration::ZERO), &mut entries).unwrap();
        entries
    }

    /// Hands over what was pushed, where nothing can complete.
    pub(crate) fn hand_over(&mut self) {
        let entries = self.turn();
        assert!(entries.is_empty(), "nothing completes yet: {entries:?}");
    }

    /// Waits for so many entries.
    pub(crate) fn take(&mut self, n: usize) -> Vec<Entry> {
        let mut taken = Vec::with_capacity(n);
        while taken.len() < n {
            let mut entry = None;
            self.submit(None, &mut entry).unwrap();
            taken.extend(entry);
        }
        taken
    }

    /// Waits for one entry.
    pub(crate) fn one(&mut self) -> Entry {
        self.take(1).remove(0)
    }

    /// Waits for so many entries, and sorts them by user data.
    pub(crate) fn take_sorted(&mut self, n: usize) -> Vec<Entry> {
        let mut entries = self.take(n);
        entries.sort_by_key(Entry::user_data);
        entries
    }

    pub(crate) fn finish<O: Op>(&mut self, op: Lent<O>, entry: Entry) -> io::Result<O::Output> {
        // SAFETY: the test passes the operation's last entry.
        unsafe { self.op(op).finish(entry) }
    }

    pub(crate) fn dispose(&mut self, entry: Entry) {
        self.book.dispose(entry);
    }

    /// Pushes alone, and waits for its entry.
    pub(crate) fn entry_of<O: Op + 'static>(&mut self, op: O) -> (Lent<O>, Entry) {
        self.fresh += 1;
        let user_data = self.fresh;
        let op = self.start(op, user_data);
        let entry = self.one();
        assert_eq!(entry.user_data(), user_data);
        assert!(!entry.more());
        (op, entry)
    }

    /// What comes out of one operation.
    pub(crate) fn run<O: Op + 'static>(&mut self, op: O) -> io::Result<O::Output> {
        let (op, entry) = self.entry_of(op);
        self.finish(op, entry)
    }

    /// The error number of an operation that fails in the kernel.
    #[track_caller]
    pub(crate) fn errno<O: Op + 'static>(&mut self, op: O) -> i32 {
        let (_, entry) = self.entry_of(op);
        match entry.raw_os_error() {
            Some(errno) => errno,
            None => panic!("it should fail: {entry:?}"),
        }
    }

    /// Drops the driver as it is; operations and buffers stay.
    pub(crate) fn abandon(&mut self) {
        drop(self.driver.take());
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.driver.is_none()
    }

    /// Cancels what is left, takes it out, and checks the books.
    pub(crate) fn settle(&mut self) {
        while self.in_flight() > 0 {
            let _full = self.try_cancel_all();
            let mut entries = Vec::with_capacity(64);
            self.submit(None, &mut entries).unwrap();
            for entry in entries {
                self.dispose(entry);
            }
        }
        self.book.check();
        let stats = self.stats();
        assert_eq!(stats.pushed, stats.completed, "I1: {stats:?}");
        assert_eq!(stats.unknown, 0, "I37: {stats:?}");
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.driver.is_some() && !thread::panicking() {
            self.settle();
        }
        self.abandon();
    }
}
