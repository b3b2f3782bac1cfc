//! The server: accepts, receives, sends back.

use crate::Options;
use crate::lane::{BATCH, Connection, Event, Lane, Slots};
use completeio::buf::IntoInner;
use completeio::driver::{AsRawFd, CompleteIo, Entry, Fd, Wait};
use completeio::op::{Accept, Op, OpObject};
use std::cell::UnsafeCell;
use std::io;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Server {
    // The first field is dropped first: whatever may be in flight outlives the driver.
    pub(crate) lane: Lane,
    accept: Box<UnsafeCell<Accept<Fd>>>,
    slots: Slots,
    entries: Vec<Entry>,
    /// The free places, and the buffer that each of them will use.
    free: Vec<(usize, Vec<u8>)>,
    accepting: bool,
    pub(crate) closed: u64,
    pub(crate) failed: u64,
    /// How often there was no descriptor for another connection.
    pub(crate) pauses: u64,
    _listener: TcpListener,
}

impl Server {
    pub(crate) fn new(options: &Options, listener: TcpListener) -> io::Result<Self> {
        let mut lane = Lane::new(options)?;
        let fd = lane.driver.attach(listener.as_raw_fd())?;
        let buffer = |i| (i, Vec::with_capacity(options.size.max(4096)));
        Ok(Self {
            lane,
            accept: Box::new(UnsafeCell::new(Accept::new(fd))),
            slots: (0..options.connections)
                .map(|_| UnsafeCell::new(None))
                .collect(),
            free: (0..options.connections).map(buffer).collect(),
            entries: Vec::with_capacity(BATCH),
            accepting: false,
            closed: 0,
            failed: 0,
            pauses: 0,
            _listener: listener,
        })
    }

    /// Serves until it is told to stop, or enough connections were closed.
    pub(crate) fn run(&mut self, stop: &AtomicBool, exit_after: Option<u64>) -> io::Result<()> {
        let mut entries = mem::take(&mut self.entries);
        self.accept_next();
        while !stop.load(Ordering::Acquire) && exit_after.is_none_or(|n| self.closed < n) {
            // SAFETY: operations are in boxes that outlive the driver, and are not touched before
            // their entry came; a descriptor is closed when nothing is in flight on it.
            unsafe { self.lane.turn(Wait::new(), &mut entries)? };
            for entry in entries.drain(..) {
                if entry.user_data() == self.slots.len() {
                    self.accepted(entry)?;
                } else {
                    self.step(entry);
                }
            }
        }
        Ok(())
    }

    /// Accepts one more, if there is a place for it.
    fn accept_next(&mut self) {
        if self.accepting || self.free.is_empty() {
            return;
        }
        self.accepting = true;
        let op = NonNull::new(self.accept.get()).expect("a box is somewhere");
        // SAFETY: it is not in flight, and not touched before its entry came (`accepted`).
        self.lane
            .queue
            .push_back(unsafe { OpObject::from_ptr(op, self.slots.len()) });
    }

    fn accepted(&mut self, entry: Entry) -> io::Result<()> {
        self.accepting = false;
        // SAFETY: the operation is complete.
        let accept = unsafe { &mut *self.accept.get() };
        // SAFETY: this is its last entry.
        match unsafe { accept.finish(entry) } {
            Ok(accepted) => self
                .open(accepted.fd.into())
                .unwrap_or_else(|_| self.failed += 1),
            Err(error) => match error.raw_os_error() {
                Some(libc::ECONNABORTED | libc::EPROTO) => self.failed += 1,
                // To accept again at once would spin: `close` does, when there is something.
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
                    if self.free.len() < self.slots.len() =>
                {
                    self.pauses += 1;
                    return Ok(());
                }
                _ => return Err(error),
            },
        }
        self.accept_next();
        Ok(())
    }

    /// Takes a connection in, and receives.
    fn open(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let fd = self.lane.driver.attach(stream.as_raw_fd())?;
        let (i, buffer) = self.free.pop().expect("an accept has a place");
        // SAFETY: nothing refers to a free place.
        let slot = unsafe { &mut *self.slots[i].get() };
        let connection = slot.insert(Connection::new(fd, stream, buffer, Vec::new()));
        // SAFETY: it is new, and stays in its slot until `step`.
        unsafe { self.lane.lend(connection, i) };
        Ok(())
    }

    /// Sends back what was received, or receives again.
    fn step(&mut self, entry: Entry) {
        let i = entry.user_data();
        // SAFETY: the only operation of this connection that was in flight is complete.
        let slot = unsafe { &mut *self.slots[i].get() };
        let connection = slot.as_mut().expect("an operation belongs to a connection");
        // SAFETY: this is the last entry of that operation.
        match unsafe { connection.complete(entry) } {
            Ok(Event::SentSome) => {}
            // All was echoed, so that a close is the answer to an end.
            Ok(Event::Received(0)) => return self.close(i),
            Ok(Event::Received(_)) => {
                mem::swap(connection.recv.buf_mut(), connection.send.buf_mut());
                connection.sending = true;
            }
            Ok(Event::Sent) => {
                mem::swap(connection.recv.buf_mut(), connection.send.buf_mut());
                connection.receive_anew();
            }
            Err(_) => {
                self.failed += 1;
                return self.close(i);
            }
        }
        // SAFETY: nothing of it is in flight, and it stays in its slot until the next `step`.
        unsafe { self.lane.lend(connection, i) };
    }

    /// Closes a connection that has nothing in flight, and accepts again.
    fn close(&mut self, i: usize) {
        // SAFETY: nothing of this connection is in flight.
        let slot = unsafe { &mut *self.slots[i].get() };
        let Some(connection) = slot.take() else {
            return;
        };
        self.lane.driver.detach(connection.fd);
        let (recv, send) = (connection.recv.into_inner(), connection.send.into_inner());
        let mut buffer = if recv.capacity() > 0 { recv } else { send };
        buffer.clear();
        self.free.push((i, buffer));
        self.closed += 1;
        self.accept_next();
    }
}
