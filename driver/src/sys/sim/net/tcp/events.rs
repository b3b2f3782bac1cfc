//! What arrives, and what is due.

use super::super::address::Transport;
use super::super::wire::{Event, Load, Path, Segment, Syn};
use super::super::{HostId, Kind, Net, Shut, Socket, SocketId};
use super::stream::{Stage, Stream, window};
use super::{Parts, State, Tcp};
use crate::sys::sim::errno::Errno;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connect waits before it asks a second time; each time it waits twice as long.
const RETRY: Duration = Duration::from_secs(1);

impl Net {
    /// Asks for a connection.
    pub(in super::super) fn tcp_ask(&mut self, id: SocketId) {
        let Ok(Parts { base, tcp, wire }) = self.tcp(id) else {
            return;
        };
        if let (State::Connecting(connecting), Some(from)) = (&tcp.state, tcp.inet.local) {
            let syn = Syn {
                client: id,
                from,
                to: connecting.remote,
                window: window(base.options.receive_buffer()),
            };
            wire.post(base.host, connecting.host, Load::Syn(syn));
        }
    }

    /// A connect got no answer: it asks again after a while.
    pub(in super::super) fn tcp_retry(&mut self, id: SocketId) {
        let Ok(Parts { tcp, wire, .. }) = self.tcp(id) else {
            return;
        };
        if let State::Connecting(connecting) = &mut tcp.state {
            let delay = RETRY.saturating_mul(1 << connecting.retries.min(16));
            connecting.retries += 1;
            wire.after(delay, Event::Retry(id));
        }
    }

    /// A connect has arrived.
    pub(in super::super) fn tcp_asked(&mut self, from: HostId, to: HostId, syn: &Syn) {
        let listener = self.receiver((to, Transport::Tcp), syn.from, syn.to);
        let Some(id) = listener else {
            if syn.from == syn.to {
                self.tcp_meets_itself(from, syn);
                return;
            }
            let (client, at) = (syn.client, syn.to);
            self.wire.post(to, from, Load::Refused { client, at });
            return;
        };
        let Ok(Parts { base, tcp, .. }) = self.tcp(id) else {
            return;
        };
        let State::Listening(listener) = &tcp.state else {
            return;
        };
        if listener.is_full() {
            self.tcp_retry(syn.client);
            return;
        }
        let (options, shut) = (base.options.clone(), base.shut);
        let inet = tcp.inet.unbound();
        let window = window(options.receive_buffer());
        let peer = (from, syn.client, syn.from);
        let stream = Stream::new(Stage::Arriving { listener: id }, peer, syn.window, window);
        let tcp = Tcp::with_state(inet, State::Connected(stream));
        let mut child = Socket::new(to, Kind::Tcp(tcp));
        child.base.options = options;
        child.base.shut = shut;
        let child = self.sockets.insert(child);
        self.occupy(child, syn.to);
        if let Some(listener) = self.listener(id) {
            listener.arriving.push(child);
        }
        let path = Path {
            from: to,
            source: child,
            to: from,
            target: syn.client,
        };
        let local = syn.to;
        self.wire.send(path, Segment::Accepted { local, window });
        self.tcp_transmit(child);
    }

    /// A connect has come back to the socket that it is from, which so is its own peer.
    fn tcp_meets_itself(&mut self, host: HostId, syn: &Syn) {
        let Ok(Parts { tcp, wire, .. }) = self.tcp(syn.client) else {
            return;
        };
        if let State::Connecting(_) = tcp.state {
            let peer = (host, syn.client, syn.from);
            let stream = Stream::new(Stage::Open, peer, syn.window, syn.window);
            tcp.state = State::Connected(stream);
            tcp.watch(syn.client, wire);
        }
    }

    fn listener(&mut self, id: SocketId) -> Option<&mut super::Listener> {
        match &mut self.tcp(id).ok()?.tcp.state {
            State::Listening(listener) => Some(listener),
            _ => None,
        }
    }

    /// The first segment of a path has arrived.
    pub(in super::super) fn tcp_segment(&mut self, path: Path) {
        // None is left when the sender has forgotten it.
        let Some(segment) = self.wire.take(path) else {
            return;
        };
        let is_reset = matches!(segment, Segment::Reset);
        if !self.tcp_receive(path, segment) && !is_reset {
            self.wire.send(path.reversed(), Segment::Reset);
        }
    }

