//! A TCP stream is the bytes that were sent, in order, whatever the network does.

use super::hosts::{MS, World};
use crate::sys::sim::errno::Errno;
use crate::sys::sim::net::{IN, Links, OUT, SocketId};
use crate::sys::sim::random::Random;
use std::fmt::Write as _;
use std::time::Duration;

/// One direction: who sends, who receives, and how far they are.
struct Flow {
    from: SocketId,
    to: SocketId,
    len: usize,
    sent: usize,
    received: usize,
    is_shut: bool,
    is_ended: bool,
}

fn byte(position: usize) -> u8 {
    u8::try_from(position * 7 % 251).unwrap()
}

impl Flow {
    fn new(from: SocketId, to: SocketId, len: usize) -> Self {
        Self {
            from,
            to,
            len,
            sent: 0,
            received: 0,
            is_shut: false,
            is_ended: false,
        }
    }

    fn send(&mut self, world: &mut World, most: usize) {
        let end = self.len.min(self.sent + most);
        let bytes: Vec<_> = (self.sent..end).map(byte).collect();
        if !bytes.is_empty() {
            match world.net.send(self.from, &bytes, None) {
                Ok(sent) => self.sent += sent,
                Err(errno) => assert_eq!(errno, Errno(libc::EAGAIN)),
            }
        } else if !self.is_shut {
            self.is_shut = true;
            world.net.shutdown(self.from, libc::SHUT_WR).unwrap();
        }
    }

    fn receive(&mut self, world: &mut World, most: usize) {
        match world.net.recv(self.to, most, false) {
            Ok(received) => {
                self.is_ended = received.bytes.is_empty();
                for found in received.bytes {
                    assert_eq!(found, byte(self.received), "at {}", self.received);
                    self.received += 1;
                }
            }
            Err(errno) => assert_eq!(errno, Errno(libc::EAGAIN)),
        }
    }
}

/// Runs two flows to their ends; gives all that happened.
fn run(seed: u64) -> String {
    let mut choices = Random::new(seed ^ 0xffff);
    let longest = [0, 1, 50, 3000][usize::try_from(choices.below(4)).unwrap()];
    let links = Links {
        delay: MS..MS + MS * longest,
        ..Links::default()
    };
    let mut world = World::new(seed, 2, links);
    let hosts = [world.hosts[0], world.hosts[1]];
    let listener = world.listener(1, 5);
    let (client, address) = (world.tcp(0), world.address(listener));
    for socket in [listener, client] {
        let size = 1000 + i32::try_from(choices.below(20_000)).unwrap();
        for name in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            let size = size.to_ne_bytes();
            let set = world.net.set_option(socket, libc::SOL_SOCKET, name, &size);
            set.unwrap();
        }
    }
    let _ = world.net.connect(client, &address);
    let server = loop {
        if let Ok((server, _)) = world.net.accept(listener) {
            break server;
        }
        assert!(world.step(), "no connection");
    };
    world.net.close(listener).unwrap();

    let mut trace = String::new();
    let mut len = || usize::try_from(choices.below(40_000)).unwrap();
    let mut flows = [
        Flow::new(client, server, len()),
        Flow::new(server, client, len()),
    ];
    while !flows.iter().all(|flow| flow.is_ended) {
        match choices.below(12) {
            0 => world.net.partition(hosts[0], hosts[1]),
            1..=3 => world.net.heal(hosts[1], hosts[0]),
            4 | 5 => {
                // Not to the end of the patience with a partition.
                let soon = world.now + Duration::from_secs(10);
                if world.net.next_event().is_some_and(|next| next < soon) {
                    world.step();
                }
            }
            6 => world.pass(Duration::from_micros(choices.below(5000))),
            _ => {
                let flow = &mut flows[usize::try_from(choices.below(2)).unwrap()];
                let most = [1, 100, 10_000][usize::try_from(choices.below(3)).unwrap()];
                match choices.below(2) {
                    0 => flow.send(&mut world, most),
                    _ => flow.receive(&mut world, most),
                }
            }
        }
        let now = (world.now, world.net.next_event());
        let counts = flows.each_ref().map(|flow| (flow.sent, flow.received));
        writeln!(trace, "{now:?} {counts:?}").unwrap();
        let can_go_on = |flow: &Flow| {
            let (from, to) = (world.poll(flow.from), world.poll(flow.to));
            to & IN != 0 && !flow.is_ended || from & OUT != 0 && !flow.is_shut
        };
        assert!(
            world.net.wire.is_cut(hosts[0], hosts[1])
                || world.net.next_event().is_some()
                || flows.iter().any(can_go_on)
                || flows.iter().all(|flow| flow.is_ended),
            "nothing can happen any more: {trace}"
        );
    }
    for flow in &flows {
        assert_eq!((flow.sent, flow.received), (flow.len, flow.len));
    }
    for end in [client, server] {
        world.net.close(end).unwrap();
    }
    world.net.heal(hosts[0], hosts[1]);
    while world.step() {}
    assert_eq!(world.sockets(), 0);
    trace
}

const SEEDS: u64 = 100;

#[test]
fn every_byte_arrives_once_and_in_order() {
    (0..SEEDS).for_each(|seed| drop(run(seed)));
}

#[test]
fn a_seed_gives_one_run() {
    for seed in 0..SEEDS.min(10) {
        let first = run(seed);
        assert_eq!(first, run(seed));
        assert_ne!(first, run(seed + 1));
    }
}
