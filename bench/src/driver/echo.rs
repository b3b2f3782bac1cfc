//! Echo: the same loop as the raw one, on the driver.

use crate::by_hand::{Serve, Step};
use completeio_driver::driver::{Builder, CompleteIo, Entry, Fd};
use completeio_driver::op::{MsgFlags, Op, Recv, Send};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

/// One connection; one of its operations is in flight at a time.
struct Connection {
    recv: Recv<Fd, Vec<u8>>,
    send: Send<Fd, Vec<u8>>,
}

pub(super) fn run(
    builder: Builder,
    sockets: &[OwnedFd],
    room: usize,
    serve: Serve<'_>,
) -> io::Result<()> {
    let mut connections: Vec<Connection> = Vec::with_capacity(sockets.len());
    let mut entries: Vec<Entry> = Vec::with_capacity(sockets.len());
    let in_flight = sockets.len().max(1024);
    let mut driver = builder
        .in_flight(in_flight)
        .build()
        .map_err(io::Error::other)?;
    for socket in sockets {
        let fd = driver.attach(socket.as_raw_fd())?;
        connections.push(Connection {
            recv: Recv::new(fd, Vec::with_capacity(room)),
            send: Send::new(fd, Vec::new()).flags(MsgFlags::WAIT_ALL),
        });
    }
    let first = NonNull::new(connections.as_mut_ptr()).expect("a vector has an address");
    let at = |i: usize| {
        // SAFETY: `i` is below the number of connections.
        let mut connection = unsafe { first.add(i) };
        // SAFETY: called when none of its operations is in flight; `connections` itself is not
        // touched until the driver is gone.
        unsafe { connection.as_mut() }
    };
    for i in 0..sockets.len() {
        while driver.try_push(&mut at(i).recv, i << 1).is_err() {
            // SAFETY: operations in flight are left alone; the sockets outlive the driver.
            unsafe { driver.submit(Some(Duration::ZERO), &mut entries)? };
        }
    }
    serve.run(sockets.len(), || {
        let mut step = Step::default();
        // Some may have come while the last were pushed.
        if entries.is_empty() {
            // SAFETY: as above.
            unsafe { driver.submit(None, &mut entries)? };
        }
        for entry in entries.drain(..) {
            let i = entry.user_data() >> 1;
            let connection = at(i);
            if entry.user_data() & 1 == 1 {
                let sent = entry.into_result()?;
                if connection.send.advanced() + sent < connection.send.buf().len() {
                    connection.send.advance(sent);
                    push(driver.try_push(&mut connection.send, i << 1 | 1));
                    continue;
                }
                connection.send.buf_mut().clear();
                std::mem::swap(connection.recv.buf_mut(), connection.send.buf_mut());
                step.answers += 1;
                push(driver.try_push(&mut connection.recv, i << 1));
                continue;
            }
            // SAFETY: the last entry of this very operation.
            match unsafe { connection.recv.finish(entry) } {
                Ok(1..) => {
                    std::mem::swap(connection.recv.buf_mut(), connection.send.buf_mut());
                    push(driver.try_push(&mut connection.send, i << 1 | 1));
                }
                Ok(0) => step.closed += 1,
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => step.closed += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(step)
    })
}

#[inline]
fn push<T>(pushed: Result<(), T>) {
    assert!(
        pushed.is_ok(),
        "each connection has one operation, and the queue has room for all"
    );
}
