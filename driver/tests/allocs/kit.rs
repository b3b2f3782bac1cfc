//! What the operations are made of, and the driver that they are pushed to.

use completeio_driver::driver::{
    CompleteIo, Descriptor, Driver, Entry, OwnedFd, Owns, RawFd, Refusal, Target, Wait,
};
use completeio_driver::op::{Op, OpCode, OpObject};
use std::ffi::CString;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::time::Duration;
use std::{env, fs, process};

/// A number that is never open.
pub(crate) const CLOSED: RawFd = RawFd::MAX;

/// A place of the table that is used, and one that is not there.
pub(crate) const PLACE: u32 = 3;

pub(crate) const NO_PLACE: u32 = 1 << 19;

pub(crate) const TEXT: &[u8] = b"0123456789abcdef";

pub(crate) type Bytes = Box<[u8]>;

/// Of several buffers.
pub(crate) type Texts = [&'static [u8]; 2];

/// An operation at a fixed address, reached through one pointer only.
pub(crate) struct Lent<O>(pub(crate) NonNull<O>);

impl<O> Lent<O> {
    pub(crate) fn new(op: O) -> Self {
        Self(NonNull::from(Box::leak(Box::new(op))))
    }

    /// The operation; not while it is in flight.
    pub(crate) fn op(&mut self) -> &mut O {
        // SAFETY: leaked by `new`; nobody asks while it is in flight.
        unsafe { self.0.as_mut() }
    }
}

impl<O> Drop for Lent<O> {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`, and freed here only; the driver is gone by then.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A plain number, for operations that are made before the driver is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number(pub(crate) RawFd);

// SAFETY: a stored number, never changed.
unsafe impl Descriptor for Number {
    fn target(&self) -> Target {
        Target::Plain(self.0)
    }
}

// SAFETY: a number without a destructor: nothing closes it.
unsafe impl Owns for Number {
    fn give_up(self) {}
}

/// A place in the driver's table.
#[derive(Clone, Copy)]
pub(crate) struct Fixed(pub(crate) u32);

// SAFETY: a stored number, never changed.
unsafe impl Descriptor for Fixed {
    fn target(&self) -> Target {
        Target::Fixed(self.0)
    }
}

/// Descriptors of all kinds.
pub(crate) struct Files {
    /// A directory of this test's own.
    pub(crate) dir: PathBuf,
    pub(crate) directory: File,
    pub(crate) file: File,
    pub(crate) null: File,
    pub(crate) left: UnixStream,
    pub(crate) right: UnixStream,
    pub(crate) listener: TcpListener,
    /// One that connects, one that is refused, one that does not listen.
    pub(crate) sockets: [OwnedFd; 3],
    /// To be closed.
    pub(crate) spare: RawFd,
    /// A pipe, a FIFO opened by its name, and a pipe that nobody reads.
    pub(crate) pipes: [OwnedFd; 5],
}

impl Files {
    pub(crate) fn new() -> Self {
        let dir = env::temp_dir().join(format!("completeio-allocs-{}", process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("file");
        fs::write(&path, TEXT).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let directory = File::open(&dir).unwrap();
        let null = File::open("/dev/null").unwrap();
        let spare = null.try_clone().unwrap().into_raw_fd();
        let (left, right) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = [tcp_socket(), tcp_socket(), tcp_socket()];
        Self {
            pipes: pipes(&dir),
            dir,
            directory,
            file,
            null,
            left,
            right,
            listener,
            sockets,
            spare,
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn pipes(dir: &Path) -> [OwnedFd; 5] {
    let pipe = || {
        let mut fds = [-1; 2];
        // SAFETY: the call writes two numbers.
        assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
        // SAFETY: just made, and known to nobody else.
        fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let [reader, writer] = pipe();
    let name = dir.join("fifo");
    let c_string = CString::new(name.to_str().unwrap()).unwrap();
    // SAFETY: a path that lives as long as the call.
    assert_eq!(unsafe { libc::mkfifo(c_string.as_ptr(), 0o600) }, 0);
    let mut both = File::options();
    let fifo = both.read(true).write(true).open(name).unwrap();
    let [other, unread] = pipe();
    drop(other);
    let fifo_writer = fifo.try_clone().unwrap();
    [reader, writer, fifo.into(), fifo_writer.into(), unread]
}

pub(crate) fn tcp_socket() -> OwnedFd {
    // SAFETY: takes three numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
    // SAFETY: just made, and known to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) fn room() -> Bytes {
    vec![0; 64].into_boxed_slice()
}

/// A driver, and where its entries go.
pub(crate) struct Rig<'a> {
    pub(crate) driver: Driver<'static>,
    pub(crate) entries: &'a mut Vec<Entry>,
}

impl Rig<'_> {
    /// Pushes through a thin pointer.
    pub(crate) fn push<O: OpCode + 'static>(&mut self, op: &Lent<O>, id: usize) {
        // SAFETY: not in flight; it lives until the driver is gone.
        let object = unsafe { OpObject::from_ptr(op.0, id) };
        assert!(self.driver.try_push_dyn(object).is_ok(), "full");
    }

    /// Pushes by type.
    pub(crate) fn push_typed<O: OpCode + 'static>(&mut self, op: &Lent<O>, id: usize) {
        // SAFETY: not in flight; it lives until the driver is gone.
        let lent = unsafe { &mut *op.0.as_ptr() };
        assert!(self.driver.try_push(lent, id).is_ok(), "full");
    }

    pub(crate) fn submit(&mut self, timeout: Option<Duration>) {
        // SAFETY: operations are `Lent`, and outlive the driver.
        unsafe { self.driver.submit(timeout, self.entries) }.unwrap();
    }

    pub(crate) fn submit_until(&mut self, wait: Wait) {
        // SAFETY: as above.
        unsafe { self.driver.submit_until(wait, self.entries) }.unwrap();
    }

    /// The entry of an operation.
    pub(crate) fn wait(&mut self, id: usize) -> Entry {
        loop {
            let place = self
                .entries
                .iter()
                .position(|entry| entry.user_data() == id);
            if let Some(place) = place {
                return self.entries.swap_remove(place);
            }
            self.submit(None);
        }
    }

    /// Runs one operation to its end.
    pub(crate) fn run<O: Op + 'static>(
        &mut self,
        op: &mut Lent<O>,
        id: usize,
    ) -> std::io::Result<O::Output> {
        self.push(op, id);
        let entry = self.wait(id);
        // SAFETY: the entry of this operation's only flight.
        unsafe { op.op().finish(entry) }
    }

    /// The error number of an operation that fails.
    pub(crate) fn fail<O: Op + 'static>(&mut self, op: &mut Lent<O>, id: usize) -> i32 {
        self.push(op, id);
        self.wait(id).raw_os_error().unwrap()
    }

    /// Why an operation is refused.
    pub(crate) fn refuse<O: Op + 'static>(&mut self, op: &mut Lent<O>, id: usize) -> Refusal {
        self.push_typed(op, id);
        let entry = self.wait(id);
        assert!(entry.result().is_err());
        entry.refusal().unwrap()
    }

    /// Everything out.
    pub(crate) fn settle(&mut self) {
        while self.driver.in_flight() > 0 {
            self.submit(None);
        }
        self.entries.clear();
    }
}
