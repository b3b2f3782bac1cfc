//! The limit of readiness: a hand-written loop on epoll.

use crate::by_hand::{self, Serve, Step};
use bench::child::{Args, Outcome};
use bench::work::unknown_workload;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

const EVENTS: usize = 1024;
/// A send that is done in part waits for the edge of room.
const EDGES: u32 =
    libc::EPOLLIN.unsigned_abs() | libc::EPOLLOUT.unsigned_abs() | libc::EPOLLET.unsigned_abs();

/// Does what is asked for.
pub(crate) fn run(args: &Args) -> Result<Outcome, String> {
    match args.workload.as_str() {
        "echo" | "turn" => by_hand::echo(args, echo),
        unknown => Err(unknown_workload(unknown)),
    }
}

/// Sends back what comes on each socket: edge-triggered, one receive and one send for each event. A
/// receive that does not fill the buffer has emptied the socket.
fn echo(sockets: &[OwnedFd], room: usize, serve: Serve<'_>) -> io::Result<()> {
    // SAFETY: takes no memory of ours.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: a new descriptor that nobody else knows.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    for (i, socket) in sockets.iter().enumerate() {
        let nonblocking: libc::c_int = 1;
        // SAFETY: the kernel reads one integer.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONBIO, &raw const nonblocking) })?;
        let mut event = libc::epoll_event {
            events: EDGES,
            u64: i as u64,
        };
        let (epoll, fd) = (epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the kernel reads one event.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
    }
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut buffer = vec![0u8; room];
    // What a socket had no room for.
    let mut kept = vec![Vec::new(); sockets.len()];
    serve.run(sockets.len(), || {
        let mut step = Step::default();
        let room = libc::c_int::try_from(EVENTS).expect("a constant");
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, -1) };
        let count = match check(count) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            count => count?.unsigned_abs() as usize,
        };
        for event in &events[..count] {
            let i = usize::try_from(event.u64).expect("the number of a socket");
            match turn(&sockets[i], &mut buffer, &mut kept[i])? {
                Turn::Answered(answers) => step.answers += answers,
                Turn::Closed => {
                    let fd = sockets[i].as_raw_fd();
                    // The end of a stream may be an edge more than once.
                    let deleted = unsafe {
                        // SAFETY: no event is given.
                        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, ptr::null_mut())
                    };
                    check(deleted)?;
                    step.closed += 1;
                }
            }
        }
        Ok(step)
    })
}

enum Turn {
    Answered(usize),
    Closed,
}

/// Sends what was kept, then what is received.
#[inline]
fn turn(socket: &OwnedFd, buffer: &mut [u8], kept: &mut Vec<u8>) -> io::Result<Turn> {
    if !kept.is_empty() {
        let sent = send(socket, kept)?;
        kept.drain(..sent);
        if !kept.is_empty() {
            return Ok(Turn::Answered(0));
        }
    }
    let mut answers = 0;
    loop {
        // SAFETY: the kernel writes at most as much as the buffer holds.
        let received = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
            )
        };
        let len = match usize::try_from(received) {
            Ok(0) => return Ok(Turn::Closed),
            Ok(len) => len,
            Err(_) => {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(Turn::Answered(answers)),
                    io::ErrorKind::ConnectionReset => Ok(Turn::Closed),
                    _ => Err(error),
                };
            }
        };
        let sent = send(socket, &buffer[..len])?;
        answers += 1;
        kept.extend_from_slice(&buffer[sent..len]);
        if len < buffer.len() || sent < len {
            return Ok(Turn::Answered(answers));
        }
    }
}

#[inline]
fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let (fd, flags) = (socket.as_raw_fd(), libc::MSG_NOSIGNAL);
    // SAFETY: the kernel reads the bytes.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent).or_else(|_| match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        error => Err(error),
    })
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
