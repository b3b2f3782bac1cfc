//! Signals as Unix has them.

use crate::driver::OwnedFd;
use crate::fd::SharedFd;
use crate::op::Recv;
use crate::task::{Pending, submit};
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

pub(super) use signal_hook::consts as number;

/// So many signals are taken by one receive.
const AT_ONCE: usize = 64;

/// A pair of sockets: the handler sends a byte into one of them.
#[derive(Debug)]
pub(super) struct Listener {
    fd: SharedFd,
    id: SigId,
    /// It goes on when the future that waits for it is dropped.
    next: Option<Pending<Recv<Rc<OwnedFd>, [u8; AT_ONCE]>>>,
}

impl Listener {
    pub(super) fn new(number: i32) -> io::Result<Self> {
        if number::FORBIDDEN.contains(&number) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (reader, writer) = UnixStream::pair()?;
        let fd = SharedFd::new(reader)?;
        let id = pipe::register(number, writer)?;
        Ok(Self { fd, id, next: None })
    }

    pub(super) async fn recv(&mut self) -> io::Result<()> {
        let receive = || submit(Recv::new(self.fd.hold(), [0; AT_ONCE]));
        let received = self.next.get_or_insert_with(receive).await;
        self.next = None;
        received.0.map(drop)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        unregister(self.id);
    }
}
