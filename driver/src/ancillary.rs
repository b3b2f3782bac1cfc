//! Control messages: what travels beside the bytes of a message, such as descriptors.
//!
//! [`Outgoing`] is built before [`SendMsg`](crate::op::SendMsg) is pushed, [`Incoming`] is the room
//! that [`RecvMsg`](crate::op::RecvMsg) receives into. Both have a fixed size, [`space`] says how much
//! a message takes, and neither allocates.
//!
//! **Descriptors.** What is sent stays open as long as the operation lives, which owns or borrows it.
//! What is received is close-on-exec and belongs to the room: [`Fds`] gives descriptors out, and those
//! that nobody took are closed with the room, or when the operation is pushed again. That holds whether
//! the operation was finished, disposed of, or never heard of again, for the room itself knows what
//! the kernel has put there; it needs a room that is dropped, not forgotten.
//!
//! ```
//! use completeio_driver::ancillary::{ControlMessage, Incoming, Outgoing, space};
//! use completeio_driver::driver::{CompleteIo, Driver};
//! use completeio_driver::op::{Op, RecvMsg, SendMsg};
//! use std::os::{fd::OwnedFd, unix::net::UnixStream};
//!
//! let (a, b) = UnixStream::pair()?;
//! let file = OwnedFd::from(std::fs::File::open("Cargo.toml")?);
//! let control = Outgoing::<{ space(4) }, _>::with_rights([file]).unwrap();
//! let mut send = SendMsg::new(OwnedFd::from(a), ["a file"], control);
//! let mut recv = RecvMsg::new(OwnedFd::from(b), [[0; 16]], Incoming::<{ space(4) }>::new());
//! let mut entries = Vec::with_capacity(2);
//! {
//!     let mut driver = Driver::new()?;
//!     driver.try_push(&mut send, 0).unwrap();
//!     driver.try_push(&mut recv, 1).unwrap();
//!     while entries.len() < 2 {
//!         // SAFETY: the operations outlive the driver and are not touched while it has them.
//!         unsafe { driver.submit(None, &mut entries)? };
//!     }
//! }
//! let entry = entries.into_iter().find(|entry| entry.user_data() == 1).unwrap();
//! // SAFETY: the entry is the operation's last one.
//! let received = unsafe { recv.finish(entry)? };
//! assert_eq!(received.len, 6);
//! let Some(ControlMessage::Rights(mut fds)) = recv.control_mut().messages().next() else {
//!     panic!("no descriptor came");
//! };
//! let file: OwnedFd = fds.next().unwrap();
//! # Ok::<(), std::io::Error>(())
//! ```
#![allow(unsafe_code, reason = "owns descriptors by their numbers")]

use crate::error::Refusal;
use crate::fd::{Descriptor, Holds, Target};
use crate::sys::ancillary as sys;
use crate::sys::fd::{FromRawFd, OwnedFd};
use crate::sys::{fd_of, number_of};
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

/// The bytes that a control message with so many bytes of data takes; a descriptor has 4.
///
/// ```
/// use completeio_driver::ancillary::{Incoming, space};
/// // Room for a traffic class and a packet's destination.
/// let room = Incoming::<{ space(4) + space(20) }>::new();
/// ```
pub const fn space(data: usize) -> usize {
    sys::HEADER.saturating_add(sys::align(data))
}

/// There was no room for a control message: nothing was added, and what was to be is handed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom<T = ()>(T);

impl<T> NoRoom<T> {
    /// What found no room.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Display for NoRoom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for the control message: `space` says how much it takes")
    }
}

impl<T: fmt::Debug> Error for NoRoom<T> {}

