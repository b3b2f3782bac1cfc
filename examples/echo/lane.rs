//! What both sides share: a driver with a queue in front, and connections that echo or are echoed.

use crate::Options;
use completeio::driver::{CompleteIo, Driver, Entry, Fd, Wait};
use completeio::op::{Op, OpObject, Recv, Send};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::ptr::NonNull;

/// Entries that one turn takes at most: with more of them the last ones wait too long.
pub(crate) const BATCH: usize = 128;

/// A driver, the queue in front of it, and what went through.
pub(crate) struct Lane {
    pub(crate) driver: Driver<'static>,
    /// What waits for a place in the driver; large enough for all operations there are.
    pub(crate) queue: VecDeque<OpObject<'static>>,
    entries: u64,
    turns: u64,
    largest: usize,
}

impl Lane {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        // An operation for each connection, and one more.
        let operations = options.connections + 1;
        let mut builder = Driver::builder()
            .entries(operations.min(4096))
            .in_flight(operations)
            .descriptors(options.descriptors())
            .file_slots(0);
        if let Some(backend) = options.backend {
            builder = builder.backend(backend);
        }
        let queue = VecDeque::with_capacity(operations);
        Ok(Self {
            driver: builder.build()?,
            queue,
            entries: 0,
            turns: 0,
            largest: 0,
        })
    }

    /// Hands over what is queued, and takes entries.
    ///
    /// # Safety
    /// As [`CompleteIo::submit`].
    pub(crate) unsafe fn turn(&mut self, wait: Wait, entries: &mut Vec<Entry>) -> io::Result<()> {
        self.driver.push_queue(&mut self.queue);
        // What found no place goes with the next turn, so that this one must not wait.
        let wait = if self.queue.is_empty() {
            wait
        } else {
            Wait::new().at_least(0)
        };
        // SAFETY: the caller's contract.
        unsafe { self.driver.submit_until(wait, entries)? };
        self.entries += entries.len() as u64;
        self.turns += 1;
        self.largest = self.largest.max(entries.len());
        Ok(())
    }

    /// Queues the current operation of a connection.
    ///
    /// # Safety
    /// Neither operation of the connection is in flight. It stays where it is, untouched, until
    /// the entry came, or the driver is gone.
    pub(crate) unsafe fn lend(&mut self, connection: &mut Connection, key: usize) {
        self.queue.push_back(if connection.sending {
            // SAFETY: the caller's contract.
            unsafe { OpObject::from_ptr(NonNull::from(&mut connection.send), key) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { OpObject::from_ptr(NonNull::from(&mut connection.recv), key) }
        });
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.entries as f64 / self.turns.max(1) as f64;
        let enters = self.driver.stats().enters as f64 / self.entries.max(1) as f64;
        let largest = self.largest;
        write!(
            f,
            "{mean:.1} operations a turn (at most {largest}), {enters:.3} enters each"
        )
    }
}

/// A connection of either side. One of its operations is in flight at most.
pub(crate) struct Connection {
    pub(crate) recv: Recv<Fd, Vec<u8>>,
    pub(crate) send: Send<Fd, Vec<u8>>,
    /// Which of them is the current one.
    pub(crate) sending: bool,
    /// Bytes that earlier flights of `send` have moved.
    sent: usize,
    pub(crate) fd: Fd,
    pub(crate) stream: TcpStream,
    /// This side has ended.
    pub(crate) ended: bool,
}

pub(crate) enum Event {
    Sent,
    /// The operation goes on where it is.
    SentSome,
    Received(usize),
}

impl Connection {
    pub(crate) fn new(fd: Fd, stream: TcpStream, room: Vec<u8>, message: Vec<u8>) -> Self {
        let (recv, send) = (Recv::new(fd, room), Send::new(fd, message));
        Self {
            recv,
            send,
            sending: false,
            sent: 0,
            fd,
            stream,
            ended: false,
        }
    }

    /// Receives into all of the buffer next.
    pub(crate) fn receive_anew(&mut self) {
        self.recv.buf_mut().clear();
        self.sending = false;
    }

    /// # Safety
    /// `entry` is the last entry of the operation that was lent last.
    pub(crate) unsafe fn complete(&mut self, entry: Entry) -> io::Result<Event> {
        if !self.sending {
            // SAFETY: the caller's contract.
            return Ok(Event::Received(unsafe { self.recv.finish(entry)? }));
        }
        let n = entry.result()?;
        self.sent += n;
        if self.sent < self.send.buf().len() {
            self.send.advance(n);
            return Ok(Event::SentSome);
        }
        self.sent = 0;
        // SAFETY: the caller's contract.
        unsafe { self.send.finish(entry)? };
        Ok(Event::Sent)
    }
}

/// Connections at places that never move. Cells, since a reference to all of them must not be one
/// to what is in flight.
pub(crate) type Slots = Box<[UnsafeCell<Option<Connection>>]>;
