//! Echo of datagrams.

use super::text;
use bench::child::{Args, Outcome};
use bench::server;
use completeio_driver::driver::{Builder, CompleteIo, Driver, Entry};
use completeio_driver::op::{Op, OpCode, OpObject, RecvFrom, SendTo};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// One at a time, until it is ended: one received, and one sent to where it came from.
pub(super) fn run(builder: Builder, args: &Args) -> Result<Outcome, String> {
    let (socket, ready) = server::udp()?;
    let room = args.need("buffer")?;
    let nobody = socket.local_addr().map_err(text)?;
    let mut ops = None;
    let mut driver = builder.build().map_err(text)?;
    let fd = driver.attach(socket.as_raw_fd()).map_err(text)?;
    let (receive, send) = ops.insert((
        RecvFrom::new(fd, Vec::with_capacity(room)),
        SendTo::new(fd, Vec::new(), nobody),
    ));
    let (mut receive, mut send) = (NonNull::from(receive), NonNull::from(send));
    ready.tell();
    loop {
        // SAFETY: it outlives the driver, and nobody touches it meanwhile.
        let received = unsafe { one(&mut driver, receive) }.map_err(text)?;
        // SAFETY: out of flight.
        let receiver = unsafe { receive.as_mut() };
        // SAFETY: out of flight.
        let sender = unsafe { send.as_mut() };
        sender.set_addr(received.addr);
        std::mem::swap(receiver.buf_mut(), sender.buf_mut());
        // SAFETY: as above.
        unsafe { one(&mut driver, send) }.map_err(text)?;
        std::mem::swap(receiver.buf_mut(), sender.buf_mut());
        receiver.buf_mut().clear();
    }
}

/// Does one operation.
///
/// # Safety
/// It is not in flight, and stays where it is until this returns.
unsafe fn one<'arena, O: Op + OpCode + 'arena>(
    driver: &mut Driver<'arena>,
    mut op: NonNull<O>,
) -> io::Result<O::Output> {
    // SAFETY: the caller's contract.
    let object = unsafe { OpObject::from_ptr(op, 0) };
    assert!(driver.try_push_dyn(object).is_ok(), "there is one only");
    let mut entry: Option<Entry> = None;
    while entry.is_none() {
        // SAFETY: the caller's contract.
        unsafe { driver.submit(None, &mut entry)? };
    }
    // SAFETY: its last entry came.
    let op = unsafe { op.as_mut() };
    // SAFETY: the entry is of this operation.
    unsafe { op.finish(entry.expect("it came")) }
}
