//! One end of a connection: bytes, and how far they are.

use super::super::wire::{Path, Segment};
use super::super::{HostId, SocketId};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Most bytes of a segment between hosts, and on a host.
const SEGMENT: usize = 1448;
const SEGMENT_LOCAL: usize = 65_483;

/// Who has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its listener; the client does not know yet that it is connected. Next: `Ready`.
    Arriving { listener: SocketId },
    /// Its listener, until accept. Next: `Open`, `Dead`.
    Ready,
    /// The application. Next: `Orphan`, `Dead`.
    Open,
    /// Nobody: it was closed, and goes when both directions have ended.
    Orphan,
    /// As `Ready` or `Open`, but the connection is over: ended, reset, or timed out.
    Dead,
}

/// Positions count bytes from the beginning of a direction; its end counts one more.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) stage: Stage,
    host: HostId,
    pub(super) peer: SocketId,
    pub(super) remote: SocketAddr,
    /// Whether connect has returned 0.
    pub(super) is_told: bool,

    unsent: VecDeque<u8>,
    /// How far it has sent.
    sent: u64,
    /// How far the peer has it.
    acknowledged: u64,
    /// How far the peer has room.
    window: u64,
    /// Whether nothing follows what is kept.
    is_complete: bool,
    is_end_sent: bool,

    received: VecDeque<u8>,
    arrived: u64,
    /// How far the peer was told to send.
    announced: u64,
    /// Whether the peer's end has arrived.
    pub(super) is_ended: bool,
}

/// How many bytes a receive buffer holds: half of it is for bookkeeping.
pub(super) fn window(receive_buffer: usize) -> u64 {
    receive_buffer as u64 / 2
}

impl Stream {
    /// `window` is the peer's and `announced` is what the peer was told.
    pub(super) fn new(
        stage: Stage,
        (host, peer, remote): (HostId, SocketId, SocketAddr),
        window: u64,
        announced: u64,
    ) -> Self {
        Self {
            stage,
            host,
            peer,
            remote,
            is_told: false,
            unsent: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            window,
            is_complete: false,
            is_end_sent: false,
            received: VecDeque::new(),
            arrived: 0,
            announced,
            is_ended: false,
        }
    }

    /// The way to the peer, from this end, which is `id` on `host`.
    pub(super) fn path(&self, host: HostId, id: SocketId) -> Path {
        Path {
            from: host,
            source: id,
            to: self.host,
            target: self.peer,
        }
    }

    /// How many bytes are in the send buffer: those of which the peer has not said that it has
    /// them.
    fn kept(&self) -> usize {
        let in_flight = usize::try_from(self.sent - self.acknowledged);
        self.unsent.len() + in_flight.expect("no more than was kept in memory")
    }

    /// Keeps as much as there is room for.
    pub(super) fn push(&mut self, bytes: &[u8], send_buffer: usize) -> usize {
        let len = bytes.len().min(send_buffer.saturating_sub(self.kept()));
        self.unsent.extend(&bytes[..len]);
        len
    }

    /// Lets the end follow what is kept.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Whether poll(2) calls it writable: a third of the buffer is free.
    pub(super) fn is_roomy(&self, send_buffer: usize) -> bool {
        send_buffer.saturating_sub(self.kept()) >= self.kept() / 2
    }

    /// What may be sent now; the end, after the last byte, whatever the window.
    pub(super) fn next_segment(&mut self, is_local: bool) -> Option<Segment> {
        let most = if is_local { SEGMENT_LOCAL } else { SEGMENT };
        let room = usize::try_from(self.window.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        let bytes = super::take(&mut self.unsent, room.min(most), false);
        if !bytes.is_empty() {
            self.sent += bytes.len() as u64;
            return Some(Segment::Data(bytes));
        }
        if self.is_complete && self.unsent.is_empty() && !self.is_end_sent {
            self.is_end_sent = true;
            self.sent += 1;
            return Some(Segment::End);
        }
        None
    }

    /// Notes what the peer says. Room that it has announced once stays, also when it has made
    /// its buffer smaller.
    pub(super) fn acknowledge(&mut self, arrived: u64, window: u64) {
        self.window = self.window.max(window);
        self.acknowledged = self.acknowledged.max(arrived);
    }

    pub(super) fn has_bytes(&self) -> bool {
        !self.received.is_empty()
    }

    /// Keeps what has arrived, and answers.
    pub(super) fn receive(&mut self, bytes: &[u8], receive_buffer: usize) -> Segment {
        self.received.extend(bytes);
        self.arrived += bytes.len() as u64;
        self.answer(receive_buffer)
    }

    /// Notes the peer's end, and answers.
    pub(super) fn end(&mut self, receive_buffer: usize) -> Segment {
        self.is_ended = true;
        self.arrived += 1;
        self.answer(receive_buffer)
    }

    fn answer(&mut self, receive_buffer: usize) -> Segment {
        self.announced = self.room_until(receive_buffer);
        Segment::Acknowledged {
            arrived: self.arrived,
            window: self.announced,
        }
    }

    /// How far there is room.
    fn room_until(&self, receive_buffer: usize) -> u64 {
        self.arrived + window(receive_buffer).saturating_sub(self.received.len() as u64)
    }

    /// Takes received bytes, or only looks at them. The peer is told of the room when that is
    /// much, and when it has not ended.
    pub(super) fn read(
        &mut self,
        (len, peek): (usize, bool),
        receive_buffer: usize,
    ) -> (Vec<u8>, Option<Segment>) {
        let bytes = super::take(&mut self.received, len, peek);
        let opened = self
            .room_until(receive_buffer)
            .saturating_sub(self.announced);
        let much = (SEGMENT as u64).min(window(receive_buffer) / 2);
        let tells = opened >= much && !self.is_ended && self.stage != Stage::Dead;
        (bytes, tells.then(|| self.answer(receive_buffer)))
    }

    /// Whether it waits for the peer to say something.
    pub(super) fn waits(&self) -> bool {
        match self.stage {
            Stage::Arriving { .. } | Stage::Orphan => true,
            Stage::Ready | Stage::Open => self.sent > self.acknowledged,
            Stage::Dead => false,
        }
    }

    pub(super) fn is_end_sent(&self) -> bool {
        self.is_end_sent
    }

    /// Whether both directions have ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_ended && self.is_end_sent && self.acknowledged == self.sent
    }

    /// Nothing is sent any more. What was received stays.
    pub(super) fn die(&mut self) {
        self.stage = Stage::Dead;
        self.unsent.clear();
        self.acknowledged = self.sent;
    }
}
