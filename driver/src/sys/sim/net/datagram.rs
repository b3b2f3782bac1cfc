//! UDP: messages, each of which comes whole or not at all.
//!
//! See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).

use super::address::{Inet, Transport, canonical};
use super::wire::{Datagram, Load};
use super::{Address, Base, HostId, IN, Kind, Net, OUT, Received, Shut, SocketId};
use crate::sys::sim::errno::{Errno, Result};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Most bytes of a message: with IPv4 its header counts.
const LEN_MAX: usize = 65_507;
const LEN_MAX_V6: usize = 65_527;
/// What a message in a queue counts beside its bytes.
pub(super) const OVERHEAD: usize = 768;

#[derive(Debug)]
pub(super) struct Udp {
    pub(super) inet: Inet,
    /// Connected to.
    peer: Option<Peer>,
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What the queue counts, in bytes.
    queued: usize,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    remote: SocketAddr,
    /// The address that is used toward it.
    source: IpAddr,
}

impl Udp {
    pub(super) fn new(v6: bool) -> Self {
        Self {
            inet: Inet::new(v6),
            peer: None,
            queue: VecDeque::new(),
            queued: 0,
        }
    }

    /// See [`Kind::score`].
    pub(super) fn score(&self, from: SocketAddr, to: SocketAddr) -> u8 {
        let bound = self.bound();
        let is_exact = bound.local.is_some_and(|local| local.ip() == to.ip());
        match self.peer {
            _ if !bound.covers(to.ip()) => 0,
            Some(peer) if peer.remote != from => 0,
            Some(_) => 3,
            None => 1 + u8::from(is_exact),
        }
    }

    /// What it is bound to: connected, to the address toward its peer.
    fn bound(&self) -> Inet {
        let mut inet = self.inet;
        if let (Some(local), Some(peer)) = (&mut inet.local, self.peer) {
            local.set_ip(peer.source);
        }
        inet
    }

    pub(super) fn poll(&self) -> u16 {
        if self.queue.is_empty() { OUT } else { IN | OUT }
    }

    pub(super) fn local_name(&self) -> Address {
        self.inet.shown(self.bound().local_name())
    }

    pub(super) fn peer_name(&self) -> Option<Address> {
        let peer = self.peer.filter(|peer| peer.remote.port() != 0)?;
        Some(self.inet.shown(peer.remote))
    }

    /// As the network sees an address of the caller's. IPv6 sockets take IPv4's too.
    fn taken(&self, address: &Address) -> Result<SocketAddr> {
        match address {
            Address::Inet(addr @ SocketAddr::V4(_)) => Ok(canonical(*addr)),
            address => self.inet.taken(address),
        }
    }
}

