//! What is on its way between hosts, and what is due later.
//!
//! A packet *departs* as an event of the present; only when that event is handled are its delay and
//! its fate drawn, and then it *arrives* as another. What stays on its host arrives at once.
//!
//! Segments of one direction of a connection wait in one queue. A packet only says that the first
//! of them is due, so they stay in order whatever their delays are.

use super::{HostId, SocketId};
use crate::sys::sim::random::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// What the ways between hosts are like. A host's way to itself has no delay and no faults.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    /// How long a packet takes; an empty range is always its start.
    pub(crate) delay: Range<Duration>,
    /// The probability that a datagram is lost.
    pub(crate) lose: f64,
    /// The probability that a datagram arrives twice.
    pub(crate) duplicate: f64,
    /// The probability, for each segment of a TCP connection, that both ends are reset.
    pub(crate) reset: f64,
    /// How long a connect waits for an answer.
    pub(crate) connect_timeout: Duration,
    /// How long a connection waits for its peer to acknowledge anything.
    pub(crate) stall_timeout: Duration,
}

impl Default for Links {
    /// No faults, a delay of 50 µs to 500 µs, and Linux's patience.
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(50)..Duration::from_micros(500),
            lose: 0.0,
            duplicate: 0.0,
            reset: 0.0,
            connect_timeout: Duration::from_secs(127),
            stall_timeout: Duration::from_secs(924),
        }
    }
}

/// One direction of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    pub(super) from: HostId,
    pub(super) source: SocketId,
    pub(super) to: HostId,
    pub(super) target: SocketId,
}

impl Path {
    pub(super) fn reversed(self) -> Self {
        Self {
            from: self.to,
            source: self.target,
            to: self.from,
            target: self.source,
        }
    }
}

#[derive(Debug)]
pub(super) enum Segment {
    /// The answer to a [`Syn`], from `local`.
    Accepted {
        local: SocketAddr,
        window: u64,
    },
    Data(Vec<u8>),
    End,
    /// How much has arrived, and how much may be sent, both since the beginning.
    Acknowledged {
        arrived: u64,
        window: u64,
    },
    Reset,
}

/// Asks for a connection.
#[derive(Debug, Clone)]
pub(super) struct Syn {
    pub(super) client: SocketId,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) window: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Datagram {
    pub(super) sender: SocketId,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) from: HostId,
    pub(super) to: HostId,
    pub(super) load: Load,
}

#[derive(Debug, Clone)]
pub(super) enum Load {
    /// The first segment of the path's queue.
    Segment(Path),
    Syn(Syn),
    /// Nobody listens at `at`.
    Refused {
        client: SocketId,
        at: SocketAddr,
    },
    Datagram(Datagram),
    /// Nobody receives at `at`.
    Unreachable {
        sender: SocketId,
        at: SocketAddr,
    },
}

#[derive(Debug)]
pub(super) enum Event {
    Depart(Packet),
    Arrive(Packet),
    /// A fault of a link.
    Reset(SocketId),
    /// A TCP socket has waited long enough.
    Timeout(SocketId),
    /// A connect asks again.
    Retry(SocketId),
}

/// Names an event that is due: when, and which one of then.
pub(super) type Key = (Duration, u64);

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) links: Links,
    now: Duration,
    sequence: u64,
    events: BTreeMap<Key, Event>,
    /// What arrives on its own host, at once.
    local: VecDeque<Packet>,
    segments: BTreeMap<Path, VecDeque<Segment>>,
    /// Pairs of hosts, the lesser first, that do not reach each other.
    partitions: BTreeSet<(HostId, HostId)>,
    /// Segments that came to a partition, in order.
    held: Vec<Packet>,
}

impl Wire {
    pub(super) fn new(links: Links) -> Self {
        Self {
            links,
            now: Duration::ZERO,
            sequence: 0,
            events: BTreeMap::new(),
            local: VecDeque::new(),
            segments: BTreeMap::new(),
            partitions: BTreeSet::new(),
            held: Vec::new(),
        }
    }

    pub(super) fn next_event(&self) -> Option<Duration> {
        self.events.keys().next().map(|(when, _)| *when)
    }

