//! A TCP proxy: what a client sends goes to another server, and what that answers comes back.
//!
//! ```text
//! cargo run --release --example proxy -- 127.0.0.1:8080 127.0.0.1:80
//! curl http://127.0.0.1:8080/
//! ```
//!
//! Shows a scope (`relay`): operations and buffers on the stack, lent to the driver again and
//! again, both directions at the same time, without `unsafe` and without an allocation. It serves
//! one connection at a time; others wait in the listener's backlog.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use arrayvec::ArrayVec;
use common::Args;
use completeio::driver::{AsFd, Attached, Driver, Holds};
use completeio::op::{Accept, MsgFlags, Op, Recv, Send};
use completeio::scope::{Done, Event, Scope, Ticket};
use std::io;
use std::mem;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;

const HELP: &str = "\
usage: proxy [--exit-after N] LISTEN UPSTREAM
Passes TCP connections to LISTEN on to UPSTREAM, one after the other.
Both are addresses like 127.0.0.1:8080; port 0 of LISTEN takes a free one.
  --exit-after N    end when so many connections were served";

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let exit_after = args.value("--exit-after");
    let names: Vec<_> = args.names().into_iter().map(|n| n.into_string()).collect();
    let [Ok(listen), Ok(upstream)] = &names[..] else {
        common::wrong("proxy needs two addresses, LISTEN and UPSTREAM");
    };
    match serve(listen, upstream, exit_after) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves connections until there were enough, or for ever.
fn serve(listen: &str, upstream: &str, exit_after: Option<u64>) -> io::Result<()> {
    let named =
        |name: &str, error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
    let listener = TcpListener::bind(listen).map_err(|error| named(listen, error))?;
    let mut driver = Driver::new()?;
    // All the memory that connections use, on the stack.
    let mut buffers = [const { Buffer::new_const() }; 4];
    println!("listening on {}", listener.local_addr()?);

    let (mut served, mut failed) = (0, 0);
    while exit_after.is_none_or(|n| served < n) {
        let mut accept = Accept::new(listener.as_fd());
        let accepted = driver.scope(|s| complete(s, &mut accept))??;
        let client = TcpStream::from(accepted.fd);
        served += 1;
        let relayed = TcpStream::connect(upstream)
            .map_err(|error| named(upstream, error))
            .and_then(|server| relay(&mut driver, &client, &server, &mut buffers));
        match relayed {
            Ok([up, down]) => println!("connection {served}: {up} bytes up, {down} bytes down"),
            Err(error) => {
                eprintln!("proxy: connection {served}: {error}");
                failed += 1;
            }
        }
    }
    println!("{served} connections closed, {failed} failed");
    Ok(())
}

/// Lends one operation to the driver, and waits for it.
fn complete<'s, 'env, O: Op + 'env>(
    scope: &mut Scope<'s, 'env>,
    op: &'env mut O,
) -> io::Result<O::Output>
where
    O::Fd: Holds,
{
    let ticket = scope.try_lend(op, 0).expect("there is room for one");
    let mut event = None;
    while event.is_none() {
        scope.submit(None, &mut event)?;
    }
    let done = event.and_then(Event::done).expect("it completes once");
    ticket.redeem(done).expect("nothing else was lent").0
}

/// 64 KiB and a length.
type Buffer = ArrayVec<u8, 65536>;
type Receive<'env> = Recv<Attached<'env>, &'env mut Buffer>;
type Transmit<'env> = Send<Attached<'env>, &'env mut Buffer>;

