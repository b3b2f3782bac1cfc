//! What goes through sockets and pipes, as far as a plain model knows.

use super::expect::Settled;
use super::plan::Bytes;
use completeio_driver::driver::{AsFd, OwnedFd};
use completeio_driver::sim::World;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The sockets and pipes of a world's programs, and what they have sent.
#[derive(Debug, Default)]
pub(super) struct Network {
    socks: BTreeMap<usize, Sock>,
    made: usize,
    streams: Vec<Stream>,
    /// TCP's connections, by the addresses of client and server: the stream from the client, then
    /// the other.
    connections: BTreeMap<[String; 2], [usize; 2]>,
    datagrams: BTreeMap<u64, Datagram>,
}

/// A socket, or an end of a pipe, that a program has.
#[derive(Debug)]
pub(super) struct Sock {
    pub(super) host: usize,
    pub(super) fd: Rc<OwnedFd>,
    pub(super) role: Role,
    out: Option<usize>,
    into: Option<usize>,
    /// Something may have gone through it before its connection was known.
    is_used: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// TCP, and not known to be connected.
    Tcp,
    Listener,
    Connected,
    Udp,
    Unix,
    Reader,
    Writer,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Stream {
    /// Its sender's transfers are all here.
    is_known: bool,
    /// Transfers were in flight together whose order is not known.
    is_unsure: bool,
    /// It may end; and it has.
    ends: bool,
    has_ended: bool,
    sides: [Transfers; 2],
}

/// What one side has sent or received, in order; `None` while that is not known.
#[derive(Debug, Default)]
struct Transfers {
    parts: Vec<Option<Bytes>>,
    in_flight: usize,
    exact_in_flight: usize,
}

/// A transfer in flight: the stream, the side, the part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    stream: Option<usize>,
    side: usize,
    part: usize,
    is_exact: bool,
}

pub(super) const SENDING: usize = 0;
pub(super) const RECEIVING: usize = 1;

#[derive(Debug)]
struct Datagram {
    bytes: Bytes,
    is_sent: bool,
    received: u32,
}

impl Network {
    pub(super) fn add(&mut self, host: usize, fd: OwnedFd, role: Role) -> usize {
        self.made += 1;
        let sock = Sock {
            host,
            fd: Rc::new(fd),
            role,
            out: None,
            into: None,
            is_used: false,
        };
        self.socks.insert(self.made, sock);
        self.made
    }

    /// Two that are connected: a pipe's, from the first to the second, or a socket's.
    pub(super) fn add_pair(&mut self, host: usize, fds: [OwnedFd; 2], roles: [Role; 2]) {
        let ids = {
            let [a, b] = fds;
            [self.add(host, a, roles[0]), self.add(host, b, roles[1])]
        };
        let streams = [self.stream(), self.stream()];
        for stream in streams {
            self.streams[stream].is_known = true;
        }
        self.join(ids[0], streams);
        self.join(ids[1], [streams[1], streams[0]]);
    }

    fn stream(&mut self) -> usize {
        self.streams.push(Stream::default());
        self.streams.len() - 1
    }

    fn join(&mut self, sock: usize, [out, into]: [usize; 2]) {
        let sock = self.socks.get_mut(&sock).expect("just made");
        (sock.out, sock.into) = (Some(out), Some(into));
    }

    pub(super) fn get(&mut self, id: usize) -> Option<&mut Sock> {
        self.socks.get_mut(&id)
    }

    /// One of a host's in one of these roles.
    pub(super) fn pick(&self, host: usize, roles: &[Role], pick: usize) -> Option<usize> {
        let fits = |sock: &Sock| sock.host == host && roles.contains(&sock.role);
        let ids: Vec<usize> = self
            .socks
            .iter()
            .filter(|(_, sock)| fits(sock))
            .map(|(id, _)| *id)
            .collect();
        // Of two that may be taken the newer one, to get somewhere.
        let at = pick.checked_rem(ids.len())?;
        Some(ids[at.max((pick / 7) % ids.len())])
    }

    /// A program gives a descriptor up.
    pub(super) fn remove(&mut self, id: usize) -> Option<Rc<OwnedFd>> {
        self.end(id);
        self.socks.remove(&id).map(|sock| sock.fd)
    }

