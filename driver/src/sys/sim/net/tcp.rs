//! TCP: connections whose segments are late, but never lost.
//!
//! | state | what it is | next |
//! |---|---|---|
//! | `Closed` | new, or its connect has failed, and it was told | `Listening`, `Connecting` |
//! | `Listening` | has connections that wait for accept | `Closed` (shutdown) |
//! | `Connecting` | has asked, waits for the answer | `Connected`, `Failed` |
//! | `Failed` | its connect has failed; the next one tells | `Closed` |
//! | `Connected` | see [`Stage`] | |
//!
//! See [tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html).

mod events;
mod stream;

use super::address::Inet;
use super::wire::{Event, Key, Segment, Wire};
use super::{Address, Base, HUP, HostId, IN, Kind, Net, OUT, Shut, SocketId, take};
use crate::sys::sim::errno::{Errno, Result};
use std::collections::VecDeque;
use std::net::SocketAddr;
use stream::{Stage, Stream};

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) inet: Inet,
    state: State,
    /// Set while something must happen in time.
    timer: Option<Key>,
}

#[derive(Debug)]
enum State {
    Closed,
    Listening(Listener),
    Connecting(Connecting),
    Failed,
    Connected(Stream),
}

#[derive(Debug, Default)]
struct Listener {
    /// One more than so many may be `ready`, as on Linux.
    backlog: usize,
    /// Connections whose client has not said yet that it knows.
    arriving: Vec<SocketId>,
    /// Connections that wait for accept.
    ready: VecDeque<SocketId>,
}

#[derive(Debug)]
struct Connecting {
    host: HostId,
    remote: SocketAddr,
    /// How often it has asked again.
    retries: u32,
}

impl Listener {
    fn is_full(&self) -> bool {
        self.arriving.len() + self.ready.len() > self.backlog
    }
}

impl Tcp {
    pub(super) fn new(v6: bool) -> Self {
        Self::with_state(Inet::new(v6), State::Closed)
    }

    fn with_state(inet: Inet, state: State) -> Self {
        Self {
            inet,
            state,
            timer: None,
        }
    }

    pub(super) fn listens(&self) -> bool {
        matches!(self.state, State::Listening(_))
    }

    /// See [`Kind::is_closed`].
    pub(super) fn is_closed(&self) -> bool {
        matches!(&self.state, State::Connected(stream) if stream.stage == Stage::Orphan)
    }

    /// See [`Kind::is_over`].
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.state, State::Connected(stream) if stream.stage == Stage::Dead)
    }

    /// See [`Kind::score`].
    pub(super) fn score(&self, to: SocketAddr) -> u8 {
        match self.inet.local {
            Some(local) if self.listens() && self.inet.covers(to.ip()) => {
                1 + u8::from(local.ip() == to.ip())
            }
            _ => 0,
        }
    }

    pub(super) fn peer_name(&self) -> Option<Address> {
        match &self.state {
            State::Connected(stream) if stream.stage != Stage::Dead => {
                Some(self.inet.shown(stream.remote))
            }
            _ => None,
        }
    }

    pub(super) fn poll(&self, base: &Base) -> u16 {
        let shut = base.shut.poll();
        match &self.state {
            State::Listening(listener) if listener.ready.is_empty() => 0,
            State::Listening(_) => IN,
            State::Connecting(_) => shut,
            State::Closed | State::Failed => shut | OUT | HUP,
            State::Connected(stream) => {
                let mut events = shut;
                if stream.has_bytes() {
                    events |= IN;
                }
                if base.shut.write || stream.is_roomy(base.options.send_buffer()) {
                    events |= OUT;
                }
                events
            }
        }
    }

    /// Starts the timer where the state asks for one that does not run, and stops it where it
    /// does not.
    fn watch(&mut self, id: SocketId, wire: &mut Wire) {
        let due = match &self.state {
            State::Connecting(_) => Some(wire.links.connect_timeout),
            State::Connected(stream) if stream.waits() => Some(wire.links.stall_timeout),
            _ => None,
        };
        match (due, self.timer) {
            (Some(delay), None) => self.timer = Some(wire.after(delay, Event::Timeout(id))),
            (None, Some(_)) => self.stop_timer(wire),
            _ => {}
        }
    }

    fn stop_timer(&mut self, wire: &mut Wire) {
        if let Some(timer) = self.timer.take() {
            wire.cancel(timer);
        }
    }
}

/// A TCP socket that is there.
struct Parts<'a> {
    base: &'a mut Base,
    tcp: &'a mut Tcp,
    wire: &'a mut Wire,
}

