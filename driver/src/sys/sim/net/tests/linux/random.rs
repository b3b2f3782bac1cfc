//! Programs drawn from a seed.

use super::super::calls::{Call, TCP, TCP_6, To, UDP, UDP_6, UNIX, UNIX_DGRAM, UNIX_PACKETS, word};
use super::Both;
use crate::sys::sim::random::Random;

const PROGRAMS: u64 = 100;
const CALLS: u64 = 40;

const ANY: [i32; 3] = [libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR];
/// Of datagram sockets that do not wait an end is no end, but nothing yet.
const WRITE: [i32; 1] = [libc::SHUT_WR];

struct Program {
    both: Both,
    random: Random,
}

impl Program {
    fn new(seed: u64) -> Self {
        Self {
            both: Both::new(),
            random: Random::new(seed),
        }
    }

    fn run(&mut self, call: Call) {
        let is_tcp = [TCP, TCP_6].contains(&call);
        self.both.run(call);
        if is_tcp {
            // Else bytes wait for those before them.
            let (made, on) = (self.both.model.len() - 1, word(1));
            let no_delay = Call::Set(made, libc::IPPROTO_TCP, libc::TCP_NODELAY, on);
            self.both.run(no_delay);
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn message(&mut self, max: usize) -> Vec<u8> {
        let byte = u8::try_from(self.below(256)).unwrap();
        vec![byte; 1 + self.below(max)]
    }

    fn place(&mut self) -> usize {
        self.below(self.both.model.len())
    }

    /// Where to send or to connect to: what has a port.
    fn target(&mut self, to: &[To]) -> To {
        let named = self.both.model.named().into_iter().map(To::Name);
        let to = to.iter().filter(|to| !matches!(to, To::Ip(..)));
        let to: Vec<_> = to.copied().chain(named).collect();
        if to.is_empty() {
            To::Unspecified
        } else {
            self.pick(&to)
        }
    }

    /// A call on what is connected.
    fn transfer(&mut self, shut: &[i32]) -> Call {
        let place = self.place();
        match self.below(16) {
            0..=4 => Call::Send(place, self.message(20)),
            5..=7 => Call::Recv(place, self.below(300)),
            8 => Call::Peek(place, self.below(300)),
            9 if self.both.model.is_connected(place) => Call::Shutdown(place, self.pick(shut)),
            10 => Call::Close(place),
            11 => Call::PeerName(place),
            12 => Call::Get(place, libc::SOL_SOCKET, libc::SO_ERROR),
            13 => {
                let value = [word(self.pick(&[0, 1])), word(0)].concat();
                Call::Set(place, libc::SOL_SOCKET, libc::SO_LINGER, value)
            }
            14 => Call::Read(place, 100),
            _ => Call::Poll(place),
        }
    }

    /// A call on the way to that.
    fn set_up(&mut self, sockets: &[Call], to: &[To]) -> Call {
        let place = self.place();
        match self.below(9) {
            0 if self.both.model.len() < 12 => self.pick(sockets),
            // Where a connection is over, the kernel's socket may be bound anew.
            0..=2 if !self.both.model.is_bound(place) => {
                let named = self.both.model.named();
                let to: Vec<_> = named.into_iter().map(To::Name).chain(to.to_vec()).collect();
                Call::Bind(place, self.pick(&to))
            }
            3 | 4 => Call::Listen(place, self.pick(&[1, 5])),
            5 | 6 => Call::Connect(place, self.target(to)),
            7 => Call::Accept(place),
            _ => Call::SendTo(place, self.message(20), self.target(to)),
        }
    }
}

fn run(start: &[Call], next: impl Fn(&mut Program) -> Call) {
    for seed in 0..PROGRAMS {
        let mut program = Program::new(seed);
        for call in start {
            program.run(call.clone());
        }
        for _ in 0..CALLS {
            let call = next(&mut program);
            program.run(call);
        }
    }
}

#[test]
fn pipes() {
    run(&[Call::Pipe], |program| {
        let len = program.pick(&[1, 3, 96, 4000, 4096, 4097, 10_000, 70_000]);
        match program.below(20) {
            0..=9 => Call::Read(0, len),
            10..=18 => Call::Write(1, vec![1; len]),
            _ => Call::Poll(1),
        }
    });
}

#[test]
fn unix_pairs() {
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        run(&[Call::Pair(kind)], |program| program.transfer(&ANY));
    }
    let datagrams = [Call::Pair(libc::SOCK_DGRAM)];
    run(&datagrams, |program| program.transfer(&WRITE));
}

#[test]
fn unix() {
    let to = [
        To::Path("p"),
        To::Path("q"),
        To::Abstract("a"),
        To::Unspecified,
    ];
    for kind in [UNIX, UNIX_PACKETS, UNIX_DGRAM] {
        let sockets = [kind.clone(), UNIX_DGRAM];
        let start = [kind.clone(), kind.clone(), kind];
        run(&start, |program| match program.below(3) {
            0 => program.transfer(&WRITE),
            _ => program.set_up(&sockets, &to),
        });
    }
}

#[test]
fn udp() {
    for (kind, to) in [
        (UDP, [To::LOCAL, To::ANY]),
        (UDP_6, [To::LOCAL_6, To::ANY_6]),
    ] {
        let start = [kind.clone(), kind.clone(), kind.clone()];
        run(&start, |program| match program.below(2) {
            0 => program.transfer(&WRITE),
            _ => program.set_up(&start, &to),
        });
    }
}

#[test]
fn tcp() {
    let start = [TCP, TCP, TCP_6];
    run(&start, |program| match program.below(2) {
        0 => program.transfer(&ANY),
        _ => program.set_up(&[TCP, TCP_6], &[To::LOCAL, To::ANY, To::LOCAL_6, To::ANY_6]),
    });
}

#[test]
fn tcp_connected() {
    let start = [
        TCP,
        Call::Bind(0, To::LOCAL),
        Call::Listen(0, 5),
        TCP,
        Call::Connect(1, To::Name(0)),
        Call::Accept(0),
    ];
    run(&start, |program| program.transfer(&ANY));
}
