//! Extended attributes of files, by descriptor and by path.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, FileCall, PathCall, clamp_len};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::{IntoInner, IoBuf, IoBufMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys::name_flags as flag;
use std::ffi::{CStr, CString};
use std::io;

/// A buffer for a value.
#[derive(Debug)]
struct Room<B> {
    buf: B,
    /// How many bytes the last flight was lent. None: it asks for the size.
    lent: usize,
}

impl<B> Room<B> {
    fn new(buf: B) -> Self {
        Self { buf, lent: 0 }
    }
}

impl<B: IoBufMut> Room<B> {
    /// Where the kernel writes.
    #[inline]
    fn lend(&mut self) -> (*mut u8, u32) {
        let (ptr, len) = self.buf.parts_mut();
        let len = clamp_len(len);
        self.lent = len as usize;
        (ptr, len)
    }

    /// The value's size.
    ///
    /// # Safety
    /// (D3) `entry` is the last entry of the flight that `lend` was asked for.
    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        let size = entry.into_result()?;
        let filled = size.min(std::mem::take(&mut self.lent));
        // SAFETY: (B5) the kernel wrote the whole value to the start of the room, or nothing if
        // there was none.
        unsafe { self.buf.set_filled(filled) };
        Ok(size)
    }
}

/// Reads an extended attribute of an open file into a buffer.
///
/// Completes with the value's size in bytes, at most 65,536. A `Vec` is read into its spare
/// capacity, a `&mut [u8]` into its whole length. A buffer without room asks for the size: nothing
/// is written. Where the room is smaller than the value, the error is `ERANGE`.
///
/// Errors: as [fgetxattr(2)](https://man7.org/linux/man-pages/man2/fgetxattr.2.html), unchanged:
/// `ENODATA` where there is no such attribute.
///
/// io_uring: `IORING_OP_FGETXATTR`, Linux 5.19. readiness: `fgetxattr` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{GetXattr, Op};
/// use std::{fs::File, os::fd::OwnedFd};
///
/// let file = OwnedFd::from(File::open("Cargo.toml")?);
/// let mut op = GetXattr::new(file, c"user.author", Vec::with_capacity(256));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// match unsafe { op.finish(entry.unwrap()) } {
///     Ok(size) => assert_eq!(op.buf().len(), size),
///     // It has none, or its file system has no such attributes.
///     Err(e) => assert!(matches!(e.raw_os_error(), Some(libc::ENODATA | libc::ENOTSUP))),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct GetXattr<F, B, N = CString> {
    head: OpHead,
    fd: F,
    name: N,
    room: Room<B>,
}

impl<F: Descriptor, B: IoBufMut, N: AsRef<CStr> + Unpin> GetXattr<F, B, N> {
    /// Reads the attribute `name`, such as `user.author`, of `fd` into `buf`.
    pub fn new(fd: F, name: N, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            name,
            room: Room::new(buf),
        }
    }
}

/// Reads an extended attribute of a file, named by its path, into a buffer.
///
/// As [`GetXattr`]. A relative path starts in the current directory, for the kernel takes no other
/// here; symbolic links are followed.
///
/// Errors: as [getxattr(2)](https://man7.org/linux/man-pages/man2/getxattr.2.html), unchanged.
///
/// io_uring: `IORING_OP_GETXATTR`, Linux 5.19. readiness: `getxattr` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{GetPathXattr, Op};
///
/// let mut op = GetPathXattr::new(c"Cargo.toml", c"user.none", Vec::with_capacity(256));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let error = unsafe { op.finish(entry.unwrap()) }.unwrap_err();
/// assert!(matches!(error.raw_os_error(), Some(libc::ENODATA | libc::ENOTSUP)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct GetPathXattr<B, P = CString, N = CString> {
    head: OpHead,
    path: P,
    name: N,
    room: Room<B>,
}

impl<B, P, N> GetPathXattr<B, P, N>
where
    B: IoBufMut,
    P: AsRef<CStr> + Unpin,
    N: AsRef<CStr> + Unpin,
{
    /// Reads the attribute `name`, such as `user.author`, of the file `path` into `buf`.
    pub fn new(path: P, name: N, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            path,
            name,
            room: Room::new(buf),
        }
    }
}

