//! Running out of descriptors.

use crate::Options;
use crate::session::{Lent, Session};
use completeio_driver::driver::AsRawFd;
use completeio_driver::op::{Accept, Recv, Send};
use std::cell::RefCell;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

thread_local! {
    /// What fills the gaps below the limit.
    static FILLERS: RefCell<Vec<OwnedFd>> = const { RefCell::new(Vec::new()) };
}

/// Lowers the soft limit so that `left` more descriptors can be opened; returns the old one.
pub(crate) fn leave_descriptors(left: u64) -> u64 {
    let old = descriptors();
    let highest = crate::open_fds()
        .iter()
        .filter_map(|fd| fd.split(' ').next()?.parse().ok())
        .fold(0, u64::max);
    set_descriptors(highest + 1);
    loop {
        // SAFETY: takes a number; the standard input is open.
        let fd = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 0) };
        if fd < 0 {
            break;
        }
        // SAFETY: just made, and known to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        FILLERS.with_borrow_mut(|fillers| fillers.push(fd));
    }
    set_descriptors(highest + 1 + left);
    old
}

pub(crate) fn close_fillers() {
    FILLERS.with_borrow_mut(Vec::clear);
}

fn limits() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one `rlimit`.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0;
    ensure!(!failed, "getrlimit: {}", std::io::Error::last_os_error());
    limit
}

fn descriptors() -> u64 {
    limits().rlim_cur
}

/// Sets the soft limit.
pub(crate) fn set_descriptors(soft: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        ..limits()
    };
    // SAFETY: the kernel reads one `rlimit`.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0;
    ensure!(!failed, "setrlimit: {}", std::io::Error::last_os_error());
}

/// Raises the limit to so many descriptors, or as far as it goes; returns what it is then.
pub(crate) fn raise_descriptors(wanted: u64) -> u64 {
    let old = limits();
    if old.rlim_cur < wanted {
        // Beyond the hard limit with the right to it only, and never beyond `fs.nr_open`.
        for most in [old.rlim_max.max(wanted), old.rlim_max] {
            let limit = libc::rlimit {
                rlim_cur: wanted.min(most),
                rlim_max: most,
            };
            // SAFETY: the kernel reads one `rlimit`.
            if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0 {
                break;
            }
        }
    }
    descriptors()
}

/// An accept that finds no free descriptor completes once with EMFILE, and the wait after it does
/// not spin; with descriptors again, the connection is there.
pub(crate) fn accept_without_descriptors(options: &Options) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut session = Session::new(options);
    let listening = session.attach(&listener);
    let mut accept = Lent::new(Accept::new(listening));

    // The client takes the last descriptor, so that the server has none. (io_uring looks at the
    // limit when the accept is submitted.)
    let old = leave_descriptors(1);
    let first = session.start(&mut accept);
    session.turn(Some(Duration::ZERO));
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let entry = session.wait(first);
    let refused = Session::finish(&mut accept, entry);
    let errno = refused
        .as_ref()
        .err()
        .and_then(std::io::Error::raw_os_error);
    ensure!(
        errno == Some(libc::EMFILE),
        "an accept without descriptors gave {refused:?}"
    );

    // Nothing is in flight, and the listener is readable: waiting must be waiting.
    let enters = session.driver.stats().enters;
    let cpu = cpu_time();
    for _ in 0..4 {
        let entries = session.turn(Some(Duration::from_millis(25)));
        ensure!(entries == 0, "{entries} entries out of nothing");
    }
    let turns = session.driver.stats().enters - enters;
    ensure!(turns <= 40, "{turns} system calls in four waits: it spins");
    println!(
        "four waits of 25 ms: {turns} system calls, {:?} of CPU",
        cpu_time() - cpu
    );

    // The connection was not lost to the accept that failed.
    let second = session.start(&mut accept);
    let entry = session.wait(second);
    let errno = entry.raw_os_error();
    ensure!(
        errno == Some(libc::EMFILE),
        "the second accept gave {entry:?}"
    );
    set_descriptors(old);
    close_fillers();
    let server = session.run("accept", &mut accept).fd;
    let (ours, theirs) = (session.attach(&client), session.attach(&server));
    let n = session.run("send", &mut Lent::new(Send::new(ours, "hello")));
    ensure!(n == 5, "{n} bytes sent");
    let mut recv = Lent::new(Recv::new(theirs, Vec::with_capacity(16)));
    session.run("recv", &mut recv);
    ensure!(
        recv.op().buf() == b"hello",
        "received {:?}",
        recv.op().buf()
    );
    session.settle();
    ensure!(server.as_raw_fd() != client.as_raw_fd(), "two ends");
    println!("ok");
}

/// The CPU time that this process has used.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap())
}
