//! The network of a simulated world, and pipes.
//!
//! Pure: it has no clock and no chance of its own. Time is that of the last [`Net::run_until`],
//! which also has what is drawn: every other call takes effect at once on its own host, and puts
//! on the wire what concerns others. Nothing blocks: what would is `EAGAIN`, or `EINPROGRESS`.
//! Results and errors are Linux's, as the manual pages of the calls have them.
//!
//! | file | what |
//! |---|---|
//! | `wire` | what is on its way between hosts, delays, faults, partitions |
//! | `address` | hosts, binding, routes |
//! | `tcp`, `datagram`, `unix`, `pipe` | a kind of socket each |
//! | `options` | what is set and given back |
//! | `socket`, `slab` | what they have in common, and where they live |
//!
//! Not modelled: loss and congestion below TCP (segments are late, never lost), Nagle's algorithm,
//! `TIME_WAIT`, probes of idle connections, out-of-band data, ancillary data, broadcast and
//! multicast, raw sockets; a close with a time to linger does not wait.

mod address;
mod datagram;
mod options;
mod pipe;
mod slab;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod unix;
mod wire;

pub(crate) use address::{Address, Name};
pub(crate) use slab::SocketId;
pub(crate) use socket::Received;
pub(crate) use wire::Links;

use super::errno::{Errno, Result};
use super::random::Random;
use address::{Host, Port};
use datagram::Udp;
use pipe::Writer;
use slab::Slab;
use socket::{Base, Kind, Shut, Socket, check_protocol, take};
use std::collections::BTreeMap;
use std::time::Duration;
use tcp::Tcp;
use unix::{Unix, UnixKind, UnixName};
use wire::{Event, Load, Packet, Wire};

/// The bits of poll(2).
const IN: u16 = libc::POLLIN.unsigned_abs();
const OUT: u16 = libc::POLLOUT.unsigned_abs();
const ERR: u16 = libc::POLLERR.unsigned_abs();
const HUP: u16 = libc::POLLHUP.unsigned_abs();
const RDHUP: u16 = libc::POLLRDHUP.unsigned_abs();

/// One of a world's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostId(u32);

impl HostId {
    /// Hosts count from 0, in the order in which they were added.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(crate) struct Net {
    hosts: Vec<Host>,
    sockets: Slab,
    /// Who is bound to a port, in the order of binding.
    ports: BTreeMap<Port, Vec<SocketId>>,
    /// Who is bound to a name; a path's socket may be gone.
    names: BTreeMap<UnixName, SocketId>,
    wire: Wire,
}

impl Net {
    pub(crate) fn new(links: Links) -> Self {
        Self {
            hosts: Vec::new(),
            sockets: Slab::default(),
            ports: BTreeMap::new(),
            names: BTreeMap::new(),
            wire: Wire::new(links),
        }
    }

