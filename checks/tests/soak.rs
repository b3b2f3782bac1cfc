//! I40, in short: few connections, each with some lives. More, for minutes:
//! `cargo run --release -p checks -- soak`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{BACKENDS, checks, run};

/// What of a soak is no matter of time.
const CHECKED: [&str; 3] = ["bytes: ", "each of ", "descriptors: "];

/// What it says of the rest.
const TOO_SHORT: &str = "too short to be compared";

#[test]
fn connections_live_and_end() {
    let args = ["soak", "--minutes", "0", "--connections", "40"];
    let outcome = run(&mut checks(&args));
    outcome.assert_ok("soak");
    let lines = || outcome.stdout.lines();
    for backend in BACKENDS {
        let gone = format!("skipped: {backend}: ");
        let is_gone = |line: &&str| line.starts_with(&gone) && !line.ends_with(TOO_SHORT);
        if let Some(line) = lines().find(is_gone) {
            println!("{line}");
            continue;
        }
        for what in CHECKED {
            let says = format!("ok: {backend}: {what}");
            assert!(lines().any(|line| line.starts_with(&says)), "{outcome:?}");
        }
    }
}