/// Sets an extended attribute of an open file to the bytes of a buffer.
///
/// Completes when the attribute has this value; an empty one is a value too. What was there before
/// is replaced, unless an option says otherwise. Cancelled, the attribute is as it was.
///
/// Errors: as [fsetxattr(2)](https://man7.org/linux/man-pages/man2/fsetxattr.2.html), unchanged:
/// `E2BIG` for more than 65,536 bytes.
///
/// io_uring: `IORING_OP_FSETXATTR`, Linux 5.19. readiness: `fsetxattr` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, SetXattr};
/// use std::{fs, fs::File, os::fd::OwnedFd};
///
/// let path = std::env::temp_dir().join(format!("completeio-set-{}", std::process::id()));
/// let file = OwnedFd::from(File::create(&path)?);
/// let mut op = SetXattr::new(file, c"user.author", "me").create_only(true);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// match unsafe { op.finish(entry.unwrap()) } {
///     Ok(()) => {}
///     // Not every file system has such attributes.
///     Err(e) => assert_eq!(e.raw_os_error(), Some(libc::ENOTSUP)),
/// }
/// fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct SetXattr<F, B, N = CString> {
    head: OpHead,
    fd: F,
    name: N,
    buf: B,
    flags: i32,
}

impl<F: Descriptor, B: IoBuf, N: AsRef<CStr> + Unpin> SetXattr<F, B, N> {
    /// Sets the attribute `name`, such as `user.author`, of `fd` to the bytes of `buf`.
    pub fn new(fd: F, name: N, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            name,
            buf,
            flags: 0,
        }
    }
}

/// Sets an extended attribute of a file, named by its path, to the bytes of a buffer.
///
/// As [`SetXattr`]. A relative path starts in the current directory, for the kernel takes no other
/// here; symbolic links are followed.
///
/// Errors: as [setxattr(2)](https://man7.org/linux/man-pages/man2/setxattr.2.html), unchanged.
///
/// io_uring: `IORING_OP_SETXATTR`, Linux 5.19. readiness: `setxattr` on a worker thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, SetPathXattr};
///
/// let mut op = SetPathXattr::new(c"no such file", c"user.author", "me");
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let error = unsafe { op.finish(entry.unwrap()) }.unwrap_err();
/// assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct SetPathXattr<B, P = CString, N = CString> {
    head: OpHead,
    path: P,
    name: N,
    buf: B,
    flags: i32,
}

impl<B, P, N> SetPathXattr<B, P, N>
where
    B: IoBuf,
    P: AsRef<CStr> + Unpin,
    N: AsRef<CStr> + Unpin,
{
    /// Sets the attribute `name`, such as `user.author`, of the file `path` to the bytes of `buf`.
    pub fn new(path: P, name: N, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            path,
            name,
            buf,
            flags: 0,
        }
    }
}

/// What reads has a buffer that is filled.
macro_rules! getters {
    ($($op:ident<$($param:ident),*>)*) => {$(
        impl<$($param),*> $op<$($param),*> {
            /// The buffer.
            pub fn buf(&self) -> &B {
                &self.room.buf
            }

            /// The buffer, to be replaced between two flights: by one of the size that was asked
            /// for.
            pub fn buf_mut(&mut self) -> &mut B {
                self.room.lent = 0;
                &mut self.room.buf
            }
        }
    )*};
}
getters!(GetXattr<F, B, N> GetPathXattr<B, P, N>);

/// What writes may insist on what is there.
macro_rules! setters {
    ($($op:ident<$($param:ident),*>)*) => {$(
        impl<$($param),*> $op<$($param),*> {
            /// Fails with `EEXIST` if there is such an attribute (`XATTR_CREATE`).
            pub fn create_only(self, yes: bool) -> Self {
                self.set(yes, flag::XATTR_CREATE)
            }

            /// Fails with `ENODATA` if there is no such attribute (`XATTR_REPLACE`).
            pub fn replace_only(self, yes: bool) -> Self {
                self.set(yes, flag::XATTR_REPLACE)
            }

            fn set(mut self, yes: bool, bits: i32) -> Self {
                self.flags &= !bits;
                if yes {
                    self.flags |= bits;
                }
                self
            }
        }
    )*};
}
setters!(SetXattr<F, B, N> SetPathXattr<B, P, N>);

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBufMut, N: AsRef<CStr> + Unpin> OpCode for GetXattr<F, B, N> {}

