//! A completion port: where the kernel, the workers and the notifiers put their packets.
//!
//! [Completion ports](https://learn.microsoft.com/en-us/windows/win32/fileio/i-o-completion-ports)
#![allow(unsafe_code, reason = "makes the calls")]

use super::fd::{AsRawFd, RawFd};
use super::numbers::signed;
use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};

/// One port, closed with the last who has it. What is attached to it stays so.
#[derive(Debug)]
pub(crate) struct Port {
    handle: OwnedHandle,
}

/// Who sends a packet: its completion key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The kernel, about a call whose `OVERLAPPED` the packet names.
    Kernel = 0,
    Notifier = 1,
    Workers = 2,
    /// A thread of the system's that waited for a process.
    Waits = 3,
}

impl Port {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: (K1) takes numbers.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if port.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: (R1) the call has just made it, and nobody else knows it.
        let handle = unsafe { OwnedHandle::from_raw_handle(port) };
        Ok(Self { handle })
    }

    /// Has the kernel send the packets of a handle's overlapped calls here, from now on and until
    /// it is closed.
    ///
    /// # Errors
    /// `ERROR_INVALID_PARAMETER` for a handle that takes no overlapped calls, or has a port.
    pub(crate) fn attach(&self, handle: HANDLE) -> io::Result<()> {
        // SAFETY: (K1) takes numbers.
        let port =
            unsafe { CreateIoCompletionPort(handle, self.raw(), Sender::Kernel as usize, 0) };
        if port.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Sends an empty packet.
    pub(crate) fn post(&self, sender: Sender) -> io::Result<()> {
        let nothing = ptr::null();
        // SAFETY: (K1) takes numbers, and an address that is followed by nobody.
        if unsafe { PostQueuedCompletionStatus(self.raw(), 0, sender as usize, nothing) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes the packets that are there, as many as there is room for; waits for the first so many
    /// milliseconds. Returns how many were taken.
    pub(crate) fn take(
        &self,
        room: &mut [MaybeUninit<OVERLAPPED_ENTRY>],
        milliseconds: u32,
    ) -> io::Result<usize> {
        let len = u32::try_from(room.len()).expect("room for a few");
        let mut taken = 0;
        // SAFETY: (K1) the kernel writes at most `len` packets, and a local.
        let ok = unsafe {
            GetQueuedCompletionStatusEx(
                self.raw(),
                room.as_mut_ptr().cast(),
                len,
                &raw mut taken,
                milliseconds,
                0,
            )
        };
        if ok != 0 {
            return Ok(taken as usize);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(signed(WAIT_TIMEOUT)) {
            return Ok(0);
        }
        Err(error)
    }

    /// Sends a packet as the kernel would, of this call.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn post_for(&self, overlapped: *const windows_sys::Win32::System::IO::OVERLAPPED) {
        let key = Sender::Kernel as usize;
        // SAFETY: (K1) takes numbers, and an address that is followed by nobody.
        let posted = unsafe { PostQueuedCompletionStatus(self.raw(), 0, key, overlapped) };
        assert_ne!(posted, 0, "the port is open");
    }

    /// Waits until there are packets, and leaves them there.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_signalled(&self, milliseconds: u32) -> bool {
        use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
        use windows_sys::Win32::System::Threading::WaitForSingleObject;
        // SAFETY: (K1) takes numbers.
        unsafe { WaitForSingleObject(self.raw(), milliseconds) == WAIT_OBJECT_0 }
    }

    pub(crate) fn raw(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.handle.as_raw_fd()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn packets_come_in_their_order_and_many_at_a_time() {
        let port = Port::new().unwrap();
        let mut room = [const { MaybeUninit::uninit() }; 64];
        assert_eq!(port.take(&mut room, 0).unwrap(), 0);
        for _ in 0..32 {
            port.post(Sender::Notifier).unwrap();
            port.post(Sender::Workers).unwrap();
        }
        assert_eq!(port.take(&mut room[..16], 0).unwrap(), 16);
        let key = |entry: &MaybeUninit<OVERLAPPED_ENTRY>| {
            // SAFETY: the port has written so many.
            unsafe { entry.assume_init_ref() }.lpCompletionKey
        };
        assert_eq!(room[..2].iter().map(key).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(port.take(&mut room, u32::MAX).unwrap(), 48);
    }
}