/// Copies in both directions until both sides have ended, or one fails. Returns how many bytes went
/// to the server, and to the client.
fn relay(
    driver: &mut Driver<'_>,
    client: &TcpStream,
    server: &TcpStream,
    buffers: &mut [Buffer; 4],
) -> io::Result<[u64; 2]> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
    }
    let client_fd = driver.attach_fd(client.as_fd())?;
    let server_fd = driver.attach_fd(server.as_fd())?;
    for buffer in buffers.iter_mut() {
        buffer.clear(); // The last connection may have failed.
    }
    let [a, b, c, d] = buffers.each_mut();
    // What is lent lies outside of the closure: it outlives the scope, which waits for it.
    let mut up = (Recv::new(client_fd, a), transmit(server_fd, b));
    let mut down = (Recv::new(server_fd, c), transmit(client_fd, d));
    driver.scope(|s| {
        let mut directions = [
            Direction::new(s, 0, &mut up, server),
            Direction::new(s, 1, &mut down, client),
        ];
        let mut events = ArrayVec::<Event<'_>, 2>::new();
        while directions.iter().any(|direction| !direction.has_ended()) {
            s.submit(None, &mut events)?;
            for done in events.drain(..).filter_map(Event::done) {
                directions[done.token()].step(s, done)?;
            }
        }
        Ok(directions.map(|direction| direction.bytes))
    })?
}

fn transmit<'env>(fd: Attached<'env>, buffer: &'env mut Buffer) -> Transmit<'env> {
    Send::new(fd, buffer).flags(MsgFlags::WAIT_ALL)
}

/// From one side to the other; one of the two operations is in flight.
struct Direction<'s, 'env> {
    state: State<'s, 'env>,
    token: usize,
    to: &'env TcpStream,
    bytes: u64,
}

/// | state | with the driver | what comes next |
/// |---|---|---|
/// | `Receiving` | the receive | `Sending` what came, or `Ended` |
/// | `Sending` | the send | the rest, then `Receiving` |
/// | `Ended` | nothing | |
enum State<'s, 'env> {
    Receiving(Ticket<'s, 'env, Receive<'env>>, &'env mut Transmit<'env>),
    Sending(&'env mut Receive<'env>, Ticket<'s, 'env, Transmit<'env>>),
    Ended,
}

impl<'s, 'env> Direction<'s, 'env> {
    fn new(
        s: &mut Scope<'s, 'env>,
        token: usize,
        (receive, transmit): &'env mut (Receive<'env>, Transmit<'env>),
        to: &'env TcpStream,
    ) -> Self {
        let mut direction = Self {
            state: State::Ended,
            token,
            to,
            bytes: 0,
        };
        direction.receive(s, receive, transmit);
        direction
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn receive(
        &mut self,
        s: &mut Scope<'s, 'env>,
        receive: &'env mut Receive<'env>,
        transmit: &'env mut Transmit<'env>,
    ) {
        let ticket = s.try_lend(receive, self.token);
        self.state = State::Receiving(ticket.expect("there is room for two"), transmit);
    }

    fn transmit(
        &mut self,
        s: &mut Scope<'s, 'env>,
        receive: &'env mut Receive<'env>,
        transmit: &'env mut Transmit<'env>,
    ) {
        let ticket = s.try_lend(transmit, self.token);
        self.state = State::Sending(receive, ticket.expect("there is room for two"));
    }

    /// Goes on when its operation has completed.
    fn step(&mut self, s: &mut Scope<'s, 'env>, done: Done<'s>) -> io::Result<()> {
        const ONE: &str = "a direction has one operation in flight";
        match mem::replace(&mut self.state, State::Ended) {
            State::Receiving(ticket, transmit) => {
                let (received, receive) = ticket.redeem(done).expect(ONE);
                if received? == 0 {
                    return end(self.to);
                }
                // The full buffer against the empty one.
                mem::swap(receive.buf_mut(), transmit.buf_mut());
                self.transmit(s, receive, transmit);
            }
            State::Sending(receive, ticket) => {
                let (sent, transmit) = ticket.redeem(done).expect(ONE);
                let sent = sent?;
                self.bytes += sent as u64;
                // All of it, but for a peer that goes away: the next send says so.
                transmit.buf_mut().drain(..sent);
                if transmit.buf().is_empty() {
                    self.receive(s, receive, transmit);
                } else {
                    self.transmit(s, receive, transmit);
                }
            }
            State::Ended => unreachable!("{ONE}"),
        }
        Ok(())
    }
}

/// Passes an end on: the other direction goes on.
fn end(to: &TcpStream) -> io::Result<()> {
    match to.shutdown(Shutdown::Write) {
        // It has gone meanwhile: its own direction says what is wrong, if anything is.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}
