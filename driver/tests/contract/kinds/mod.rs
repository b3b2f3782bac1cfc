//! Every kind of operation, in everything that can become of it. I1, I3, I5, I16.
//!
//! A row of [`rows`] is a kind: an operation of it that completes, one that fails, one that waits.
//! A column is a test: what is done to the operation of each row, on a driver of its own, with the
//! ledger's books. Where a backend has no such operation, it is refused in each column.
//!
//! The operation, with what of its memory lies in it, is in memory that is mapped twice: once it is
//! out of flight, or its driver is gone, the other view is overwritten, whatever it had waited for
//! comes, and nobody writes.

mod rig;
mod rows;

use self::rig::{Made, Outcome, Rig};
use self::rows::{Make, ROWS, Row};
use crate::kit::code;
use crate::ledger::Cx;
use completeio_driver::driver::Entry;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

contract! {
    everywhere: [
        completes,
        fails,
        cancelled_before_it_is_handed_over,
        cancelled_while_it_waits,
        cancelled_in_flight,
        cancelled_after_it_has_completed,
        dropped_with_its_driver,
        none_is_missing,
    ],
}

/// Completed, or cancelled on the way: what does not wait may be either.
const EITHER: &[Outcome] = &[
    Outcome::Done,
    Outcome::Error(code::ECANCELED),
    // So says the kernel of what it has interrupted on one of its workers.
    Outcome::Error(code::EINTR),
];

fn completes(cx: &mut Cx) {
    let which = |row: &Row| Some((row.completes, vec![Outcome::Done]));
    column(cx, which, |rig, op| {
        rig.push(op);
        Some(rig.entry())
    });
}

fn fails(cx: &mut Cx) {
    let which = |row: &Row| {
        row.fails
            .map(|(errno, make)| (make, vec![Outcome::Error(errno)]))
    };
    column(cx, which, |rig, op| {
        rig.push(op);
        Some(rig.entry())
    });
}

fn cancelled_before_it_is_handed_over(cx: &mut Cx) {
    column(cx, waits_or_completes, |rig, op| {
        rig.push(op);
        rig.cancel();
        Some(rig.entry())
    });
}

/// Each says `ECANCELED`: so it has waited.
fn cancelled_while_it_waits(cx: &mut Cx) {
    column(cx, waits, cancel_in_flight);
}

/// What does not wait, when it was handed over and before its entry is taken.
fn cancelled_in_flight(cx: &mut Cx) {
    let which = |row: &Row| Some((row.completes, EITHER.to_vec()));
    column(cx, which, cancel_in_flight);
}

fn cancel_in_flight(rig: &mut Rig, op: &Made) -> Option<Entry> {
    rig.push(op);
    rig.hand_over();
    rig.cancel();
    Some(rig.entry())
}

fn cancelled_after_it_has_completed(cx: &mut Cx) {
    let which = |row: &Row| Some((row.completes, vec![Outcome::Done]));
    column(cx, which, |rig, op| {
        rig.push(op);
        let entry = rig.entry();
        rig.cancel();
        rig.nothing_comes();
        Some(entry)
    });
}

fn dropped_with_its_driver(cx: &mut Cx) {
    for which in [waits, |row: &Row| Some((row.completes, vec![]))] {
        column(cx, which, |rig, op| {
            rig.push(op);
            rig.hand_over();
            rig.l.abandon();
            None
        });
    }
}

fn waits(row: &Row) -> Option<(Make, Vec<Outcome>)> {
    let make = row.waits?;
    Some((make, vec![Outcome::Error(code::ECANCELED)]))
}

fn waits_or_completes(row: &Row) -> Option<(Make, Vec<Outcome>)> {
    waits(row).or(Some((row.completes, EITHER.to_vec())))
}

/// Does the same to an operation of each kind, and compares what comes out of it, if something
/// does, to what may. Kinds for which there is no such operation have no place in the column.
fn column(
    cx: &Cx,
    which: impl Fn(&Row) -> Option<(Make, Vec<Outcome>)>,
    act: impl Fn(&mut Rig, &Made) -> Option<Entry>,
) {
    for row in ROWS {
        let Some((mut make, mut expected)) = which(row) else {
            continue;
        };
        let _told = Told(row.name);
        let mut rig = Rig::new(cx);
        if rig.lacks(row.name) {
            // It is refused whatever is there: one that fails needs the least.
            make = row.fails.map_or(row.completes, |(_, make)| make);
            expected = vec![Outcome::Unsupported];
        }
        let Some(op) = make(&mut rig) else {
            continue; // This system lacks what it needs, and it has said so.
        };
        if let Some(entry) = act(&mut rig, &op) {
            let outcome = rig.finish(&op, entry);
            assert!(expected.contains(&outcome), "{outcome:?} of {expected:?}");
        }
        rig.watch(cx, &op);
    }
}

/// Tells which kind it was that a test failed with.
struct Told(&'static str);

impl Drop for Told {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("with `{}`", self.0);
        }
    }
}

/// Each kind that is reported, or that stands in the sources, has a row, and only one.
fn none_is_missing(cx: &mut Cx) {
    let l = cx.ledger();
    let reported = l.capabilities().operations.iter();
    let mut kinds: BTreeSet<String> = reported.map(|(name, _)| (*name).to_owned()).collect();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/op");
    for file in fs::read_dir(sources).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("windows.rs") && !cfg!(windows) {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        kinds.extend(text.split("\npub struct ").skip(1).filter_map(kind));
    }
    kinds.insert("Exact".to_owned()); // Made of others, as `Deadline` is.
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.name.to_owned()).collect();
    assert_eq!(rows, kinds);
    assert_eq!(rows.len(), ROWS.len(), "each has one row");
}

/// The name of a struct that begins with the head of an operation.
fn kind(text: &str) -> Option<String> {
    let (definition, _) = text.split_once("\n}")?;
    let name: String = definition
        .chars()
        .take_while(|c| c.is_alphanumeric())
        .collect();
    definition.contains("\n    head: OpHead,").then_some(name)
}
