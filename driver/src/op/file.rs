//! Operations on files: positioned reads and writes, open, close.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, FileCall, PathCall};
use super::path::plain;
use super::rw_flags::{Position, positioned};
use super::transfer::Transfer;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::{IntoInner, IoBuf, IoBufMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::{Descriptor, Owns};
use crate::sys;
use crate::sys::fd::OwnedFd;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;

/// Reads from a file at an offset into a buffer, without moving the file's position.
///
/// Completes with the number of bytes read, at most 0x7fff_f000; 0 at the end of the file, and for
/// a buffer without room. A `Vec` is read into its spare capacity, a `&mut [u8]` into its whole
/// length.
///
/// Errors: as [pread(2)](https://man7.org/linux/man-pages/man2/pread.2.html), unchanged; an offset
/// above `i64::MAX` is refused ([`Refusal::Offset`]).
///
/// io_uring: `IORING_OP_READ`, Linux 5.6; on pipes the kernel ignores the offset, and to read
/// nothing is a success of a directory too (`EISDIR`). readiness: `pread` on a worker thread,
/// `preadv2` if there are [flags](Self::flags); files without a position give `ESPIPE`. IOCP:
/// `ReadFile`, on a worker thread where the handle takes no overlapped calls; no flags.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, ReadAt};
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
///
/// let file = OwnedFd::from(File::open("Cargo.toml")?);
/// let mut op = ReadAt::new(file, 0, Vec::with_capacity(16));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let n = unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(op.buf().len(), n);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct ReadAt<F, B> {
    head: OpHead,
    position: Position,
    pub(super) transfer: Transfer<F, B>,
}

impl<F: Descriptor, B: IoBufMut> ReadAt<F, B> {
    /// Reads from `fd` at `offset` into `buf`.
    pub fn new(fd: F, offset: u64, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            position: Position::at(offset),
            transfer: Transfer::new(fd, buf),
        }
    }
}

/// Writes a buffer to a file at an offset, without moving the file's position.
///
/// Completes with the number of bytes written, at most 0x7fff_f000, which may be fewer than given.
///
/// Errors: as [pwrite(2)](https://man7.org/linux/man-pages/man2/pwrite.2.html), unchanged; an
/// offset above `i64::MAX` is refused ([`Refusal::Offset`]). It is made for files: to a pipe or a
/// socket that nobody reads, io_uring before Linux 6.18 raises `SIGPIPE` beside `EPIPE` (Rust
/// programs ignore that signal unless they say otherwise); [`Send`](super::Send) never does. Beyond
/// the limit of file sizes (`RLIMIT_FSIZE`) it is `EFBIG`, beside which a write that is made at
/// once on the driver's thread raises `SIGXFSZ`, which ends programs that do not ignore it: on
/// io_uring one with `O_DIRECT`, on readiness one with [`RwFlags::NOWAIT`](super::RwFlags::NOWAIT),
/// or without workers.
///
/// io_uring: `IORING_OP_WRITE`, Linux 5.6. readiness: `pwrite` on a worker thread, `pwritev2` if
/// there are [flags](Self::flags).
/// IOCP: `WriteFile`, on a worker thread where the handle takes no overlapped calls; no flags.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, WriteAt};
/// use std::fs::OpenOptions;
/// use std::os::fd::OwnedFd;
///
/// let null = OpenOptions::new().write(true).open("/dev/null")?;
/// let mut op = WriteAt::new(OwnedFd::from(null), 0, "text");
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 4);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct WriteAt<F, B> {
    head: OpHead,
    position: Position,
    pub(super) transfer: Transfer<F, B>,
}

impl<F: Descriptor, B: IoBuf> WriteAt<F, B> {
    /// Writes `buf` to `fd` at `offset`.
    pub fn new(fd: F, offset: u64, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            position: Position::at(offset),
            transfer: Transfer::new(fd, buf),
        }
    }
}

super::transfer_accessors!(ReadAt, WriteAt);

impl<F, B> ReadAt<F, B> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes.
    ///
    /// Instead of `finish`, for all flights but the last: that one's `finish` then counts every
    /// byte. After an error the count stays, for whoever asks [`advanced`](Self::advanced). With a
    /// `Vec` it is simpler to call `finish` each time: the next flight goes on in what is spare.
    /// `examples/cp` goes on so after short reads and writes.
    ///
    /// # Safety
    /// The last flight wrote at least `n` bytes: its last entry said so, and `finish` was not
    /// called with it.
    pub unsafe fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

impl<F, B> WriteAt<F, B> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes.
    ///
    /// Instead of `finish`, for all flights but the last: that one's `finish` then counts every
    /// byte. After an error the count stays, for whoever asks [`advanced`](Self::advanced).
    pub fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

positioned!(ReadAt<B>, WriteAt<B>);

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBufMut> OpCode for ReadAt<F, B> {}

