//! Connections of a load: one after the other, or held.

use super::Window;
use bench::child::{Args, Goal, Outcome};
use bench::machine::{ProcessClock, now_ns};
use bench::server::READY;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A connection to the server, by TCP to `port=N`, `udp`, or a Unix socket on `path=…`.
pub(super) fn connect(args: &Args) -> Result<OwnedFd, String> {
    let connected = match args.get::<String>("path")? {
        Some(path) => UnixStream::connect(path).map(OwnedFd::from),
        None if args.workload == "udp" => {
            let port: u16 = args.need("port")?;
            UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| {
                socket.connect(("127.0.0.1", port))?;
                Ok(socket.into())
            })
        }
        None => tcp(args).map(OwnedFd::from),
    };
    connected.map_err(|e| format!("connect: {e}"))
}

fn tcp(args: &Args) -> io::Result<TcpStream> {
    let port: u16 = args.need("port").map_err(io::Error::other)?;
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connections that the server closes at once, some at a time.
pub(super) fn come_and_go(args: &Args) -> Result<Outcome, String> {
    const AT_A_TIME: usize = 32;
    let Goal::Time { warm_up, window } = args.goal()? else {
        return Err("it is measured by time".to_owned());
    };
    let server = ProcessClock::of(args.need("server")?).map_err(|e| e.to_string())?;
    let mut window = Window::new(server, warm_up, window);
    let mut connections = Vec::with_capacity(AT_A_TIME);
    let mut closed = 0;
    let mut some = || -> io::Result<()> {
        for _ in 0..AT_A_TIME {
            connections.push(tcp(args)?);
        }
        for mut connection in connections.drain(..) {
            if connection.read(&mut [0])? != 0 {
                return Err(io::Error::other("it was to be closed"));
            }
            // Else the ports run out, which wait for a minute.
            reset(&connection)?;
        }
        Ok(())
    };
    while window.goes_on(now_ns(), closed)? {
        some().map_err(|e| e.to_string())?;
        closed += AT_A_TIME as u64;
    }
    Ok(window.found.take().expect("it is over"))
}

/// Lets the close of a connection forget it.
fn reset(connection: &TcpStream) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let len = libc::socklen_t::try_from(size_of_val(&linger)).expect("8");
    let fd = connection.as_raw_fd();
    // SAFETY: the kernel reads one `linger`.
    let failed = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            len,
        )
    };
    match failed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `connections=N` that have exchanged a few bytes and wait now; tells so, and holds them until its
/// standard input is closed.
#[expect(clippy::print_stdout, reason = "the runner reads it")]
pub(super) fn hold(args: &Args) -> Result<Outcome, String> {
    let count: usize = args.need("connections")?;
    let mut connections = Vec::with_capacity(count);
    // A loop by hand serves when all are there.
    for _ in 0..count {
        connections.push(tcp(args).map_err(|e| format!("connect: {e}"))?);
    }
    let exchanged = connections.iter_mut().try_for_each(exchange);
    exchanged.map_err(|e| format!("an exchange: {e}"))?;
    println!("{READY} 0");
    let mut rest = Vec::new();
    io::stdin()
        .read_to_end(&mut rest)
        .map_err(|e| e.to_string())?;
    Ok(Outcome::new())
}

fn exchange(connection: &mut TcpStream) -> io::Result<()> {
    let mut answer = [0; 5];
    connection.write_all(b"hello")?;
    connection.read_exact(&mut answer)?;
    match &answer == b"hello" {
        true => Ok(()),
        false => Err(io::Error::other("not what was sent")),
    }
}