/// Who sent a message: filled in by the sender, checked by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The process.
    pub pid: i32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Where a datagram arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketInfo {
    /// The address that it was sent to.
    pub destination: IpAddr,
    /// The local address to answer from: another one for IPv4 broadcasts and multicasts.
    pub local: IpAddr,
    /// The index of the interface.
    pub interface: u32,
}

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
    bytes: [u8; N],
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
    fn keep_last(&mut self, len: usize) {
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

/// `N` bytes of control messages to be sent; boxed where `N` is large. `R` are the descriptors that are
/// sent along, which stay what they are until it is dropped: an array, a vector or a boxed slice of
/// [descriptors](crate::driver::Descriptor), owned or borrowed.
///
/// ```
/// use completeio_driver::ancillary::{NoRoom, Outgoing, space};
///
/// let mut control = Outgoing::<{ space(4) }>::new();
/// control.traffic_class_v4(0b10)?;
/// assert!(control.segment_size(1200).is_err(), "it is full");
/// # Ok::<(), NoRoom>(())
/// ```
#[repr(C, align(8))]
pub struct Outgoing<const N: usize, R = ()> {
    bytes: [u8; N],
    len: usize,
    rights: R,
    /// Whether there is a message that this system does not have.
    lacks: bool,
}

impl<const N: usize> Outgoing<N> {
    /// No messages, and room for some.
    pub fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            rights: (),
            lacks: false,
        }
    }
}

impl<const N: usize> Default for Outgoing<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize, R: Rights> Outgoing<N, R> {
    const FITS: () = assert!(sys::ALIGN <= align_of::<Self>(), "control data is aligned");

    /// Sends descriptors (`SCM_RIGHTS`): at most 253, on Unix sockets, with at least one byte on a
    /// stream. Fixed ones are refused ([`Refusal::FixedDescriptor`]), and any on Windows, which sends none
    /// ([`Refusal::Unsupported`]).
    ///
    /// # Errors
    /// [`NoRoom`] with the descriptors.
    pub fn with_rights(rights: R) -> Result<Self, NoRoom<R>> {
        let mut numbers = 0;
        rights.each(&mut |_| numbers += 1);
        let mut control = Self {
            bytes: [0; N],
            len: 0,
            rights,
            lacks: numbers > 0 && sys::RIGHTS == sys::MISSING,
        };
        if numbers > 0 {
            // The numbers come when it is pushed.
            let len = numbers * sys::FD;
            match sys::begin(&mut control.bytes, sys::SOCKET, sys::RIGHTS, len) {
                Some(data) => control.len = sys::HEADER + data.len(),
                None => return Err(NoRoom(control.rights)),
            }
        }
        Ok(control)
    }

    /// The descriptors that are sent along.
    pub fn rights(&self) -> &R {
        &self.rights
    }

    /// The descriptors that were sent along.
    pub fn into_rights(self) -> R {
        self.rights
    }

    /// Bytes, where the kernel reads them, for this flight.
    fn prepare(&mut self) -> Result<(*mut u8, usize), Refusal> {
        let () = Self::FITS;
        if self.lacks {
            return Err(Refusal::Unsupported);
        }
        let mut places = self
            .bytes
            .get_mut(sys::HEADER..)
            .unwrap_or_default()
            .chunks_exact_mut(sys::FD);
        let mut refusal = None;
        self.rights.each(&mut |target| {
            let place = places.next().expect("they were counted");
            match target {
                Target::Plain(fd) => place.copy_from_slice(&number_of(fd).to_ne_bytes()),
                Target::Fixed(_) => refusal = Some(Refusal::FixedDescriptor),
            }
        });
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok((self.bytes.as_mut_ptr(), self.len)),
        }
    }

    /// Adds a message of any kind.
    ///
    /// # Errors
    /// [`NoRoom`].
    ///
    /// # Safety
    /// What the kernel makes of these bytes is sound: descriptors among them are open and the
    /// caller's to send, addresses among them are of memory that the kernel may use.
    pub unsafe fn other(&mut self, level: i32, kind: i32, data: &[u8]) -> Result<(), NoRoom> {
        self.add((level, kind, data))
    }

    fn add(&mut self, (level, kind, data): (i32, i32, &[u8])) -> Result<(), NoRoom> {
        let free = &mut self.bytes[self.len..];
        let place = sys::begin(free, level, kind, data.len()).ok_or(NoRoom(()))?;
        place[..data.len()].copy_from_slice(data);
        self.len += sys::HEADER + place.len();
        self.lacks |= kind == sys::MISSING;
        Ok(())
    }
}

