//! The end of a process: a thread of the system's waits for it, and tells the port.
#![allow(unsafe_code, reason = "lends memory to a thread")]

use super::attach::{duplicate, handle};
use super::status::About;
use super::{Begun, Iocp, packets};
use crate::local::Core;
use crate::sys::fd::{AsRawFd, RawFd};
use crate::sys::keeper::Keeper as _;
use crate::sys::plain;
use std::ptr;
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE,
};

impl Iocp {
    /// Starts a wait for the end of a process, which is held meanwhile.
    pub(super) fn start_wait(&mut self, core: &mut Core, index: u32, fd: RawFd) {
        match duplicate(fd) {
            Ok(process) => self.ongoing[index as usize].own = Some(process),
            Err(error) => {
                let error = error
                    .raw_os_error()
                    .expect("the error of a call has a number");
                return self.complete(core, index, -error);
            }
        }
        let call = |iocp: &mut Self| {
            iocp.packets.begin(index, 0, 0);
            let place = iocp.packets.overlapped(index).cast();
            let ongoing = &mut iocp.ongoing[index as usize];
            let process = handle(ongoing.own.as_ref().expect("held just now").as_raw_fd());
            let (wait, tell) = (&raw mut ongoing.wait, Some(packets::tell as _));
            // SAFETY: (V1, V3) the wait has the place; its own number is written here.
            let ok = unsafe {
                RegisterWaitForSingleObject(
                    wait,
                    process,
                    tell,
                    place,
                    INFINITE,
                    WT_EXECUTEONLYONCE,
                )
            };
            if ok == 0 {
                return Begun::Failed(plain::last_error().unsigned_abs());
            }
            Begun::Pending
        };
        // SAFETY: (D1) nothing was lent but the place.
        unsafe { self.begin(core, index, (fd, About::Handle), call) };
    }

    /// The end was told: 1, as what is ready.
    pub(super) fn waited(&mut self, index: u32) -> i32 {
        self.unregister_wait(index);
        1
    }

    /// Takes a wait back. `false`: the end was told, and a packet is on its way.
    pub(super) fn stop_waiting(&mut self, index: u32) -> bool {
        self.unregister_wait(index);
        !self.packets.was_told(index)
    }

    /// Returns when no thread is in `tell` for this wait, nor will be.
    fn unregister_wait(&mut self, index: u32) {
        let ongoing = &mut self.ongoing[index as usize];
        let wait = std::mem::replace(&mut ongoing.wait, ptr::null_mut());
        if wait.is_null() {
            return;
        }
        // SAFETY: (V3) made by a call above, and given up here and once.
        let ok = unsafe { UnregisterWaitEx(wait, INVALID_HANDLE_VALUE) };
        debug_assert_ne!(ok, 0, "a wait that was registered");
    }
}
