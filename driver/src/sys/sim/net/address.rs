//! Addresses: who has which, and ways between them.

use super::{HostId, Net, Socket, SocketId};
use crate::sys::sim::errno::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address of a socket of any domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `AF_UNSPEC`, with which a connect undoes the one before.
    Unspecified,
    Inet(SocketAddr),
    Unix(Name),
}

/// The name of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Unnamed,
    Path(Vec<u8>),
    Abstract(Vec<u8>),
}

/// What internet sockets have of addresses. Within the network IPv4 is IPv4: addresses are mapped
/// to IPv6, and back, where an IPv6 socket's caller sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inet {
    /// Of `AF_INET6`.
    pub(super) v6: bool,
    pub(super) v6_only: bool,
    /// Bound to.
    pub(super) local: Option<SocketAddr>,
    /// That, if the caller chose the port. Else it goes with the connection.
    chosen: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// A port of a host.
pub(super) type Port = (HostId, Transport, u16);

/// The ports that are picked where none is asked for, as the kernel comes.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// A host's addresses, beside those of its loopback.
#[derive(Debug)]
pub(super) struct Host {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// The port to try first.
    next_port: u16,
    /// The next name of a Unix socket that is bound to none.
    pub(super) next_name: u32,
}

impl Host {
    fn new(index: u32) -> Self {
        let number = index + 1;
        Self {
            v4: Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number),
            v6: Ipv6Addr::from_bits((0xfd << 120) + u128::from(number)),
            next_port: *EPHEMERAL.start(),
            next_name: 0,
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        ip == self.v4 || ip == self.v6
    }
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) host: HostId,
    pub(super) to: SocketAddr,
    /// The address that it comes from.
    pub(super) source: IpAddr,
}

impl Inet {
    pub(super) fn new(v6: bool) -> Self {
        Self {
            v6,
            v6_only: false,
            local: None,
            chosen: None,
        }
    }

    /// The same, but bound to nothing.
    pub(super) fn unbound(self) -> Self {
        Self {
            v6_only: self.v6_only,
            ..Self::new(self.v6)
        }
    }

    /// As the caller sees an address.
    pub(super) fn shown(self, addr: SocketAddr) -> Address {
        Address::Inet(match addr.ip() {
            IpAddr::V4(v4) if self.v6 => SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port()),
            ip => SocketAddr::new(ip, addr.port()),
        })
    }

    /// As the network sees an address of the caller's, which is of this socket's domain.
    pub(super) fn taken(self, address: &Address) -> Result<SocketAddr> {
        match address {
            Address::Inet(addr) if addr.is_ipv6() == self.v6 => Ok(canonical(*addr)),
            // An IPv4 address is too short for an IPv6 one.
            Address::Inet(_) if self.v6 => Err(Errno(libc::EINVAL)),
            _ => Err(Errno(libc::EAFNOSUPPORT)),
        }
    }

    /// Whether an IPv6 socket may go to IPv4 addresses.
    pub(super) fn takes_v4(self) -> bool {
        let is_v6 = |ip: IpAddr| ip.is_ipv6() && !ip.is_unspecified();
        !self.v6_only && !self.local.is_some_and(|local| is_v6(local.ip()))
    }

    pub(super) fn local_name(self) -> SocketAddr {
        let any: IpAddr = if self.v6 {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        self.local.unwrap_or(SocketAddr::new(any, 0))
    }

    /// Whether what goes to this address may be for a socket that is bound so.
    pub(super) fn covers(self, ip: IpAddr) -> bool {
        match self.local.map(|local| local.ip()) {
            Some(IpAddr::V4(any)) if any.is_unspecified() => ip.is_ipv4(),
            Some(IpAddr::V6(any)) if any.is_unspecified() => ip.is_ipv6() || !self.v6_only,
            local => local == Some(ip),
        }
    }

    fn overlaps(self, other: Self) -> bool {
        let covers = |a: Self, b: Self| b.local.is_some_and(|local| a.covers(local.ip()));
        covers(self, other) || covers(other, self)
    }
}

pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn loopback(v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::LOCALHOST.into()
    } else {
        Ipv4Addr::LOCALHOST.into()
    }
}

impl Net {
    /// Adds a host, which gets an address of each family.
    pub(crate) fn add_host(&mut self) -> HostId {
        let index = u32::try_from(self.hosts.len()).expect("so many hosts do not fit in memory");
        self.hosts.push(Host::new(index));
        HostId(index)
    }

    /// The addresses by which others reach a host.
    pub(crate) fn addresses(&self, host: HostId) -> (Ipv4Addr, Ipv6Addr) {
        let host = &self.hosts[host.index()];
        (host.v4, host.v6)
    }

    pub(super) fn bind_inet(&mut self, id: SocketId, address: &Address) -> Result<()> {
        let (host, inet, transport) = self.inet(id)?;
        let inet = *inet;
        let mut addr = inet.taken(address)?;
        if inet.v6_only && addr.is_ipv4() {
            return Err(Errno(libc::EINVAL));
        }
        let ip = addr.ip();
        if !(ip.is_unspecified() || ip.is_loopback() || self.hosts[host.index()].has(ip)) {
            return Err(Errno(libc::EADDRNOTAVAIL));
        }
        if inet.local.is_some() {
            return Err(Errno(libc::EINVAL));
        }
        let is_chosen = addr.port() != 0;
        if !is_chosen {
            let port = self.free_port(host, transport);
            addr.set_port(port.ok_or(Errno(libc::EADDRINUSE))?);
        }
        self.occupy(id, addr);
        if self.is_in_use(id) {
            self.leave_port(id);
            return Err(Errno(libc::EADDRINUSE));
        }
        if is_chosen {
            self.inet(id)?.1.chosen = Some(addr);
        }
        Ok(())
    }

    /// Gives a socket that goes somewhere an address, where it has none.
    pub(super) fn bind_to_source(&mut self, id: SocketId, source: IpAddr) -> Result<SocketAddr> {
        let (host, inet, transport) = self.inet(id)?;
        if let Some(local) = inet.local {
            return Ok(local);
        }
        let port = self.free_port(host, transport);
        let local = SocketAddr::new(source, port.ok_or(Errno(libc::EADDRNOTAVAIL))?);
        self.occupy(id, local);
        Ok(local)
    }

    /// Whether the address of a bound socket is another's too, who would not share it.
    pub(super) fn is_in_use(&self, id: SocketId) -> bool {
        let Some((socket, inet, port)) = self.bound(id) else {
            return false;
        };
        let ours = &socket.base.options;
        let others = self.ports[&port].iter().filter(|other| **other != id);
        others
            .filter_map(|other| self.bound(*other))
            .any(|(other, their_inet, _)| {
                let theirs = &other.base.options;
                let is_shared = ours.reuse_port && theirs.reuse_port
                    || ours.reuse_address && theirs.reuse_address && !other.kind.listens();
                !is_shared && !other.kind.is_over() && inet.overlaps(their_inet)
            })
    }

    fn bound(&self, id: SocketId) -> Option<(&Socket, Inet, Port)> {
        let socket = self.sockets.get(id)?;
        let (inet, transport) = socket.kind.inet()?;
        let port = inet.local?.port();
        Some((socket, *inet, (socket.base.host, transport, port)))
    }

    /// Binds a socket, without asking who else is.
    pub(super) fn occupy(&mut self, id: SocketId, addr: SocketAddr) {
        if let Ok((host, inet, transport)) = self.inet(id) {
            inet.local = Some(addr);
            let port = (host, transport, addr.port());
            self.ports.entry(port).or_default().push(id);
        }
    }

