//! What is sent: control messages, and the descriptors that go along.
#![allow(
    unsafe_code,
    reason = "holds descriptors, and lends what is written to the kernel"
)]

use super::{Credentials, NoRoom, sealed};
use crate::error::Refusal;
use crate::fd::{Descriptor, Holds, Target};
use crate::sys::ancillary as sys;
use crate::sys::number_of;
use std::fmt;
use std::net::IpAddr;

/// `N` bytes of control messages to be sent; boxed where `N` is large. `R` are the descriptors that
/// are sent along, which stay what they are until it is dropped: an array, a vector or a boxed
/// slice of [descriptors](crate::driver::Descriptor), owned or borrowed.
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
    pub(super) bytes: [u8; N],
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
    /// stream. Fixed ones are refused ([`Refusal::FixedDescriptor`]), and any on Windows, which
    /// sends none ([`Refusal::Unsupported`]).
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
    /// Says who sends (`SCM_CREDENTIALS`); whoever is privileged may say something else than what
    /// is true. 12 bytes.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn credentials(&mut self, who: Credentials) -> Result<(), NoRoom> {
        let (level, kind, data) = sys::credentials(who.pid, who.uid, who.gid);
        self.add((level, kind, &data))
    }

    /// The traffic class of an IPv4 datagram, whose two low bits are ECN (`IP_TOS`; on Windows
    /// `IP_ECN` where no other bits are set). 4 bytes.
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

impl<const N: usize, R: Rights> ToSend for Outgoing<N, R> {
    type Rights = R;
}

impl<T: ToSend> ToSend for Box<T> {
    type Rights = T::Rights;
}

impl<const N: usize, R: Rights> sealed::ToSend for Outgoing<N, R> {
    fn prepare(&mut self) -> Result<(*mut u8, usize), Refusal> {
        self.prepare()
    }
}

impl<T: ToSend> sealed::ToSend for Box<T> {
    fn prepare(&mut self) -> Result<(*mut u8, usize), Refusal> {
        (**self).prepare()
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
