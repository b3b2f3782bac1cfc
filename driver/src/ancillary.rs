//! Control messages: what travels beside the bytes of a message, such as descriptors.
//!
//! [`Outgoing`] is built before [`SendMsg`](crate::op::SendMsg) is pushed, [`Incoming`] is the room
//! that [`RecvMsg`](crate::op::RecvMsg) receives into. Both have a fixed size, [`space`] says how
//! much a message takes, and neither allocates.
//!
//! **Descriptors.** What is sent stays open as long as the operation lives, which owns or borrows
//! it. What is received is close-on-exec and belongs to the room: [`Fds`] gives descriptors out,
//! and those that nobody took are closed with the room, or when the operation is pushed again. That
//! holds whether the operation was finished, disposed of, or never heard of again, for the room
//! itself knows what the kernel has put there; it needs a room that is dropped, not forgotten.
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

mod incoming;
mod outgoing;
#[cfg(all(test, unix))]
mod tests;
#[cfg(all(unix, any(test, fuzzing)))]
pub(crate) mod written;

pub use self::incoming::{ControlMessage, Fds, Incoming, Messages, ToFill};
pub use self::outgoing::{Outgoing, Rights, ToSend};

use crate::sys::ancillary as sys;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

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

pub(crate) mod sealed {
    use crate::error::Refusal;
    use crate::fd::Target;

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
}