    /// Undoes a bind, if there was one.
    pub(super) fn leave_port(&mut self, id: SocketId) {
        let Some((_, _, port)) = self.bound(id) else {
            return;
        };
        if let Ok((_, inet, _)) = self.inet(id) {
            inet.local = None;
        }
        if let Some(ids) = self.ports.get_mut(&port) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    /// What was bound to for a connection is not any more.
    pub(super) fn restore_bound(&mut self, id: SocketId) {
        match self.inet(id) {
            Ok((_, inet, _)) if inet.chosen.is_some() => inet.local = inet.chosen,
            _ => self.leave_port(id),
        }
    }

    fn free_port(&mut self, host: HostId, transport: Transport) -> Option<u16> {
        let next = self.hosts[host.index()].next_port;
        let mut ports = (next..=*EPHEMERAL.end()).chain(*EPHEMERAL.start()..next);
        let port = ports.find(|port| !self.ports.contains_key(&(host, transport, *port)))?;
        self.hosts[host.index()].next_port = match port {
            last if last == *EPHEMERAL.end() => *EPHEMERAL.start(),
            port => port + 1,
        };
        Some(port)
    }

    /// How a socket of `from` that is bound like this reaches an address.
    pub(super) fn route(&self, from: HostId, inet: Inet, to: SocketAddr) -> Result<Route> {
        if inet.v6 && to.is_ipv4() && !inet.takes_v4() {
            return Err(Errno(libc::ENETUNREACH));
        }
        // Nowhere is here.
        let ip = match to.ip() {
            ip if ip.is_unspecified() => loopback(ip.is_ipv6()),
            ip => ip,
        };
        let is_own = ip.is_loopback() || self.hosts[from.index()].has(ip);
        let bound = inet.local.map(|local| local.ip());
        match bound {
            Some(IpAddr::V4(_)) if ip.is_ipv6() => return Err(Errno(libc::EAFNOSUPPORT)),
            Some(bound) if bound.is_loopback() && !is_own => return Err(Errno(libc::EINVAL)),
            _ => {}
        }
        let host = if is_own {
            from
        } else {
            let index = self.hosts.iter().position(|host| host.has(ip));
            let index = index.and_then(|index| u32::try_from(index).ok());
            HostId(index.ok_or(Errno(libc::ENETUNREACH))?)
        };
        let own = &self.hosts[from.index()];
        let source = match bound.filter(|bound| !bound.is_unspecified()) {
            Some(bound) => bound,
            // What stays on the host comes from the address that it goes to.
            None if is_own => ip,
            None if ip.is_ipv6() => own.v6.into(),
            None => own.v4.into(),
        };
        let to = SocketAddr::new(ip, to.port());
        Ok(Route { host, to, source })
    }

    /// The socket that what comes `from` there `to` here is for: the one that is bound, and
    /// connected, the most exactly. Those who share an address by `SO_REUSEPORT` share the load by
    /// the sender's port; of others that share one, the last has all.
    pub(super) fn receiver(
        &self,
        (host, transport): (HostId, Transport),
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketId> {
        let mut best = Vec::new();
        let mut best_score = 1;
        for &id in self.ports.get(&(host, transport, to.port()))? {
            let score = self.sockets.get(id)?.kind.score(from, to);
            if score > best_score {
                best.clear();
                best_score = score;
            }
            if score == best_score {
                best.push(id);
            }
        }
        let last = *best.last()?;
        if self.sockets.get(last)?.base.options.reuse_port {
            Some(best[usize::from(from.port()) % best.len()])
        } else {
            Some(last)
        }
    }

    fn inet(&mut self, id: SocketId) -> Result<(HostId, &mut Inet, Transport)> {
        let socket = self.sockets.get_mut(id).ok_or(Errno(libc::EBADF))?;
        let inet = socket.kind.inet_mut().ok_or(Errno(libc::EOPNOTSUPP))?;
        Ok((socket.base.host, inet.0, inet.1))
    }
}
