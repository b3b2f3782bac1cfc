//! Faults at the ends of their ranges: each wait ends all the same.

use crate::kit::{create, done, run, seeds};
use completeio_driver::driver::{AsFd, Driver, Wait};
use completeio_driver::op::{Bind, Deadline, MsgFlags, Nop, Recv, Send, Socket, Timeout, WriteAt};
use completeio_driver::scope::Event;
use completeio_driver::sim::{self, Faults, Host, World};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

fn on_one(seed: u64, faults: Faults, test: impl FnOnce(&Host, &mut Driver<'_>)) {
    let world = World::new(seed, faults);
    let host = world.host("a");
    let mut driver = host.driver(Driver::builder()).unwrap();
    test(&host, &mut driver);
}

/// What is late by no time is not late.
#[test]
fn a_latency_of_nothing() {
    for faults in [
        Faults {
            burst: 1.0,
            ..Faults::none()
        },
        Faults {
            late: 1.0,
            ..Faults::none()
        },
    ] {
        on_one(1, faults, |_, driver| {
            let file = done(driver, create(c"f"));
            assert_eq!(done(driver, WriteAt::new(file.as_fd(), 0, [1; 8])), 8);
        });
    }
}

#[test]
fn waits_that_always_end_with_nothing() {
    on_one(
        1,
        Faults {
            spurious: 1.0,
            ..Faults::none()
        },
        |_, driver| {
            done(driver, Timeout::after(Duration::from_secs(1)));
        },
    );
}

#[test]
fn everything_always() {
    let faults = Faults {
        late: 2.0,
        burst: f64::INFINITY,
        short: 1.0,
        spurious: 1.0,
        cancel_loses: 1.0,
        torn: true,
        ..Faults::default()
    };
    on_one(1, faults, |_, driver| {
        let file = done(driver, create(c"f"));
        for _ in 0..20 {
            let n = done(driver, WriteAt::new(file.as_fd(), 0, [1; 8]));
            assert!((1..=8).contains(&n));
        }
    });
}

#[test]
fn never_and_less() {
    let faults = Faults {
        late: -1.0,
        burst: f64::NAN,
        short: -0.0,
        spurious: f64::NEG_INFINITY,
        disk_error: f64::NAN,
        latency: Duration::from_secs(2)..Duration::ZERO,
        ..Faults::none()
    };
    on_one(1, faults, |_, driver| {
        let file = done(driver, create(c"f"));
        assert_eq!(done(driver, WriteAt::new(file.as_fd(), 0, [1; 8])), 8);
    });
}

#[test]
fn a_latency_without_end() {
    for latency in [Duration::MAX..Duration::MAX, Duration::ZERO..Duration::MAX] {
        let faults = Faults {
            late: 1.0,
            burst: 1.0,
            latency,
            ..Faults::none()
        };
        on_one(1, faults, |_, driver| {
            done(driver, Nop::new());
        });
    }
}

#[test]
fn disks_of_any_size() {
    for disk_size in [0, 1, 4095, u64::MAX] {
        on_one(
            1,
            Faults {
                disk_size,
                ..Faults::none()
            },
            |_, driver| {
                let file = run(driver, create(c"f")).0;
                if let Ok(file) = file {
                    let written = run(driver, WriteAt::new(file.as_fd(), 0, [1; 8])).0;
                    assert_eq!(written.is_ok(), disk_size == u64::MAX, "{written:?}");
                }
            },
        );
    }
}

fn datagrams(host: &Host, driver: &mut Driver<'_>) -> OwnedFd {
    let addr = SocketAddr::from((host.ip(), 80)).into();
    let socket = done(driver, Socket::datagram(&addr));
    done(driver, Bind::new(socket.as_fd(), addr));
    socket
}

/// One that waits behind another is cancelled as that is.
#[test]
fn what_is_behind_another_is_cancelled() {
    for cancel_loses in [0.0, 0.5, 1.0] {
        for seed in seeds(20) {
            let faults = Faults {
                cancel_loses,
                ..Faults::none()
            };
            let world = World::new(seed, faults);
            let host = world.host("a");
            let mut driver = host.driver(Driver::builder()).unwrap();
            let socket = datagrams(&host, &mut driver);
            let mut ops = [(); 2].map(|()| Recv::new(socket.as_fd(), [0; 8]));
            driver
                .scope(|s| {
                    let [first, second] = &mut ops;
                    let _first = s.try_lend(first, 1).unwrap();
                    let second = s.try_lend(second, 2).unwrap();
                    s.submit(Some(Duration::ZERO), &mut None::<Event<'_>>)
                        .unwrap();
                    s.try_cancel(&second).unwrap();
                    let mut event = None;
                    s.submit(None, &mut event).unwrap();
                    let done = event.and_then(Event::done).unwrap();
                    let (result, _) = second.redeem(done).unwrap();
                    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
                })
                .unwrap();
        }
    }
}

/// One that does not wait does not wait for another either.
#[test]
fn what_does_not_wait_is_behind_nobody() {
    on_one(1, Faults::none(), |host, driver| {
        let socket = datagrams(host, driver);
        let mut waits = Recv::new(socket.as_fd(), [0; 8]);
        let mut fails =
            Recv::new(socket.as_fd(), [0; 8]).flags(MsgFlags::from_bits(libc::MSG_DONTWAIT));
        driver
            .scope(|s| {
                let _waits = s.try_lend(&mut waits, 1).unwrap();
                let fails = s.try_lend(&mut fails, 2).unwrap();
                let mut event = None;
                s.submit(None, &mut event).unwrap();
                let (result, _) = fails.redeem(event.and_then(Event::done).unwrap()).unwrap();
                assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
            })
            .unwrap();
    });
}

/// As its documentation promises.
#[test]
fn a_deadline_that_has_passed_is_tried_once() {
    let late = Faults {
        late: 1.0,
        latency: Duration::from_secs(1)..Duration::from_secs(2),
        ..Faults::none()
    };
    for faults in [Faults::none(), late] {
        on_one(1, faults, |_, driver| {
            let file = done(driver, create(c"f"));
            let at = completeio_driver::clock::Instant::now();
            let op = Deadline::at(WriteAt::new(file.as_fd(), 0, [1; 8]), at);
            assert_eq!(done(driver, op), 8);
        });
    }
}

/// A server that waits for long gets no error more for it.
#[test]
fn a_long_wait_is_one_try() {
    sim::check(
        seeds(20),
        &Faults {
            no_descriptor: 0.01,
            ..Faults::none()
        },
        |world| {
            use completeio_driver::op::{Accept, Listen};
            let host = world.host("a");
            let mut driver = host.driver(Driver::builder()).unwrap();
            let addr = SocketAddr::from((host.ip(), 80)).into();
            let Ok(listener) = run(&mut driver, Socket::stream(&addr)).0 else {
                return;
            };
            done(&mut driver, Bind::new(listener.as_fd(), addr));
            done(&mut driver, Listen::new(listener.as_fd(), 1));
            let mut accept = Accept::new(listener.as_fd());
            let mut timeouts: Vec<Timeout> = (1..150)
                .map(|n| Timeout::after(Duration::from_millis(n)))
                .collect();
            driver
                .scope(|s| {
                    let _accept = s.try_lend(&mut accept, 1000).unwrap();
                    let mut n = 0;
                    let mut left = timeouts.len();
                    let _t: Vec<_> = timeouts
                        .iter_mut()
                        .map(|t| {
                            n += 1;
                            s.try_lend(t, n).unwrap()
                        })
                        .collect();
                    while left > 0 {
                        let mut event = None;
                        s.submit(None, &mut event).unwrap();
                        let Some(event) = event else { continue };
                        left -= 1;
                        assert_ne!(event.token(), 1000, "the accept failed");
                    }
                })
                .unwrap();
        },
    );
}

/// After everything a machine can live through.
#[test]
fn the_longest_timeouts() {
    on_one(1, Faults::default(), |_, driver| {
        done(driver, Timeout::after(Duration::MAX));
        done(driver, Timeout::after(Duration::from_secs(1)));
        let file = done(driver, create(c"f"));
        done(driver, WriteAt::new(file.as_fd(), 0, [1; 8]));
    });
}

/// What one makes possible for another completes with it: no time has to pass.
#[test]
fn operations_that_help_each_other() {
    for seed in seeds(50) {
        on_one(seed, Faults::none(), |host, driver| {
            let (a, b) = host.socket_pair().unwrap();
            let mut recvs = [(); 4].map(|()| Recv::new(b.as_fd(), [0; 2]));
            let mut send = Send::new(a.as_fd(), [1; 8]);
            driver
                .scope(|s| {
                    let _recvs: Vec<_> = recvs
                        .iter_mut()
                        .map(|recv| s.try_lend(recv, 1).unwrap())
                        .collect();
                    let _send = s.try_lend(&mut send, 2).unwrap();
                    let mut events = Vec::with_capacity(5);
                    s.submit_until(Wait::new().at_least(5), &mut events)
                        .unwrap();
                    assert_eq!(events.len(), 5);
                })
                .unwrap();
        });
    }
}