/// Messages by their names. One that the system does not have is refused when it is pushed
/// ([`Refusal::Unsupported`]).
impl<const N: usize, R: Rights> Outgoing<N, R> {
    /// Says who sends (`SCM_CREDENTIALS`); whoever is privileged may say something else than what is
    /// true. 12 bytes.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn credentials(&mut self, who: Credentials) -> Result<(), NoRoom> {
        let (level, kind, data) = sys::credentials(who.pid, who.uid, who.gid);
        self.add((level, kind, &data))
    }

    /// The traffic class of an IPv4 datagram, whose two low bits are ECN (`IP_TOS`; on Windows `IP_ECN`
    /// where no other bits are set). 4 bytes.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn traffic_class_v4(&mut self, class: u8) -> Result<(), NoRoom> {
        let (level, kind, data) = sys::traffic_class_v4(class);
        self.add((level, kind, &data))
    }

    /// The traffic class of an IPv6 datagram, whose two low bits are ECN (`IPV6_TCLASS`;
    /// on Windows `IPV6_ECN` where no other bits are set). 4 bytes.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn traffic_class_v6(&mut self, class: u8) -> Result<(), NoRoom> {
        let (level, kind, data) = sys::traffic_class_v6(class);
        self.add((level, kind, &data))
    }

    /// The local address and the interface (0: any) that a datagram is sent from (`IP_PKTINFO`,
    /// `IPV6_PKTINFO`). 12 bytes for IPv4, on Windows 8; 20 for IPv6.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn source(&mut self, source: IpAddr, interface: u32) -> Result<(), NoRoom> {
        match source {
            IpAddr::V4(source) => {
                let (level, kind, data) = sys::source_v4(source, interface);
                self.add((level, kind, &data))
            }
            IpAddr::V6(source) => {
                let (level, kind, data) = sys::source_v6(source, interface);
                self.add((level, kind, &data))
            }
        }
    }

    /// Sends UDP datagrams of so many bytes each out of one buffer (`UDP_SEGMENT`, GSO; on Windows
    /// `UDP_SEND_MSG_SIZE`). 2 bytes, on Windows 4.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn segment_size(&mut self, size: u16) -> Result<(), NoRoom> {
        let (level, kind, data) = sys::segment_size(size);
        self.add((level, kind, &data))
    }
}

impl<const N: usize, R> fmt::Debug for Outgoing<N, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("room", &N)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Descriptors that are sent along with a message: none, or several of one type.
pub trait Rights: sealed::Rights + Unpin {}

/// An [`Outgoing`], or a box of one.
pub trait ToSend: sealed::ToSend + Unpin {
    /// The descriptors that are sent along.
    type Rights: Rights;
}

/// An [`Incoming`], or a box of one.
pub trait ToFill: sealed::ToFill + Unpin {}

impl<const N: usize, R: Rights> ToSend for Outgoing<N, R> {
    type Rights = R;
}

impl<T: ToSend> ToSend for Box<T> {
    type Rights = T::Rights;
}

impl<const N: usize> ToFill for Incoming<N> {}
impl<T: ToFill> ToFill for Box<T> {}

pub(crate) mod sealed {
    use super::*;

    pub trait Rights {
        /// Names each, as often as asked in the same order and number.
        fn each(&self, each: &mut dyn FnMut(Target));
    }

    pub trait ToSend {
        /// Where the kernel reads, in this flight.
        fn prepare(&mut self) -> Result<(*mut u8, usize), Refusal>;
    }

    pub trait ToFill {
        /// Where the kernel writes, in this flight: nothing is there, and all of it is zeroes.
        fn make_room(&mut self) -> (*mut u8, usize);
        /// Keeps what the last try of the kernel's has written: so many bytes.
        fn settle(&mut self, len: usize);
        /// Closes what is there.
        fn give_up(&mut self);
    }

    impl<const N: usize, R: super::Rights> ToSend for Outgoing<N, R> {
        fn prepare(&mut self) -> Result<(*mut u8, usize), Refusal> {
            self.prepare()
        }
    }

