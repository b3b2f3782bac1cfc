//! What is received: the room, and what lies in it.
#![allow(unsafe_code, reason = "owns descriptors by their numbers")]

use super::{Credentials, PacketInfo, sealed};
use crate::sys::ancillary as sys;
use crate::sys::fd::{FromRawFd, OwnedFd};
use crate::sys::fd_of;
use std::fmt;
use std::time::SystemTime;

/// A control message that was received.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlMessage<'a> {
    /// Descriptors, close-on-exec (`SCM_RIGHTS`).
    Rights(Fds<'a>),
    /// A descriptor of the sender's process (`SCM_PIDFD`, after `SO_PASSPIDFD`, Linux 6.5). None if
    /// the kernel could not make one.
    PidFd(Fds<'a>),
    /// The sender (`SCM_CREDENTIALS`, after `SO_PASSCRED`).
    Credentials(Credentials),
    /// When the packet arrived (after `SO_TIMESTAMPNS`).
    Timestamp(SystemTime),
    /// The traffic class, whose two low bits are ECN (after `IP_RECVTOS` or `IPV6_RECVTCLASS`;
    /// after Windows's `IP_RECVECN` these two alone).
    TrafficClass(u8),
    /// Where it arrived (after `IP_PKTINFO` or `IPV6_RECVPKTINFO`).
    PacketInfo(PacketInfo),
    /// Several datagrams in one, each of so many bytes but for the last (after `UDP_GRO`, or
    /// Windows's `UDP_RECV_MAX_COALESCED_SIZE`).
    SegmentSize(u16),
    /// Anything else, or what is known but not of the right size.
    Other {
        /// `SOL_…` or `IPPROTO_…`.
        level: i32,
        /// The type, within the level.
        kind: i32,
        /// Its bytes: fewer than were sent, if the room was too small.
        data: &'a [u8],
    },
}

/// Descriptors that were received. Those that are not taken stay in the room, which closes them.
pub struct Fds<'a> {
    /// Numbers, -1 for what was taken.
    numbers: &'a mut [u8],
}

impl Fds<'_> {
    /// How many are left.
    pub fn remaining(&self) -> usize {
        let numbers = self.numbers.chunks_exact(sys::FD);
        numbers
            .filter(|n| sys::int(n).is_some_and(|n| n >= 0))
            .count()
    }
}

impl Iterator for Fds<'_> {
    type Item = OwnedFd;

    fn next(&mut self) -> Option<OwnedFd> {
        loop {
            let numbers = std::mem::take(&mut self.numbers);
            let (number, rest) = numbers.split_first_chunk_mut::<{ sys::FD }>()?;
            self.numbers = rest;
            let fd = i32::from_ne_bytes(std::mem::replace(number, (-1_i32).to_ne_bytes()));
            if fd >= 0 {
                // SAFETY: (C1) the kernel made it for this room, and it is given out once: its
                // number was overwritten just now.
                return Some(unsafe { OwnedFd::from_raw_fd(fd_of(fd)) });
            }
        }
    }
}

impl fmt::Debug for Fds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fds")
            .field("remaining", &self.remaining())
            .finish()
    }
}

/// The control messages in a room.
#[derive(Debug)]
pub struct Messages<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = ControlMessage<'a>;

    fn next(&mut self) -> Option<ControlMessage<'a>> {
        let head = sys::head(self.bytes)?;
        let bytes = std::mem::take(&mut self.bytes);
        let rest = &mut bytes[sys::HEADER..];
        // What claims more than there is was cut.
        let len = head.data_len.min(rest.len());
        let (data, rest) = rest.split_at_mut(len);
        let gap = (sys::align(len) - len).min(rest.len());
        self.bytes = &mut rest[gap..];
        Some(message(head, data))
    }
}

