//! Programs of calls, and what they give: the same for the model and for the kernel.

use crate::sys::sim::errno::Errno;
use crate::sys::sim::net::{Address, HostId, Links, Name, Net, SocketId};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A call on the sockets that the calls before have made, which are named by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Socket(i32, i32, i32),
    /// Makes two.
    Pair(i32),
    /// Makes the end to read from, and the one to write to.
    Pipe,
    Bind(usize, To),
    Listen(usize, i32),
    Connect(usize, To),
    /// Makes one if it succeeds.
    Accept(usize),
    Send(usize, Vec<u8>),
    SendTo(usize, Vec<u8>, To),
    Recv(usize, usize),
    Peek(usize, usize),
    Read(usize, usize),
    Write(usize, Vec<u8>),
    Shutdown(usize, i32),
    Set(usize, i32, i32, Vec<u8>),
    Get(usize, i32, i32),
    LocalName(usize),
    PeerName(usize),
    Poll(usize),
    Close(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Ip(IpAddr, u16),
    /// What a socket was bound to, also when it is closed; the loopback if that is anywhere.
    Name(usize),
    Path(&'static str),
    Abstract(&'static str),
    Unnamed,
    Unspecified,
}

pub(super) const TCP: Call = Call::Socket(libc::AF_INET, libc::SOCK_STREAM, 0);
pub(super) const TCP_6: Call = Call::Socket(libc::AF_INET6, libc::SOCK_STREAM, 0);
pub(super) const UDP: Call = Call::Socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
pub(super) const UDP_6: Call = Call::Socket(libc::AF_INET6, libc::SOCK_DGRAM, 0);
pub(super) const UNIX: Call = Call::Socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
pub(super) const UNIX_DGRAM: Call = Call::Socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0);
pub(super) const UNIX_PACKETS: Call = Call::Socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0);

pub(super) fn bytes(text: &str) -> Vec<u8> {
    text.into()
}

pub(super) fn word(word: i32) -> Vec<u8> {
    word.to_ne_bytes().to_vec()
}

impl To {
    pub(super) const ANY: Self = Self::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    pub(super) const LOCAL: Self = Self::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    pub(super) const LOCAL_6: Self = Self::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
    pub(super) const ANY_6: Self = Self::Ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Error(i32),
    Count(usize),
    Bytes(Vec<u8>),
    Poll(u16),
    /// An address, without its port.
    Named(String),
}

impl Outcome {
    pub(super) fn of_name(address: &Address) -> Self {
        Self::Named(match address {
            Address::Unspecified => "unspecified".to_owned(),
            Address::Inet(addr) if addr.port() == 0 => format!("{}, no port", addr.ip()),
            Address::Inet(addr) => addr.ip().to_string(),
            // Where the kernel begins to count is its own affair.
            Address::Unix(Name::Abstract(name)) if name.len() == 5 => "a number".to_owned(),
            Address::Unix(name) => format!("{name:?}"),
        })
    }
}

impl From<Errno> for Outcome {
    fn from(errno: Errno) -> Self {
        Self::Error(errno.0)
    }
}

/// The address at which a socket is reached that is bound to one, if it is.
pub(super) fn reachable(name: Address) -> Option<Address> {
    let Address::Inet(mut addr) = name else {
        return Some(name);
    };
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    (addr.port() != 0).then_some(Address::Inet(addr))
}

/// Runs calls on the model, on one host.
pub(super) struct Model {
    pub(super) net: Net,
    pub(super) host: HostId,
    sockets: Vec<SocketId>,
    names: Vec<Option<Address>>,
    /// Whose names stay theirs.
    named: BTreeSet<usize>,
}

/// What there is to call.
impl Model {
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn is_connected(&mut self, place: usize) -> bool {
        self.net.peer_name(self.sockets[place]).is_ok()
    }

    pub(super) fn is_bound(&mut self, place: usize) -> bool {
        let name = self.net.local_name(self.sockets[place]);
        matches!(name, Ok(Address::Inet(addr)) if addr.port() != 0)
    }

    /// What [`To::Name`] may be about while others share the machine's ports.
    pub(super) fn named(&self) -> Vec<usize> {
        self.named.iter().copied().collect()
    }
}

