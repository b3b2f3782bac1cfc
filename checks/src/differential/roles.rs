//! What the descriptors of a sequence are: the same in each way, but for their numbers.

use super::outcome::{Outcome, Seen};
use super::step::{Class, Door, Pair, Pick, Step};
use std::net::Shutdown;

/// So much may lie in a TCP connection: no window is full then.
const TCP_MAX: usize = 32 << 10;
/// So much has room in a Unix stream.
const UNIX_MAX: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With a name: a regular one, a directory, or a link.
    File,
    Device,
    Pipe,
    Unix,
    Datagrams,
    Packets,
    Tcp,
}

impl Kind {
    pub(crate) fn is_socket(self) -> bool {
        matches!(
            self,
            Self::Unix | Self::Datagrams | Self::Packets | Self::Tcp
        )
    }

    pub(crate) fn has_no_position(self) -> bool {
        self == Self::Pipe || self.is_socket()
    }

    fn is_of(self, class: Class) -> bool {
        match class {
            Class::Root => false,
            Class::File => matches!(self, Self::File | Self::Device),
            Class::Pipe => self == Self::Pipe,
            Class::Socket => self.is_socket(),
            Class::Any => true,
        }
    }
}

/// A descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role {
    pub(crate) kind: Kind,
    pub(crate) closed: bool,
    /// The other end of a connection.
    peer: Option<usize>,
    /// How many bytes have come to a socket and were not read.
    pub(crate) unread: usize,
    /// Nothing more will come to a socket.
    pub(crate) ended: bool,
    /// The socket takes nothing more.
    deaf: bool,
}

/// All descriptors of a sequence. The first one is the way's directory.
#[derive(Debug, Default)]
pub(crate) struct Roles(Vec<Role>);

impl Roles {
    pub(crate) fn add(&mut self, kind: Kind) {
        self.0.push(Role {
            kind,
            closed: false,
            peer: None,
            unread: 0,
            ended: false,
            deaf: false,
        });
    }

    /// Adds both ends of a connection.
    pub(crate) fn add_pair(&mut self, kind: Kind) {
        let first = self.0.len();
        self.add(kind);
        self.add(kind);
        self.0[first].peer = Some(first + 1);
        self.0[first + 1].peer = Some(first);
    }

    /// The descriptor that is meant, by its place.
    pub(crate) fn find(&self, pick: Pick) -> usize {
        let places = |class: Class| {
            let of = self.0.iter().enumerate();
            of.filter(move |(_, role)| role.kind.is_of(class))
                .map(|(place, _)| place)
        };
        let n = usize::from(pick.n);
        match (pick.class, places(pick.class).count()) {
            (Class::Root, _) => 0,
            (_, 0) => n % self.0.len(),
            (class, count) => places(class).nth(n % count).unwrap_or(0),
        }
    }

    pub(crate) fn of(&self, pick: Pick) -> &Role {
        &self.0[self.find(pick)]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Role> {
        self.0.iter()
    }

    fn peer(&self, pick: Pick) -> Option<&Role> {
        self.of(pick).peer.map(|peer| &self.0[peer])
    }

    /// Whether so many bytes more might fill a connection.
    pub(crate) fn is_full(&self, pick: Pick, len: usize) -> bool {
        self.peer(pick)
            .is_some_and(|peer| peer.unread + len > TCP_MAX)
    }

    /// Whether a TCP connection might be reset.
    pub(crate) fn is_over(&self, pick: Pick) -> bool {
        let role = self.of(pick);
        let gone = self.peer(pick).is_some_and(|peer| peer.closed || peer.deaf);
        role.kind == Kind::Tcp && gone && !role.closed
    }

    /// Whether a transfer of the whole would wait when a part of it has been moved.
    pub(crate) fn waits_halfway(&self, pick: Pick, write: bool, len: usize) -> bool {
        let role = self.of(pick);
        if write {
            return self
                .peer(pick)
                .is_some_and(|peer| peer.unread + len > UNIX_MAX);
        }
        role.unread < len && role.unread > 0 && !role.ended
    }

    /// Takes note of what a step has done. What it has made is added by the caller.
    pub(crate) fn learn(&mut self, step: &Step, seen: &Seen) {
        let moved = match seen.outcome {
            Outcome::Done(n) => usize::try_from(n).unwrap_or(0),
            _ => seen.moved,
        };
        match step {
            Step::Move(m) => {
                let place = self.find(m.fd);
                let peeks = matches!(m.door, Door::Socket { flags } if flags & libc::MSG_PEEK != 0);
                if m.write {
                    self.sent(place, moved);
                } else if !peeks {
                    self.received(place, moved);
                }
            }
            Step::Splice { ends, .. } => {
                let [from, to] = ends.map(|end| self.find(end));
                self.received(from, moved);
                self.sent(to, moved);
            }
            Step::Shutdown { fd, how } if seen.outcome == Outcome::Done(0) => {
                let place = self.find(*fd);
                let peer = self.0[place].peer;
                if *how != Shutdown::Read {
                    self.end(peer);
                }
                if *how != Shutdown::Write {
                    self.0[place].deaf = true;
                    self.0[place].ended = true;
                }
            }
            Step::Close { fd } if seen.outcome == Outcome::Done(0) => {
                let place = self.find(*fd);
                self.0[place].closed = true;
                self.end(self.0[place].peer);
            }
            _ => {}
        }
    }

    fn sent(&mut self, place: usize, n: usize) {
        if let Some(peer) = self.0[place].peer {
            self.0[peer].unread += n;
        }
    }

    fn received(&mut self, place: usize, n: usize) {
        let role = &mut self.0[place];
        role.unread = role.unread.saturating_sub(n);
    }

    fn end(&mut self, peer: Option<usize>) {
        if let Some(peer) = peer {
            self.0[peer].ended = true;
        }
    }
}

/// What the sockets of a pair are.
pub(crate) fn kind_of(pair: Pair) -> Kind {
    match pair {
        Pair::Unix => Kind::Unix,
        Pair::Datagrams => Kind::Datagrams,
        Pair::Packets => Kind::Packets,
        Pair::Tcp => Kind::Tcp,
    }
}