    /// The next event up to `end`, to which time then moves on.
    pub(super) fn next_until(&mut self, end: Duration) -> Option<Event> {
        let first = self.events.first_entry();
        let Some(first) = first.filter(|first| first.key().0 <= end) else {
            self.now = end;
            return None;
        };
        let ((when, _), event) = first.remove_entry();
        self.now = when;
        Some(event)
    }

    /// The next packet that arrives at once.
    pub(super) fn next_local(&mut self) -> Option<Packet> {
        self.local.pop_front()
    }

    /// Makes an event due after this time.
    pub(super) fn after(&mut self, delay: Duration, event: Event) -> Key {
        self.sequence += 1;
        let key = (self.now.saturating_add(delay), self.sequence);
        self.events.insert(key, event);
        key
    }

    pub(super) fn cancel(&mut self, key: Key) {
        self.events.remove(&key);
    }

    pub(super) fn post(&mut self, from: HostId, to: HostId, load: Load) {
        let packet = Packet { from, to, load };
        if from == to {
            self.local.push_back(packet);
        } else {
            self.after(Duration::ZERO, Event::Depart(packet));
        }
    }

    pub(super) fn send(&mut self, path: Path, segment: Segment) {
        self.segments.entry(path).or_default().push_back(segment);
        self.post(path.from, path.to, Load::Segment(path));
    }

    /// The segment that arrives.
    pub(super) fn take(&mut self, path: Path) -> Option<Segment> {
        let queue = self.segments.get_mut(&path)?;
        let segment = queue.pop_front();
        if queue.is_empty() {
            self.segments.remove(&path);
        }
        segment
    }

    /// Draws what becomes of a packet that departs.
    pub(super) fn depart(&mut self, packet: Packet, random: &mut Random) {
        match packet.load {
            Load::Datagram(_) => {
                if self.is_cut(packet.from, packet.to) || random.chance(self.links.lose) {
                    return;
                }
                if random.chance(self.links.duplicate) {
                    let delay = random.between(&self.links.delay);
                    self.after(delay, Event::Arrive(packet.clone()));
                }
            }
            Load::Segment(Path { source, target, .. }) if random.chance(self.links.reset) => {
                for end in [source, target] {
                    let delay = random.between(&self.links.delay);
                    self.after(delay, Event::Reset(end));
                }
            }
            _ => {}
        }
        let delay = random.between(&self.links.delay);
        self.after(delay, Event::Arrive(packet));
    }

    pub(super) fn partition(&mut self, a: HostId, b: HostId) {
        self.partitions.insert((a.min(b), a.max(b)));
    }

    pub(super) fn heal(&mut self, a: HostId, b: HostId) {
        self.partitions.remove(&(a.min(b), a.max(b)));
        let held = std::mem::take(&mut self.held);
        let (held, freed) = held
            .into_iter()
            .partition(|packet| self.is_cut(packet.from, packet.to));
        self.held = held;
        for packet in freed {
            self.after(Duration::ZERO, Event::Depart(packet));
        }
    }

    pub(super) fn is_cut(&self, a: HostId, b: HostId) -> bool {
        self.partitions.contains(&(a.min(b), a.max(b)))
    }

    /// A packet has come to a partition. What TCP sends again is kept; the socket whose connect is
    /// to ask again is returned.
    pub(super) fn stop(&mut self, packet: Packet) -> Option<SocketId> {
        match packet.load {
            Load::Segment(path) => {
                let first = self.segments.get(&path).and_then(VecDeque::front);
                if let Some(Segment::Reset) = first {
                    self.take(path);
                } else {
                    self.held.push(packet);
                }
            }
            Load::Syn(Syn { client, .. }) | Load::Refused { client, .. } => return Some(client),
            Load::Datagram(_) | Load::Unreachable { .. } => {}
        }
        None
    }

    /// What is held at a partition on these paths will not be sent again.
    pub(super) fn forget(&mut self, is_lost: impl Fn(Path) -> bool) {
        for packet in std::mem::take(&mut self.held) {
            match packet.load {
                Load::Segment(path) if is_lost(path) => {
                    self.segments.remove(&path);
                }
                _ => self.held.push(packet),
            }
        }
    }
}
