//! A client and a server on one driver, with a proxy between them that trickles, holds back, cuts
//! and resets.
//!
//! The proxy (`relay`) is a thread with plain sockets and poll(2). What it does is drawn from a
//! seed (`faults`), and so is what the ends do (`talk`): sends and receives of all sizes, exact and
//! not, some of them cancelled on their way or with a deadline. Nothing waits for a time: what is
//! held back is held until the other direction has moved, or for a number of polls.
//!
//! Every byte that arrives is the right one in its order. What is cut is the end of the stream or a
//! typed error, and each side knows how far it came: no less is received than what was handed on
//! before an orderly end, no more is handed on than what was sent. Each operation completes once,
//! and nothing is left open.

mod faults;
mod relay;
mod talk;

use self::faults::{Fault, Faults};
use self::relay::LANES;
use self::talk::{Lane, Talk, speak};
use crate::process::checking;
use crate::progress::Progress;
use crate::random::Random;
use crate::summary::Summary;
use crate::tasks::Tasks;
use crate::{ALARM_S, Options, open_fds, watch};
use completeio_driver::driver::{Backend, Driver, OwnedFd};
use completeio_driver::op::{Accept, Connect, Socket};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread;

pub(crate) fn run(options: &Options) {
    let first = options.seed.unwrap_or(0);
    let mut summary = Summary::default();
    let mut progress = Progress::begin();
    for backend in [Backend::IoUring, Backend::Readiness] {
        let builder = Driver::builder().backend(backend).entries(16).workers(0);
        let tasks = match builder.build() {
            Ok(driver) => Tasks::new(driver),
            Err(e) => {
                summary.skip(options.seeds, format_args!("{backend}: {e}"));
                continue;
            }
        };
        for seed in first..first.saturating_add(options.seeds) {
            watch(ALARM_S);
            checking(format!("{backend}, seed {seed}"), summary);
            case(&tasks, seed);
            summary.passed += 1;
            progress.tell(format_args!("{backend}: seed {seed}, {summary}"));
        }
    }
    progress.pause();
    summary.end();
}

/// One connection through the proxy.
fn case(tasks: &Tasks, seed: u64) {
    let before = open_fds();
    let mut random = Random(seed);
    let talk = Rc::new(Talk::draw(&mut random));
    let faults = Faults::draw(&mut random, talk.lens);
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (outside, inside) = (listen(), listen());
    let to = outside.local_addr().unwrap();
    let server = inside.local_addr().unwrap();
    let relay = {
        let faults = faults.clone();
        thread::spawn(move || relay::run(&outside, server, faults))
    };
    tasks.spawn(connect(tasks.clone(), talk.clone(), to));
    tasks.spawn(accept(tasks.clone(), talk.clone(), inside.into()));
    tasks.run();
    let Ok(moved) = relay.join() else {
        crate::fail("the proxy has panicked");
    };
    for (n, lane) in talk.lanes.iter().enumerate() {
        judge(
            lane,
            talk.lens[n],
            moved[n],
            faults.cut[n].map(|(_, fault)| fault),
            &faults,
        );
    }
    let after = open_fds();
    ensure!(
        after == before,
        "leaked descriptors: {after:?}, before {before:?}"
    );
}

async fn connect(tasks: Tasks, talk: Rc<Talk>, to: SocketAddr) {
    let fd = tasks.perform("socket", Socket::stream(&to.into())).await;
    let socket = tasks.attach(&fd);
    tasks.perform("connect", Connect::new(socket, to)).await;
    speak(tasks, talk, 0, fd).await;
}

async fn accept(tasks: Tasks, talk: Rc<Talk>, listener: OwnedFd) {
    let fd = tasks.attach(&listener);
    let accepted = tasks.perform("accept", Accept::new(fd)).await;
    tasks.close(listener).await;
    speak(tasks, talk, 1, accepted.fd).await;
}

/// Whether the ends know what became of a lane of `len` bytes, of which the proxy handed on
/// `moved`.
fn judge(lane: &Lane, len: usize, moved: usize, cut: Option<Fault>, faults: &Faults) {
    let (sent, received) = (lane.sent.get(), lane.received.get());
    let what = || format!("{lane:?} of {len}, {moved} handed on; {faults:?}");
    ensure!(
        received <= moved && moved <= sent,
        "out of nothing: {}",
        what()
    );
    let orderly = match faults.fault() {
        Some(Fault::Close | Fault::Reset) => false,
        // A lane that is cut swallows what its sender has to say.
        Some(Fault::Cut | Fault::HalfCut) | None => true,
    };
    if orderly {
        ensure!(received == moved, "lost on an orderly end: {}", what());
        ensure!(sent == len, "not all was sent: {}", what());
        let errors = (lane.not_sent.get(), lane.not_received.get());
        ensure!(errors == (None, None), "an orderly end: {}", what());
    }
    let is_whole = cut.is_none() && matches!(faults.fault(), None | Some(Fault::HalfCut));
    ensure!(!is_whole || moved == len, "nothing was cut: {}", what());
    let is_typed = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    let errors = [lane.not_sent.get(), lane.not_received.get()];
    ensure!(errors.into_iter().flatten().all(is_typed), "{}", what());
}

const _: () = assert!(LANES == 2, "a client and a server");
