//! Operations on names in the file system: removing, renaming, making.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, PathCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::{Descriptor, Target};
use crate::sys::name_flags as flag;
use std::ffi::{CStr, CString};
use std::io;

/// A directory that names are looked up in: a plain descriptor.
#[inline]
pub(super) fn plain(dir: &impl Descriptor) -> Result<Target, Refusal> {
    match dir.target() {
        Target::Fixed(_) => Err(Refusal::FixedDescriptor),
        plain @ Target::Plain(_) => Ok(plain),
    }
}

/// What the operations on names have in common: they were carried out, or an error says why not.
macro_rules! carried_out {
    ($($op:ident<$($dir:ident),+; $($path:ident),+> { $fd:ty })*) => {$(
        // SAFETY: (D2) `repr(C)` with its head first.
        unsafe impl<$($dir: Descriptor,)+ $($path: AsRef<CStr> + Unpin,)+> OpCode
            for $op<$($dir,)+ $($path,)+> {}

        impl<$($dir: Descriptor,)+ $($path: AsRef<CStr> + Unpin,)+> Op
            for $op<$($dir,)+ $($path,)+>
        {
            type Fd = $fd;
            type Output = ();

            unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
                entry.into_result().map(drop)
            }
        }
    )*};
}
carried_out! {
    Unlink<F; P> { F }
    Rename<F, G; P, Q> { (F, G) }
    MakeDir<F; P> { F }
    Symlink<F; T, P> { F }
    HardLink<F, G; P, Q> { (F, G) }
}

/// What the operations on two names have in common, each in a directory of its own.
macro_rules! two_names {
    ($($op:ident { $flags:ty, $new:literal })*) => {$(
        impl<F, G, P, Q> $op<F, G, P, Q>
        where
            F: Descriptor,
            G: Descriptor,
            P: AsRef<CStr> + Unpin,
            Q: AsRef<CStr> + Unpin,
        {
            #[doc = $new]
            pub fn new(from_dir: F, from: P, to_dir: G, to: Q) -> Self {
                Self {
                    head: OpHead::new::<Self>(),
                    from_dir,
                    from,
                    to_dir,
                    to,
                    flags: 0,
                }
            }
        }

        impl<F, G, P, Q> $op<F, G, P, Q> {
            fn set(mut self, yes: bool, bits: $flags) -> Self {
                self.flags = self.flags & !bits | if yes { bits } else { 0 };
                self
            }
        }

        impl<F, G, P, Q> IntoInner for $op<F, G, P, Q> {
            type Inner = (F, P, G, Q);

            fn into_inner(self) -> (F, P, G, Q) {
                (self.from_dir, self.from, self.to_dir, self.to)
            }
        }

        impl<F, G, P, Q> Describe for $op<F, G, P, Q>
        where
            F: Descriptor,
            G: Descriptor,
            P: AsRef<CStr> + Unpin,
            Q: AsRef<CStr> + Unpin,
        {
            #[inline]
            unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
                // SAFETY: (D2) `this` is valid and not in flight.
                let op = unsafe { &*this };
                Ok(Call::Path(PathCall::$op {
                    dirs: [plain(&op.from_dir)?, plain(&op.to_dir)?],
                    from: op.from.as_ref().as_ptr(),
                    to: op.to.as_ref().as_ptr(),
                    flags: op.flags,
                }))
            }
        }
    )*};
}
two_names! {
    Rename { u32, "Renames `from`, relative to `from_dir`, to `to`, relative to `to_dir`." }
    HardLink {
        i32,
        "Gives the file `from`, relative to `from_dir`, the name `to`, relative to `to_dir`."
    }
}

/// Removes a name, relative to a directory: a file's, or an empty directory.
///
/// Completes when the name is gone; the file itself goes with its last name and its last user.
/// Cancelled, the name is still there.
///
/// Errors: as [unlinkat(2)](https://man7.org/linux/man-pages/man2/unlinkat.2.html), unchanged. The
/// directory must be a plain descriptor, or [`Cwd`](crate::driver::Cwd), and open until this
/// completes; a fixed one is refused ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_UNLINKAT`, Linux 5.11. readiness: `unlinkat` on a worker thread.
/// IOCP: `DeleteFileW` or `RemoveDirectoryW` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Unlink};
/// use std::{fs, fs::File, os::fd::OwnedFd};
///
/// let path = std::env::temp_dir().join(format!("completeio-unlink-{}", std::process::id()));
/// fs::create_dir(&path)?;
/// fs::write(path.join("old"), "text")?;
/// let dir = OwnedFd::from(File::open(&path)?);
/// let mut op = Unlink::file(dir, c"old");
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// fs::remove_dir(&path)?; // It is empty.
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Unlink<F, P = CString> {
    head: OpHead,
    dir: F,
    path: P,
    flags: i32,
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> Unlink<F, P> {
    /// Removes the file `path`, relative to `dir`: anything but a directory.
    pub fn file(dir: F, path: P) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            dir,
            path,
            flags: 0,
        }
    }

    /// Removes the empty directory `path`, relative to `dir`.
    pub fn directory(dir: F, path: P) -> Self {
        Self {
            flags: flag::REMOVE_DIR,
            ..Self::file(dir, path)
        }
    }
}