impl Net {
    fn tcp(&mut self, id: SocketId) -> Result<Parts<'_>> {
        let socket = self.sockets.get_mut(id).ok_or(Errno(libc::EBADF))?;
        match &mut socket.kind {
            Kind::Tcp(tcp) => Ok(Parts {
                base: &mut socket.base,
                tcp,
                wire: &mut self.wire,
            }),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    pub(super) fn tcp_listen(&mut self, id: SocketId, backlog: usize) -> Result<()> {
        let tcp = self.tcp(id)?.tcp;
        match &mut tcp.state {
            State::Closed => {}
            State::Listening(listener) => {
                listener.backlog = backlog;
                return Ok(());
            }
            _ => return Err(Errno(libc::EINVAL)),
        }
        let any = tcp.inet.local_name().ip();
        self.bind_to_source(id, any)?;
        if self.is_in_use(id) {
            return Err(Errno(libc::EADDRINUSE));
        }
        self.tcp(id)?.tcp.state = State::Listening(Listener {
            backlog,
            ..Listener::default()
        });
        Ok(())
    }

    pub(super) fn tcp_accept(&mut self, id: SocketId) -> Result<(SocketId, Address)> {
        let State::Listening(listener) = &mut self.tcp(id)?.tcp.state else {
            return Err(Errno(libc::EINVAL));
        };
        let child = listener.ready.pop_front().ok_or(Errno(libc::EAGAIN))?;
        let tcp = self.tcp(child)?.tcp;
        let State::Connected(stream) = &mut tcp.state else {
            unreachable!("nobody else has it, so it is as it was made, or dead");
        };
        stream.is_told = true;
        if stream.stage == Stage::Ready {
            stream.stage = Stage::Open;
        }
        Ok((child, tcp.inet.shown(stream.remote)))
    }

    pub(super) fn tcp_connect(&mut self, id: SocketId, address: &Address) -> Result<()> {
        if *address == Address::Unspecified {
            return self.tcp_disconnect(id);
        }
        let Parts { base, tcp, .. } = self.tcp(id)?;
        match &mut tcp.state {
            State::Closed => {}
            State::Connecting(_) => return Err(Errno(libc::EALREADY)),
            State::Failed => return Err(self.tcp_failure(id)),
            State::Connected(stream) if !stream.is_told => {
                stream.is_told = true;
                return base.take_error();
            }
            State::Listening(_) | State::Connected(_) => return Err(Errno(libc::EISCONN)),
        }
        let (from, inet) = (base.host, tcp.inet);
        let route = self.route(from, inet, inet.taken(address)?)?;
        let port = self.bind_to_source(id, route.source)?.port();
        let Parts { base, tcp, wire } = self.tcp(id)?;
        base.error = None;
        tcp.inet.local = Some(SocketAddr::new(route.source, port));
        tcp.state = State::Connecting(Connecting {
            host: route.host,
            remote: route.to,
            retries: 0,
        });
        tcp.watch(id, wire);
        self.tcp_ask(id);
        self.settle();
        match &mut self.tcp(id)?.tcp.state {
            State::Connected(stream) => {
                stream.is_told = true;
                Ok(())
            }
            State::Connecting(_) => Err(Errno(libc::EINPROGRESS)),
            _ => Err(self.tcp_failure(id)),
        }
    }

    /// Tells why a connect failed, after which the socket is as it was before.
    fn tcp_failure(&mut self, id: SocketId) -> Errno {
        // Without one, somebody has asked for it.
        let error = match self.tcp(id) {
            Ok(Parts { base, .. }) => base.error.take().unwrap_or(Errno(libc::ECONNABORTED)),
            Err(errno) => errno,
        };
        self.tcp_close_state(id);
        error
    }

    fn tcp_disconnect(&mut self, id: SocketId) -> Result<()> {
        let Parts { base, tcp, .. } = self.tcp(id)?;
        let is_reset = match &tcp.state {
            State::Connecting(_) => true,
            State::Connected(stream) => stream.stage != Stage::Dead,
            State::Closed | State::Listening(_) | State::Failed => false,
        };
        if is_reset {
            base.error = Some(Errno(libc::ECONNRESET));
        }
        self.tcp_close_state(id);
        self.settle();
        Ok(())
    }

    /// Ends what the state of a socket is about, at once: then it is `Closed`.
    fn tcp_close_state(&mut self, id: SocketId) {
        let Ok(Parts { base, tcp, wire }) = self.tcp(id) else {
            return;
        };
        tcp.stop_timer(wire);
        base.shut = Shut::default();
        let host = base.host;
        match std::mem::replace(&mut tcp.state, State::Closed) {
            State::Listening(listener) => {
                for child in listener.arriving.into_iter().chain(listener.ready) {
                    self.tcp_abort(child);
                }
            }
            State::Connected(stream) if stream.stage != Stage::Dead => {
                wire.send(stream.path(host, id), Segment::Reset);
            }
            State::Closed | State::Connecting(_) | State::Failed | State::Connected(_) => {}
        }
        self.restore_bound(id);
    }

    /// Takes a socket away, and tells its peer.
    fn tcp_abort(&mut self, id: SocketId) {
        self.tcp_close_state(id);
        self.remove(id);
    }

    pub(super) fn tcp_send(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize> {
        let Parts { base, tcp, .. } = self.tcp(id)?;
        base.take_error()?;
        let stream = match &mut tcp.state {
            State::Connected(stream) if !base.shut.write => stream,
            State::Connecting(_) => return Err(Errno(libc::EAGAIN)),
            _ => return Err(Errno(libc::EPIPE)),
        };
        let sent = stream.push(bytes, base.options.send_buffer());
        if sent == 0 && !bytes.is_empty() {
            return Err(Errno(libc::EAGAIN));
        }
        self.tcp_transmit(id);
        self.settle();
        Ok(sent)
    }

    pub(super) fn tcp_recv(&mut self, id: SocketId, len: usize, peek: bool) -> Result<Vec<u8>> {
        let Parts { base, tcp, wire } = self.tcp(id)?;
        match &mut tcp.state {
            State::Connected(stream) if stream.has_bytes() => {
                let room = base.options.receive_buffer();
                let (bytes, segment) = stream.read((len, peek), room);
                if let Some(segment) = segment {
                    wire.send(stream.path(base.host, id), segment);
                }
                self.settle();
                return Ok(bytes);
            }
            State::Connected(stream) if stream.is_ended => return Ok(Vec::new()),
            State::Listening(_) => return Err(Errno(libc::ENOTCONN)),
            _ => base.take_error()?,
        }
        match tcp.state {
            _ if base.shut.read => Ok(Vec::new()),
            State::Closed => Err(Errno(libc::ENOTCONN)),
            _ => Err(Errno(libc::EAGAIN)),
        }
    }

    pub(super) fn tcp_shutdown(&mut self, id: SocketId, how: Shut) -> Result<()> {
        let Parts { base, tcp, .. } = self.tcp(id)?;
        match &mut tcp.state {
            State::Listening(_) if !how.read => Ok(()),
            State::Listening(_) | State::Connecting(_) => self.tcp_disconnect(id),
            State::Connected(stream) if stream.stage != Stage::Dead => {
                base.shut.add(how);
                if how.write {
                    stream.complete();
                }
                self.tcp_transmit(id);
                self.settle();
                Ok(())
            }
            State::Closed | State::Failed | State::Connected(_) => {
                base.shut.add(how);
                Err(Errno(libc::ENOTCONN))
            }
        }
    }

    /// Closes a socket. One that has yet to send, or to hear from its peer, stays; nobody has it.
    pub(super) fn tcp_close(&mut self, id: SocketId) {
        let Ok(Parts { base, tcp, .. }) = self.tcp(id) else {
            return;
        };
        match &mut tcp.state {
            State::Connected(stream)
                if stream.stage == Stage::Open
                    && !stream.has_bytes()
                    && !base.options.linger.is_abort() =>
            {
                stream.stage = Stage::Orphan;
                stream.complete();
                base.shut = Shut::BOTH;
                self.tcp_transmit(id);
                self.tcp_finish(id);
            }
            _ => self.tcp_abort(id),
        }
    }

    /// Sends what the peer has room for.
    fn tcp_transmit(&mut self, id: SocketId) {
        let Ok(Parts { base, tcp, wire }) = self.tcp(id) else {
            return;
        };
        if let State::Connected(stream) = &mut tcp.state {
            let path = stream.path(base.host, id);
            let is_local = path.from == path.to;
            while let Some(segment) = stream.next_segment(is_local) {
                wire.send(path, segment);
            }
        }
        tcp.watch(id, wire);
    }

    /// Ends a connection when all is said.
    fn tcp_finish(&mut self, id: SocketId) {
        if let Ok(Parts { tcp, .. }) = self.tcp(id) {
            match &mut tcp.state {
                State::Connected(stream) if !stream.is_over() => {}
                State::Connected(stream) if stream.stage == Stage::Orphan => self.remove(id),
                State::Connected(stream) => stream.die(),
                _ => {}
            }
        }
    }

    pub(super) fn leave_timer(&mut self, id: SocketId) {
        if let Ok(Parts { tcp, wire, .. }) = self.tcp(id) {
            tcp.stop_timer(wire);
        }
    }
}