impl<F: Descriptor, B: IoBufMut> Describe for ReadAt<F, B> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let (offset, flags) = op.position.after(op.transfer.progress.done())?;
        let (target, ptr, len) = op.transfer.room();
        let call = FileCall::Read {
            ptr,
            len,
            offset,
            flags,
        };
        Ok(Call::File { target, call })
    }
}

impl<F: Descriptor, B: IoBufMut> Op for ReadAt<F, B> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.transfer.finish_read(entry) }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBuf> OpCode for WriteAt<F, B> {}

impl<F: Descriptor, B: IoBuf> Describe for WriteAt<F, B> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let (offset, flags) = op.position.after(op.transfer.progress.done())?;
        let (target, ptr, len) = op.transfer.bytes();
        let call = FileCall::Write {
            ptr,
            len,
            offset,
            flags,
        };
        Ok(Call::File { target, call })
    }
}

impl<F: Descriptor, B: IoBuf> Op for WriteAt<F, B> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}

/// How a file is opened: the options of [`std::fs::OpenOptions`], and the flags of open(2).
///
/// ```
/// use completeio_driver::op::OpenOptions;
/// let append = OpenOptions::new().append(true).create(true).mode(0o600);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    direct: bool,
    custom_flags: i32,
    mode: u32,
}

impl OpenOptions {
    /// Nothing is set; a new file's mode is 0o666, less the umask.
    pub const fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            direct: false,
            custom_flags: 0,
            mode: 0o666,
        }
    }

    /// For reading.
    pub const fn read(mut self, yes: bool) -> Self {
        self.read = yes;
        self
    }

    /// For writing.
    pub const fn write(mut self, yes: bool) -> Self {
        self.write = yes;
        self
    }

    /// For writing at the end.
    pub const fn append(mut self, yes: bool) -> Self {
        self.append = yes;
        self
    }

    /// Empties the file.
    pub const fn truncate(mut self, yes: bool) -> Self {
        self.truncate = yes;
        self
    }

    /// Makes the file if there is none.
    pub const fn create(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// Makes the file, and fails with `EEXIST` if there is one.
    pub const fn create_new(mut self, yes: bool) -> Self {
        self.create_new = yes;
        self
    }

    /// Past the page cache: `O_DIRECT` of
    /// [open(2)](https://man7.org/linux/man-pages/man2/open.2.html). Memory, offsets and lengths
    /// must be aligned then, as [`Metadata::direct_io`](super::Metadata::direct_io) says; `EINVAL`
    /// if the file system has no such thing. macOS has no such flag: there it is `F_NOCACHE` of
    /// [fcntl(2)](https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/fcntl.2.html),
    /// told to the new file before the open completes, and nothing need be aligned. OpenBSD has
    /// neither: it completes with [`Unsupported`](std::io::ErrorKind::Unsupported). On Windows it
    /// is
    /// [`FILE_FLAG_NO_BUFFERING`](https://learn.microsoft.com/en-us/windows/win32/fileio/file-buffering).
    pub const fn direct(mut self, yes: bool) -> Self {
        self.direct = yes;
        self
    }

    /// More flags of [open(2)](https://man7.org/linux/man-pages/man2/open.2.html), such as
    /// `O_DIRECTORY`.
    pub const fn custom_flags(mut self, flags: i32) -> Self {
        self.custom_flags = flags;
        self
    }

    /// The mode of a new file.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The flags of open(2); close-on-exec is always among them.
    fn flags(&self) -> i32 {
        use sys::open_flags as o;
        let access = match (self.read, self.write || self.append) {
            (true, true) => o::RDWR,
            (false, true) => o::WRONLY,
            (_, false) => o::RDONLY,
        };
        let set = |on: bool, flag: i32| if on { flag } else { 0 };
        access
            | o::CLOEXEC
            | self.custom_flags
            | set(self.append, o::APPEND)
            | set(self.truncate, o::TRUNC)
            | set(self.create || self.create_new, o::CREAT)
            | set(self.create_new, o::EXCL)
            | set(self.direct, o::DIRECT)
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens a file by its path, relative to a directory.
///
/// Completes with the new descriptor, which is close-on-exec. `P` holds the path: a `&CStr`, a
/// `CString`, or anything that refers to one.
///
/// Errors: as [openat(2)](https://man7.org/linux/man-pages/man2/openat.2.html), unchanged; where
/// the flags are wrong too, io_uring gives the error of an empty or too long path. The directory
/// must be a plain descriptor, or [`Cwd`](crate::driver::Cwd); a fixed one is refused
/// ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_OPENAT`, Linux 5.6. readiness: `openat` on a worker thread.
/// IOCP: `CreateFileW` on a worker thread, for overlapped calls: the file has no current
/// position, and the standard library's own reads of it fail. Custom flags are `FILE_FLAG_…`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Cwd, Driver};
/// use completeio_driver::op::{Op, OpenAt};
/// use std::{fs::File, io::Read};
///
/// let mut op = OpenAt::read(Cwd, c"Cargo.toml");
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let mut file = File::from(unsafe { op.finish(entry.unwrap())? });
/// let mut text = String::new();
/// file.read_to_string(&mut text)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct OpenAt<F, P = CString> {
    head: OpHead,
    dir: F,
    path: P,
    options: OpenOptions,
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> OpenAt<F, P> {
    /// Opens `path`, relative to `dir`, as `options` say.
    pub fn new(dir: F, path: P, options: OpenOptions) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            dir,
            path,
            options,
        }
    }

    /// Opens `path` for reading.
    pub fn read(dir: F, path: P) -> Self {
        Self::new(dir, path, OpenOptions::new().read(true))
    }
}