impl<F, P> IntoInner for Unlink<F, P> {
    type Inner = (F, P);

    fn into_inner(self) -> (F, P) {
        (self.dir, self.path)
    }
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> Describe for Unlink<F, P> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Path(PathCall::Unlink {
            dir: plain(&op.dir)?,
            path: op.path.as_ref().as_ptr(),
            flags: op.flags,
        }))
    }
}

/// Renames a file or a directory, from one directory to the same or another one.
///
/// Completes when it has its new name; what had that name before is replaced, in one step, unless
/// an option says otherwise. Cancelled, both names are as they were.
///
/// Errors: as [renameat2(2)](https://man7.org/linux/man-pages/man2/rename.2.html), unchanged; where
/// several apply, io_uring gives that of an empty or too long name. Both
/// directories must be plain descriptors, or [`Cwd`](crate::driver::Cwd), and open until this
/// completes; a fixed one is refused ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_RENAMEAT`, Linux 5.11. readiness: `renameat2` on a worker thread.
/// IOCP: `MoveFileExW` on a worker thread; no exchange.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Cwd, Driver};
/// use completeio_driver::op::{Op, Rename};
/// use std::{ffi::CString, fs, fs::File, os::fd::OwnedFd};
///
/// let path = std::env::temp_dir().join(format!("completeio-rename-{}", std::process::id()));
/// fs::write(&path, "text")?;
/// let dir = OwnedFd::from(File::open(std::env::temp_dir())?);
/// let from = CString::new(path.to_str().unwrap())?;
/// let to = CString::new(format!("completeio-renamed-{}", std::process::id()))?;
/// let mut op = Rename::new(Cwd, from, dir, to).no_replace(true);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// assert!(!path.exists());
/// fs::remove_file(path.with_file_name(format!("completeio-renamed-{}", std::process::id())))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Rename<F, G = F, P = CString, Q = P> {
    head: OpHead,
    from_dir: F,
    from: P,
    to_dir: G,
    to: Q,
    flags: u32,
}

impl<F, G, P, Q> Rename<F, G, P, Q> {
    /// Fails with `EEXIST` if the new name is taken (`RENAME_NOREPLACE`).
    pub fn no_replace(self, yes: bool) -> Self {
        self.set(yes, flag::NO_REPLACE)
    }

    /// Exchanges both names, which must exist (`RENAME_EXCHANGE`).
    pub fn exchange(self, yes: bool) -> Self {
        self.set(yes, flag::EXCHANGE)
    }

    /// Leaves a whiteout in the old place, which a union file system takes for an absent file
    /// (`RENAME_WHITEOUT`); takes `CAP_MKNOD`.
    pub fn whiteout(self, yes: bool) -> Self {
        self.set(yes, flag::WHITEOUT)
    }
}

/// Makes a directory, relative to another one.
///
/// Completes when it is there. Cancelled, there is none.
///
/// Errors: as [mkdirat(2)](https://man7.org/linux/man-pages/man2/mkdirat.2.html), unchanged. The
/// directory that the path starts from must be a plain descriptor, or [`Cwd`](crate::driver::Cwd),
/// and open until this completes; a fixed one is refused ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_MKDIRAT`, Linux 5.15. readiness: `mkdirat` on a worker thread.
/// IOCP: `CreateDirectoryW` on a worker thread; the mode is not looked at.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Cwd, Driver};
/// use completeio_driver::op::{MakeDir, Op};
/// use std::{ffi::CString, fs};
///
/// let path = std::env::temp_dir().join(format!("completeio-make-{}", std::process::id()));
/// let mut op = MakeDir::new(Cwd, CString::new(path.to_str().unwrap())?, 0o700);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// fs::remove_dir(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct MakeDir<F, P = CString> {
    head: OpHead,
    dir: F,
    path: P,
    mode: u32,
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> MakeDir<F, P> {
    /// Makes `path`, relative to `dir`, with the permissions `mode`, less the umask.
    pub fn new(dir: F, path: P, mode: u32) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            dir,
            path,
            mode,
        }
    }
}