impl Model {
    pub(super) fn new() -> Self {
        let mut net = Net::new(Links::default());
        let host = net.add_host();
        Self {
            net,
            host,
            sockets: Vec::new(),
            names: Vec::new(),
            named: BTreeSet::new(),
        }
    }

    fn made(&mut self, id: SocketId) {
        self.sockets.push(id);
        self.names.push(None);
    }

    fn address(&self, to: To) -> Address {
        match to {
            To::Ip(ip, port) => Address::Inet(SocketAddr::new(ip, port)),
            To::Name(place) => self.names[place].clone().unwrap(),
            To::Path(path) => Address::Unix(Name::Path(path.into())),
            To::Abstract(name) => Address::Unix(Name::Abstract(name.into())),
            To::Unnamed => Address::Unix(Name::Unnamed),
            To::Unspecified => Address::Unspecified,
        }
    }

    fn remember(&mut self, place: usize) {
        if let Ok(name) = self.net.local_name(self.sockets[place]) {
            self.names[place] = reachable(name);
        }
    }

    pub(super) fn poll(&self, place: usize) -> u16 {
        self.net.poll(self.sockets[place]).unwrap_or(0)
    }

    pub(super) fn run(&mut self, call: &Call) -> Outcome {
        self.call(call).unwrap_or_else(Outcome::from)
    }

    fn call(&mut self, call: &Call) -> Result<Outcome, Errno> {
        let sockets = self.sockets.clone();
        let id = |place: &usize| sockets[*place];
        match call {
            Call::Socket(domain, kind, protocol) => {
                let made = self.net.socket(self.host, *domain, *kind, *protocol)?;
                self.made(made);
            }
            Call::Pair(kind) => {
                let (a, b) = self.net.socket_pair(self.host, *kind, 0)?;
                self.made(a);
                self.made(b);
            }
            Call::Pipe => {
                let (reader, writer) = self.net.pipe(self.host);
                self.made(reader);
                self.made(writer);
            }
            Call::Bind(place, to) => {
                self.net.bind(id(place), &self.address(*to))?;
                self.remember(*place);
                self.named.insert(*place);
            }
            Call::Listen(place, backlog) => {
                self.net.listen(id(place), *backlog)?;
                self.remember(*place);
                self.named.insert(*place);
            }
            Call::Connect(place, to) => {
                // The kernel frees what was bound to when that fails.
                self.named.remove(place);
                self.net.connect(id(place), &self.address(*to))?;
                self.remember(*place);
            }
            Call::Accept(place) => {
                let (accepted, _) = self.net.accept(id(place))?;
                self.made(accepted);
            }
            Call::Send(place, bytes) => {
                return self.net.send(id(place), bytes, None).map(Outcome::Count);
            }
            Call::SendTo(place, bytes, to) => {
                let to = self.address(*to);
                let sent = self.net.send(id(place), bytes, Some(&to));
                return sent.map(Outcome::Count);
            }
            Call::Recv(place, len) | Call::Peek(place, len) => {
                let peek = matches!(call, Call::Peek(..));
                let received = self.net.recv(id(place), *len, peek)?;
                return Ok(Outcome::Bytes(received.bytes));
            }
            Call::Read(place, len) => {
                return self.net.read(id(place), *len).map(Outcome::Bytes);
            }
            Call::Write(place, bytes) => {
                return self.net.write(id(place), bytes).map(Outcome::Count);
            }
            Call::Shutdown(place, how) => self.net.shutdown(id(place), *how)?,
            Call::Set(place, level, name, value) => {
                self.net.set_option(id(place), *level, *name, value)?;
            }
            Call::Get(place, level, name) => {
                let value = self.net.option(id(place), *level, *name);
                return value.map(Outcome::Bytes);
            }
            Call::LocalName(place) => {
                let name = self.net.local_name(id(place))?;
                return Ok(Outcome::of_name(&name));
            }
            Call::PeerName(place) => {
                let name = self.net.peer_name(id(place))?;
                return Ok(Outcome::of_name(&name));
            }
            Call::Poll(place) => return self.net.poll(id(place)).map(Outcome::Poll),
            Call::Close(place) => {
                self.named.remove(place);
                self.net.close(id(place))?;
            }
        }
        Ok(Outcome::Done)
    }
}