impl<F: Descriptor, B: IoBufMut, N: AsRef<CStr> + Unpin> Describe for GetXattr<F, B, N> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let target = op.fd.target();
        let (ptr, len) = op.room.lend();
        let name = op.name.as_ref().as_ptr();
        let call = FileCall::GetXattr { name, ptr, len };
        Ok(Call::File { target, call })
    }
}

impl<F: Descriptor, B: IoBufMut, N: AsRef<CStr> + Unpin> Op for GetXattr<F, B, N> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.room.finish(entry) }
    }
}

impl<F, B, N> IntoInner for GetXattr<F, B, N> {
    type Inner = (F, N, B);

    fn into_inner(self) -> (F, N, B) {
        (self.fd, self.name, self.room.buf)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<B: IoBufMut, P: AsRef<CStr> + Unpin, N: AsRef<CStr> + Unpin> OpCode
    for GetPathXattr<B, P, N>
{
}

impl<B: IoBufMut, P: AsRef<CStr> + Unpin, N: AsRef<CStr> + Unpin> Describe
    for GetPathXattr<B, P, N>
{
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let (ptr, len) = op.room.lend();
        Ok(Call::Path(PathCall::GetXattr {
            path: op.path.as_ref().as_ptr(),
            name: op.name.as_ref().as_ptr(),
            ptr,
            len,
        }))
    }
}

impl<B: IoBufMut, P: AsRef<CStr> + Unpin, N: AsRef<CStr> + Unpin> Op for GetPathXattr<B, P, N> {
    type Fd = ();
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.room.finish(entry) }
    }
}

impl<B, P, N> IntoInner for GetPathXattr<B, P, N> {
    type Inner = (P, N, B);

    fn into_inner(self) -> (P, N, B) {
        (self.path, self.name, self.room.buf)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBuf, N: AsRef<CStr> + Unpin> OpCode for SetXattr<F, B, N> {}

impl<F: Descriptor, B: IoBuf, N: AsRef<CStr> + Unpin> Describe for SetXattr<F, B, N> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let (ptr, len) = op.buf.parts();
        let call = FileCall::SetXattr {
            name: op.name.as_ref().as_ptr(),
            ptr,
            len: clamp_len(len),
            flags: op.flags,
        };
        Ok(Call::File { target, call })
    }
}

impl<F: Descriptor, B: IoBuf, N: AsRef<CStr> + Unpin> Op for SetXattr<F, B, N> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

impl<F, B, N> IntoInner for SetXattr<F, B, N> {
    type Inner = (F, N, B);

    fn into_inner(self) -> (F, N, B) {
        (self.fd, self.name, self.buf)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<B: IoBuf, P: AsRef<CStr> + Unpin, N: AsRef<CStr> + Unpin> OpCode
    for SetPathXattr<B, P, N>
{
}

impl<B: IoBuf, P: AsRef<CStr> + Unpin, N: AsRef<CStr> + Unpin> Describe for SetPathXattr<B, P, N> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let (ptr, len) = op.buf.parts();
        Ok(Call::Path(PathCall::SetXattr {
            path: op.path.as_ref().as_ptr(),
            name: op.name.as_ref().as_ptr(),
            ptr,
            len: clamp_len(len),
            flags: op.flags,
        }))
    }
}

impl<B: IoBuf, P: AsRef<CStr> + Unpin, N: AsRef<CStr> + Unpin> Op for SetPathXattr<B, P, N> {
    type Fd = ();
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

impl<B, P, N> IntoInner for SetPathXattr<B, P, N> {
    type Inner = (P, N, B);

    fn into_inner(self) -> (P, N, B) {
        (self.path, self.name, self.buf)
    }
}