    /// When something happens next.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        self.wire.next_event()
    }

    /// Lets everything happen that is due up to `now`, which becomes the present.
    pub(crate) fn run_until(&mut self, now: Duration, random: &mut Random) {
        while let Some(event) = self.wire.next_until(now) {
            match event {
                Event::Depart(packet) => self.wire.depart(packet, random),
                Event::Arrive(packet) => self.arrive(packet),
                Event::Reset(id) => self.tcp_reset(id),
                Event::Timeout(id) => self.tcp_timeout(id),
                Event::Retry(id) => self.tcp_ask(id),
            }
            self.settle();
        }
    }

    /// Lets what stays on its host arrive.
    fn settle(&mut self) {
        while let Some(packet) = self.wire.next_local() {
            self.arrive(packet);
        }
    }

    fn arrive(&mut self, packet: Packet) {
        let (from, to) = (packet.from, packet.to);
        if self.wire.is_cut(from, to) {
            if let Some(client) = self.wire.stop(packet) {
                self.tcp_retry(client);
            }
            return;
        }
        match packet.load {
            Load::Segment(path) => self.tcp_segment(path),
            Load::Syn(syn) => self.tcp_asked(from, to, &syn),
            Load::Refused { client, at } => self.tcp_refused(client, at),
            Load::Datagram(datagram) => self.udp_arrived(from, to, datagram),
            Load::Unreachable { sender, at } => self.udp_unreachable(sender, at),
        }
    }

    /// Two hosts do not reach each other any more. TCP's data waits, datagrams are lost.
    pub(crate) fn partition(&mut self, a: HostId, b: HostId) {
        self.wire.partition(a, b);
    }

    /// Two hosts reach each other again.
    pub(crate) fn heal(&mut self, a: HostId, b: HostId) {
        self.wire.heal(a, b);
    }

    /// A host loses its sockets, pipes and abstract names, and is there again at once. Its peers
    /// find out when they send.
    pub(crate) fn crash(&mut self, host: HostId) {
        let all = self.sockets.iter();
        let lost: Vec<_> = all
            .filter(|(_, socket)| socket.base.host == host)
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            self.remove(id);
        }
        self.wire.forget(|path| path.from == host);
    }

    /// Makes a socket, from the numbers that
    /// [socket(2)](https://man7.org/linux/man-pages/man2/socket.2.html) takes.
    pub(crate) fn socket(
        &mut self,
        host: HostId,
        domain: i32,
        kind: i32,
        protocol: i32,
    ) -> Result<SocketId> {
        let flags = kind & !TYPE_MASK;
        if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        let kind = kind & TYPE_MASK;
        if ![libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].contains(&domain) {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        if kind > SOCK_PACKET {
            return Err(Errno(libc::EINVAL));
        }
        let v6 = domain == libc::AF_INET6;
        let made = match (domain, kind) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => {
                check_protocol(protocol, libc::IPPROTO_TCP)?;
                Kind::Tcp(Tcp::new(v6))
            }
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => {
                check_protocol(protocol, libc::IPPROTO_UDP)?;
                Kind::Udp(Udp::new(v6))
            }
            (libc::AF_UNIX, _) => Kind::Unix(Unix::new(UnixKind::new(kind, protocol)?)),
            _ => return Err(Errno(libc::ESOCKTNOSUPPORT)),
        };
        Ok(self.sockets.insert(Socket::new(host, made)))
    }

    /// See [bind(2)](https://man7.org/linux/man-pages/man2/bind.2.html).
    pub(crate) fn bind(&mut self, id: SocketId, address: &Address) -> Result<()> {
        match self.socket_mut(id)?.kind {
            Kind::Unix(_) => self.bind_unix(id, address),
            _ => self.bind_inet(id, address),
        }
    }

    /// See [listen(2)](https://man7.org/linux/man-pages/man2/listen.2.html).
    pub(crate) fn listen(&mut self, id: SocketId, backlog: i32) -> Result<()> {
        // A negative one is a huge one, and none is over `net.core.somaxconn`.
        let backlog = usize::try_from(backlog).unwrap_or(usize::MAX).min(4096);
        match self.socket_mut(id)?.kind {
            Kind::Tcp(_) => self.tcp_listen(id, backlog),
            Kind::Unix(_) => self.unix_listen(id, backlog),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    /// See [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html). `EINPROGRESS`: it
    /// has begun. It is decided when [`poll`](Self::poll) has `POLLOUT`; another call tells the
    /// outcome, and before that is `EALREADY`.
    pub(crate) fn connect(&mut self, id: SocketId, address: &Address) -> Result<()> {
        match self.socket_mut(id)?.kind {
            Kind::Tcp(_) => self.tcp_connect(id, address),
            Kind::Unix(_) => self.unix_connect(id, address),
            _ => self.udp_connect(id, address),
        }
    }

    /// See [accept(2)](https://man7.org/linux/man-pages/man2/accept.2.html). A connection that was
    /// reset meanwhile is given too, with its error.
    pub(crate) fn accept(&mut self, id: SocketId) -> Result<(SocketId, Address)> {
        match self.socket_mut(id)?.kind {
            Kind::Tcp(_) => self.tcp_accept(id),
            Kind::Unix(_) => self.unix_accept(id),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    /// See [send(2)](https://man7.org/linux/man-pages/man2/send.2.html).
    pub(crate) fn send(
        &mut self,
        id: SocketId,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Result<usize> {
        match self.socket_mut(id)?.kind {
            Kind::Tcp(_) => self.tcp_send(id, bytes),
            Kind::Unix(_) => self.unix_send(id, bytes, to),
            _ => self.udp_send(id, bytes, to),
        }
    }

    /// See [recv(2)](https://man7.org/linux/man-pages/man2/recv.2.html). With `peek` all stays as
    /// it is.
    pub(crate) fn recv(&mut self, id: SocketId, len: usize, peek: bool) -> Result<Received> {
        match self.socket_mut(id)?.kind {
            Kind::Tcp(_) => self.tcp_recv(id, len, peek).map(Received::stream),
            Kind::Unix(_) => self.unix_recv(id, len, peek),
            _ => self.udp_recv(id, len, peek),
        }
    }

    /// Reads from a socket or a pipe.
    pub(crate) fn read(&mut self, id: SocketId, len: usize) -> Result<Vec<u8>> {
        match self.held(id)?.kind {
            Kind::Reader(_) => self.pipe_read(id, len),
            Kind::Writer(_) => Err(Errno(libc::EBADF)),
            // The kernel's read of nothing does not ask the socket.
            _ if len == 0 => Ok(Vec::new()),
            _ => self.recv(id, len, false).map(|received| received.bytes),
        }
    }

    /// Writes to a socket or a pipe.
    pub(crate) fn write(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize> {
        match self.held(id)?.kind {
            Kind::Reader(_) => Err(Errno(libc::EBADF)),
            Kind::Writer(Writer { reader }) => self.pipe_write(reader, bytes),
            _ => self.send(id, bytes, None),
        }
    }

    /// See [shutdown(2)](https://man7.org/linux/man-pages/man2/shutdown.2.html).
    pub(crate) fn shutdown(&mut self, id: SocketId, how: i32) -> Result<()> {
        let socket = self.socket_mut(id)?;
        let how = Shut::new(how)?;
        match &socket.kind {
            Kind::Tcp(_) => self.tcp_shutdown(id, how),
            Kind::Unix(_) => self.unix_shutdown(id, how),
            _ => self.udp_shutdown(id, how),
        }
    }

    /// Closes a socket or an end of a pipe; what it has sent still arrives, unless that is a reset.
    pub(crate) fn close(&mut self, id: SocketId) -> Result<()> {
        match self.held(id)?.kind {
            Kind::Tcp(_) => self.tcp_close(id),
            Kind::Unix(_) => self.unix_close(id),
            Kind::Writer(Writer { reader }) => {
                self.pipe_end(reader);
                self.remove(id);
            }
            Kind::Udp(_) | Kind::Reader(_) => self.remove(id),
        }
        self.settle();
        Ok(())
    }

    /// What is ready: the bits that [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
    /// would give for all of `POLLIN`, `POLLOUT` and `POLLRDHUP`.
    pub(crate) fn poll(&self, id: SocketId) -> Result<u16> {
        let socket = self.held(id)?;
        let base = &socket.base;
        let events = match &socket.kind {
            Kind::Tcp(tcp) => tcp.poll(base),
            Kind::Udp(udp) => udp.poll() | base.shut.poll(),
            Kind::Unix(unix) => self.unix_poll(id, base, unix) | base.shut.poll(),
            Kind::Reader(reader) => reader.poll(),
            Kind::Writer(writer) => self.writer_poll(writer.reader),
        };
        let is_failed = base.error.is_some() && !socket.kind.listens();
        Ok(if is_failed { events | ERR } else { events })
    }

    /// See [getsockname(2)](https://man7.org/linux/man-pages/man2/getsockname.2.html).
    pub(crate) fn local_name(&mut self, id: SocketId) -> Result<Address> {
        Ok(match &self.socket_mut(id)?.kind {
            Kind::Unix(unix) => Address::Unix(unix.name.clone()),
            Kind::Udp(udp) => udp.local_name(),
            kind => {
                let (inet, _) = kind.inet().expect("no pipe");
                inet.shown(inet.local_name())
            }
        })
    }

    /// See [getpeername(2)](https://man7.org/linux/man-pages/man2/getpeername.2.html).
    pub(crate) fn peer_name(&mut self, id: SocketId) -> Result<Address> {
        let name = match &self.socket_mut(id)?.kind {
            Kind::Tcp(tcp) => tcp.peer_name(),
            Kind::Udp(udp) => udp.peer_name(),
            _ => self.unix_peer_name(id),
        };
        name.ok_or(Errno(libc::ENOTCONN))
    }

    /// A socket, or an end of a pipe, that was not closed.
    fn held(&self, id: SocketId) -> Result<&Socket> {
        let socket = self.sockets.get(id);
        let held = socket.filter(|socket| !socket.kind.is_closed());
        held.ok_or(Errno(libc::EBADF))
    }

    /// Takes a socket away, with what leads to it.
    fn remove(&mut self, id: SocketId) {
        self.leave_port(id);
        self.leave_timer(id);
        self.leave_name(id);
        self.sockets.remove(id);
    }
}

/// The bits of a type that are not flags.
const TYPE_MASK: i32 = 0xf;
/// The obsolete last one of the kernel's socket types.
const SOCK_PACKET: i32 = 10;