    pub(super) fn crash(&mut self, host: usize) {
        let lost: Vec<usize> = self
            .socks
            .iter()
            .filter(|(_, sock)| sock.host == host)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.remove(id);
        }
    }

    /// What a socket sends and receives may end.
    pub(super) fn end(&mut self, id: usize) {
        if let Some(sock) = self.socks.get(&id) {
            for stream in sock.out.into_iter().chain(sock.into) {
                self.streams[stream].ends = true;
            }
        }
    }

    /// Finds out which connection a TCP socket has.
    pub(super) fn identify(&mut self, world: &World, id: usize) {
        let Some(sock) = self.socks.get_mut(&id) else {
            return;
        };
        if sock.out.is_some() || !matches!(sock.role, Role::Tcp | Role::Connected) {
            return;
        }
        let (Ok(local), Ok(peer)) = (
            world.local_address(sock.fd.as_fd()),
            world.peer_address(sock.fd.as_fd()),
        ) else {
            return;
        };
        sock.role = Role::Connected;
        let is_used = sock.is_used;
        let [local, peer] = [local, peer].map(|address| address.to_string());
        // The server's port is not one of those that are picked for a client.
        let is_server = local.ends_with(PORTS[0]) || local.ends_with(PORTS[1]);
        let names = if is_server {
            [peer, local]
        } else {
            [local, peer]
        };
        let connection = match self.connections.get(&names) {
            Some(connection) => *connection,
            None => {
                let connection = [self.stream(), self.stream()];
                self.connections.insert(names, connection);
                connection
            }
        };
        let [from_client, from_server] = connection;
        let streams = if is_server {
            [from_server, from_client]
        } else {
            connection
        };
        self.streams[streams[0]].is_known = !is_used;
        self.streams[streams[1]].is_unsure |= is_used;
        self.join(id, streams);
    }

    /// A transfer is in flight.
    pub(super) fn begin(
        &mut self,
        world: &World,
        id: usize,
        side: usize,
        is_exact: bool,
    ) -> Transfer {
        self.identify(world, id);
        let sock = self.socks.get_mut(&id).expect("picked");
        let stream = if side == SENDING { sock.out } else { sock.into };
        sock.is_used |= stream.is_none();
        let mut transfer = Transfer {
            stream,
            side,
            part: 0,
            is_exact,
        };
        if let Some(stream) = stream {
            let stream = &mut self.streams[stream];
            let transfers = &mut stream.sides[side];
            transfer.part = transfers.parts.len();
            transfers.parts.push(None);
            stream.is_unsure |=
                transfers.exact_in_flight > 0 || is_exact && transfers.in_flight > 0;
            transfers.in_flight += 1;
            transfers.exact_in_flight += usize::from(is_exact);
        }
        transfer
    }

    /// It has moved these bytes; `None` if that is not known.
    pub(super) fn moved(&mut self, transfer: Transfer, bytes: Option<Bytes>) {
        let Transfer {
            stream: Some(stream),
            side,
            part,
            is_exact,
        } = transfer
        else {
            return;
        };
        let transfers = &mut self.streams[stream].sides[side];
        transfers.in_flight -= 1;
        transfers.exact_in_flight -= usize::from(is_exact);
        transfers.parts[part] = bytes;
    }

    /// What a transfer has moved whose bytes did not come out; `None` if that is not known.
    pub(super) fn moved_unseen(&mut self, transfer: Transfer, settled: &Settled) -> Option<Bytes> {
        match settled {
            Settled::Failed(errno) => {
                if *errno != libc::ECANCELED {
                    self.failed(transfer);
                }
                (!transfer.is_exact).then(Vec::new)
            }
            Settled::Never => Some(Vec::new()),
            Settled::Done(_) | Settled::Lost => {
                self.failed(transfer);
                None
            }
        }
    }

    /// A transfer has failed, or may have, so that the connection may be over.
    fn failed(&mut self, transfer: Transfer) {
        let Some(stream) = transfer.stream else {
            return;
        };
        // Both directions of it stand together.
        for stream in [stream & !1, stream | 1] {
            self.streams[stream].ends = true;
        }
    }

    /// Nothing was received, though there was room for something. Who has made the end may be told
    /// later.
    pub(super) fn ended(&mut self, transfer: Transfer) {
        if let Some(stream) = transfer.stream {
            self.streams[stream].has_ended = true;
        }
    }

    /// A datagram is pushed: its number, and what is in it.
    pub(super) fn datagram(&mut self, len: usize) -> (u64, Bytes) {
        let id = self.datagrams.len() as u64;
        let mut bytes = id.to_le_bytes().to_vec();
        bytes.extend((0..len).map(|at| (at as u64 ^ id.wrapping_mul(37)).to_le_bytes()[0]));
        let datagram = Datagram {
            bytes: bytes.clone(),
            is_sent: true,
            received: 0,
        };
        self.datagrams.insert(id, datagram);
        (id, bytes)
    }

    /// It was not sent.
    pub(super) fn not_sent(&mut self, id: u64) {
        self.datagrams.get_mut(&id).expect("made").is_sent = false;
    }

    pub(super) fn received(&mut self, bytes: &[u8], is_cut: bool) {
        let Some(id) = bytes.first_chunk() else {
            return;
        };
        let datagram = self.datagrams.get_mut(&u64::from_le_bytes(*id));
        let datagram = datagram.expect("a datagram that nobody has sent");
        datagram.received += 1;
        assert!(datagram.bytes.starts_with(bytes), "a datagram is another's");
        assert_eq!(
            is_cut,
            bytes.len() < datagram.bytes.len(),
            "whether it was cut off"
        );
    }

    /// When nothing is in flight: what was received is what was sent.
    pub(super) fn check(&self, duplicates: bool) {
        for (id, datagram) in &self.datagrams {
            let most = match (datagram.is_sent, duplicates) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) => 2,
            };
            let times = datagram.received;
            assert!(
                times <= most,
                "datagram {id} was received {times} times, and {most} at most"
            );
        }
        for (at, stream) in self.streams.iter().enumerate() {
            if !stream.is_known {
                continue;
            }
            assert!(
                stream.ends || !stream.has_ended,
                "stream {at}: an end that nobody has made"
            );
            if stream.is_unsure {
                continue;
            }
            let [sent, received] = &stream.sides;
            let ((sent, is_all), (received, _)) = (sent.known(), received.known());
            let common = sent.len().min(received.len());
            assert!(
                sent[..common] == received[..common] && (common == received.len() || !is_all),
                "stream {at}: {} bytes were received that are not what was sent, {} bytes",
                received.len(),
                sent.len()
            );
        }
    }
}

/// The ports that are listened on.
pub(super) const PORTS: [&str; 2] = [":80", ":81"];

impl Transfers {
    /// All up to the first that is not known, and whether there is none.
    fn known(&self) -> (Bytes, bool) {
        let known = self.parts.iter().map_while(Option::as_deref);
        (
            known.flatten().copied().collect(),
            self.parts.iter().all(Option::is_some),
        )
    }
}