    impl<T: ToSend> ToSend for Box<T> {
        fn prepare(&mut self) -> Result<(*mut u8, usize), Refusal> {
            (**self).prepare()
        }
    }

    impl<const N: usize> ToFill for Incoming<N> {
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

    impl<T: ToFill> ToFill for Box<T> {
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
}

impl Rights for () {}

impl sealed::Rights for () {
    fn each(&self, _each: &mut dyn FnMut(Target)) {}
}

macro_rules! rights {
    ($($several:ty $(, $n:ident)?;)*) => {$(
        impl<F: Descriptor $(, const $n: usize)?> Rights for $several {}

        impl<F: Descriptor $(, const $n: usize)?> sealed::Rights for $several {
            fn each(&self, each: &mut dyn FnMut(Target)) {
                self.iter().for_each(|fd| each(fd.target()));
            }
        }

        // SAFETY: (I11) each of them is open until it is dropped.
        unsafe impl<F: Holds $(, const $n: usize)?> Holds for $several {}
    )*};
}
rights! {
    [F; K], K;
    Vec<F>;
    Box<[F]>;
}

/// Rooms as kernels fill them.
#[cfg(all(unix, any(test, fuzzing)))]
pub(crate) mod written {
    use super::*;
    use std::fs::File;
    use std::io::{self, Read};
    use std::os::fd::{AsFd, IntoRawFd};
    use std::os::unix::net::UnixStream;

    /// The bytes of the room.
    pub(super) const ROOM: usize = 120;

    /// What is there, with descriptors left alone.
    pub(super) fn read<const N: usize>(room: &mut Incoming<N>) -> Vec<String> {
        room.messages().map(|m| format!("{m:?}")).collect()
    }

    /// Whatever a kernel writes into a room is read as recvmsg(2) and cmsg(3) have it, and each
    /// descriptor there is given out once or closed. Which are taken is the first byte's choice; the
    /// second says how much the last try of the kernel's has written.
    pub fn check(bytes: &[u8]) {
        let Some(([taken, last], bytes)) = bytes.split_first_chunk() else {
            return;
        };
        let mut room = Incoming::<ROOM>::new();
        let filled = bytes.len().min(ROOM);
        room.bytes[..filled].copy_from_slice(&bytes[..filled]);
        let (ours, theirs) = UnixStream::pair().expect("two descriptors");
        let (messages, is_cut) = messages(&room.bytes);
        let mut numbers = 0;
        for message in &messages {
            if message.has_descriptors() {
                numbers += open(&mut room.bytes[message.data.clone()], &theirs);
            }
        }
        drop(theirs);

        let before = room.bytes;
        assert_eq!(room.messages().count(), messages.len(), "{messages:?}");
        for (message, expected) in room.messages().zip(&messages) {
            let data = &before[expected.data.clone()];
            match message {
                ControlMessage::Rights(fds) | ControlMessage::PidFd(fds) => {
                    assert!(expected.has_descriptors(), "{expected:?}");
                    numbers -= fds.remaining();
                }
                ControlMessage::Other {
                    level,
                    kind,
                    data: other,
                } => {
                    assert_eq!((level, kind, other), (expected.level, expected.kind, data));
                }
                known => assert!(!data.is_empty(), "{known:?} of nothing"),
            }
        }
        assert_eq!(numbers, 0, "descriptors that were not given");
        assert_eq!(before, room.bytes, "what is not taken stays");

        let mut fds = Vec::new();
        for (n, message) in room.messages().enumerate() {
            if let ControlMessage::Rights(some) | ControlMessage::PidFd(some) = message {
                fds.extend(some.take(usize::from(taken >> (n % 4 * 2) & 3)));
            }
        }
        // A kernel cuts what does not fit, the length with it.
        if !is_cut {
            let (last, all) = (usize::from(*last), read(&mut room));
            let end = |message: &Message| message.data.end.next_multiple_of(8).min(ROOM);
            let ends: Vec<usize> = messages.iter().map(end).collect();
            let junk = ends.last().map_or(0, |all| all.saturating_sub(last));
            let gone = ends
                .iter()
                .position(|end| *end == junk)
                .map_or(0, |at| at + 1);
            room.keep_last(last);
            assert_eq!(
                read(&mut room),
                all[gone..],
                "the last {last} bytes of {ends:?}"
            );
        }
        drop((room, fds));
        assert!(is_left(ours), "a descriptor was not closed");
    }

