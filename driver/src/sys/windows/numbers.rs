//! The flags and the error numbers that this crate names. Those of calls that Windows has under
//! other names are the C runtime's, or of no system.

use windows_sys::Win32::Networking::WinSock as w;

/// The same bits with a sign, as results and flags have them.
pub(crate) const fn signed(bits: u32) -> i32 {
    i32::from_ne_bytes(bits.to_ne_bytes())
}

const fn unsigned(bits: i16) -> u16 {
    u16::from_ne_bytes(bits.to_ne_bytes())
}

/// Error numbers that this crate names.
pub(crate) mod errno {
    use super::signed;
    use windows_sys::Win32::Foundation as f;

    pub(crate) const ECANCELED: i32 = signed(f::ERROR_OPERATION_ABORTED);
    pub(crate) const ENOENT: i32 = signed(f::ERROR_NOT_FOUND);
    pub(crate) const ETIME: i32 = signed(f::ERROR_TIMEOUT);
    pub(crate) const EMFILE: i32 = signed(f::ERROR_TOO_MANY_OPEN_FILES);
    pub(crate) const ENFILE: i32 = super::w::WSAEMFILE;
    pub(crate) const EINTR: i32 = super::w::WSAEINTR;
    /// Of no system: it never comes.
    pub(crate) const RESTART: i32 = i32::MAX;
}

/// Flags of an open: the C runtime's. Those of `CreateFileW` (`FILE_FLAG_…`) can be given beside
/// them.
pub(crate) mod open_flags {
    use super::signed;
    use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_NO_BUFFERING;

    pub(crate) const RDONLY: i32 = 0;
    pub(crate) const WRONLY: i32 = 1;
    pub(crate) const RDWR: i32 = 2;
    pub(crate) const APPEND: i32 = 0x8;
    pub(crate) const CLOEXEC: i32 = 0x80;
    pub(crate) const CREAT: i32 = 0x100;
    pub(crate) const TRUNC: i32 = 0x200;
    pub(crate) const EXCL: i32 = 0x400;
    pub(crate) const DIRECT: i32 = signed(FILE_FLAG_NO_BUFFERING);
}

/// Flags of pipes.
pub(crate) mod pipe_flags {
    pub(crate) const CLOEXEC: i32 = 0x80;
    pub(crate) const NONBLOCK: i32 = 1 << 16;
    pub(crate) const DIRECT: i32 = 1 << 17;
}

/// Flags of the calls on names.
pub(crate) mod name_flags {
    pub(crate) const REMOVE_DIR: i32 = 0x200;
    pub(crate) const FOLLOW: i32 = 0x400;
    pub(crate) const NO_FOLLOW: i32 = 0x100;
    pub(crate) const EMPTY_PATH: i32 = 0x1000;
    pub(crate) const XATTR_CREATE: i32 = 1;
    pub(crate) const XATTR_REPLACE: i32 = 2;
    pub(crate) const NO_REPLACE: u32 = 1;
    pub(crate) const EXCHANGE: u32 = 2;
    pub(crate) const WHITEOUT: u32 = 4;
}

/// Flags of sends and receives.
pub(crate) mod msg_flags {
    use super::{signed, w};

    pub(crate) const OOB: i32 = w::MSG_OOB;
    pub(crate) const PEEK: i32 = w::MSG_PEEK;
    pub(crate) const WAITALL: i32 = w::MSG_WAITALL;
    pub(crate) const TRUNC: i32 = signed(w::MSG_TRUNC);
    pub(crate) const CTRUNC: i32 = signed(w::MSG_CTRUNC);
    /// No send raises a signal.
    pub(crate) const NOSIGNAL: i32 = 0;
    /// No message brings descriptors.
    pub(crate) const CMSG_CLOEXEC: i32 = 0;
    /// Linux's.
    pub(crate) const COMPAT: i32 = 0;
}

/// Events of a poll.
pub(crate) mod poll_events {
    use super::{unsigned, w};

    pub(crate) const IN: u16 = unsigned(w::POLLRDNORM);
    pub(crate) const OUT: u16 = unsigned(w::POLLWRNORM);
    pub(crate) const PRI: u16 = unsigned(w::POLLPRI);
    pub(crate) const HUP: u16 = unsigned(w::POLLHUP);
    pub(crate) const ERR: u16 = unsigned(w::POLLERR);
    /// The system has none: Linux's number, which nothing here has.
    pub(crate) const RDHUP: u16 = 0x2000;
}

/// The number of a direction that is to be ended.
pub(crate) fn shutdown_how(how: std::net::Shutdown) -> i32 {
    match how {
        std::net::Shutdown::Read => w::SD_RECEIVE,
        std::net::Shutdown::Write => w::SD_SEND,
        std::net::Shutdown::Both => w::SD_BOTH,
    }
}