impl Net {
    fn udp(&mut self, id: SocketId) -> Result<(&mut Base, &mut Udp)> {
        let socket = self.sockets.get_mut(id).ok_or(Errno(libc::EBADF))?;
        match &mut socket.kind {
            Kind::Udp(udp) => Ok((&mut socket.base, udp)),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    pub(super) fn udp_connect(&mut self, id: SocketId, address: &Address) -> Result<()> {
        let (base, udp) = self.udp(id)?;
        if *address == Address::Unspecified {
            udp.peer = None;
            self.restore_bound(id);
            return Ok(());
        }
        let (host, inet) = (base.host, udp.inet);
        // Also what fails has got a port.
        self.bind_to_any(id)?;
        let to = self.udp(id)?.1.taken(address)?;
        if inet.v6 && matches!(address, Address::Inet(SocketAddr::V4(_))) && !inet.takes_v4() {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        let route = self.route(host, inet, to)?;
        self.udp(id)?.1.peer = Some(Peer {
            remote: route.to,
            source: route.source,
        });
        Ok(())
    }

    /// Picks a port for a socket that has none.
    fn bind_to_any(&mut self, id: SocketId) -> Result<SocketAddr> {
        let any = self.udp(id)?.1.inet.local_name().ip();
        self.bind_to_source(id, any)
    }

    pub(super) fn udp_send(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Result<usize> {
        // Also what fails has got a port.
        let local = self.bind_to_any(id)?;
        let (base, udp) = self.udp(id)?;
        let host = base.host;
        if !udp.inet.v6 && bytes.len() > usize::from(u16::MAX) {
            return Err(Errno(libc::EMSGSIZE));
        }
        let is_addressed = to.is_some();
        let to = match (to, udp.peer) {
            (Some(Address::Unspecified), _) if !udp.inet.v6 => return Err(Errno(libc::EINVAL)),
            (Some(Address::Unix(_)), _) if udp.inet.v6 => return Err(Errno(libc::EINVAL)),
            (Some(Address::Unix(_)), _) => return Err(Errno(libc::EAFNOSUPPORT)),
            (Some(to @ Address::Inet(_)), _) => udp.taken(to)?,
            (_, Some(peer)) => peer.remote,
            (_, None) => return Err(Errno(libc::EDESTADDRREQ)),
        };
        if to.port() == 0 && is_addressed {
            return Err(Errno(libc::EINVAL));
        }
        let bound = udp.bound();
        let route = self.route(host, bound, to)?;
        let max = if route.to.is_ipv6() {
            LEN_MAX_V6
        } else {
            LEN_MAX
        };
        if bytes.len() > max {
            return Err(Errno(libc::EMSGSIZE));
        }
        let (base, _) = self.udp(id)?;
        base.take_error()?;
        if base.shut.write {
            return Err(Errno(libc::EPIPE));
        }
        let datagram = Datagram {
            sender: id,
            from: SocketAddr::new(route.source, local.port()),
            to: route.to,
            bytes: bytes.to_vec(),
        };
        self.wire.post(host, route.host, Load::Datagram(datagram));
        self.settle();
        Ok(bytes.len())
    }

    pub(super) fn udp_recv(&mut self, id: SocketId, len: usize, peek: bool) -> Result<Received> {
        let (base, udp) = self.udp(id)?;
        base.take_error()?;
        let Some((from, bytes)) = udp.queue.front() else {
            return match base.shut.read {
                true => Ok(Received::message(&[], len, None)),
                false => Err(Errno(libc::EAGAIN)),
            };
        };
        let received = Received::message(bytes, len, Some(udp.inet.shown(*from)));
        if !peek {
            udp.queued -= bytes.len() + OVERHEAD;
            udp.queue.pop_front();
        }
        Ok(received)
    }

    pub(super) fn udp_shutdown(&mut self, id: SocketId, how: Shut) -> Result<()> {
        let (base, udp) = self.udp(id)?;
        base.shut.add(how);
        match udp.peer {
            Some(_) => Ok(()),
            None => Err(Errno(libc::ENOTCONN)),
        }
    }

    /// A message has arrived. Without a receiver its sender is told; without room it is lost.
    pub(super) fn udp_arrived(&mut self, from: HostId, to: HostId, datagram: Datagram) {
        let receiver = self.receiver((to, Transport::Udp), datagram.from, datagram.to);
        let Some(receiver) = receiver else {
            let (sender, at) = (datagram.sender, datagram.to);
            self.wire.post(to, from, Load::Unreachable { sender, at });
            return;
        };
        let Ok((base, udp)) = self.udp(receiver) else {
            return;
        };
        let size = datagram.bytes.len() + OVERHEAD;
        let has_room = udp.queued + size <= base.options.receive_buffer();
        if has_room || udp.queue.is_empty() {
            udp.queued += size;
            udp.queue.push_back((datagram.from, datagram.bytes));
        }
    }

    /// Nobody receives where a socket has sent to: if it is connected to there, it hears of it.
    pub(super) fn udp_unreachable(&mut self, id: SocketId, at: SocketAddr) {
        if let Ok((base, udp)) = self.udp(id) {
            if udp.peer.is_some_and(|peer| peer.remote == at) {
                base.error = Some(Errno(libc::ECONNREFUSED));
            }
        }
    }
}