impl<F, P> IntoInner for MakeDir<F, P> {
    type Inner = (F, P);

    fn into_inner(self) -> (F, P) {
        (self.dir, self.path)
    }
}

impl<F: Descriptor, P: AsRef<CStr> + Unpin> Describe for MakeDir<F, P> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Path(PathCall::MakeDir {
            dir: plain(&op.dir)?,
            path: op.path.as_ref().as_ptr(),
            mode: op.mode,
        }))
    }
}

/// Makes a symbolic link, relative to a directory.
///
/// Completes when it is there. Its text is not looked up: a link may lead nowhere. Cancelled, there
/// is none.
///
/// Errors: as [symlinkat(2)](https://man7.org/linux/man-pages/man2/symlinkat.2.html), unchanged.
/// The directory must be a plain descriptor, or [`Cwd`](crate::driver::Cwd), and open until this
/// completes; a fixed one is refused ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_SYMLINKAT`, Linux 5.15. readiness: `symlinkat` on a worker thread.
/// IOCP: `CreateSymbolicLinkW` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Cwd, Driver};
/// use completeio_driver::op::{Op, Symlink};
/// use std::{ffi::CString, fs};
///
/// let path = std::env::temp_dir().join(format!("completeio-symlink-{}", std::process::id()));
/// let mut op = Symlink::new(c"its text", Cwd, CString::new(path.to_str().unwrap())?);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(fs::read_link(&path)?.to_str(), Some("its text"));
/// fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Symlink<F, T = CString, P = CString> {
    head: OpHead,
    text: T,
    dir: F,
    path: P,
}

impl<F: Descriptor, T: AsRef<CStr> + Unpin, P: AsRef<CStr> + Unpin> Symlink<F, T, P> {
    /// Makes the link `path`, relative to `dir`, which leads to `text`.
    pub fn new(text: T, dir: F, path: P) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            text,
            dir,
            path,
        }
    }
}

impl<F, T, P> IntoInner for Symlink<F, T, P> {
    type Inner = (T, F, P);

    fn into_inner(self) -> (T, F, P) {
        (self.text, self.dir, self.path)
    }
}

impl<F: Descriptor, T: AsRef<CStr> + Unpin, P: AsRef<CStr> + Unpin> Describe for Symlink<F, T, P> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Path(PathCall::Symlink {
            text: op.text.as_ref().as_ptr(),
            dir: plain(&op.dir)?,
            path: op.path.as_ref().as_ptr(),
        }))
    }
}

/// Gives a file one more name, in the same or another directory.
///
/// Completes when the name is there. Of a symbolic link, the link itself gets it, unless an option
/// says otherwise. Cancelled, there is no such name.
///
/// Errors: as [linkat(2)](https://man7.org/linux/man-pages/man2/linkat.2.html), unchanged; where
/// several apply, as for [`Rename`]. Both directories must be plain descriptors, or
/// [`Cwd`](crate::driver::Cwd), and open until this completes; a fixed one is refused
/// ([`Refusal::FixedDescriptor`]).
///
/// io_uring: `IORING_OP_LINKAT`, Linux 5.15. readiness: `linkat` on a worker thread.
/// IOCP: `CreateHardLinkW` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{HardLink, Op};
/// use std::os::{fd::AsFd, unix::fs::MetadataExt};
/// use std::{fs, fs::File};
///
/// let path = std::env::temp_dir().join(format!("completeio-link-{}", std::process::id()));
/// fs::create_dir(&path)?;
/// fs::write(path.join("one"), "text")?;
/// let dir = File::open(&path)?;
/// let mut op = HardLink::new(dir.as_fd(), c"one", dir.as_fd(), c"two");
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(fs::metadata(path.join("two"))?.nlink(), 2);
/// fs::remove_dir_all(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct HardLink<F, G = F, P = CString, Q = P> {
    head: OpHead,
    from_dir: F,
    from: P,
    to_dir: G,
    to: Q,
    flags: i32,
}

impl<F, G, P, Q> HardLink<F, G, P, Q> {
    /// Links what the symbolic link `from` leads to, not the link (`AT_SYMLINK_FOLLOW`).
    pub fn follow(self, yes: bool) -> Self {
        self.set(yes, flag::FOLLOW)
    }

    /// With an empty `from`, links the file that `from_dir` is open on, which need not be a
    /// directory (`AT_EMPTY_PATH`). Takes `CAP_DAC_READ_SEARCH`, or from Linux 6.10 on the
    /// credentials that it was opened with. A file that has lost its last name gets none.
    pub fn empty_path(self, yes: bool) -> Self {
        self.set(yes, flag::EMPTY_PATH)
    }
}