    /// A message as cmsg(3) finds it.
    #[derive(Debug)]
    struct Message {
        level: i32,
        kind: i32,
        data: std::ops::Range<usize>,
    }

    impl Message {
        fn has_descriptors(&self) -> bool {
            self.level == libc::SOL_SOCKET && [libc::SCM_RIGHTS, 4].contains(&self.kind)
        }
    }

    /// What there is, and whether the last one claims more than the room has.
    fn messages(bytes: &[u8; ROOM]) -> (Vec<Message>, bool) {
        let (mut messages, mut at, mut is_cut) = (Vec::new(), 0, false);
        while at + 16 <= ROOM {
            let word = |from| *bytes[at + from..].first_chunk().expect("within the head");
            let int =
                |from| i32::from_ne_bytes(*bytes[at + from..].first_chunk().expect("as above"));
            let len = usize::from_ne_bytes(word(0));
            if len < 16 {
                break;
            }
            is_cut = len > ROOM - at;
            let end = at + len.min(ROOM - at);
            messages.push(Message {
                level: int(8),
                kind: int(12),
                data: at + 16..end,
            });
            at = end.next_multiple_of(8);
        }
        (messages, is_cut)
    }

    /// Makes descriptors of the numbers that could be some, each a clone of `of`; how many?
    fn open(numbers: &mut [u8], of: &UnixStream) -> usize {
        let mut opened = 0;
        for number in numbers.chunks_exact_mut(4) {
            if number[3] < 0x80 {
                let fd = of.as_fd().try_clone_to_owned().expect("a descriptor");
                number.copy_from_slice(&fd.into_raw_fd().to_ne_bytes());
                opened += 1;
            }
        }
        opened
    }

    /// Whether nobody has the other end. Under Miri, which has no sockets but pairs, this waits until
    /// it is so.
    fn is_left(end: UnixStream) -> bool {
        if !cfg!(miri) {
            end.set_nonblocking(true).expect("it is a socket");
        }
        match File::from(OwnedFd::from(end)).read(&mut [0]) {
            Ok(n) => n == 0,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                false
            }
        }
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::written::read;
    use super::*;
    use crate::fuzzing::noise;

    fn filled<const N: usize>(messages: &[(i32, i32, &[u8])]) -> Incoming<N> {
        let mut room = Incoming::new();
        let mut at = 0;
        for (level, kind, data) in messages {
            let place = sys::begin(&mut room.bytes[at..], *level, *kind, data.len()).unwrap();
            place[..data.len()].copy_from_slice(data);
            at += sys::HEADER + place.len();
        }
        room
    }

    #[test]
    fn whatever_a_kernel_writes() {
        for round in 0_u8..if cfg!(miri) { 50 } else { 250 } {
            let mut bytes = noise(round.into(), 2 + written::ROOM);
            // Lengths that may pass, and levels that are known.
            for (n, head) in bytes[2..].chunks_exact_mut(24).enumerate() {
                if round % 4 < 3 {
                    head[..16].fill(0);
                    head[0] = [16, 17, 20, 24, 28, 200][(usize::from(round) + n) % 6];
                    head[8] = 1;
                    head[12] = 1 + round % 2;
                    // Descriptors that there are, and those that there are not.
                    head[19] = round << 6;
                    head[23] = round << 5;
                }
            }
            written::check(&bytes);
        }
        written::check(&[]);
    }

