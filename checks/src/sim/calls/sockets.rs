//! Operations on sockets and pipes.

use super::{Asker, Made, Model, bytes, halves, limited, room, rooms};
use crate::lent::Lent;
use crate::sim::expect::{Expect, Fault, Settled};
use crate::sim::network::{RECEIVING, Role, SENDING, Transfer};
use crate::sim::plan::Outcome;
use crate::sim::script::{Call, Kind};
use completeio_driver::address::Address;
use completeio_driver::driver::{AsRawFd, CompleteIo, OwnedFd};
use completeio_driver::op::{
    Accept, Bind, Close, Connect, Exact, Listen, Pipe, Poll, PollEvents, Read, Recv, RecvFrom,
    RecvVectored, Send, SendTo, SendVectored, Shutdown, Socket, Write,
};
use std::net::{self, SocketAddr};
use std::rc::Rc;

const BINDING: &[i32] = &[libc::EINVAL, libc::EADDRINUSE];
const CONNECTING: &[i32] = &[
    libc::ECONNREFUSED,
    libc::ETIMEDOUT,
    libc::EISCONN,
    libc::ECONNABORTED,
    libc::ECONNRESET,
];
const SENDING_TO: &[i32] = &[
    libc::EPIPE,
    libc::ECONNRESET,
    libc::ETIMEDOUT,
    libc::ECONNREFUSED,
    libc::ECONNABORTED,
];
const RECEIVING_FROM: &[i32] = &[
    libc::ENOTCONN,
    libc::ECONNRESET,
    libc::ETIMEDOUT,
    libc::ECONNREFUSED,
    libc::ECONNABORTED,
];
const STREAMS: &[Role] = &[Role::Connected, Role::Connected, Role::Unix];

