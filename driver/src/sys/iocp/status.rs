//! What the kernel says of a call that is over, as a result: a count, or an error number, negated.
//!
//! Handles' errors are those of Win32, sockets' those of Winsock, as the calls themselves would
//! have returned them.
#![allow(unsafe_code, reason = "asks for an error's number")]

use windows_sys::Win32::Foundation as f;
use windows_sys::Win32::Networking::WinSock as w;

/// What a call is about, for what its end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A read of a handle: its end is no error.
    Read,
    /// Any other call on a handle.
    Handle,
    Socket,
    /// A part of a file that goes to a socket: the file's end is no error.
    FileToSocket,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// A count, or an error number, negated.
    pub(super) result: i32,
    /// Whether there was more than the room for it: the rest of a pipe's message waits, that of a
    /// datagram is lost.
    pub(super) truncated: bool,
}

/// Decodes a status (`NTSTATUS`), and a count of bytes.
pub(super) fn decode(about: About, status: i32, bytes: usize) -> Outcome {
    // Of what has failed it may be anything.
    let moved = || i32::try_from(bytes).expect("I28: lengths are clamped to 31 bits");
    match (about, status) {
        (_, 0..) => done(moved()),
        (_, f::STATUS_BUFFER_OVERFLOW) => Outcome {
            result: moved(),
            truncated: true,
        },
        (About::Read, f::STATUS_END_OF_FILE | f::STATUS_PIPE_BROKEN) => done(0),
        (About::FileToSocket, f::STATUS_END_OF_FILE) => done(0),
        (About::Read | About::Handle, status) => done(-number(status)),
        (About::Socket | About::FileToSocket, status) => done(-winsock(status)),
    }
}

/// Decodes the error that a call has failed with at once.
pub(super) fn decode_error(about: About, error: u32) -> i32 {
    match (about, error) {
        (About::Read, f::ERROR_HANDLE_EOF | f::ERROR_BROKEN_PIPE) => 0,
        (About::FileToSocket, f::ERROR_HANDLE_EOF) => 0,
        // A client of a named pipe was there before it was waited for.
        (_, f::ERROR_PIPE_CONNECTED) => 0,
        (_, error) => -i32::try_from(error).unwrap_or(i32::MAX),
    }
}

fn done(result: i32) -> Outcome {
    Outcome {
        result,
        truncated: false,
    }
}

