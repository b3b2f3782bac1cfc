//! Pipes. Those that take overlapped calls have names, which nobody is told here.
#![allow(unsafe_code, reason = "makes the calls")]

use super::fd::OwnedFd;
use super::pipe_flags;
use super::plain::{last_error, said};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use windows_sys::Win32::Foundation as f;
use windows_sys::Win32::Storage::FileSystem as s;
use windows_sys::Win32::System::Pipes as p;

/// What a pipe keeps of what is written and not read, in bytes: as much as Linux's.
const ROOM: u32 = 1 << 16;

/// Makes a pipe whose ends take overlapped calls, and that no child inherits: to read, to write.
///
/// [CreateNamedPipeW](https://learn.microsoft.com/en-us/windows/win32/api/namedpipeapi/nf-namedpipeapi-createnamedpipew)
pub(crate) fn pair(flags: i32) -> io::Result<[OwnedFd; 2]> {
    let name = Name::new();
    let mode = if flags & pipe_flags::DIRECT != 0 {
        p::PIPE_TYPE_MESSAGE | p::PIPE_READMODE_MESSAGE
    } else {
        p::PIPE_TYPE_BYTE | p::PIPE_READMODE_BYTE
    };
    let access = s::PIPE_ACCESS_INBOUND | s::FILE_FLAG_FIRST_PIPE_INSTANCE;
    // SAFETY: (K1) the kernel reads a name that ends with a zero.
    let reader = unsafe {
        p::CreateNamedPipeW(
            name.0.as_ptr(),
            access | s::FILE_FLAG_OVERLAPPED,
            mode | p::PIPE_REJECT_REMOTE_CLIENTS,
            1,
            ROOM,
            ROOM,
            0,
            ptr::null(),
        )
    };
    let reader = opened(reader)?;
    // What its own kind of an end may be asked needs the attributes too.
    let access = f::GENERIC_WRITE | s::FILE_READ_ATTRIBUTES;
    // SAFETY: (K1) as above.
    let writer = unsafe {
        s::CreateFileW(
            name.0.as_ptr(),
            access,
            0,
            ptr::null(),
            s::OPEN_EXISTING,
            s::FILE_FLAG_OVERLAPPED,
            ptr::null_mut(),
        )
    };
    Ok([reader, opened(writer)?])
}

fn opened(handle: f::HANDLE) -> io::Result<OwnedFd> {
    if handle == f::INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (R1) the call has just made it, and nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) }.into())
}

/// Ends a server's connection: a client may come anew. What was not read is lost.
pub(crate) fn disconnect(handle: f::HANDLE) -> i32 {
    // SAFETY: (K1) takes a number.
    said(unsafe { p::DisconnectNamedPipe(handle) })
}

/// Waits for a client of a pipe whose calls wait themselves.
pub(crate) fn connect(handle: f::HANDLE) -> i32 {
    // SAFETY: (K1) takes a number.
    if unsafe { p::ConnectNamedPipe(handle, ptr::null_mut()) } != 0 {
        return 0;
    }
    match last_error() {
        error if error == -super::signed(f::ERROR_PIPE_CONNECTED) => 0,
        error => error,
    }
}

const PREFIX: &[u8] = br"\\.\pipe\completeio-";
/// A process, and a number that is hard to guess: no other may bear the name before.
const DIGITS: usize = 8 + 16;

/// The name of a pipe that no other has, with a zero at its end.
struct Name([u16; PREFIX.len() + DIGITS + 1]);

impl Name {
    fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let n = keys().hash_one(MADE.fetch_add(1, Ordering::Relaxed));
        let number = u128::from(std::process::id()) << 64 | u128::from(n);
        let mut name = [0; PREFIX.len() + DIGITS + 1];
        for (to, byte) in name.iter_mut().zip(PREFIX) {
            *to = u16::from(*byte);
        }
        for i in 0..DIGITS {
            let digit = number >> (4 * (DIGITS - 1 - i)) & 0xf;
            let digit = u16::try_from(digit).expect("four bits");
            let zero = u16::from(if digit < 10 { b'0' } else { b'a' - 10 });
            name[PREFIX.len() + i] = zero + digit;
        }
        Self(name)
    }
}

/// What the names' numbers are made of, drawn once: that may allocate.
pub(crate) fn keys() -> &'static RandomState {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    KEYS.get_or_init(RandomState::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_and_differ() {
        let text = |name: Name| String::from_utf16(&name.0).expect("of one alphabet");
        let [a, b] = [(); 2].map(|()| text(Name::new()));
        let process = format!(r"\\.\pipe\completeio-{:08x}", std::process::id());
        for name in [&a, &b] {
            assert!(name.starts_with(&process), "{name}");
            assert!(name.ends_with('\0') && !name[1..name.len() - 1].contains('\0'));
            assert_eq!(name.len(), PREFIX.len() + DIGITS + 1);
        }
        assert_ne!(a, b);
    }
}
