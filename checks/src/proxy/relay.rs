//! The proxy: a thread that knows nothing of drivers, and hands bytes from one socket to the other.

use super::faults::{Fault, Faults, Step};
use crate::random::Random;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// The lanes by the socket that they read from: the client's, the server's.
pub(super) const LANES: usize = 2;

/// Accepts a connection, makes one to the server, and hands on until both lanes have ended. How
/// many bytes were handed on by each.
pub(super) fn run(listener: &TcpListener, server: SocketAddr, faults: Faults) -> [usize; LANES] {
    let (client, _) = listener.accept().unwrap();
    let server = TcpStream::connect(server).unwrap();
    for socket in [&client, &server] {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
    }
    let lane = |from: usize| Lane {
        state: State::Open,
        bytes: Vec::new(),
        moved: 0,
        hold: None,
        cut: faults.cut[from],
        random: Random(faults.seed + from as u64),
    };
    let mut relay = Relay {
        sockets: [client, server],
        lanes: [lane(0), lane(1)],
    };
    while relay.goes_on() {
        relay.turn();
    }
    relay.lanes.map(|lane| lane.moved)
}

struct Relay {
    sockets: [TcpStream; LANES],
    lanes: [Lane; LANES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What comes is thrown away until the end.
    Swallows,
    Ended,
}

struct Lane {
    state: State,
    /// What was read, and not yet written.
    bytes: Vec<u8>,
    moved: usize,
    /// Moves nothing for so many polls, or until the other lane has moved so many bytes.
    hold: Option<(usize, usize)>,
    cut: Option<(usize, Fault)>,
    random: Random,
}

impl Relay {
    fn goes_on(&self) -> bool {
        self.lanes.iter().any(|lane| lane.state != State::Ended)
    }

    /// One poll, and what it allows.
    fn turn(&mut self) {
        let moved = self.lanes.each_ref().map(|lane| lane.moved);
        let mut polled = [0, 1].map(|n: usize| libc::pollfd {
            fd: self.sockets[n].as_raw_fd(),
            events: 0,
            revents: 0,
        });
        let mut holds = false;
        for (n, lane) in self.lanes.iter_mut().enumerate() {
            if lane.is_held(moved[1 - n]) {
                holds = true;
            } else if lane.state != State::Ended {
                if lane.bytes.is_empty() {
                    polled[n].events |= libc::POLLIN;
                } else {
                    polled[1 - n].events |= libc::POLLOUT;
                }
            }
        }
        // What nobody asks for is not to end the wait.
        for socket in &mut polled {
            if socket.events == 0 {
                socket.fd = -1;
            }
        }
        let timeout = if holds { 0 } else { -1 };
        // SAFETY: the kernel reads and writes these.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), LANES as libc::nfds_t, timeout) };
        ensure!(ready >= 0, "poll: {}", io::Error::last_os_error());
        for n in 0..LANES {
            let lane = &self.lanes[n];
            if lane.state == State::Ended || lane.hold.is_some() {
                continue;
            }
            // An end or an error is for whoever asks next.
            let ends = libc::POLLHUP | libc::POLLERR;
            if !lane.bytes.is_empty() {
                if polled[1 - n].revents & (libc::POLLOUT | ends) != 0 {
                    self.write(n);
                }
            } else if polled[n].revents & (libc::POLLIN | ends) != 0 {
                self.read(n);
            }
        }
    }

    fn read(&mut self, n: usize) {
        let lane = &mut self.lanes[n];
        let mut room = [0; 16 * 1024];
        let most = match Step::draw(&mut lane.random) {
            Step::Pass { most } => lane.allowed(most).min(room.len()),
            Step::Hold { polls, bytes } => {
                let other = self.lanes[1 - n].moved;
                self.lanes[n].hold = Some((polls, other + bytes));
                return;
            }
        };
        match self.sockets[n].read(&mut room[..most]) {
            Ok(0) => self.end(n),
            Ok(_) if lane.state == State::Swallows => {}
            Ok(read) => {
                lane.bytes.extend_from_slice(&room[..read]);
                self.write(n);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.reset(),
        }
    }

    fn write(&mut self, n: usize) {
        let lane = &mut self.lanes[n];
        match self.sockets[1 - n].write(&lane.bytes) {
            Ok(written) => {
                lane.bytes.drain(..written);
                lane.moved += written;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return self.reset(),
        }
        if let Some((at, fault)) = lane.cut {
            if lane.moved == at {
                lane.cut = None;
                self.cut(n, fault);
            }
        }
    }

    fn cut(&mut self, n: usize, fault: Fault) {
        match fault {
            Fault::HalfCut => self.swallow(n),
            Fault::Cut => (0..LANES).for_each(|n| self.swallow(n)),
            Fault::Close => self
                .lanes
                .iter_mut()
                .for_each(|lane| lane.state = State::Ended),
            Fault::Reset => self.reset(),
        }
    }

    /// The receiver sees the end; what its sender says is taken, and thrown away.
    fn swallow(&mut self, n: usize) {
        if self.lanes[n].state == State::Open {
            self.lanes[n].state = State::Swallows;
            self.lanes[n].bytes.clear();
            self.shut_down(1 - n);
        }
    }

    fn end(&mut self, n: usize) {
        if self.lanes[n].state == State::Open {
            self.shut_down(1 - n);
        }
        self.lanes[n].state = State::Ended;
    }

    fn shut_down(&self, n: usize) {
        // It may be reset already.
        let _ = self.sockets[n].shutdown(Shutdown::Write);
    }

    /// Both connections are reset when they are dropped.
    fn reset(&mut self) {
        for socket in &self.sockets {
            let linger = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            // SAFETY: the kernel reads one `linger`.
            let failed = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&raw const linger).cast(),
                    u32::try_from(size_of::<libc::linger>()).unwrap(),
                )
            } != 0;
            ensure!(!failed, "SO_LINGER: {}", io::Error::last_os_error());
        }
        self.lanes
            .iter_mut()
            .for_each(|lane| lane.state = State::Ended);
    }
}

impl Lane {
    /// Whether it waits still; counts the poll.
    fn is_held(&mut self, other: usize) -> bool {
        self.hold = match self.hold {
            Some((polls, until)) if polls > 0 && other < until => Some((polls - 1, until)),
            _ => None,
        };
        self.hold.is_some()
    }

    /// Of so many bytes, those before its cut.
    fn allowed(&self, most: usize) -> usize {
        self.cut.map_or(most, |(at, _)| most.min(at - self.moved))
    }
}
