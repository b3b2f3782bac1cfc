//! Sockets that servers are measured on, and the turns of one that is its own client.

use crate::alloc::allocations;
use crate::child::{Args, Goal, Outcome};
use crate::machine::{cpu_ns, now_ns};
use crate::meter::outcome;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// What a server prints when its load may begin, before its port.
pub const READY: &str = "ready";

/// Connections that wait without one being dropped.
const BACKLOG: libc::c_int = 4096;

/// Where a server takes connections.
#[derive(Debug)]
pub enum Listening {
    /// On a port of this machine.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

/// What is told to the load when it may begin.
#[derive(Debug)]
#[must_use = "the load waits for it"]
pub struct Ready(u16);

impl Ready {
    /// Tells it.
    #[expect(clippy::print_stdout, reason = "the runner reads it")]
    pub fn tell(self) {
        println!("{READY} {}", self.0);
    }
}

/// Listens as it was told: on `path=…`, or a free port.
///
/// # Errors
/// It cannot.
pub fn listen(args: &Args) -> Result<(Listening, Ready), String> {
    match args.get::<String>("path")? {
        Some(path) => {
            let listener = UnixListener::bind(&path).map_err(|e| format!("{path}: {e}"))?;
            deepen(&listener).map_err(|e| e.to_string())?;
            Ok((Listening::Unix(listener), Ready(0)))
        }
        None => {
            let listener = tcp().map_err(|e| e.to_string())?;
            let port = port(&listener)?;
            Ok((Listening::Tcp(listener), Ready(port)))
        }
    }
}

/// A socket of datagrams on a free port.
///
/// # Errors
/// It cannot.
pub fn udp() -> Result<(UdpSocket, Ready), String> {
    let bound = UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| {
        let ready = Ready(socket.local_addr()?.port());
        Ok((socket, ready))
    });
    bound.map_err(|e| e.to_string())
}

fn tcp() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    deepen(&listener)?;
    // Accepted sockets inherit it on Linux.
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one integer.
    let failed = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            4,
        )
    };
    match failed {
        0 => Ok(listener),
        _ => Err(io::Error::last_os_error()),
    }
}

fn deepen(listener: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: touches no memory of ours.
    match unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn port(listener: &TcpListener) -> Result<u16, String> {
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    Ok(address.port())
}

impl Listening {
    /// Accepts all connections of a load before any is served, for loops that are given sockets.
    ///
    /// # Errors
    /// One does not come within ten seconds.
    pub fn accept_all(&self, connections: usize) -> Result<Vec<OwnedFd>, String> {
        let accept = || {
            self.wait()?;
            Ok(match self {
                Self::Tcp(listener) => listener.accept()?.0.into(),
                Self::Unix(listener) => listener.accept()?.0.into(),
            })
        };
        (0..connections)
            .map(|_| accept().map_err(|e: io::Error| format!("accept: {e}")))
            .collect()
    }

    fn wait(&self) -> io::Result<()> {
        const PATIENCE_MS: libc::c_int = 10_000;
        let mut fd = libc::pollfd {
            fd: match self {
                Self::Tcp(listener) => listener.as_raw_fd(),
                Self::Unix(listener) => listener.as_raw_fd(),
            },
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the kernel reads and writes one `pollfd`.
        match unsafe { libc::poll(&raw mut fd, 1, PATIENCE_MS) } {
            1 => Ok(()),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// The clients of a server in its own thread, and what the server's turns cost: its requests are
/// ready when a turn begins, so that nothing is waited for, and no other CPU takes part.
#[derive(Debug)]
pub struct Turns {
    clients: Vec<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
    goal: Goal,
    made_ns: u64,
    begun: [u64; 3],
    /// Wall time, CPU time, allocations: of turns alone.
    spent: [u64; 3],
    requests: u64,
}

/// Bytes of a request in a turn.
const TURN_BYTES: usize = 64;

/// The room that a server has for one: a receive that leaves some has taken all.
pub const TURN_ROOM: usize = 1024;

impl Turns {
    /// The clients, `connections=N`, and the listener where they wait to be accepted.
    ///
    /// # Errors
    /// They cannot connect.
    pub fn new(args: &Args) -> Result<(Self, TcpListener), String> {
        let goal = args.goal()?;
        let connections: usize = args.need("connections")?;
        let listener = tcp().map_err(|e| e.to_string())?;
        let port = port(&listener)?;
        let connect = |_| {
            let client = TcpStream::connect(("127.0.0.1", port))?;
            client.set_nodelay(true)?;
            client.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(client)
        };
        let clients: io::Result<_> = (0..connections).map(connect).collect();
        let turns = Self {
            clients: clients.map_err(|e| format!("connect: {e}"))?,
            request: (0..).take(TURN_BYTES).collect(),
            answer: vec![0; TURN_BYTES],
            goal,
            made_ns: now_ns(),
            begun: [0; 3],
            spent: [0; 3],
            requests: 0,
        };
        Ok((turns, listener))
    }

    /// How many requests a turn has.
    pub fn requests(&self) -> usize {
        self.clients.len()
    }

    /// Sends a request on each connection, and begins a turn; `false` if it is over.
    ///
    /// # Errors
    /// As [`Write::write_all`].
    pub fn begin(&mut self) -> io::Result<bool> {
        let over = match self.goal {
            Goal::Ops(ops) => self.requests >= ops,
            Goal::Time { warm_up, window } => {
                let passed = Duration::from_nanos(now_ns() - self.made_ns);
                if passed < warm_up {
                    (self.spent, self.requests) = ([0; 3], 0);
                }
                passed >= warm_up + window && self.requests > 0
            }
        };
        if over {
            return Ok(false);
        }
        for client in &mut self.clients {
            client.write_all(&self.request)?;
        }
        self.begun = [now_ns(), cpu_ns(), allocations()];
        Ok(true)
    }

    /// Ends a turn, and checks the answers.
    ///
    /// # Errors
    /// One does not come, or is not what was sent.
    pub fn end(&mut self) -> io::Result<()> {
        let now = [now_ns(), cpu_ns(), allocations()];
        for (spent, (now, begun)) in self.spent.iter_mut().zip(now.into_iter().zip(self.begun)) {
            *spent += now - begun;
        }
        self.requests += self.clients.len() as u64;
        for client in &mut self.clients {
            client.read_exact(&mut self.answer)?;
            if self.answer != self.request {
                return Err(io::Error::other("not what was sent"));
            }
        }
        Ok(())
    }

    /// What the turns cost.
    ///
    /// # Errors
    /// There were none.
    pub fn outcome(&self) -> Result<Outcome, String> {
        let [wall_ns, cpu_ns, allocations] = self.spent;
        outcome(self.requests, wall_ns, cpu_ns, allocations)
    }
}
