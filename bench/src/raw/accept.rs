//! Connections that come and go.

use super::Ring;
use bench::child::{Args, Outcome};
use bench::server::{Listening, listen};
use io_uring::{cqueue, opcode, types};
use std::os::fd::AsRawFd;

const CLOSE: u64 = 1;

/// One accept that gives all connections, and a close for each, until it is ended.
pub(super) fn run(ring: &mut Ring<'_>, args: &Args) -> Result<Outcome, String> {
    let (Listening::Tcp(listener), ready) = listen(args)? else {
        return Err("it is measured on TCP".to_owned());
    };
    let accept = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).build();
    // SAFETY: it points nowhere.
    unsafe { ring.push(&accept) };
    ready.tell();
    loop {
        ring.enter(1);
        while let Some(cqe) = ring.cq.next() {
            if cqe.user_data() == CLOSE {
                continue;
            }
            if cqe.result() < 0 {
                return Err(format!("an accept: error {}", -cqe.result()));
            }
            ring.make_room();
            let close = opcode::Close::new(types::Fd(cqe.result())).build();
            // SAFETY: it points nowhere.
            unsafe { ring.push(&close.user_data(CLOSE)) };
            if !cqueue::more(cqe.flags()) {
                ring.make_room();
                // SAFETY: it points nowhere.
                unsafe { ring.push(&accept) };
            }
        }
    }
}
