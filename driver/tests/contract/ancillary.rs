//! Control messages: descriptors that are passed and closed, and what headers say.

use crate::kit;
use crate::ledger::{Cx, Ledger, Lent};
use crate::steps;
use completeio_driver::ancillary::{ControlMessage, Credentials, Fds, Incoming, Outgoing, space};
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Entry, Fd, OwnedFd, Refusal};
use completeio_driver::op::{MsgFlags, Received, RecvMsg, SendMsg};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

contract![a_pending_receive_keeps_its_control_data_in_order,];

const ROOM: usize = 128;
type Receive = RecvMsg<Fd, [[u8; 16]; 1], Incoming<ROOM>>;

fn set(socket: &impl AsRawFd, level: i32, name: i32) {
    let on = 1_i32;
    // SAFETY: the option's value, of its size.
    kit::checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), 4)
    });
}

fn a_pending_receive_keeps_its_control_data_in_order(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    set(&ours, libc::SOL_SOCKET, libc::SO_PASSCRED);
    let file = File::open("/dev/null").unwrap();
    let mut l = cx.ledger();
    let op = RecvMsg::new(l.at(&ours), [[0; 16]], Incoming::<ROOM>::new());
    let op: Lent<Receive> = l.start(op, 1);
    l.hand_over();
    let control = Outgoing::<ROOM, _>::with_rights([OwnedFd::from(file)]).unwrap();
    let send = SendMsg::new(l.at(&theirs), ["x"], control);
    let send = l.start(send, 2);
    let mut entries = l.take_sorted(2);
    l.finish(send, entries.pop().unwrap()).unwrap();
    let received = l.finish(op, entries.pop().unwrap()).unwrap();
    println!("{received:?}");
    for m in l.op(op).control_mut().messages() {
        println!("{m:?}");
    }
    l.free(op);
    l.free(send);
    panic!();
}
