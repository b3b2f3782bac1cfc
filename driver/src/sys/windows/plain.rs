//! The calls of what never waits.
#![allow(unsafe_code, reason = "makes the calls")]

use super::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use super::numbers::{shutdown_how, signed};
use super::options::{kind, name as names};
use super::pipe;
use crate::op::call::PlainCall;
use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::{FromRawSocket, OwnedSocket};
use std::ptr;
use std::sync::OnceLock;
use windows_sys::Win32::Foundation::ERROR_CALL_NOT_IMPLEMENTED;
use windows_sys::Win32::Networking::WinSock as w;
use windows_sys::core::GUID;

/// Makes the call on `fd`, whatever descriptor it names itself; a negative result is an error
/// number. An option that was asked for gives its length in bytes.
///
/// # Safety
/// What the call points to is lent to whoever calls this, until it returns.
pub(crate) unsafe fn perform(fd: RawFd, call: PlainCall) -> i32 {
    let s = socket(fd);
    match call {
        PlainCall::Shutdown { how, .. } => {
            // SAFETY: (K1) takes two numbers.
            winsock_result(unsafe { w::shutdown(s, shutdown_how(how)) })
        }
        PlainCall::Socket {
            domain,
            kind,
            protocol,
        } => made(new_socket(domain, kind, protocol)),
        PlainCall::Pipe { flags, ends } => match pipe::pair(flags) {
            Ok(made) => {
                // SAFETY: (K1) a place that was lent.
                unsafe { ends.write(made.map(OwnedFd::into_raw_fd)) };
                0
            }
            Err(error) => number(error),
        },
        PlainCall::FutexWake { .. } => unsupported(),
        PlainCall::Bind { addr, addr_len, .. } => {
            // SAFETY: (K1) the kernel reads an address that was lent.
            winsock_result(unsafe { w::bind(s, addr.cast(), addr_len) })
        }
        PlainCall::Listen { backlog, .. } => {
            // SAFETY: (K1) takes two numbers.
            winsock_result(unsafe { w::listen(s, backlog) })
        }
        PlainCall::SetOption {
            level,
            name,
            value,
            len,
            ..
        } => {
            let len = signed(len);
            let most = i32::from(u16::MAX);
            let is_size = (level, name) == (names::UDP, names::GRO) && len == 4;
            // SAFETY: (K1) so many bytes were lent.
            let value = if is_size && unsafe { value.cast::<i32>().read_unaligned() } == 1 {
                (&raw const most).cast()
            } else {
                value
            };
            // SAFETY: (K1) the kernel reads `len` bytes that were lent.
            winsock_result(unsafe { w::setsockopt(s, level, name, value, len) })
        }
        PlainCall::GetOption {
            level,
            name,
            value,
            len,
            ..
        } => {
            let mut got = signed(len);
            // SAFETY: (K1) the kernel writes at most `len` bytes that were lent, and a local.
            let failed = unsafe { w::getsockopt(s, level, name, value, &raw mut got) };
            match winsock_result(failed) {
                0 => whole(got, len),
                error => error,
            }
        }
    }
}

/// The length of a value that was asked for. Winsock has some in a byte where an integer is asked
/// for: the other bytes were zeroed before.
fn whole(got: i32, asked: u32) -> i32 {
    if got == 1 && asked == 4 { 4 } else { got }
}

/// A new socket that takes overlapped calls, and that no child inherits.
pub(crate) fn new_socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    start_winsock();
    let plain = kind & !(kind::CLOEXEC | kind::NONBLOCK);
    let flags = w::WSA_FLAG_OVERLAPPED | w::WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: (K1) takes numbers.
    let made = unsafe { w::WSASocketW(domain, plain, protocol, ptr::null(), 0, flags) };
    if made == w::INVALID_SOCKET {
        return Err(winsock_error());
    }
    // SAFETY: (R1) the call has just made it, and nobody else knows it.
    let socket = OwnedFd::from(unsafe { OwnedSocket::from_raw_socket(made as u64) });
    if kind & kind::NONBLOCK != 0 {
        super::options::set_non_blocking(socket.as_raw_fd(), true)?;
    }
    Ok(socket)
}

