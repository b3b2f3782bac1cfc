//! What is known of a file beside its bytes.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, FileCall, PathCall};
use super::path::plain;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys::file::RawMetadata;
use crate::sys::name_flags as flag;
use std::ffi::{CStr, CString};
use std::io;
use std::time::SystemTime;

/// Asks for the metadata of an open file of any type.
///
/// Completes with [`Metadata`].
///
/// Errors: as [statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html), unchanged. The
/// descriptor must be a plain one, or [`Cwd`](crate::driver::Cwd); a fixed one is refused
/// ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_STATX`, Linux 5.6. readiness: `statx` on a worker thread, in place for what
/// has no disk.
/// IOCP: `GetFileInformationByHandle` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Stat};
/// use std::fs::File;
/// use std::os::fd::OwnedFd;
///
/// let mut op = Stat::new(OwnedFd::from(File::open("Cargo.toml")?));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let metadata = unsafe { op.finish(entry.unwrap())? };
/// assert!(metadata.is_file() && metadata.size() > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Stat<F> {
    head: OpHead,
    fd: F,
    raw: RawMetadata,
}

impl<F: Descriptor> Stat<F> {
    /// Asks for the metadata of `fd`.
    pub fn new(fd: F) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            raw: RawMetadata::default(),
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Stat<F> {}

impl<F: Descriptor> Describe for Stat<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let to = unsafe { &raw mut (*this).raw };
        // SAFETY: (D2) `this` is valid and not in flight.
        let fd = unsafe { &(*this).fd };
        let target = plain(fd)?;
        let call = FileCall::Stat { to };
        Ok(Call::File { target, call })
    }
}

impl<F: Descriptor> Op for Stat<F> {
    type Fd = F;
    type Output = Metadata;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<Metadata> {
        entry.into_result()?;
        Ok(Metadata::from_raw(&self.raw))
    }
}

impl<F> IntoInner for Stat<F> {
    type Inner = F;

    fn into_inner(self) -> F {
        self.fd
    }
}

/// Asks for the metadata of a file that a path leads to, relative to a directory.
///
/// Completes with [`Metadata`]. The file need not be readable, nor is it opened.
///
/// Errors: as [statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html), unchanged. The
/// directory must be a plain descriptor, or [`Cwd`](crate::driver::Cwd), and open until this
/// completes; a fixed one is refused ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_STATX`, Linux 5.6. readiness: `statx` on a worker thread.
/// IOCP: the same of a handle that is opened for it.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Cwd, Driver};
/// use completeio_driver::op::{Op, StatAt};
///
/// let mut op = StatAt::new(Cwd, c"Cargo.toml");
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let metadata = unsafe { op.finish(entry.unwrap())? };
/// assert!(metadata.is_file() && metadata.size() > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct StatAt<F, P = CString> {
    head: OpHead,
    dir: F,
    path: P,
    flags: i32,
    raw: RawMetadata,
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> StatAt<F, P> {
    /// Asks for the metadata of `path`, relative to `dir`.
    pub fn new(dir: F, path: P) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            dir,
            path,
            flags: 0,
            raw: RawMetadata::default(),
        }
    }
}

impl<F, P> StatAt<F, P> {
    /// Of a symbolic link, asks for what it leads to, as without this; or, with `false`, for the
    /// link itself (`AT_SYMLINK_NOFOLLOW`).
    pub fn follow(mut self, yes: bool) -> Self {
        self.flags = if yes { 0 } else { flag::NO_FOLLOW };
        self
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, P: AsRef<CStr> + Unpin> OpCode for StatAt<F, P> {}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> Describe for StatAt<F, P> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        Ok(Call::Path(PathCall::Stat {
            dir: plain(&op.dir)?,
            path: op.path.as_ref().as_ptr(),
            flags: op.flags,
            to: &raw mut op.raw,
        }))
    }
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> Op for StatAt<F, P> {
    type Fd = F;
    type Output = Metadata;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<Metadata> {
        entry.into_result()?;
        Ok(Metadata::from_raw(&self.raw))
    }
}

impl<F, P> IntoInner for StatAt<F, P> {
    type Inner = (F, P);

    fn into_inner(self) -> (F, P) {
        (self.dir, self.path)
    }
}

/// What type a file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A pipe.
    Pipe,
    /// A socket.
    Socket,
    /// Of none of these: a file that only the kernel names.
    Other,
}

/// How reads and writes of a file that is open with `O_DIRECT` must be aligned, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectIo {
    /// Of a buffer's address.
    pub memory: u32,
    /// Of offsets and lengths.
    pub offset: u32,
}

/// What is known of a file beside its bytes; a file system without one of these gives what it
/// gives to `stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata(Fields);

/// The same, as a platform fills it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) links: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) ino: u64,
    pub(crate) dev: u64,
    pub(crate) rdev: u64,
    pub(crate) blocks: u64,
    pub(crate) block_size: u32,
    pub(crate) accessed: SystemTime,
    pub(crate) modified: SystemTime,
    pub(crate) changed: SystemTime,
    pub(crate) created: Option<SystemTime>,
    pub(crate) direct_io: Option<DirectIo>,
}

impl Metadata {
    /// Of what the kernel has written.
    pub(crate) fn from_raw(raw: &RawMetadata) -> Self {
        Self(raw.fields())
    }

    /// The size in bytes; of a symbolic link, its text's.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The type.
    pub fn kind(&self) -> FileKind {
        const TYPE: u32 = 0o170_000;
        match self.0.mode & TYPE {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            0o060_000 => FileKind::BlockDevice,
            0o020_000 => FileKind::CharDevice,
            0o010_000 => FileKind::Pipe,
            0o140_000 => FileKind::Socket,
            _other => FileKind::Other,
        }
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == FileKind::File
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == FileKind::Directory
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind() == FileKind::Symlink
    }

    /// Type and permissions, as `st_mode` of
    /// [inode(7)](https://man7.org/linux/man-pages/man7/inode.7.html).
    pub fn mode(&self) -> u32 {
        self.0.mode
    }

    /// How many names it has.
    pub fn nlink(&self) -> u64 {
        self.0.links
    }

    /// Its owner.
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// Its group.
    pub fn gid(&self) -> u32 {
        self.0.gid
    }

    /// Its number on its device.
    pub fn ino(&self) -> u64 {
        self.0.ino
    }

    /// The device that it is on, as [`MetadataExt::dev`](std::os::unix::fs::MetadataExt::dev).
    pub fn dev(&self) -> u64 {
        self.0.dev
    }

    /// The device that it is; 0 for most files.
    pub fn rdev(&self) -> u64 {
        self.0.rdev
    }

    /// The space that it takes, in units of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.0.blocks
    }

    /// A good size for its reads and writes, in bytes.
    pub fn block_size(&self) -> u32 {
        self.0.block_size
    }

    /// When it was last read, as far as the mount keeps track.
    pub fn accessed(&self) -> SystemTime {
        self.0.accessed
    }

    /// When its bytes were last changed.
    pub fn modified(&self) -> SystemTime {
        self.0.modified
    }

    /// When it was last changed, metadata included.
    pub fn changed(&self) -> SystemTime {
        self.0.changed
    }

    /// When it was made, if the file system remembers.
    pub fn created(&self) -> Option<SystemTime> {
        self.0.created
    }

    /// How `O_DIRECT` reads and writes must be aligned. `None` if the file has none, or if the
    /// file system or the kernel (Linux before 6.1) does not say.
    pub fn direct_io(&self) -> Option<DirectIo> {
        self.0.direct_io
    }
}
