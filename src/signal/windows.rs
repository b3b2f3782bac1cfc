//! What a console tells, on Windows: control-C.

use crate::event::Event;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The numbers that Linux gives them; all but one never come.
pub(super) mod number {
    pub(crate) const SIGHUP: i32 = 1;
    pub(crate) const SIGINT: i32 = 2;
    pub(crate) const SIGQUIT: i32 = 3;
    pub(crate) const SIGUSR1: i32 = 10;
    pub(crate) const SIGUSR2: i32 = 12;
    pub(crate) const SIGPIPE: i32 = 13;
    pub(crate) const SIGALRM: i32 = 14;
    pub(crate) const SIGTERM: i32 = 15;
    pub(crate) const SIGCHLD: i32 = 17;
    pub(crate) const SIGWINCH: i32 = 28;
}

/// How often it has come.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static COMES: Event = Event::new();

/// Has the handler count, once in a process.
fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().expect("nothing panics under it");
    if !*installed {
        let handler = || {
            COUNT.fetch_add(1, Ordering::Release);
            COMES.notify_all();
        };
        ctrlc::try_set_handler(handler).map_err(|error| match error {
            ctrlc::Error::System(error) => error,
            other => io::Error::other(other),
        })?;
        *installed = true;
    }
    Ok(())
}

/// How often it had come when it was told last.
#[derive(Debug)]
pub(super) struct Listener {
    seen: usize,
}

impl Listener {
    pub(super) fn new(number: i32) -> io::Result<Self> {
        if number != number::SIGINT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        install()?;
        let seen = COUNT.load(Ordering::Acquire);
        Ok(Self { seen })
    }

    pub(super) async fn recv(&mut self) -> io::Result<()> {
        let seen = self.seen;
        let comes = || Some(COUNT.load(Ordering::Acquire)).filter(|count| *count != seen);
        self.seen = COMES.wait_until(comes).await;
        Ok(())
    }
}
