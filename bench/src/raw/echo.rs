//! Echo: a receive, then a send, from one buffer for each connection.

use super::Ring;
use crate::by_hand::{Serve, Step};
use io_uring::{opcode, types};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Marks the user data of a send.
const SEND: u64 = 1 << 32;

pub(super) fn run(
    ring: &mut Ring<'_>,
    sockets: &[OwnedFd],
    room: usize,
    serve: Serve<'_>,
) -> io::Result<()> {
    let mut buffers = vec![0u8; room * sockets.len()];
    let first = buffers.as_mut_ptr();
    let mut received = vec![0; sockets.len()];
    let len = u32::try_from(room).map_err(io::Error::other)?;
    let recv = |ring: &mut Ring<'_>, i: usize| {
        let fd = types::Fd(sockets[i].as_raw_fd());
        let entry = opcode::Recv::new(fd, first.wrapping_add(i * room), len).build();
        // SAFETY: the buffer is there until all are closed, and nothing else is in flight on it.
        unsafe { ring.push(&entry.user_data(i as u64)) };
    };
    for i in 0..sockets.len() {
        ring.make_room();
        recv(ring, i);
    }
    serve.run(sockets.len(), || {
        let mut step = Step::default();
        ring.enter(1);
        while let Some(cqe) = ring.cq.next() {
            let i = (cqe.user_data() & (SEND - 1)) as usize;
            let result = cqe.result();
            if cqe.user_data() & SEND != 0 {
                assert_eq!(result, received[i], "it waits until all is sent");
                step.answers += 1;
                recv(ring, i);
            } else if result > 0 {
                received[i] = result;
                let fd = types::Fd(sockets[i].as_raw_fd());
                let buffer = first.wrapping_add(i * room);
                let entry = opcode::Send::new(fd, buffer, result.unsigned_abs())
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build();
                // SAFETY: as above, and its receive is complete.
                unsafe { ring.push(&entry.user_data(SEND | i as u64)) };
            } else {
                step.closed += 1;
            }
        }
        Ok(step)
    })
}
