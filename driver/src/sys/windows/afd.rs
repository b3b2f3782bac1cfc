//! The device that all sockets are on, asked for when one is ready.
//!
//! It is asked by a handle of the driver's own, so that the socket may be anybody's: it need not be
//! attached, nor is it.
#![allow(unsafe_code, reason = "makes the calls")]

use super::fd::{AsRawFd, OwnedFd, RawFd};
use super::plain::told_by_provider;
use super::poll_events as bits;
use super::port::Port;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{FILE_OPEN, NtCreateFile};
use windows_sys::Wdk::System::IO::NtDeviceIoControlFile;
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, RtlNtStatusToDosError, STATUS_SUCCESS, UNICODE_STRING,
};
use windows_sys::Win32::Networking::WinSock as w;
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_READ, FILE_SHARE_WRITE, SYNCHRONIZE};
use windows_sys::Win32::System::IO::{IO_STATUS_BLOCK, OVERLAPPED};

/// A handle of the device, whose packets come to one port.
#[derive(Debug)]
pub(crate) struct Afd {
    handle: OwnedFd,
}

/// What the device is asked, and where it answers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    timeout: i64,
    /// How many sockets follow: one.
    count: u32,
    exclusive: u32,
    socket: HANDLE,
    events: u32,
    status: NTSTATUS,
}

const POLL: u32 = 0x12024;
const FOR_EVER: i64 = i64::MAX;

/// Events of the device's own.
mod event {
    pub(super) const RECEIVE: u32 = 0x1;
    pub(super) const RECEIVE_EXPEDITED: u32 = 0x2;
    pub(super) const SEND: u32 = 0x4;
    /// The peer has ended its side.
    pub(super) const DISCONNECT: u32 = 0x8;
    /// The connection was reset.
    pub(super) const ABORT: u32 = 0x10;
    /// The socket was closed here.
    pub(super) const LOCAL_CLOSE: u32 = 0x20;
    pub(super) const ACCEPT: u32 = 0x80;
    pub(super) const CONNECT_FAIL: u32 = 0x100;
}

impl Afd {
    pub(crate) fn open(port: &Port) -> io::Result<Self> {
        // What follows the device's name is whoever asks.
        let mut name: [u16; 22] = [0; 22];
        for (to, from) in name
            .iter_mut()
            .zip(r"\Device\Afd\Completeio".encode_utf16())
        {
            *to = from;
        }
        let len = u16::try_from(size_of_val(&name)).expect("a short name");
        let name = UNICODE_STRING {
            Length: len,
            MaximumLength: len,
            Buffer: name.as_mut_ptr(),
        };
        let attributes = OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).expect("a small struct"),
            RootDirectory: ptr::null_mut(),
            ObjectName: &raw const name,
            Attributes: 0,
            SecurityDescriptor: ptr::null(),
            SecurityQualityOfService: ptr::null(),
        };
        let (mut handle, mut answer) = (ptr::null_mut(), IO_STATUS_BLOCK::default());
        // SAFETY: (K1) the kernel reads and writes locals.
        let status = unsafe {
            NtCreateFile(
                &raw mut handle,
                SYNCHRONIZE,
                &raw const attributes,
                &raw mut answer,
                ptr::null(),
                0,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                FILE_OPEN,
                0,
                ptr::null(),
                0,
            )
        };
        if status != STATUS_SUCCESS {
            // SAFETY: (K1) takes a number.
            let error = unsafe { RtlNtStatusToDosError(status) };
            return Err(io::Error::from_raw_os_error(super::signed(error)));
        }
        // SAFETY: (R1) the call has just made it, and nobody else knows it.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        port.attach(handle.as_raw_handle())?;
        Ok(Self {
            handle: handle.into(),
        })
    }

    /// Asks; a packet tells the answer, unless this is an error.
    ///
    /// # Safety
    /// Both places are the kernel's until the packet was taken.
    pub(crate) unsafe fn ask(
        &self,
        question: *mut Question,
        overlapped: *mut OVERLAPPED,
    ) -> NTSTATUS {
        let handle = self.as_raw_fd().as_handle().expect("it is one");
        let len = u32::try_from(size_of::<Question>()).expect("a small struct");
        let (nobody, whose) = (ptr::null_mut(), overlapped.cast());
        let (asked, answer) = (question.cast(), question.cast());
        // SAFETY: (V1) the kernel has both places; the status's is the beginning of `OVERLAPPED`.
        unsafe {
            NtDeviceIoControlFile(
                handle,
                nobody,
                None,
                whose,
                overlapped.cast(),
                POLL,
                asked,
                len,
                answer,
                len,
            )
        }
    }
}

