//! Unix sockets: between sockets of one host, at once.
//!
//! See [unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html).

mod messages;

use super::datagram::OVERHEAD;
use super::{Address, Base, HostId, Kind, Name, Net, Socket, SocketId, check_protocol};
use crate::sys::sim::errno::{Errno, Result};
use std::collections::VecDeque;

/// So many messages, and one, wait for a datagram socket (`net.unix.max_dgram_qlen`).
const QUEUE_MAX: usize = 10;

/// The name of a Unix socket on a host. Each kind has abstract names of its own.
pub(super) type UnixName = (HostId, Name, Option<UnixKind>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UnixKind {
    Stream,
    Datagram,
    SeqPacket,
}

#[derive(Debug)]
pub(super) struct Unix {
    pub(super) kind: UnixKind,
    pub(super) name: Name,
    state: State,
    queue: VecDeque<Message>,
    /// What of this socket's messages waits for others, in bytes.
    charged: usize,
}

#[derive(Debug)]
enum State {
    Closed,
    Listening {
        /// One more than so many may wait.
        backlog: usize,
        queue: VecDeque<SocketId>,
    },
    /// To a socket that may be gone: it had this name. Of a datagram socket: where it sends to.
    Connected {
        peer: SocketId,
        name: Name,
    },
}

#[derive(Debug)]
struct Message {
    sender: SocketId,
    from: Name,
    bytes: VecDeque<u8>,
}

impl UnixKind {
    pub(super) fn new(kind: i32, protocol: i32) -> Result<Self> {
        check_protocol(protocol, libc::PF_UNIX)?;
        match kind {
            libc::SOCK_STREAM => Ok(Self::Stream),
            libc::SOCK_DGRAM | libc::SOCK_RAW => Ok(Self::Datagram),
            libc::SOCK_SEQPACKET => Ok(Self::SeqPacket),
            _ => Err(Errno(libc::ESOCKTNOSUPPORT)),
        }
    }

    pub(super) fn type_number(self) -> i32 {
        match self {
            Self::Stream => libc::SOCK_STREAM,
            Self::Datagram => libc::SOCK_DGRAM,
            Self::SeqPacket => libc::SOCK_SEQPACKET,
        }
    }

    fn names(self, host: HostId, name: &Name) -> UnixName {
        let kind = matches!(name, Name::Abstract(_)).then_some(self);
        (host, name.clone(), kind)
    }

    /// What a message counts in its sender's buffer.
    fn charge(self, len: usize) -> usize {
        match self {
            Self::Stream => len,
            Self::Datagram | Self::SeqPacket => len + OVERHEAD,
        }
    }
}

impl Unix {
    pub(super) fn new(kind: UnixKind) -> Self {
        Self {
            kind,
            name: Name::Unnamed,
            state: State::Closed,
            queue: VecDeque::new(),
            charged: 0,
        }
    }

    fn peer(&self) -> Option<SocketId> {
        match self.state {
            State::Connected { peer, .. } => Some(peer),
            _ => None,
        }
    }

    /// Whether it takes no message of another's than its peer's.
    fn is_full(&self) -> bool {
        self.queue.len() > QUEUE_MAX
    }
}

impl Net {
    fn unix(&mut self, id: SocketId) -> Result<(&mut Base, &mut Unix)> {
        let socket = self.sockets.get_mut(id).ok_or(Errno(libc::EBADF))?;
        match &mut socket.kind {
            Kind::Unix(unix) => Ok((&mut socket.base, unix)),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    /// Makes two Unix sockets that are connected to each other; see
    /// [socketpair(2)](https://man7.org/linux/man-pages/man2/socketpair.2.html).
    pub(crate) fn socket_pair(
        &mut self,
        host: HostId,
        kind: i32,
        protocol: i32,
    ) -> Result<(SocketId, SocketId)> {
        let a = self.socket(host, libc::AF_UNIX, kind, protocol)?;
        let b = self.socket(host, libc::AF_UNIX, kind, protocol)?;
        for (end, peer) in [(a, b), (b, a)] {
            let name = Name::Unnamed;
            self.unix(end)?.1.state = State::Connected { peer, name };
        }
        Ok((a, b))
    }

    /// A path is gone: it may be bound to again. `false` if no socket was bound to it.
    pub(crate) fn unlink(&mut self, host: HostId, path: &[u8]) -> bool {
        let name = (host, Name::Path(path.to_vec()), None);
        self.names.remove(&name).is_some()
    }

    pub(super) fn bind_unix(&mut self, id: SocketId, address: &Address) -> Result<()> {
        let Address::Unix(name) = address else {
            return Err(Errno(libc::EINVAL));
        };
        let (base, unix) = self.unix(id)?;
        let (host, kind) = (base.host, unix.kind);
        let is_bound = unix.name != Name::Unnamed;
        let is_taken = self.names.contains_key(&kind.names(host, name));
        match name {
            // The path is made before the kernel looks at the socket.
            Name::Path(_) if is_taken => return Err(Errno(libc::EADDRINUSE)),
            Name::Unnamed if is_bound => return Ok(()),
            _ if is_bound => return Err(Errno(libc::EINVAL)),
            _ if is_taken => return Err(Errno(libc::EADDRINUSE)),
            _ => {}
        }
        let name = match name {
            Name::Unnamed => self.free_name(host, kind),
            name => name.clone(),
        };
        let key = kind.names(host, &name);
        self.names.insert(key, id);
        self.unix(id)?.1.name = name;
        Ok(())
    }

    /// The kernel's own names are numbers of five digits.
    fn free_name(&mut self, host: HostId, kind: UnixKind) -> Name {
        loop {
            let next = &mut self.hosts[host.index()].next_name;
            let name = Name::Abstract(format!("{next:05x}").into_bytes());
            *next += 1;
            if !self.names.contains_key(&kind.names(host, &name)) {
                return name;
            }
        }
    }

    /// Frees an abstract name. A path stays.
    pub(super) fn leave_name(&mut self, id: SocketId) {
        if let Ok((base, unix)) = self.unix(id) {
            if let Name::Abstract(_) = unix.name {
                let name = unix.kind.names(base.host, &unix.name);
                // What was accepted is called like its listener.
                if self.names.get(&name) == Some(&id) {
                    self.names.remove(&name);
                }
            }
        }
    }

    pub(super) fn unix_listen(&mut self, id: SocketId, backlog: usize) -> Result<()> {
        let (_, unix) = self.unix(id)?;
        if unix.kind == UnixKind::Datagram {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        let new = backlog;
        match &mut unix.state {
            _ if unix.name == Name::Unnamed => return Err(Errno(libc::EINVAL)),
            State::Connected { .. } => return Err(Errno(libc::EINVAL)),
            State::Listening { backlog, .. } => *backlog = new,
            State::Closed => {
                let queue = VecDeque::new();
                unix.state = State::Listening { backlog, queue };
            }
        }
        Ok(())
    }

    /// The socket that a name stands for, as one of this kind looks for it.
    fn find(&mut self, host: HostId, name: &Name, kind: UnixKind) -> Result<SocketId> {
        let missing = match name {
            Name::Unnamed => libc::EINVAL,
            Name::Path(_) => libc::ENOENT,
            Name::Abstract(_) => libc::ECONNREFUSED,
        };
        let id = self.names.get(&kind.names(host, name)).copied();
        let id = id.ok_or(Errno(missing))?;
        let (_, found) = self.unix(id).map_err(|_| Errno(libc::ECONNREFUSED))?;
        if found.kind == kind {
            Ok(id)
        } else {
            Err(Errno(libc::EPROTOTYPE))
        }
    }

    pub(super) fn unix_connect(&mut self, id: SocketId, address: &Address) -> Result<()> {
        let (base, unix) = self.unix(id)?;
        let (host, kind) = (base.host, unix.kind);
        match (kind, address) {
            (UnixKind::Datagram, Address::Unspecified) => self.part_from_peer(id, None),
            (UnixKind::Datagram, Address::Unix(name)) => {
                let peer = self.find(host, name, kind)?;
                if !self.may_send(id, peer) {
                    return Err(Errno(libc::EPERM));
                }
                if self.unix(id)?.1.peer() != Some(peer) {
                    self.part_from_peer(id, Some(peer));
                }
            }
            (_, Address::Unix(name)) => {
                let listener = self.find(host, name, kind)?;
                self.connect_stream(id, listener)?;
            }
            _ => return Err(Errno(libc::EINVAL)),
        }
        Ok(())
    }

    /// Gives a datagram socket another peer, or none. What it has not read is lost.
    fn part_from_peer(&mut self, id: SocketId, peer: Option<SocketId>) {
        let peer = peer.and_then(|peer| Some((peer, self.unix(peer).ok()?.1.name.clone())));
        let Ok((_, unix)) = self.unix(id) else {
            return;
        };
        let old = unix.peer();
        unix.state = peer.map_or(State::Closed, |(peer, name)| State::Connected {
            peer,
            name,
        });
        let lost = std::mem::take(&mut unix.queue);
        if lost.is_empty() || old.is_none() {
            unix.queue = lost;
            return;
        }
        self.discharge_all(UnixKind::Datagram, lost);
        if let Some(Ok((base, old))) = old.map(|old| self.unix(old)) {
            if old.peer() == Some(id) {
                base.error = Some(Errno(libc::ECONNRESET));
            }
        }
    }

    fn connect_stream(&mut self, id: SocketId, listener: SocketId) -> Result<()> {
        let (base, found) = self.unix(listener)?;
        let (options, local) = (base.options.clone(), found.name.clone());
        match &found.state {
            State::Listening { backlog, queue } if !base.shut.read => {
                if queue.len() > *backlog {
                    return Err(Errno(libc::EAGAIN));
                }
            }
            _ => return Err(Errno(libc::ECONNREFUSED)),
        }
        let (base, unix) = self.unix(id)?;
        match unix.state {
            State::Closed => {}
            State::Connected { .. } => return Err(Errno(libc::EISCONN)),
            State::Listening { .. } => return Err(Errno(libc::EINVAL)),
        }
        let host = base.host;
        let mut child = Unix::new(unix.kind);
        child.name = local.clone();
        child.state = State::Connected {
            peer: id,
            name: unix.name.clone(),
        };
        let mut child = Socket::new(host, Kind::Unix(child));
        child.base.options = options;
        let peer = self.sockets.insert(child);
        if let State::Listening { queue, .. } = &mut self.unix(listener)?.1.state {
            queue.push_back(peer);
        }
        self.unix(id)?.1.state = State::Connected { peer, name: local };
        Ok(())
    }

    /// Whether a datagram socket takes messages from another.
    fn may_send(&mut self, id: SocketId, to: SocketId) -> bool {
        self.unix(to)
            .is_ok_and(|(_, unix)| unix.peer().is_none_or(|peer| peer == id))
    }

    pub(super) fn unix_accept(&mut self, id: SocketId) -> Result<(SocketId, Address)> {
        let (_, unix) = self.unix(id)?;
        let child = match &mut unix.state {
            _ if unix.kind == UnixKind::Datagram => return Err(Errno(libc::EOPNOTSUPP)),
            State::Listening { queue, .. } => queue.pop_front(),
            _ => return Err(Errno(libc::EINVAL)),
        };
        let child = child.ok_or(Errno(libc::EAGAIN))?;
        let peer = self.unix_peer_name(child);
        Ok((child, peer.unwrap_or(Address::Unix(Name::Unnamed))))
    }

    pub(super) fn unix_peer_name(&mut self, id: SocketId) -> Option<Address> {
        let State::Connected { peer, name } = &self.unix(id).ok()?.1.state else {
            return None;
        };
        let (peer, name) = (*peer, name.clone());
        let now = self.unix(peer).map(|(_, peer)| peer.name.clone());
        Some(Address::Unix(now.unwrap_or(name)))
    }
}
