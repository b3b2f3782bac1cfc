//! Instructions in user space, counted by callgrind.
//!
//! This program runs itself under valgrind with an exact number of operations, twice; the
//! difference of the counts, divided by that of the operations, is free of what starting costs.

use crate::measure::{Goal, Spread};
use crate::{echo, nop};
use std::process::Command;

/// The hidden subcommands: `count-nop PEER BATCH TURNS`, `count-echo PEER CONNECTIONS REQUESTS`.
pub(crate) const COUNT_NOP: &str = "count-nop";
pub(crate) const COUNT_ECHO: &str = "count-echo";

/// User-space instructions of the process for each operation.
pub(crate) struct Count {
    pub(crate) instructions: Spread,
    /// Operations of one enter, where the peer knows.
    pub(crate) ops_per_enter: Option<f64>,
}

/// An error with the reason why a peer cannot run here, if there is one.
pub(crate) fn supported(why_not: Option<String>) -> Result<(), String> {
    why_not.map_or(Ok(()), Err)
}

pub(crate) fn nops(peer: nop::Peer, batch: u32) -> Result<Count, String> {
    supported(peer.why_not())?;
    const TURNS: [u64; 2] = [160, 480];
    let mut totals = [0; 2];
    for (turns, total) in TURNS.iter().zip(&mut totals) {
        let args = [
            COUNT_NOP,
            peer.name(),
            &batch.to_string(),
            &turns.to_string(),
        ];
        *total = count(&args)?.0;
    }
    let ops = (TURNS[1] - TURNS[0]) * u64::from(batch);
    let instructions = totals[1].saturating_sub(totals[0]) as f64 / ops as f64;
    let instructions = Spread {
        median: instructions,
        min: instructions,
        max: instructions,
    };
    Ok(Count {
        instructions,
        ops_per_enter: Some(f64::from(batch)),
    })
}

pub(crate) fn echoes(peer: echo::Peer, connections: usize, runs: usize) -> Result<Count, String> {
    supported(peer.why_not())?;
    // Rounds of all connections, so that the load is the same to the end.
    let requests = [20, 80].map(|rounds| rounds * connections as u64);
    let mut counts = Vec::new();
    let mut enters = None;
    for _ in 0..runs {
        let mut totals = [0; 2];
        for (requests, total) in requests.iter().zip(&mut totals) {
            let args = [
                COUNT_ECHO,
                peer.name(),
                &connections.to_string(),
                &requests.to_string(),
            ];
            (*total, enters) = count(&args)?;
        }
        let more = totals[1].saturating_sub(totals[0]);
        counts.push(more as f64 / (requests[1] - requests[0]) as f64);
    }
    let instructions = Spread::of(counts).ok_or("no runs")?;
    Ok(Count {
        instructions,
        ops_per_enter: enters.map(|enters| requests[1] as f64 / enters as f64),
    })
}

/// Runs this program under callgrind; returns the instructions, and the number that it printed.
fn count(args: &[&str]) -> Result<(u64, Option<u64>), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(args)
        .output()
        .map_err(|e| format!("valgrind does not start: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last = last_line(&said);
        return Err(format!("under valgrind: {} {last}", output.status));
    }
    // "==1234== Collected : 5678"
    let collected = said
        .lines()
        .find_map(|line| line.split("Collected :").nth(1));
    let collected = collected.and_then(|number| number.trim().parse().ok());
    let printed = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    Ok((collected.ok_or("callgrind printed no count")?, printed))
}

/// The last line that a program which was watched has said itself.
pub(crate) fn last_line(said: &str) -> &str {
    let own = |line: &&str| !line.starts_with("==");
    said.lines().rev().find(own).unwrap_or("")
}

/// The part of the hidden subcommands that is counted.
pub(crate) fn child(command: &str, args: &[String]) -> Result<(), String> {
    let [peer, size, amount] = args else {
        return Err(format!("{command} PEER SIZE AMOUNT"));
    };
    let amount: u64 = amount.parse().map_err(|e| format!("{amount}: {e}"))?;
    let unknown = || format!("no peer {peer:?}");
    if command == COUNT_NOP {
        let peer = nop::Peer::from_name(peer).ok_or_else(unknown)?;
        let batch = size.parse().map_err(|e| format!("{size}: {e}"))?;
        nop::run(peer, batch, Goal::Turns(amount)).map(drop)
    } else {
        let peer = echo::Peer::from_name(peer).ok_or_else(unknown)?;
        let connections = size.parse().map_err(|e| format!("{size}: {e}"))?;
        if let Some(enters) = echo::serve_exactly(peer, connections, amount)? {
            println!("{enters}");
        }
        Ok(())
    }
}