fn message(head: sys::Head, data: &mut [u8]) -> ControlMessage<'_> {
    let sys::Head { level, kind, .. } = head;
    match sys::known(level, kind, data) {
        Some(sys::Known::Rights) => ControlMessage::Rights(Fds { numbers: data }),
        Some(sys::Known::PidFd) => ControlMessage::PidFd(Fds { numbers: data }),
        Some(sys::Known::Credentials { pid, uid, gid }) => {
            ControlMessage::Credentials(Credentials { pid, uid, gid })
        }
        Some(sys::Known::Timestamp(time)) => ControlMessage::Timestamp(time),
        Some(sys::Known::TrafficClass(class)) => ControlMessage::TrafficClass(class),
        Some(sys::Known::PacketInfo4 {
            interface,
            local,
            destination,
        }) => ControlMessage::PacketInfo(PacketInfo {
            destination: destination.into(),
            local: local.into(),
            interface,
        }),
        Some(sys::Known::PacketInfo6 {
            interface,
            destination,
        }) => ControlMessage::PacketInfo(PacketInfo {
            destination: destination.into(),
            local: destination.into(),
            interface,
        }),
        Some(sys::Known::SegmentSize(size)) => ControlMessage::SegmentSize(size),
        None => ControlMessage::Other { level, kind, data },
    }
}

/// Closes the descriptors among messages.
fn close_all(bytes: &mut [u8]) {
    for message in (Messages { bytes }) {
        if let ControlMessage::Rights(fds) | ControlMessage::PidFd(fds) = message {
            fds.for_each(drop);
        }
    }
}

/// Room for `N` bytes of control messages that are received; boxed where `N` is large.
///
/// It owns the descriptors that came and were not taken. Forgetting it leaks them.
#[repr(C, align(8))]
pub struct Incoming<const N: usize> {
    /// Zeroes, or what the kernel has written (C1).
    pub(super) bytes: [u8; N],
}

impl<const N: usize> Incoming<N> {
    const FITS: () = assert!(sys::ALIGN <= align_of::<Self>(), "control data is aligned");

    /// No messages, and room for some.
    pub fn new() -> Self {
        let () = Self::FITS;
        Self { bytes: [0; N] }
    }

    /// What was received, in its order. Asked again, it gives the same, but for descriptors that
    /// were taken.
    pub fn messages(&mut self) -> Messages<'_> {
        Messages {
            bytes: &mut self.bytes,
        }
    }

    /// Forgets what was received, and closes the descriptors that were not taken.
    pub fn clear(&mut self) {
        close_all(&mut self.bytes);
        self.bytes.fill(0);
    }

    /// Keeps the last `len` bytes of what the kernel has written: before them lies what tries of
    /// its that found nothing have left.
    pub(super) fn keep_last(&mut self, len: usize) {
        let all = self.written(usize::MAX);
        let junk = all.saturating_sub(len);
        // Whole messages, or it is something else.
        if junk > 0 && self.written(junk) == junk {
            close_all(&mut self.bytes[..junk]);
            self.bytes.copy_within(junk..all, 0);
            self.bytes[all - junk..].fill(0);
        }
    }

    /// Where the messages end, or the first that reaches `limit`.
    fn written(&self, limit: usize) -> usize {
        let mut end = 0;
        while end < limit {
            let Some(head) = sys::head(&self.bytes[end..]) else {
                break;
            };
            let step = sys::HEADER.saturating_add(sys::align(head.data_len));
            end = end.saturating_add(step).min(N);
        }
        end
    }
}

impl<const N: usize> Default for Incoming<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for Incoming<N> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<const N: usize> fmt::Debug for Incoming<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("room", &N).finish()
    }
}

/// An [`Incoming`], or a box of one.
pub trait ToFill: sealed::ToFill + Unpin {}

impl<const N: usize> ToFill for Incoming<N> {}

impl<T: ToFill> ToFill for Box<T> {}

impl<const N: usize> sealed::ToFill for Incoming<N> {
    fn make_room(&mut self) -> (*mut u8, usize) {
        self.clear();
        (self.bytes.as_mut_ptr(), N)
    }

    fn settle(&mut self, len: usize) {
        self.keep_last(len);
    }

    fn give_up(&mut self) {
        self.clear();
    }
}

impl<T: ToFill> sealed::ToFill for Box<T> {
    fn make_room(&mut self) -> (*mut u8, usize) {
        (**self).make_room()
    }

    fn settle(&mut self, len: usize) {
        (**self).settle(len);
    }

    fn give_up(&mut self) {
        (**self).give_up();
    }
}
