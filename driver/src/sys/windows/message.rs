//! A message as Winsock describes it: where its parts, its address and its control data lie.

use super::address::{ROOM, RawAddressLen};
use super::numbers::signed;
use crate::op::call::Pieces;
use std::ptr;
use windows_sys::Win32::Networking::WinSock as w;

/// The description that the kernel reads, and writes its answer into.
pub(crate) type RawMessage = w::WSAMSG;

/// Flags of calls that there are not.
pub(crate) const DONTWAIT: i32 = 0;
pub(crate) const ZEROCOPY: i32 = 0;

pub(crate) fn empty() -> RawMessage {
    RawMessage {
        name: ptr::null_mut(),
        namelen: 0,
        lpBuffers: ptr::null_mut(),
        dwBufferCount: 0,
        Control: w::WSABUF {
            len: 0,
            buf: ptr::null_mut(),
        },
        dwFlags: 0,
    }
}

pub(crate) fn of(pieces: Pieces) -> RawMessage {
    let mut raw = empty();
    if pieces.addr_len > 0 {
        raw.name = pieces.addr.cast();
        raw.namelen = pieces.addr_len;
    }
    raw.lpBuffers = pieces.places.cast_mut().cast();
    raw.dwBufferCount = pieces.count;
    if pieces.control_len > 0 {
        raw.Control.buf = pieces.control;
        let len = pieces.control_len.try_into();
        raw.Control.len = len.expect("operations have less room");
    }
    raw
}

/// How long the address is that the kernel has written.
pub(crate) fn addr_len(raw: &RawMessage) -> RawAddressLen {
    raw.namelen.min(ROOM)
}

/// How much control data the kernel says that it has written.
pub(crate) fn control_len(raw: &RawMessage) -> usize {
    raw.Control.len as usize
}

/// The flags that the kernel has answered with.
pub(crate) fn flags(raw: &RawMessage) -> i32 {
    signed(raw.dwFlags)
}
