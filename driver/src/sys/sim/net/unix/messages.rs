//! What Unix sockets send to each other, and how they part.

use super::super::{Address, Base, HUP, IN, Name, Net, OUT, Received, Shut, SocketId, take};
use super::{Message, State, Unix, UnixKind};
use crate::sys::sim::errno::{Errno, Result};
use std::collections::VecDeque;

/// What the kernel keeps of a send buffer for itself.
const RESERVED: usize = 32;

impl Net {
    pub(in super::super) fn unix_send(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Result<usize> {
        let kind = self.unix(id)?.1.kind;
        match kind {
            UnixKind::Stream => self.send_stream(id, bytes, to.is_some()),
            UnixKind::Datagram => self.send_message(id, bytes, to),
            UnixKind::SeqPacket => self.send_message(id, bytes, None),
        }
    }

    fn send_stream(&mut self, id: SocketId, bytes: &[u8], is_addressed: bool) -> Result<usize> {
        let (base, unix) = self.unix(id)?;
        let peer = match unix.peer() {
            Some(_) if is_addressed => return Err(Errno(libc::EISCONN)),
            None if is_addressed => return Err(Errno(libc::EOPNOTSUPP)),
            peer => peer.ok_or(Errno(libc::ENOTCONN))?,
        };
        if base.shut.write {
            return Err(Errno(libc::EPIPE));
        }
        let room = base.options.send_buffer().saturating_sub(unix.charged);
        let sent = &bytes[..bytes.len().min(room)];
        if sent.is_empty() && !bytes.is_empty() {
            return Err(Errno(libc::EAGAIN));
        }
        if !sent.is_empty() {
            self.deliver(id, peer, sent)?;
        }
        Ok(sent.len())
    }

    fn send_message(&mut self, id: SocketId, bytes: &[u8], to: Option<&Address>) -> Result<usize> {
        let (base, unix) = self.unix(id)?;
        let (host, kind, peer) = (base.host, unix.kind, unix.peer());
        let buffer = base.options.send_buffer();
        if kind == UnixKind::SeqPacket {
            base.take_error()?;
            peer.ok_or(Errno(libc::ENOTCONN))?;
        }
        let name = match to {
            None => None,
            Some(Address::Unix(name)) if *name != Name::Unnamed => Some(name),
            Some(_) => return Err(Errno(libc::EINVAL)),
        };
        if bytes.len() > buffer - RESERVED {
            return Err(Errno(libc::EMSGSIZE));
        }
        base.take_error()?;
        if base.shut.write {
            return Err(Errno(libc::EPIPE));
        }
        // The last message may be larger than the room for it.
        if unix.charged >= buffer {
            return Err(Errno(libc::EAGAIN));
        }
        let target = match (name, peer) {
            (Some(name), _) => self.find(host, name, kind)?,
            (None, peer) => peer.ok_or(Errno(libc::ENOTCONN))?,
        };
        let Ok((_, receiver)) = self.unix(target) else {
            self.part_from_peer(id, None);
            return Err(Errno(libc::ECONNREFUSED));
        };
        if receiver.kind == UnixKind::Datagram {
            let is_full = receiver.is_full() && receiver.peer() != Some(id);
            if !self.may_send(id, target) {
                return Err(Errno(libc::EPERM));
            }
            if is_full && !self.unix(target)?.0.shut.read {
                return Err(Errno(libc::EAGAIN));
            }
        }
        self.deliver(id, target, bytes)?;
        Ok(bytes.len())
    }

    /// Puts a message in another socket's queue.
    fn deliver(&mut self, id: SocketId, to: SocketId, bytes: &[u8]) -> Result<()> {
        let (_, unix) = self.unix(id)?;
        let (charge, from) = (unix.kind.charge(bytes.len()), unix.name.clone());
        let (base, receiver) = self.unix(to).map_err(|_| Errno(libc::EPIPE))?;
        if base.shut.read {
            return Err(Errno(libc::EPIPE));
        }
        receiver.queue.push_back(Message {
            sender: id,
            from,
            bytes: bytes.to_vec().into(),
        });
        self.unix(id)?.1.charged += charge;
        Ok(())
    }

    pub(in super::super) fn unix_recv(
        &mut self,
        id: SocketId,
        len: usize,
        peek: bool,
    ) -> Result<Received> {
        let (base, unix) = self.unix(id)?;
        match unix.kind {
            UnixKind::Stream if unix.peer().is_none() => return Err(Errno(libc::EINVAL)),
            UnixKind::SeqPacket if unix.peer().is_none() => return Err(Errno(libc::ENOTCONN)),
            UnixKind::Stream if !unix.queue.is_empty() => {}
            // Of a stream the error waits until all was read.
            _ => base.take_error()?,
        }
        let Some(first) = unix.queue.front_mut() else {
            return match base.shut.read {
                true => Ok(Received::stream(Vec::new())),
                false => Err(Errno(libc::EAGAIN)),
            };
        };
        let from = Some(&first.from).filter(|from| **from != Name::Unnamed);
        let from = from.cloned().map(Address::Unix);
        if unix.kind == UnixKind::Stream {
            let bytes = self.read_stream(id, len, peek)?;
            return Ok(Received {
                from,
                ..Received::stream(bytes)
            });
        }
        let received = Received::message(first.bytes.make_contiguous(), len, from);
        if !peek {
            if let Some(message) = unix.queue.pop_front() {
                self.discharge(UnixKind::Datagram, message.sender, message.bytes.len());
            }
        }
        Ok(received)
    }

    /// Takes bytes of as many messages as they are in, or only looks at them.
    fn read_stream(&mut self, id: SocketId, len: usize, peek: bool) -> Result<Vec<u8>> {
        let (_, unix) = self.unix(id)?;
        let mut bytes = Vec::new();
        let mut taken = Vec::new();
        for message in &mut unix.queue {
            let piece = take(&mut message.bytes, len - bytes.len(), peek);
            taken.push((message.sender, piece.len()));
            bytes.extend(piece);
        }
        if !peek {
            unix.queue.retain(|message| !message.bytes.is_empty());
            for (sender, len) in taken {
                self.discharge(UnixKind::Stream, sender, len);
            }
        }
        Ok(bytes)
    }

    /// Gives a sender room for what has left a queue.
    fn discharge(&mut self, kind: UnixKind, sender: SocketId, len: usize) {
        if let Ok((_, sender)) = self.unix(sender) {
            sender.charged -= kind.charge(len);
        }
    }

    pub(super) fn discharge_all(&mut self, kind: UnixKind, queue: VecDeque<Message>) {
        for message in queue {
            self.discharge(kind, message.sender, message.bytes.len());
        }
    }

    pub(in super::super) fn unix_shutdown(&mut self, id: SocketId, how: Shut) -> Result<()> {
        let (base, unix) = self.unix(id)?;
        base.shut.add(how);
        let peer = unix.peer().filter(|_| unix.kind != UnixKind::Datagram);
        if let Some(Ok((base, _))) = peer.map(|peer| self.unix(peer)) {
            base.shut.add(Shut {
                read: how.write,
                write: how.read,
            });
        }
        Ok(())
    }

    /// Closes a socket. The peer of a connection hears of what was not read, or not accepted.
    pub(in super::super) fn unix_close(&mut self, id: SocketId) {
        self.part(id, false);
    }

    fn part(&mut self, id: SocketId, is_lost: bool) {
        let Ok((_, unix)) = self.unix(id) else {
            return;
        };
        let (kind, peer, own_name) = (unix.kind, unix.peer(), unix.name.clone());
        let unread = std::mem::take(&mut unix.queue);
        let state = std::mem::replace(&mut unix.state, State::Closed);
        let is_reset = is_lost || !unread.is_empty();
        self.discharge_all(kind, unread);
        if let State::Listening { queue, .. } = state {
            for child in queue {
                self.part(child, true);
            }
        }
        let peer = peer.filter(|_| kind != UnixKind::Datagram);
        if let Some(Ok((base, peer))) = peer.map(|peer| self.unix(peer)) {
            base.shut = Shut::BOTH;
            if let State::Connected { name, .. } = &mut peer.state {
                *name = own_name;
            }
            if is_reset {
                base.error = Some(Errno(libc::ECONNRESET));
            }
        }
        self.remove(id);
    }

    pub(in super::super) fn unix_poll(&self, id: SocketId, base: &Base, unix: &Unix) -> u16 {
        let mut events = match &unix.state {
            State::Listening { queue, .. } if queue.is_empty() => return 0,
            State::Listening { .. } => return IN,
            State::Closed if unix.kind != UnixKind::Datagram => HUP,
            State::Closed | State::Connected { .. } => 0,
        };
        if !unix.queue.is_empty() {
            events |= IN;
        }
        // Writable is what has three quarters free.
        if unix.charged * 4 <= base.options.send_buffer() && !self.is_peer_full(id, unix) {
            events |= OUT;
        }
        events
    }

    fn is_peer_full(&self, id: SocketId, unix: &Unix) -> bool {
        let peer = unix.peer().and_then(|peer| self.sockets.get(peer));
        match peer.map(|peer| &peer.kind) {
            Some(super::Kind::Unix(peer)) if peer.kind == UnixKind::Datagram => {
                peer.is_full() && peer.peer() != Some(id)
            }
            _ => false,
        }
    }
}
