//! What sockets of every kind have.

use super::address::{Inet, Transport};
use super::datagram::Udp;
use super::options::Options;
use super::pipe::{Reader, Writer};
use super::tcp::Tcp;
use super::unix::Unix;
use super::{Address, HUP, HostId, IN, RDHUP};
use crate::sys::sim::errno::{Errno, Result};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// None: the end of a stream, or an empty message.
    pub(crate) bytes: Vec<u8>,
    /// How long the message was; of a stream, as long as `bytes`.
    pub(crate) len: usize,
    /// Who sent the message, if it has an address.
    pub(crate) from: Option<Address>,
}

impl Received {
    /// Whether the rest of the message was lost (`MSG_TRUNC`).
    pub(crate) fn is_truncated(&self) -> bool {
        self.len > self.bytes.len()
    }

    pub(super) fn stream(bytes: Vec<u8>) -> Self {
        Self {
            len: bytes.len(),
            bytes,
            from: None,
        }
    }

    /// Up to `room` bytes of a message.
    pub(super) fn message(message: &[u8], room: usize, from: Option<Address>) -> Self {
        Self {
            bytes: message[..message.len().min(room)].to_vec(),
            len: message.len(),
            from,
        }
    }
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) base: Base,
    pub(super) kind: Kind,
}

/// What every socket has.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) host: HostId,
    pub(super) options: Options,
    /// Told once, by the next call that fails or by `SO_ERROR`.
    pub(super) error: Option<Errno>,
    pub(super) shut: Shut,
}

/// The directions that are shut down.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shut {
    pub(super) read: bool,
    pub(super) write: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Tcp(Tcp),
    Udp(Udp),
    Unix(Unix),
    Reader(Reader),
    Writer(Writer),
}

impl Socket {
    pub(super) fn new(host: HostId, kind: Kind) -> Self {
        let options = match kind {
            Kind::Tcp(_) => Options::tcp(),
            _ => Options::other(),
        };
        let base = Base {
            host,
            options,
            error: None,
            shut: Shut::default(),
        };
        Self { base, kind }
    }
}

impl Base {
    /// `Err` with what was not told yet.
    pub(super) fn take_error(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }
}

impl Shut {
    pub(super) const BOTH: Self = Self {
        read: true,
        write: true,
    };

    pub(super) fn new(how: i32) -> Result<Self> {
        let (read, write) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        Ok(Self { read, write })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.read |= other.read;
        self.write |= other.write;
    }

    /// What poll(2) says of it.
    pub(super) fn poll(self) -> u16 {
        let mut events = 0;
        if self.read {
            events |= IN | RDHUP;
        }
        if self.read && self.write {
            events |= HUP;
        }
        events
    }
}

impl Kind {
    pub(super) fn inet(&self) -> Option<(&Inet, Transport)> {
        match self {
            Self::Tcp(tcp) => Some((&tcp.inet, Transport::Tcp)),
            Self::Udp(udp) => Some((&udp.inet, Transport::Udp)),
            Self::Unix(_) | Self::Reader(_) | Self::Writer(_) => None,
        }
    }

    pub(super) fn inet_mut(&mut self) -> Option<(&mut Inet, Transport)> {
        match self {
            Self::Tcp(tcp) => Some((&mut tcp.inet, Transport::Tcp)),
            Self::Udp(udp) => Some((&mut udp.inet, Transport::Udp)),
            Self::Unix(_) | Self::Reader(_) | Self::Writer(_) => None,
        }
    }

    pub(super) fn listens(&self) -> bool {
        matches!(self, Self::Tcp(tcp) if tcp.listens())
    }

    /// Whether it was closed, and stays for a while.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Tcp(tcp) if tcp.is_closed())
    }

    /// Whether it is a connection that is over. Then its address is free.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Tcp(tcp) if tcp.is_over())
    }

    /// How exactly the socket is meant by a packet: 0 if not at all.
    pub(super) fn score(&self, from: SocketAddr, to: SocketAddr) -> u8 {
        match self {
            Self::Tcp(tcp) => tcp.score(to),
            Self::Udp(udp) => udp.score(from, to),
            Self::Unix(_) | Self::Reader(_) | Self::Writer(_) => 0,
        }
    }

    /// `SOCK_STREAM` and its like.
    pub(super) fn type_number(&self) -> i32 {
        match self {
            Self::Udp(_) => libc::SOCK_DGRAM,
            Self::Unix(unix) => unix.kind.type_number(),
            Self::Tcp(_) | Self::Reader(_) | Self::Writer(_) => libc::SOCK_STREAM,
        }
    }
}

pub(super) fn check_protocol(protocol: i32, only: i32) -> Result<()> {
    if protocol == 0 || protocol == only {
        Ok(())
    } else {
        Err(Errno(libc::EPROTONOSUPPORT))
    }
}

/// Takes up to `len` bytes, or only looks at them.
pub(super) fn take(queue: &mut VecDeque<u8>, len: usize, peek: bool) -> Vec<u8> {
    let len = len.min(queue.len());
    if peek {
        queue.range(..len).copied().collect()
    } else {
        queue.drain(..len).collect()
    }
}