/// The result of what makes a descriptor.
pub(crate) fn made(made: io::Result<OwnedFd>) -> i32 {
    match made {
        Ok(fd) => fd.into_raw_fd().into_result(),
        Err(error) => number(error),
    }
}

fn number(error: io::Error) -> i32 {
    -error
        .raw_os_error()
        .expect("the error of a call has a number")
}

/// Winsock has to be started once in a process, and stays so.
pub(crate) fn start_winsock() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let mut data = w::WSADATA::default();
        // SAFETY: (K1) fills a local.
        let error = unsafe { w::WSAStartup(0x202, &raw mut data) };
        assert_eq!(
            error, 0,
            "Winsock 2.2 is older than any system that this crate supports"
        );
    });
}

/// The socket of a number; of a handle, none.
pub(crate) fn socket(fd: RawFd) -> w::SOCKET {
    if fd.is_socket() {
        fd.number()
    } else {
        w::INVALID_SOCKET
    }
}

/// What a call of Winsock returned, or its error number, negated.
pub(crate) fn winsock_result(returned: i32) -> i32 {
    if returned == w::SOCKET_ERROR {
        -winsock_error().raw_os_error().expect("made of a number")
    } else {
        returned
    }
}

fn winsock_error() -> io::Error {
    // SAFETY: (K1) reads a number of the thread's.
    io::Error::from_raw_os_error(unsafe { w::WSAGetLastError() })
}

/// What kind of socket it is: `SOCK_…`.
pub(crate) fn kind_of_socket(fd: RawFd) -> io::Result<i32> {
    // SAFETY: (K1) its value is an integer.
    let kind = unsafe { option(fd, w::SO_TYPE) };
    kind.map_err(|error| io::Error::from_raw_os_error(-error))
}

/// What kind of socket it is, in all parts; an error is its number, negated.
pub(crate) fn protocol(fd: RawFd) -> Result<w::WSAPROTOCOL_INFOW, i32> {
    // SAFETY: (K1) its value is such a struct.
    unsafe { option(fd, w::SO_PROTOCOL_INFOW) }
}

/// An option of a socket; an error is its number, negated.
///
/// # Safety
/// The value of the option is a `T`, and zeroes are one.
unsafe fn option<T>(fd: RawFd, name: i32) -> Result<T, i32> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = i32::try_from(size_of::<T>()).expect("a small value");
    let (s, level, to) = (socket(fd), w::SOL_SOCKET, value.as_mut_ptr().cast());
    // SAFETY: (K1) the kernel writes two locals.
    match winsock_result(unsafe { w::getsockopt(s, level, name, to, &raw mut len) }) {
        // SAFETY: (K1) the call has written it; zeroes are what it left.
        0 => Ok(unsafe { value.assume_init() }),
        error => Err(error),
    }
}

/// What a socket's provider says about something, in a word; an error is its number, negated.
pub(crate) fn told_by_provider(fd: RawFd, code: u32, about: Option<&GUID>) -> Result<usize, i32> {
    let (mut word, mut len) = (0_usize, 0);
    let from = about.map_or(ptr::null(), ptr::from_ref).cast();
    let from_len = if about.is_some() { 16 } else { 0 };
    let to_len = u32::try_from(size_of_val(&word)).expect("a word");
    let (to, nobody) = ((&raw mut word).cast(), ptr::null_mut());
    // SAFETY: (K1) the kernel reads a name, if there is one, and writes two locals.
    let failed = unsafe {
        w::WSAIoctl(
            socket(fd),
            code,
            from,
            from_len,
            to,
            to_len,
            &raw mut len,
            nobody,
            None,
        )
    };
    match winsock_result(failed) {
        0 => Ok(word),
        error => Err(error),
    }
}

/// The number of the error that a call of the system has left, negated.
pub(crate) fn last_error() -> i32 {
    number(io::Error::last_os_error())
}

/// What a call says that returns 0 when it fails.
pub(crate) fn said(ok: i32) -> i32 {
    if ok != 0 { 0 } else { last_error() }
}

/// The result of what there is not: the one number that the standard library takes for
/// [`Unsupported`](io::ErrorKind::Unsupported).
pub(crate) fn unsupported() -> i32 {
    -signed(ERROR_CALL_NOT_IMPLEMENTED)
}