/// The number of Win32 for a status.
fn number(status: i32) -> i32 {
    // SAFETY: (K1) takes a number.
    let number = unsafe { f::RtlNtStatusToDosError(status) };
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The number of Winsock for a status; Win32's for what Winsock has none for.
pub(super) fn winsock(status: i32) -> i32 {
    match status {
        f::STATUS_CANCELLED => number(status), // `WSA_OPERATION_ABORTED` is the same.
        f::STATUS_CONNECTION_REFUSED | f::STATUS_REMOTE_NOT_LISTENING => w::WSAECONNREFUSED,
        f::STATUS_CONNECTION_RESET
        | f::STATUS_CONNECTION_DISCONNECTED
        | f::STATUS_REMOTE_DISCONNECT
        | f::STATUS_LINK_FAILED
        | f::STATUS_PORT_UNREACHABLE => w::WSAECONNRESET,
        f::STATUS_CONNECTION_ABORTED
        | f::STATUS_LOCAL_DISCONNECT
        | f::STATUS_TRANSACTION_ABORTED => w::WSAECONNABORTED,
        f::STATUS_CONNECTION_ACTIVE => w::WSAEISCONN,
        f::STATUS_PIPE_DISCONNECTED => w::WSAESHUTDOWN,
        f::STATUS_INVALID_CONNECTION | f::STATUS_FILE_CLOSED => w::WSAENOTCONN,
        f::STATUS_GRACEFUL_DISCONNECT => w::WSAEDISCON,
        f::STATUS_REQUEST_ABORTED => w::WSAEINTR,
        f::STATUS_IO_TIMEOUT | f::STATUS_LINK_TIMEOUT => w::WSAETIMEDOUT,
        f::STATUS_DEVICE_NOT_READY | f::STATUS_REQUEST_NOT_ACCEPTED => w::WSAEWOULDBLOCK,
        f::STATUS_NETWORK_UNREACHABLE | f::STATUS_PROTOCOL_UNREACHABLE => w::WSAENETUNREACH,
        f::STATUS_NETWORK_BUSY
        | f::STATUS_BAD_NETWORK_PATH
        | f::STATUS_INVALID_NETWORK_RESPONSE
        | f::STATUS_UNEXPECTED_NETWORK_ERROR
        | f::STATUS_NO_SUCH_DEVICE => w::WSAENETDOWN,
        f::STATUS_HOST_UNREACHABLE => w::WSAEHOSTUNREACH,
        f::STATUS_HOST_DOWN => w::WSAEHOSTDOWN,
        f::STATUS_ADDRESS_ALREADY_EXISTS | f::STATUS_SHARING_VIOLATION => w::WSAEADDRINUSE,
        f::STATUS_INVALID_ADDRESS | f::STATUS_INVALID_ADDRESS_COMPONENT => w::WSAEADDRNOTAVAIL,
        f::STATUS_INSUFFICIENT_RESOURCES
        | f::STATUS_NO_MEMORY
        | f::STATUS_QUOTA_EXCEEDED
        | f::STATUS_PAGEFILE_QUOTA
        | f::STATUS_WORKING_SET_QUOTA
        | f::STATUS_COMMITMENT_LIMIT
        | f::STATUS_REMOTE_RESOURCES => w::WSAENOBUFS,
        f::STATUS_INVALID_BUFFER_SIZE => w::WSAEMSGSIZE,
        f::STATUS_ACCESS_VIOLATION | f::STATUS_BUFFER_TOO_SMALL => w::WSAEFAULT,
        f::STATUS_ACCESS_DENIED => w::WSAEACCES,
        f::STATUS_NOT_SUPPORTED | f::STATUS_NOT_IMPLEMENTED => w::WSAEOPNOTSUPP,
        f::STATUS_INVALID_PARAMETER => w::WSAEINVAL,
        f::STATUS_INVALID_HANDLE | f::STATUS_OBJECT_TYPE_MISMATCH => w::WSAENOTSOCK,
        status => number(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{errno, signed};
    use std::io::{Error, ErrorKind};

    #[test]
    fn ends_are_no_errors_and_truncation_is_told() {
        for about in [About::Read, About::Handle, About::Socket] {
            assert_eq!(decode(about, f::STATUS_SUCCESS, 7), done(7));
            let cut = decode(about, f::STATUS_BUFFER_OVERFLOW, 5);
            assert_eq!((cut.result, cut.truncated), (5, true));
            let cancelled = decode(about, f::STATUS_CANCELLED, 0);
            assert_eq!(cancelled, done(-errno::ECANCELED));
        }
        assert_eq!(decode(About::Read, f::STATUS_END_OF_FILE, 0), done(0));
        assert_eq!(decode(About::Read, f::STATUS_PIPE_BROKEN, 0), done(0));
        let broken = decode(About::Handle, f::STATUS_PIPE_BROKEN, 0);
        assert_eq!(broken, done(-signed(f::ERROR_BROKEN_PIPE)));
        assert_eq!(decode_error(About::Read, f::ERROR_HANDLE_EOF), 0);
        for about in [About::Handle, About::Socket] {
            let elsewhere = decode_error(about, f::ERROR_HANDLE_EOF);
            assert_eq!(elsewhere, -signed(f::ERROR_HANDLE_EOF));
        }
        let about = About::FileToSocket;
        assert_eq!(decode(about, f::STATUS_END_OF_FILE, 0), done(0));
        assert_eq!(decode_error(about, f::ERROR_HANDLE_EOF), 0);
        let reset = decode(about, f::STATUS_CONNECTION_RESET, 0);
        assert_eq!(reset, done(-w::WSAECONNRESET));
    }

    #[test]
    fn what_has_failed_has_no_count() {
        let failed = decode(About::Handle, f::STATUS_CANCELLED, usize::MAX);
        assert_eq!(failed, done(-errno::ECANCELED));
    }

    #[test]
    fn sockets_have_the_numbers_of_winsock() {
        for (status, number) in [
            (f::STATUS_PIPE_DISCONNECTED, w::WSAESHUTDOWN),
            (f::STATUS_CONNECTION_ACTIVE, w::WSAEISCONN),
            (f::STATUS_LINK_FAILED, w::WSAECONNRESET),
            (f::STATUS_LINK_TIMEOUT, w::WSAETIMEDOUT),
            (f::STATUS_HOST_DOWN, w::WSAEHOSTDOWN),
            (f::STATUS_QUOTA_EXCEEDED, w::WSAENOBUFS),
            (f::STATUS_INVALID_ADDRESS, w::WSAEADDRNOTAVAIL),
            (f::STATUS_BUFFER_TOO_SMALL, w::WSAEFAULT),
            (f::STATUS_INVALID_BUFFER_SIZE, w::WSAEMSGSIZE),
            (f::STATUS_DEVICE_NOT_READY, w::WSAEWOULDBLOCK),
            (f::STATUS_NETWORK_BUSY, w::WSAENETDOWN),
            (f::STATUS_NOT_SUPPORTED, w::WSAEOPNOTSUPP),
        ] {
            let told = decode(About::Socket, status, 0);
            assert_eq!(told, done(-number), "{status:#x}");
        }
    }

    #[test]
    fn sockets_have_the_documented_kinds() {
        for (status, kind) in [
            (f::STATUS_CONNECTION_REFUSED, ErrorKind::ConnectionRefused),
            (f::STATUS_CONNECTION_RESET, ErrorKind::ConnectionReset),
            (f::STATUS_CONNECTION_ABORTED, ErrorKind::ConnectionAborted),
            (f::STATUS_IO_TIMEOUT, ErrorKind::TimedOut),
            (f::STATUS_INVALID_CONNECTION, ErrorKind::NotConnected),
            (f::STATUS_ADDRESS_ALREADY_EXISTS, ErrorKind::AddrInUse),
        ] {
            let error = decode(About::Socket, status, 0).result;
            assert_eq!(Error::from_raw_os_error(-error).kind(), kind, "{status:#x}");
        }
    }
}