impl Asker<'_> {
    pub(super) fn new_socket(&mut self, call: &Call) -> (Made, Expect) {
        let host = self.host;
        let expect = Expect {
            fault: Fault::MakesFd,
            ..Expect::new(call.kind, &[])
        };
        let address = Address::from(SocketAddr::new(self.model.ips[host], 0));
        let adds = |role| {
            move |model: &mut Model, outcome| {
                let Outcome::Fd(fd) = outcome else {
                    unreachable!("of a socket")
                };
                model.network.add(host, fd, role);
            }
        };
        match call.kind {
            Kind::Tcp => limited(Socket::stream(&address), call, expect.done(adds(Role::Tcp))),
            Kind::Udp => limited(
                Socket::datagram(&address),
                call,
                expect.done(adds(Role::Udp)),
            ),
            _ => limited(
                Pipe::new(),
                call,
                expect.done(move |model, outcome| {
                    let Outcome::Ends(reader, writer) = outcome else {
                        unreachable!("of a pipe")
                    };
                    let roles = [Role::Reader, Role::Writer];
                    model.network.add_pair(host, [reader, writer], roles);
                }),
            ),
        }
    }

    /// What a call is directed at: one of the host's in one of these roles.
    fn pick(&mut self, roles: &[Role], call: &Call) -> Option<(usize, Rc<OwnedFd>)> {
        let id = self.model.network.pick(self.host, roles, call.pick)?;
        let sock = self.model.network.get(id)?;
        Some((id, sock.fd.clone()))
    }

    pub(super) fn on_socket(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let host = self.host;
        let roles: &[Role] = match call.kind {
            Kind::Accept => &[Role::Listener],
            Kind::Shutdown => STREAMS,
            Kind::Poll => &[
                Role::Connected,
                Role::Listener,
                Role::Unix,
                Role::Udp,
                Role::Reader,
            ],
            _ => &[Role::Tcp],
        };
        let (id, fd) = self.pick(roles, call)?;
        let expect = Expect::new(call.kind, &[]).on(id);
        Some(match call.kind {
            Kind::Accept => {
                let expect = Expect {
                    errnos: &[libc::EINVAL],
                    fault: Fault::MakesFd,
                    ..expect
                };
                let expect = expect.done(move |model, outcome| {
                    let Outcome::Fd(fd) = outcome else {
                        unreachable!("of an accept")
                    };
                    let sock = model.network.add(host, fd, Role::Tcp);
                    model.network.identify(&model.world, sock);
                });
                limited(Accept::new(fd), call, expect)
            }
            Kind::Connect => {
                let (to, port) = (call.pick / 2 % 2, 80 + u16::from(call.pick % 3 == 0));
                let op = Connect::new(fd, SocketAddr::new(self.model.ips[to], port));
                let expect = Expect {
                    errnos: CONNECTING,
                    ..expect
                };
                let expect = expect.done(move |model, _| model.network.identify(&model.world, id));
                limited(op, call, expect)
            }
            Kind::Bind => {
                let op = Bind::new(fd, SocketAddr::new(self.model.ips[host], 0));
                limited(
                    op,
                    call,
                    Expect {
                        errnos: BINDING,
                        ..expect
                    },
                )
            }
            Kind::Listen => {
                let expect = Expect {
                    errnos: BINDING,
                    ..expect
                };
                let expect = expect.done(move |model, _| {
                    if let Some(sock) = model.network.get(id) {
                        sock.role = Role::Listener;
                    }
                });
                limited(
                    Listen::new(fd, 1 + u32::try_from(call.len).unwrap() % 4),
                    call,
                    expect,
                )
            }
            Kind::Shutdown => {
                self.model.network.end(id);
                let ways = [
                    net::Shutdown::Write,
                    net::Shutdown::Read,
                    net::Shutdown::Both,
                ];
                let op = Shutdown::new(fd, ways[call.len % 3]);
                limited(
                    op,
                    call,
                    Expect {
                        errnos: &[libc::ENOTCONN],
                        ..expect
                    },
                )
            }
            _ => {
                let events = [PollEvents::READABLE, PollEvents::WRITABLE][call.len % 2];
                let expect = expect.done(|_, outcome| {
                    let Outcome::Ready(ready) = outcome else {
                        unreachable!("of a poll")
                    };
                    assert!(!ready.is_empty(), "ready for nothing");
                });
                limited(Poll::new(fd, events), call, expect)
            }
        })
    }

    fn begin(&mut self, id: usize, side: usize, is_exact: bool) -> Transfer {
        let Model { network, world, .. } = &mut *self.model;
        network.begin(world, id, side, is_exact)
    }

    pub(super) fn send(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let roles: &[Role] = match call.kind {
            Kind::Write => &[Role::Connected, Role::Unix, Role::Writer],
            _ => STREAMS,
        };
        let (id, fd) = self.pick(roles, call)?;
        let is_exact = call.kind == Kind::SendAll;
        let transfer = self.begin(id, SENDING, is_exact);
        let data = bytes(call);
        let sent = data.clone();
        let expect = Expect {
            most: call.len,
            is_exact,
            ..Expect::new(call.kind, SENDING_TO)
        };
        let expect = expect.on(id).with(move |model, settled, _| {
            let network = &mut model.network;
            let moved = match settled {
                Settled::Done(Outcome::Count(n)) => Some(sent[..n].to_vec()),
                other => network.moved_unseen(transfer, &other),
            };
            network.moved(transfer, moved);
        });
        Some(match call.kind {
            Kind::Send => limited(Send::new(fd, data), call, expect),
            Kind::SendAll => limited(Exact::new(Send::new(fd, data)), call, expect),
            Kind::SendVectored => limited(SendVectored::new(fd, halves(&data)), call, expect),
            _ => limited(Write::new(fd, data), call, expect),
        })
    }

    fn received(transfer: Transfer, expect: Expect) -> Expect {
        let most = expect.most;
        expect.with(move |model, settled, _| {
            let network = &mut model.network;
            let moved = match settled {
                Settled::Done(Outcome::Bytes(bytes)) => {
                    if bytes.is_empty() && most > 0 {
                        network.ended(transfer);
                    }
                    Some(bytes)
                }
                other => network.moved_unseen(transfer, &other),
            };
            network.moved(transfer, moved);
        })
    }

    pub(super) fn receive(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let roles: &[Role] = match call.kind {
            Kind::Read => &[Role::Connected, Role::Unix, Role::Reader],
            _ => STREAMS,
        };
        let (id, fd) = self.pick(roles, call)?;
        let is_exact = call.kind == Kind::RecvExact;
        let transfer = self.begin(id, RECEIVING, is_exact);
        let expect = Expect {
            most: call.len,
            is_exact,
            ..Expect::new(call.kind, RECEIVING_FROM)
        };
        let expect = Self::received(transfer, expect.on(id));
        let len = call.len;
        Some(match call.kind {
            Kind::Recv => limited(Recv::new(fd, room(len)), call, expect),
            Kind::RecvExact => limited(Exact::new(Recv::new(fd, room(len))), call, expect),
            Kind::RecvVectored => limited(RecvVectored::new(fd, rooms(len)), call, expect),
            _ => limited(Read::new(fd, room(len)), call, expect),
        })
    }

    /// By a number that keeps nothing open.
    pub(super) fn receive_attached(&mut self, call: &Call) -> Option<(Made, Expect)> {
        self.raw.as_ref()?;
        let (id, fd) = self.pick(STREAMS, call)?;
        let transfer = self.begin(id, RECEIVING, false);
        let expect = Expect {
            most: call.len,
            ..Expect::new(call.kind, RECEIVING_FROM)
        };
        let expect = Self::received(transfer, expect.on(id));
        let fd = self.raw.as_mut()?.driver.attach(fd.as_raw_fd()).unwrap();
        Some((
            Made::Raw(Lent::boxed(Box::new(Recv::new(fd, room(call.len))))),
            expect,
        ))
    }

    pub(super) fn datagram(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let (sock, fd) = self.pick(&[Role::Udp], call)?;
        let expect = Expect::new(call.kind, &[]).on(sock);
        if call.kind == Kind::RecvFrom {
            let expect = Expect {
                most: call.len,
                ..expect
            };
            let expect = expect.done(|model, outcome| {
                let (bytes, is_cut) = match outcome {
                    Outcome::Bytes(bytes) => (bytes, false),
                    Outcome::Cut(bytes) => (bytes, true),
                    outcome => unreachable!("{outcome:?} of a receive"),
                };
                model.network.received(&bytes, is_cut);
            });
            return Some(limited(RecvFrom::new(fd, room(call.len)), call, expect));
        }
        let (id, bytes) = self.model.network.datagram(call.len);
        let most = bytes.len();
        let to = SocketAddr::new(self.model.ips[call.pick / 2 % 2], 53);
        let expect = Expect { most, ..expect }.with(move |model, settled, _| match settled {
            Settled::Done(Outcome::Count(n)) => assert_eq!(n, most, "a datagram is sent whole"),
            Settled::Failed(_) | Settled::Never => model.network.not_sent(id),
            Settled::Done(_) | Settled::Lost => {}
        });
        Some(limited(SendTo::new(fd, bytes, to), call, expect))
    }

    /// Of what nobody else holds; operations in flight on its number may be.
    pub(super) fn close(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let roles = [
            Role::Tcp,
            Role::Connected,
            Role::Unix,
            Role::Reader,
            Role::Writer,
        ];
        let (id, fd) = self.pick(&roles, call)?;
        drop(fd);
        if Rc::strong_count(&self.model.network.get(id)?.fd) > 1 {
            return None;
        }
        let fd = self.model.network.remove(id)?;
        let fd = Rc::try_unwrap(fd).expect("counted just now");
        let expect = Expect::new(call.kind, &[]).on(id);
        Some((Made::Safe(Box::new(Close::new(fd))), expect))
    }
}
