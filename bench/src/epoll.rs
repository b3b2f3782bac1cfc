//! The limit of readiness: a hand-written loop on epoll.

use crate::echo::{BUFFER_BYTES, Gauge, Served};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

const EVENTS: usize = 1024;
const EDGES_IN: u32 = libc::EPOLLIN.unsigned_abs() | libc::EPOLLET.unsigned_abs();

/// Sends back what comes on each socket, until all are closed by their peers: edge-triggered, one
/// receive and one send for each event. A receive that does not fill the buffer has emptied the
/// socket.
pub(crate) fn echo(sockets: &[OwnedFd], gauge: &Gauge) -> io::Result<Served> {
    // SAFETY: takes no memory of ours.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: a new descriptor that nobody else knows.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    for (i, socket) in sockets.iter().enumerate() {
        let nonblocking: libc::c_int = 1;
        // SAFETY: the kernel reads one integer.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONBIO, &raw const nonblocking) })?;
        let interest = EDGES_IN;
        let mut event = libc::epoll_event {
            events: interest,
            u64: i as u64,
        };
        let (epoll, fd) = (epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the kernel reads one event.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
    }
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    let mut buffer = [0u8; BUFFER_BYTES];
    let (mut requests, mut enters) = (0, 0);
    let mut open = sockets.len();
    while open > 0 {
        let (fd, room) = (
            epoll.as_raw_fd(),
            libc::c_int::try_from(EVENTS).expect("a constant"),
        );
        enters += 1;
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count = match check(unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), room, -1) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            count => count?.unsigned_abs() as usize,
        };
        for event in &events[..count] {
            let i = usize::try_from(event.u64).expect("the number of a socket");
            let socket = &sockets[i];
            match turn(socket, &mut buffer)? {
                Turn::Served => requests += 1,
                Turn::Empty => {}
                Turn::Closed => {
                    // The end of a stream may be an edge more than once.
                    let (fd, none) = (socket.as_raw_fd(), ptr::null_mut());
                    // SAFETY: no event is given.
                    check(unsafe {
                        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, none)
                    })?;
                    open -= 1;
                }
            }
        }
        gauge.show(requests);
    }
    Ok(Served {
        requests,
        enters: Some(enters),
    })
}

enum Turn {
    Served,
    Empty,
    Closed,
}

#[inline]
fn turn(socket: &OwnedFd, buffer: &mut [u8; BUFFER_BYTES]) -> io::Result<Turn> {
    let fd = socket.as_raw_fd();
    // SAFETY: the kernel writes at most as much as the buffer holds.
    let received = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), BUFFER_BYTES, 0) };
    if received < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(Turn::Empty),
            io::ErrorKind::ConnectionReset => Ok(Turn::Closed),
            _ => Err(error),
        };
    }
    let len = received.unsigned_abs();
    if len == 0 {
        return Ok(Turn::Closed);
    }
    assert!(len < BUFFER_BYTES, "requests are small, and one at a time");
    let bytes = ptr::from_ref(buffer).cast();
    // SAFETY: the kernel reads what was just received.
    let sent = unsafe { libc::send(fd, bytes, len, libc::MSG_NOSIGNAL) };
    assert_eq!(sent, received, "one request always fits the socket");
    Ok(Turn::Served)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