impl AsRawFd for Afd {
    fn as_raw_fd(&self) -> RawFd {
        self.handle.as_raw_fd()
    }
}

impl Question {
    pub(crate) const NONE: Self = Self {
        timeout: FOR_EVER,
        count: 1,
        exclusive: 0,
        socket: ptr::null_mut(),
        events: 0,
        status: 0,
    };

    /// Whether a socket is ready for any of `events`; an error is its number, negated. The device
    /// knows the socket below those that layered providers have put on it.
    pub(crate) fn new(fd: RawFd, events: u16) -> Result<Self, i32> {
        let base = told_by_provider(fd, w::SIO_BASE_HANDLE, None)?;
        Ok(Self {
            socket: ptr::without_provenance_mut(base),
            events: wanted(events),
            ..Self::NONE
        })
    }

    /// What it is ready for, or an error, negated.
    pub(crate) fn answer(&self) -> i32 {
        if self.events & event::LOCAL_CLOSE != 0 {
            return -w::WSAENOTSOCK;
        }
        i32::from(told(self.events))
    }
}

/// What is told whether it is asked for or not: the peer's end, or that there is no connection, or
/// no socket.
const ALWAYS: u32 = event::DISCONNECT | event::ABORT | event::CONNECT_FAIL | event::LOCAL_CLOSE;

fn wanted(events: u16) -> u32 {
    let pairs = [
        (bits::IN, event::RECEIVE | event::ACCEPT),
        (bits::OUT, event::SEND),
        (bits::PRI, event::RECEIVE_EXPEDITED),
    ];
    let asked = pairs.into_iter().filter(|(bit, _)| events & bit != 0);
    asked.fold(ALWAYS, |all, (_, event)| all | event)
}

fn told(events: u32) -> u16 {
    let broken = bits::IN | bits::OUT | bits::HUP | bits::ERR;
    let pairs = [
        (event::RECEIVE | event::ACCEPT, bits::IN),
        (event::DISCONNECT, bits::IN | bits::RDHUP),
        (event::SEND, bits::OUT),
        (event::RECEIVE_EXPEDITED, bits::PRI),
        (event::ABORT | event::CONNECT_FAIL, broken),
    ];
    let there = pairs.into_iter().filter(|(event, _)| events & event != 0);
    there.fold(0, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_there_and_back() {
        assert_eq!(wanted(0), ALWAYS);
        for bit in [bits::IN, bits::OUT, bits::PRI] {
            let asked = wanted(bit);
            assert_eq!(asked & ALWAYS, ALWAYS);
            assert_eq!(told(asked & !ALWAYS), bit);
        }
        let broken = told(event::ABORT);
        assert!(broken & bits::HUP != 0 && broken & bits::ERR != 0 && broken & bits::PRI == 0);
        assert_eq!(told(event::DISCONNECT), bits::IN | bits::RDHUP);
        assert_eq!(told(0), 0);
        let closed = Question {
            events: event::LOCAL_CLOSE | event::RECEIVE,
            ..Question::NONE
        };
        assert_eq!(closed.answer(), -w::WSAENOTSOCK);
    }
}