    /// Whether somebody receives the segment.
    fn tcp_receive(&mut self, path: Path, segment: Segment) -> bool {
        let id = path.target;
        let Ok(Parts { base, tcp, wire }) = self.tcp(id) else {
            return false;
        };
        let receive_buffer = base.options.receive_buffer();
        match (&mut tcp.state, segment) {
            (
                State::Connecting(connecting),
                Segment::Accepted {
                    local,
                    window: room,
                },
            ) if connecting.remote == local => {
                let window = window(receive_buffer);
                let peer = (path.from, path.source, local);
                tcp.state = State::Connected(Stream::new(Stage::Open, peer, room, window));
                tcp.watch(id, wire);
                let arrived = 0;
                wire.send(path.reversed(), Segment::Acknowledged { arrived, window });
            }
            (State::Connected(stream), segment)
                if stream.peer == path.source && stream.stage != Stage::Dead =>
            {
                match segment {
                    // Nobody will read it.
                    Segment::Data(_) if base.shut.read && stream.is_end_sent() => {
                        wire.send(path.reversed(), Segment::Reset);
                        self.tcp_die(id, Errno(libc::ECONNRESET));
                    }
                    Segment::Data(bytes) => {
                        let answer = stream.receive(&bytes, receive_buffer);
                        wire.send(path.reversed(), answer);
                    }
                    Segment::End => {
                        base.shut.read = true;
                        let answer = stream.end(receive_buffer);
                        wire.send(path.reversed(), answer);
                        self.tcp_finish(id);
                    }
                    Segment::Acknowledged { arrived, window } => {
                        stream.acknowledge(arrived, window);
                        tcp.stop_timer(wire);
                        self.tcp_settled(id);
                        self.tcp_transmit(id);
                        self.tcp_finish(id);
                    }
                    Segment::Reset => self.tcp_reset(id),
                    // A connect has one answer.
                    Segment::Accepted { .. } => {}
                }
            }
            _ => return false,
        }
        true
    }

    /// The client knows of its connection: whoever listens may accept it.
    fn tcp_settled(&mut self, id: SocketId) {
        let Ok(Parts { tcp, wire, .. }) = self.tcp(id) else {
            return;
        };
        let State::Connected(stream) = &mut tcp.state else {
            return;
        };
        if let Stage::Arriving { listener } = stream.stage {
            stream.stage = Stage::Ready;
            tcp.watch(id, wire);
            if let Some(listener) = self.listener(listener) {
                listener.arriving.retain(|child| *child != id);
                listener.ready.push_back(id);
            }
        }
    }

    /// A connection is reset.
    pub(in super::super) fn tcp_reset(&mut self, id: SocketId) {
        let Ok(Parts { base, tcp, .. }) = self.tcp(id) else {
            return;
        };
        if let State::Connected(stream) = &tcp.state {
            let errno = match stream.is_ended && !base.shut.write {
                true => libc::EPIPE,
                false => libc::ECONNRESET,
            };
            self.tcp_die(id, Errno(errno));
        }
    }

    /// A connection is over, and its peer does not need to know.
    fn tcp_die(&mut self, id: SocketId, errno: Errno) {
        let Ok(Parts { base, tcp, wire }) = self.tcp(id) else {
            return;
        };
        let State::Connected(stream) = &mut tcp.state else {
            return;
        };
        match stream.stage {
            Stage::Arriving { listener } => {
                if let Some(listener) = self.listener(listener) {
                    listener.arriving.retain(|child| *child != id);
                }
                self.remove(id);
            }
            Stage::Orphan => self.remove(id),
            Stage::Ready | Stage::Open => {
                stream.die();
                tcp.stop_timer(wire);
                base.error = Some(errno);
                base.shut = Shut::BOTH;
            }
            Stage::Dead => {}
        }
    }

    /// Nobody listens where a socket wants to connect to.
    pub(in super::super) fn tcp_refused(&mut self, id: SocketId, at: SocketAddr) {
        let Ok(Parts { tcp, .. }) = self.tcp(id) else {
            return;
        };
        if matches!(&tcp.state, State::Connecting(connecting) if connecting.remote == at) {
            self.tcp_fail(id, Errno(libc::ECONNREFUSED));
        }
    }

    fn tcp_fail(&mut self, id: SocketId, errno: Errno) {
        let Ok(Parts { base, tcp, wire }) = self.tcp(id) else {
            return;
        };
        tcp.state = State::Failed;
        tcp.stop_timer(wire);
        base.error = Some(errno);
        base.shut = Shut::BOTH;
    }

    /// A socket has waited long enough.
    pub(in super::super) fn tcp_timeout(&mut self, id: SocketId) {
        let Ok(Parts { tcp, .. }) = self.tcp(id) else {
            return;
        };
        tcp.timer = None;
        match tcp.state {
            State::Connecting(_) => self.tcp_fail(id, Errno(libc::ETIMEDOUT)),
            _ => {
                self.wire.forget(|path| path.source == id);
                self.tcp_die(id, Errno(libc::ETIMEDOUT));
            }
        }
    }
}
