//! A small key-value store, and a search for the crash that it does not survive.
//!
//! ```text
//! cargo run --release --features sim --example crashes
//! cargo run --release --features sim --example crashes -- --careless
//! ```
//!
//! The store is a log: a record for each put, and a put is acknowledged when its record is on the
//! disk. What was acknowledged has to be there after a crash. With `--careless` a put is
//! acknowledged when it was written, and not synced: that is found in no time, with the seed that
//! repeats it.
//!
//! `Store` knows nothing of the simulation: on a driver of the real system it is the same program.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::driver::{AsFd, Cwd, Driver, Holds};
use completeio::op::{Op, OpenAt, OpenOptions, ReadAt, ReadExactAt, Sync, WriteAllAt, WriteAt};
use completeio::scope::Event;
use completeio::sim::{self, Faults, World};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic;
use std::process::ExitCode;

const HELP: &str = "\
usage: crashes [--seeds N] [--careless]
Runs a key-value store on N simulated machines (1000), each of which crashes once.
  --careless    acknowledge what is written before it is synced: a defect to be found";

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let seeds = args.value("--seeds").unwrap_or(1000);
    let careful = !args.flag("--careless");
    args.end();
    let faults = Faults {
        torn: true,
        ..Faults::default()
    };
    // The report says what a panic said.
    panic::set_hook(Box::new(|_| {}));
    let found = sim::search(0..seeds, &faults, |world| survives_a_crash(world, careful));
    match found {
        None => {
            println!("{seeds} machines have crashed, and nothing was lost");
            ExitCode::SUCCESS
        }
        Some(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Puts values until the machine stops, and looks for them when it is up again.
fn survives_a_crash(world: &World, careful: bool) {
    let host = world.host("store");
    let mut acknowledged = BTreeMap::new();
    {
        let mut driver = host.driver(Driver::builder()).expect("a driver");
        let mut store = Store::open(&mut driver, careful).expect("an empty store");
        for i in 0..8 {
            store.put(&mut driver, i % 4, i).expect("there is room");
            acknowledged.insert(i % 4, i);
        }
    }
    host.crash();
    let mut driver = host.driver(Driver::builder()).expect("a driver");
    let store = Store::open(&mut driver, careful).expect("what the crash has left");
    assert_eq!(store.values, acknowledged, "what was acknowledged is there");
}

/// Keys and values, and the log that they come from.
struct Store {
    log: OwnedFd,
    end: u64,
    values: BTreeMap<u32, u32>,
    careful: bool,
}

/// Key, value, and a sum of both, which a record that was torn does not have.
const RECORD: usize = 12;

impl Store {
    /// Reads the log up to its first record that is not whole.
    fn open(driver: &mut Driver<'_>, careful: bool) -> io::Result<Self> {
        let options = OpenOptions::new().read(true).write(true).create(true);
        let log = run(driver, &mut OpenAt::new(Cwd, c"log", options))?;
        // The file's name is to survive too.
        let dir = run(driver, &mut OpenAt::read(Cwd, c"."))?;
        run(driver, &mut Sync::new(dir.as_fd()))?;
        let mut store = Self {
            log,
            end: 0,
            values: BTreeMap::new(),
            careful,
        };
        while let Some((key, value)) = store.read(driver)? {
            store.values.insert(key, value);
            store.end += RECORD as u64;
        }
        Ok(store)
    }

    /// The record at the end of what is known.
    fn read(&self, driver: &mut Driver<'_>) -> io::Result<Option<(u32, u32)>> {
        let mut op = ReadExactAt::new(ReadAt::new(self.log.as_fd(), self.end, [0; RECORD]));
        match run(driver, &mut op) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let [key, value, sum] = words(*op.buf());
        Ok((sum == checksum(key, value)).then_some((key, value)))
    }

    /// Returns when the value is there for good.
    fn put(&mut self, driver: &mut Driver<'_>, key: u32, value: u32) -> io::Result<()> {
        let words = [key, value, checksum(key, value)];
        let mut record = [0; RECORD];
        for (bytes, word) in record.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let write = WriteAt::new(self.log.as_fd(), self.end, record);
        run(driver, &mut WriteAllAt::new(write))?;
        if self.careful {
            run(driver, &mut Sync::new(self.log.as_fd()))?;
        }
        self.end += RECORD as u64;
        self.values.insert(key, value);
        Ok(())
    }
}

fn words(record: [u8; RECORD]) -> [u32; 3] {
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| record[4 * at + i]));
    [word(0), word(1), word(2)]
}

fn checksum(key: u32, value: u32) -> u32 {
    (key ^ value.rotate_left(16)).wrapping_mul(0x9e37_79b9) ^ u32::MAX
}

/// Does one operation, and waits for it.
fn run<O: Op>(driver: &mut Driver<'_>, op: &mut O) -> io::Result<O::Output>
where
    O::Fd: Holds,
{
    driver.scope(|s| {
        let Ok(ticket) = s.try_lend(op, 0) else {
            unreachable!("nothing else is in flight")
        };
        let mut event = None;
        while event.is_none() {
            s.submit(None, &mut event)?;
        }
        let done = event.and_then(Event::done).expect("it completes once");
        let Ok((output, _)) = ticket.redeem(done) else {
            unreachable!("there is one operation")
        };
        output
    })?
}
