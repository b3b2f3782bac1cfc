//! The clients: each sends a message, receives it back, compares, and sends the next.

use crate::lane::{BATCH, Connection, Event, Lane, Slots};
use crate::{ALLOCATIONS, Options};
use completeio::clock::Instant;
use completeio::driver::{AsRawFd, CompleteIo, Entry, Wait};
use std::cell::UnsafeCell;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After which a connection that does not end is given up.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    // The first field is dropped first: whatever may be in flight outlives the driver.
    pub(crate) lane: Lane,
    slots: Slots,
    open: usize,
    size: usize,
    enough: u64,
    /// How long it is to measure, and how long it has.
    pub(crate) time: Duration,
    /// The time is over, or there are enough: connections end after their round trip.
    ending: bool,
    pub(crate) round_trips: u64,
    pub(crate) mismatches: u64,
    pub(crate) failed: u64,
    pub(crate) allocations: u64,
}

impl Client {
    /// Connects all of them.
    pub(crate) fn new(options: &Options, address: SocketAddr) -> io::Result<Self> {
        let mut lane = Lane::new(options)?;
        let connect = |i: usize| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let fd = lane.driver.attach(stream.as_raw_fd())?;
            let message = i.to_string().bytes().cycle().take(options.size).collect();
            let room = Vec::with_capacity(options.size);
            Ok(UnsafeCell::new(Some(Connection::new(
                fd, stream, room, message,
            ))))
        };
        let slots = (0..options.connections)
            .map(connect)
            .collect::<io::Result<_>>()?;
        Ok(Self {
            lane,
            slots,
            open: options.connections,
            size: options.size,
            enough: options.round_trips,
            time: Duration::from_secs_f64(options.seconds),
            ending: false,
            round_trips: 0,
            mismatches: 0,
            failed: 0,
            allocations: 0,
        })
    }

    /// Makes round trips on all connections for the time, or until there are enough, and ends them.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut entries = Vec::with_capacity(BATCH);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        let deadline = start + self.time;
        for i in 0..self.slots.len() {
            // SAFETY: nothing was lent yet.
            let slot = unsafe { &mut *self.slots[i].get() };
            let connection = slot.as_mut().expect("all are connected");
            connection.sending = true;
            // SAFETY: as above; it stays in its slot until `step`.
            unsafe { self.lane.lend(connection, i) };
        }
        while self.open > 0 {
            let now = Instant::now();
            if !self.ending && (now >= deadline || self.round_trips >= self.enough) {
                self.ending = true;
                self.time = now - start;
            }
            if now >= deadline + PATIENCE {
                return Err(io::Error::other(format!(
                    "{} connections do not end",
                    self.open
                )));
            }
            let wait = Wait::new().until(if self.ending {
                now + PATIENCE
            } else {
                deadline
            });
            // SAFETY: operations are in a box that outlives the driver, and are not touched before
            // their entry came; a descriptor is closed when nothing is in flight on it.
            unsafe { self.lane.turn(wait, &mut entries)? };
            for entry in entries.drain(..) {
                self.step(entry);
            }
        }
        self.allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        Ok(())
    }

    /// Goes on with a connection whose operation is complete, or closes it.
    fn step(&mut self, entry: Entry) {
        let i = entry.user_data();
        // SAFETY: the only operation of this connection that was in flight is complete.
        let slot = unsafe { &mut *self.slots[i].get() };
        let connection = slot.as_mut().expect("an operation belongs to a connection");
        // SAFETY: this is the last entry of that operation.
        let event = unsafe { connection.complete(entry) };
        match event.and_then(|event| self.next(connection, event)) {
            Ok(true) => {
                // SAFETY: nothing of it is in flight; it stays in its slot until the next `step`.
                unsafe { self.lane.lend(connection, i) };
                return;
            }
            Ok(false) => {}
            Err(_) => self.failed += 1,
        }
        self.lane.driver.detach(connection.fd);
        *slot = None;
        self.open -= 1;
    }

    /// Makes a connection ready for its next operation; `false` if there is none.
    fn next(&mut self, connection: &mut Connection, event: Event) -> io::Result<bool> {
        match event {
            Event::SentSome => {}
            Event::Sent => connection.receive_anew(),
            Event::Received(0) if connection.ended => return Ok(false),
            Event::Received(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Event::Received(_) if connection.recv.buf().len() < self.size => {}
            Event::Received(_) => {
                self.mismatches += u64::from(connection.recv.buf() != connection.send.buf());
                if self.ending {
                    // The server answers the end of our side with the end of its own.
                    connection.stream.shutdown(Shutdown::Write)?;
                    connection.ended = true;
                    connection.receive_anew();
                } else {
                    self.round_trips += 1;
                    let first = &mut connection.send.buf_mut()[0];
                    *first = first.wrapping_add(1);
                    connection.sending = true;
                }
            }
        }
        Ok(true)
    }
}
