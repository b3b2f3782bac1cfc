//! I3: after the last entry, and after the driver is gone (I5), nobody writes to a buffer: many
//! reads of large ones. Each kind of operation for itself: `kinds`.
//!
//! The buffers are mapped twice: one view is lent, the other is overwritten and watched.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
#[cfg(unix)]
use crate::region;
use crate::region::Region;
use completeio_driver::driver::{CompleteIo, Fd};
use completeio_driver::op::{Op, ReadAt};
use std::fs::File;
use std::time::Duration;

contract! {
    everywhere: [],
    on_host: [
        after_cancelled_reads,
        after_a_driver_with_reads,
        after_a_driver_with_cold_reads,
        after_the_last_of_many_entries,
    ],
    on_unix: [
        after_a_driver_with_reads_on_workers,
    ],
}

/// One read, and how many of them fill the memory.
const PIECE: usize = 1 << 20;
const PIECES: usize = 8;
const ROUNDS: usize = 8;

/// Starts reads of all pieces, hands them over, and lets `end` end them somehow; then watches.
fn reads<O: Op + 'static>(
    cx: &mut Cx,
    file: &File,
    op: impl Fn(&mut Ledger, &File, u64, &'static mut [u8]) -> O,
    end: impl Fn(&mut Ledger),
) {
    let [lent, watched] = Region::twice(PIECE * PIECES);
    for round in 0..ROUNDS {
        watched.fill(0x55);
        let file = kit::again(file);
        let mut l = cx.ledger();
        for n in 0..PIECES {
            let buffer = lent.lend(n * PIECE..(n + 1) * PIECE);
            let op = op(&mut l, &file, (n * PIECE) as u64, buffer);
            l.start(op, n);
        }
        for _ in 0..round {
            l.submit(Some(Duration::ZERO), &mut None).unwrap();
        }
        l.submit(Some(Duration::ZERO), &mut None).unwrap();
        end(&mut l);
        watched.fill(0xAA);
        watched.assert_stays(0xAA);
        l.abandon();
    }
}

fn read(
    l: &mut Ledger,
    file: &File,
    at: u64,
    buffer: &'static mut [u8],
) -> ReadAt<Fd, &'static mut [u8]> {
    ReadAt::new(l.at(file), at, buffer)
}

fn content() -> Vec<u8> {
    vec![1; PIECE * PIECES]
}

fn after_cancelled_reads(cx: &mut Cx) {
    let file = kit::cold_file(&content());
    reads(cx, &file, read, |l| {
        l.try_cancel_all().unwrap();
        let left = l.in_flight();
        for entry in l.take(left) {
            let errno = entry.raw_os_error();
            assert!(
                matches!(errno, None | Some(code::ECANCELED | code::EINTR)),
                "{entry:?}"
            );
        }
    });
}

fn after_a_driver_with_reads(cx: &mut Cx) {
    let file = kit::file(&content());
    reads(cx, &file, read, Ledger::abandon);
}

fn after_a_driver_with_cold_reads(cx: &mut Cx) {
    let file = kit::cold_file(&content());
    reads(cx, &file, read, Ledger::abandon);
}

/// On readiness all reads are on workers.
#[cfg(unix)]
fn after_a_driver_with_reads_on_workers(cx: &mut Cx) {
    if !cx.is_io_uring() {
        return;
    }
    let file = kit::file(&content());
    let read = |_: &mut Ledger, file: &File, at, buffer| region::read_on_a_worker(file, at, buffer);
    reads(cx, &file, read, Ledger::abandon);
}

/// Each part of the memory is the caller's from its own entry on, whatever the others do.
fn after_the_last_of_many_entries(cx: &mut Cx) {
    let file = kit::cold_file(&content());
    let views: Vec<_> = (0..PIECES).map(|_| Region::twice(PIECE)).collect();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for (n, [lent, _]) in views.iter().enumerate() {
        l.start(ReadAt::new(fd, (n * PIECE) as u64, lent.lend(0..PIECE)), n);
    }
    for _ in 0..PIECES {
        let entry = l.one();
        let [_, watched] = &views[entry.user_data()];
        assert_eq!(entry.into_result().unwrap(), PIECE);
        watched.assert_is(1);
        watched.fill(0xAA);
    }
    for [_, watched] in &views {
        watched.assert_stays(0xAA);
    }
}
