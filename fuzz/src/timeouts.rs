//! Timeouts, their updates, and deadlines, against a list of when each is over. The time is a
//! simulated world's in which nothing is late, so each ends at its time, to the nanosecond.

use completeio_driver::clock::{Clock, Instant};
use completeio_driver::driver::{Driver, Holds, OwnedFd};
use completeio_driver::op::{Deadline, Exact, Op, Recv, Timeout, TimeoutUpdate};
use completeio_driver::sim::{Faults, World};
use completeio_driver::slots::Key;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// A receive of what never comes.
type Silent = Recv<Rc<OwnedFd>, [u8; 4]>;

/// What ends by time.
enum Running {
    Timeout(Key<'static, Timeout>),
    Limited(Key<'static, Deadline<Silent>>),
    /// Its deadline is the driver's to keep, on every backend.
    Exact(Key<'static, Deadline<Exact<Silent>>>),
}

/// How it has ended; itself, if it has not.
fn end(running: Running) -> Result<io::Result<()>, Running> {
    fn redeem<O: Op>(key: Key<'static, O>) -> Result<io::Result<()>, Key<'static, O>> {
        key.redeem().map(|(output, _)| output.map(drop))
    }
    match running {
        Running::Timeout(key) => redeem(key).map_err(Running::Timeout),
        Running::Limited(key) => redeem(key).map_err(Running::Limited),
        Running::Exact(key) => redeem(key).map_err(Running::Exact),
    }
}

struct Timeouts {
    driver: Driver<'static>,
    world: World,
    silent: Rc<OwnedFd>,
    /// With when each is over.
    running: Vec<(Running, Instant)>,
}

/// Starts, moves, cancels and awaits what ends by time: four bytes for a step.
pub fn timeouts(mut bytes: &[u8]) {
    let world = World::new(0, Faults::none());
    let host = world.host("a");
    let builder = Driver::builder().entries(4).in_flight(8).slots(8);
    let (silent, _peer) = host.socket_pair().expect("two descriptors");
    let mut timeouts = Timeouts {
        driver: host.driver(builder).expect("it is within its limits"),
        world,
        silent: Rc::new(silent),
        running: Vec::new(),
    };
    while let Some(step) = crate::take(&mut bytes) {
        timeouts.step(step);
    }
}

impl Timeouts {
    fn step(&mut self, [what, which, number, scale]: [u8; 4]) {
        let now = self.world.now();
        let duration = match scale % 16 {
            15 => Duration::MAX,
            // Few different ones: many are over at the same time.
            scale => Duration::from_nanos(u64::from(number % 32) << (2 * scale)),
        };
        let later = now.saturating_add(duration);
        let past = now.checked_sub(duration);
        let recv = || Recv::new(self.silent.clone(), [0; 4]);
        let clock = [Clock::Boottime, Clock::Monotonic, Clock::Realtime][usize::from(which % 3)];
        match what % 10 {
            0 | 1 => self.start(Timeout::after_on(clock, duration), later, Running::Timeout),
            2 => self.start(Timeout::at(later), later, Running::Timeout),
            3 => {
                let at = past.unwrap_or(now);
                self.start(Timeout::at(at), at, Running::Timeout);
            }
            4 => self.start(Deadline::after(recv(), duration), later, Running::Limited),
            5 => {
                let op = Deadline::at(Exact::new(recv()), later);
                self.start(op, later, Running::Exact);
            }
            6 => self.update(which, |key| TimeoutUpdate::after(key, duration), later),
            7 => self.update(which, |key| TimeoutUpdate::at(key, later), later),
            8 => self.cancel(which),
            _ => self.wait(duration),
        }
    }

    fn start<O: Op<Fd: Holds> + 'static>(
        &mut self,
        op: O,
        at: Instant,
        running: fn(Key<'static, O>) -> Running,
    ) {
        match self.driver.try_push_owned(op, 0) {
            Ok(key) => self.running.push((running(key), at)),
            Err(_) => assert_eq!(self.running.len(), 8, "there is room"),
        }
        self.turn(Some(Duration::ZERO));
        self.end(None);
    }

    fn update(
        &mut self,
        which: u8,
        update: impl FnOnce(&Key<'static, Timeout>) -> TimeoutUpdate,
        to: Instant,
    ) {
        let Some(at) = usize::from(which).checked_rem(self.running.len()) else {
            return;
        };
        let (Running::Timeout(key), over) = &mut self.running[at] else {
            return;
        };
        let Ok(update) = self.driver.try_push_owned(update(key), 0) else {
            return assert_eq!(self.running.len(), 8, "there is room");
        };
        *over = to;
        self.turn(Some(Duration::ZERO));
        let Ok((output, _)) = update.redeem() else {
            panic!("an update waits for nothing");
        };
        output.expect("its timeout runs");
        self.end(None);
    }

    fn cancel(&mut self, which: u8) {
        let Some(at) = usize::from(which).checked_rem(self.running.len()) else {
            return;
        };
        match &self.running[at].0 {
            Running::Timeout(key) => key.cancel(),
            Running::Limited(key) => key.cancel(),
            Running::Exact(key) => key.cancel(),
        }
        self.turn(Some(Duration::ZERO));
        self.end(Some(at));
    }

    /// Until the first is over, or so long.
    fn wait(&mut self, duration: Duration) {
        let first = self.running.iter().map(|(_, over)| *over).min();
        let last = self.world.now().saturating_add(duration);
        let end = first.map_or(last, |first| first.min(last));
        let (is_endless, most) = (duration == Duration::MAX, Duration::from_secs(1 << 30));
        if is_endless && self.running.is_empty() || end > self.world.now().saturating_add(most) {
            return; // The clock of a world has an end, too.
        }
        self.turn((!is_endless).then_some(duration));
        assert_eq!(self.world.now(), end, "when a wait of {duration:?} ends");
        self.end(None);
    }

    /// Two turns: a deadline that the driver keeps has cancelled its operation after the first.
    fn turn(&mut self, wait: Option<Duration>) {
        for wait in [wait, Some(Duration::ZERO)] {
            let submitted = self.driver.scope(|scope| scope.submit(wait, &mut None));
            submitted.expect("no raw operation").expect("no fault");
        }
    }

    /// Those whose time is over, or that were cancelled, have ended, and no others.
    fn end(&mut self, cancelled: Option<usize>) {
        let now = self.world.now();
        for (n, (running, over)) in std::mem::take(&mut self.running).into_iter().enumerate() {
            let has_deadline = !matches!(running, Running::Timeout(_));
            match end(running) {
                Err(running) => {
                    assert!(over > now, "over at {over:?}, and it is {now:?}");
                    assert_ne!(cancelled, Some(n), "cancelled, and it goes on");
                    self.running.push((running, over));
                }
                Ok(Err(error)) if cancelled == Some(n) => {
                    assert_eq!(error.raw_os_error(), Some(CANCELED));
                }
                Ok(output) => {
                    assert!(over <= now, "over at {over:?}, and it is {now:?}");
                    let kind = output.map_err(|error| error.kind());
                    let expected = if has_deadline {
                        Err(io::ErrorKind::TimedOut)
                    } else {
                        Ok(())
                    };
                    assert_eq!(kind, expected);
                }
            }
        }
        while self.driver.next_finished().is_some() {}
        assert_eq!(self.driver.in_flight(), self.running.len());
    }
}

/// errno(3).
const CANCELED: i32 = 125;