    #[test]
    fn lengths_at_the_edges() {
        let head = |len: usize| {
            let mut room = filled::<40>(&[(9, 9, &[7; 8])]);
            room.bytes[..8].copy_from_slice(&len.to_ne_bytes());
            read(&mut room)
        };
        for short in [0, 1, 15] {
            assert!(head(short).is_empty(), "{short}: less than its own head");
        }
        assert_eq!(head(16)[0], "Other { level: 9, kind: 9, data: [] }");
        assert_eq!(head(19)[0], "Other { level: 9, kind: 9, data: [7, 7, 7] }");
        for long in [40, 41, usize::MAX - 7, usize::MAX] {
            let messages = head(long);
            assert_eq!(messages.len(), 1, "{long}: cut at the end of the room");
            assert!(messages[0].matches(',').count() >= 24, "{messages:?}");
        }
        assert!(Incoming::<0>::new().messages().next().is_none());
        assert!(Incoming::<15>::new().messages().next().is_none());
    }

    #[test]
    fn what_is_known_is_read_and_else_given_as_it_is() {
        let (level, tos) = (0, 1);
        for (data, known) in [(&[3][..], true), (&[3, 0, 0, 0], false), (&[], false)] {
            let mut room = filled::<64>(&[(level, tos, data), (5, 6, b"next")]);
            let messages = read(&mut room);
            assert_eq!(messages.len(), 2);
            assert_eq!(messages[0] == "TrafficClass(3)", known, "{messages:?}");
            assert!(messages[1].starts_with("Other { level: 5, kind: 6, data: [110,"));
        }
        let mut sent = Outgoing::<{ space(20) + space(12) }>::new();
        sent.source("::1".parse().unwrap(), 3).unwrap();
        sent.credentials(Credentials {
            pid: 7,
            uid: 8,
            gid: 9,
        })
        .unwrap();
        assert_eq!(sent.traffic_class_v4(1), Err(NoRoom(())));
        let mut room = Incoming { bytes: sent.bytes };
        let messages = read(&mut room);
        assert!(messages[0].contains("destination: ::1") && messages[0].contains("interface: 3"));
        assert_eq!(
            messages[1],
            "Credentials(Credentials { pid: 7, uid: 8, gid: 9 })"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "opens files")]
    fn descriptors_are_given_once_and_the_rest_is_closed() {
        use std::os::fd::{AsRawFd, IntoRawFd};
        let null = || std::fs::File::open("/dev/null").unwrap();
        let numbers = [null(), null(), null()].map(IntoRawFd::into_raw_fd);
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        let mut room = filled::<64>(&[(sys::SOCKET, sys::RIGHTS, &bytes)]);
        let Some(ControlMessage::Rights(mut fds)) = room.messages().next() else {
            panic!("descriptors are there");
        };
        assert_eq!(fds.remaining(), 3);
        let first = fds.next().unwrap();
        assert_eq!(first.as_raw_fd(), numbers[0]);
        let Some(ControlMessage::Rights(fds)) = room.messages().next() else {
            panic!("the others are there");
        };
        assert_eq!(fds.remaining(), 2);
        drop(room);
        let links = numbers.map(|n| std::fs::read_link(format!("/proc/self/fd/{n}")).ok());
        let null = |link: &Option<std::path::PathBuf>| {
            link.as_ref()
                .is_some_and(|path| path.as_os_str() == "/dev/null")
        };
        assert!(null(&links[0]));
    }

    #[test]
    fn what_a_fruitless_try_left_is_taken_out() {
        let [junk, class] = [(5, 5, &[1; 12][..]), (0, 1, &[2][..])];
        let last = space(1);
        for messages in [&[class][..], &[junk, class], &[junk, junk, class]] {
            let mut room = filled::<128>(messages);
            room.keep_last(last);
            assert_eq!(read(&mut room), ["TrafficClass(2)"]);
        }
        // All of it is wanted, nothing is there, and lengths that cannot be.
        let mut room = filled::<128>(&[junk, class]);
        room.keep_last(space(12) + last);
        assert_eq!(read(&mut room).len(), 2);
        room.keep_last(last + 1);
        room.keep_last(usize::MAX);
        assert_eq!(read(&mut room).len(), 2);
        room.keep_last(0);
        assert!(read(&mut room).is_empty());
        room.keep_last(7);
    }
}
