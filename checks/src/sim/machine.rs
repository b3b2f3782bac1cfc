//! Carries a script out.

use super::calls::{Model, OpenFile, file_name, for_all};
use super::disk::{Disk, FILES};
use super::network::{Network, Role};
use super::script::{Script, Step};
use super::side::Side;
use completeio_driver::address::Address;
use completeio_driver::driver::{AsFd, Cwd, Driver, Holds, OwnedFd};
use completeio_driver::op::{Accept, Bind, Connect, Deadline, Listen, Op, OpenAt, Socket};
use completeio_driver::scope::Event;
use completeio_driver::sim::{Faults, Host, World};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What the listeners, and a socket for datagrams, are bound to.
const LISTENED: [u16; 2] = [80, 81];
const DATAGRAMS: u16 = 53;

/// So often the hosts may be asked to end what they have in flight.
const PATIENCE: usize = 10_000;

/// # Panics
/// When something is not as it has to be.
pub(super) fn run(world: &World, script: &Script, faults: &Faults) {
    let hosts = ["a", "b"].map(|name| world.host(name));
    let mut model = Model::new(world, &hosts);
    let mut sides = [0, 1].map(|at| Side::new(at, hosts[at].clone(), faults));
    for at in [0, 1] {
        set_up(&mut model, &mut sides[at], &hosts[at], at);
    }
    let [a, b] = &mut sides;
    connect(&mut model, (0, &mut *a), (1, &mut *b));
    connect(&mut model, (1, b), (0, a));
    for step in &script.0 {
        match step {
            Step::Push { host, way, call } => sides[*host].push(&mut model, *way, call),
            Step::Scope {
                host,
                clear,
                calls,
                cancelled,
                waits,
            } => {
                sides[*host].scope(&mut model, (*clear, calls), *cancelled, waits);
            }
            Step::Submit {
                host,
                wait,
                room,
                queue,
            } => {
                sides[*host].submit(&mut model, *wait, *room, *queue);
            }
            Step::Cancel { host, what, pick } => sides[*host].cancel(&mut model, *what, *pick),
            Step::Register { host, pick, filled } => {
                sides[*host].register(&mut model, *pick, *filled);
            }
            Step::Drop { host, pick } => sides[*host].drop_fd(&mut model, *pick),
            Step::Orphan { host, pick } => sides[*host].orphan(*pick),
            Step::Renew { host } => sides[*host].renew(&mut model),
            Step::Crash { host } => {
                sides[*host].crash(&mut model);
                set_up(&mut model, &mut sides[*host], &hosts[*host], *host);
            }
            Step::Partition => world.partition(&hosts[0], &hosts[1]),
            Step::Heal => world.heal(&hosts[0], &hosts[1]),
            Step::Advance => _ = world.advance(),
        }
    }
    world.heal(&hosts[0], &hosts[1]);
    wind_down(&mut model, &mut sides);
    model.network.check(faults.duplicate > 0.0);
    for side in &mut sides {
        side.stop(&mut model);
    }
    drop((model, sides));
    let open = world.open_descriptors();
    assert_eq!(open, 0, "descriptors are open when nobody has any");
}

fn wind_down(model: &mut Model, sides: &mut [Side; 2]) {
    for _ in 0..PATIENCE {
        let left = sides
            .iter_mut()
            .map(|side| side.wind_down(model))
            .sum::<usize>();
        if left == 0 {
            return;
        }
        model.world.advance();
    }
    panic!("operations were cancelled, and do not end");
}

/// Opens what there is to begin with.
fn set_up(model: &mut Model, side: &mut Side, host: &Host, at: usize) {
    let driver = side.driver();
    for file in 0..FILES {
        let fd = Rc::new(ask(driver, || OpenAt::new(Cwd, file_name(file), for_all())));
        model.files[at].push(OpenFile { file, fd });
    }
    for port in LISTENED {
        let listener = bound(driver, host, port, Socket::stream);
        ask(driver, || Listen::new(listener.as_fd(), 4));
        model.network.add(at, listener, Role::Listener);
    }
    let datagrams = bound(driver, host, DATAGRAMS, Socket::datagram);
    model.network.add(at, datagrams, Role::Udp);
    let (a, b) = host.socket_pair().unwrap();
    model.network.add_pair(at, [a, b], [Role::Unix; 2]);
}

/// A connection from one host to the other.
fn connect(
    model: &mut Model,
    (from, client): (usize, &mut Side),
    (to, server): (usize, &mut Side),
) {
    let listener = model
        .network
        .pick(to, &[Role::Listener], 0)
        .expect("there are two");
    let listener = model.network.get(listener).expect("just picked").fd.clone();
    let address = model.world.local_address(&*listener).expect("it is bound");
    let socket = ask(client.driver(), || Socket::stream(&address));
    ask(client.driver(), || Connect::new(socket.as_fd(), address));
    let accept = Deadline::after(Accept::new(listener), Duration::from_secs(1));
    let Ok(accepted) = attempt(server.driver(), accept) else {
        return; // The connection was reset before.
    };
    for (host, fd) in [(from, socket), (to, accepted.fd)] {
        let sock = model.network.add(host, fd, Role::Tcp);
        model.network.identify(&model.world, sock);
    }
}

fn bound(driver: &mut Driver<'_>, host: &Host, port: u16, kind: fn(&Address) -> Socket) -> OwnedFd {
    let address = Address::from(SocketAddr::new(host.ip().into(), port));
    let socket = ask(driver, || kind(&address));
    ask(driver, || Bind::new(socket.as_fd(), address));
    socket
}

/// Does an operation that succeeds but for faults.
fn ask<O: Op>(driver: &mut Driver<'_>, make: impl Fn() -> O) -> O::Output
where
    O::Fd: Holds,
{
    for _ in 0..100 {
        if let Ok(output) = attempt(driver, make()) {
            return output;
        }
    }
    panic!("it fails again and again");
}

fn attempt<O: Op>(driver: &mut Driver<'_>, mut op: O) -> io::Result<O::Output>
where
    O::Fd: Holds,
{
    driver.scope(|scope| {
        let Ok(ticket) = scope.try_lend(&mut op, 0) else {
            panic!("there is no room, and nothing in flight")
        };
        let mut event = None;
        while event.is_none() {
            scope.submit(None, &mut event)?;
        }
        let done = event.and_then(Event::done).expect("no multishot");
        let Ok((output, _)) = ticket.redeem(done) else {
            panic!("another's completion")
        };
        output
    })?
}

impl Model {
    fn new(world: &World, hosts: &[Host; 2]) -> Self {
        Self {
            world: world.clone(),
            ips: [hosts[0].ip().into(), hosts[1].ip().into()],
            disks: [Disk::new(), Disk::new()],
            files: [Vec::new(), Vec::new()],
            network: Network::default(),
        }
    }

    /// A host's programs are gone, and what they had.
    pub(super) fn crash(&mut self, host: usize) {
        self.files[host].clear();
        self.network.crash(host);
        self.disks[host].forget();
    }

    /// The highest number of an operation in the trace: so many were handed over.
    pub(super) fn handed_over(&self) -> u64 {
        let trace = self.world.trace();
        let numbers = trace
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2)?.parse().ok());
        numbers.max().unwrap_or(0)
    }
}
