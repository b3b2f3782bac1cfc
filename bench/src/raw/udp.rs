//! Echo of datagrams.

use super::Ring;
use bench::child::{Args, Outcome};
use bench::server;
use io_uring::{opcode, types};
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr;

/// One at a time, until it is ended: a message received, and one sent to where it came from.
pub(super) fn run(ring: &mut Ring<'_>, args: &Args) -> Result<Outcome, String> {
    let mut buffer = vec![0u8; args.need("buffer")?];
    let (socket, ready) = server::udp()?;
    let fd = types::Fd(socket.as_raw_fd());
    // SAFETY: plain numbers.
    let mut from: libc::sockaddr_in = unsafe { zeroed() };
    let address_len = libc::socklen_t::try_from(size_of_val(&from)).expect("16");
    let address = (&raw mut from).cast::<libc::sockaddr>();
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: null pointers and numbers.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = address.cast();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let message = &raw mut message;
    ready.tell();
    loop {
        // SAFETY: ours, and no receive is in flight.
        unsafe { (*message).msg_namelen = address_len };
        let receive = opcode::RecvMsg::new(fd, message).build();
        // SAFETY: all that it names is there until the process ends.
        let len = unsafe { one(ring, &receive) }?;
        let send = opcode::Send::new(fd, ptr::from_ref(&buffer[0]), len)
            .dest_addr(address)
            .dest_addr_len(address_len)
            .build();
        // SAFETY: as above.
        unsafe { one(ring, &send) }?;
    }
}

/// Does one operation.
///
/// # Safety
/// As [`Ring::push`].
unsafe fn one(ring: &mut Ring<'_>, entry: &io_uring::squeue::Entry) -> Result<u32, String> {
    // SAFETY: the caller's contract.
    unsafe { ring.push(entry) };
    loop {
        ring.enter(1);
        if let Some(cqe) = ring.cq.next() {
            let failed = |_| format!("a datagram: error {}", -cqe.result());
            return u32::try_from(cqe.result()).map_err(failed);
        }
    }
}