impl<F, P> IntoInner for OpenAt<F, P> {
    type Inner = (F, P);

    fn into_inner(self) -> (F, P) {
        (self.dir, self.path)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, P: AsRef<CStr> + Unpin> OpCode for OpenAt<F, P> {}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> Describe for OpenAt<F, P> {
    const MAKES_FD: bool = true;

    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Path(PathCall::Open {
            dir: plain(&op.dir)?,
            path: op.path.as_ref().as_ptr(),
            flags: op.options.flags(),
            mode: op.options.mode,
        }))
    }
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> Op for OpenAt<F, P> {
    type Fd = F;
    type Output = OwnedFd;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<OwnedFd> {
        entry.into_fd().map_err(Entry::into_error)
    }
}

/// Closes a descriptor: a plain one, or a place in the driver's table.
///
/// Completes when the kernel has closed it. The descriptor is gone whatever the result is, so never
/// close again after an error; the operation itself is refused ([`Refusal::Closed`]) when it is
/// pushed a second time. Once pushed, it no longer closes what it holds when it is dropped. It
/// cannot be cancelled once the kernel has begun; one that io_uring had put off and cancelled
/// (`ECANCELED`) may leave its descriptor open. Operations still in flight on the same file:
/// io_uring lets them run to their end; readiness completes those that wait with `EBADF`.
///
/// Errors: as [close(2)](https://man7.org/linux/man-pages/man2/close.2.html), unchanged.
///
/// io_uring: `IORING_OP_CLOSE`, Linux 5.6, fixed 5.15. readiness: `close` in place for sockets, on
/// a worker thread else.
/// IOCP: on a worker thread; operations in flight on it are ended first.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Close, Op};
/// use std::{fs::File, os::fd::OwnedFd};
///
/// let mut op = Close::new(OwnedFd::from(File::open("Cargo.toml")?));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// # Ok::<(), std::io::Error>(())
/// ```
#[repr(C)]
pub struct Close<F: Owns> {
    head: OpHead,
    fd: ManuallyDrop<F>,
    hold: Hold,
}

/// Who has the descriptor of a [`Close`].
///
/// | state | a drop of the operation | what comes next |
/// |---|---|---|
/// | `Ours` | closes it | `Pushed` |
/// | `Pushed` | leaves it: the driver has it, or will never have it | `GivenUp`; `Ours` when it was never handed over, and its entry says so |
/// | `GivenUp` | nothing: it is closed, and its owner was told | |
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Ours,
    Pushed,
    GivenUp,
}

impl<F: Owns> Close<F> {
    /// Closes `fd`.
    pub fn new(fd: F) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd: ManuallyDrop::new(fd),
            hold: Hold::Ours,
        }
    }
}

impl<F: Owns> Drop for Close<F> {
    fn drop(&mut self) {
        if self.hold == Hold::Ours {
            // SAFETY: (I16) never pushed: the value is there, and is dropped once.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

impl<F: Owns> fmt::Debug for Close<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").finish_non_exhaustive()
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Owns> OpCode for Close<F> {}

impl<F: Owns> Describe for Close<F> {
    const CANCELLABLE: bool = false;

    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        if op.hold != Hold::Ours {
            return Err(Refusal::Closed);
        }
        let target = op.fd.target();
        op.hold = Hold::Pushed;
        Ok(Call::Close { target })
    }
}

impl<F: Owns> Close<F> {
    /// Tells the descriptor's owner that it is closed, if it is.
    fn give_up(&mut self, entry: &Entry) {
        if self.hold != Hold::Pushed || entry.refusal().is_some() {
            return;
        }
        if entry.is_discarded() {
            self.hold = Hold::Ours;
        } else {
            self.hold = Hold::GivenUp;
            // SAFETY: (I16) the value is there until now, and is taken once.
            unsafe { ManuallyDrop::take(&mut self.fd) }.give_up();
        }
    }
}

impl<F: Owns> Op for Close<F> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        self.give_up(&entry);
        entry.into_result().map(drop)
    }

    unsafe fn dispose(&mut self, entry: Entry) {
        self.give_up(&entry);
    }
}
