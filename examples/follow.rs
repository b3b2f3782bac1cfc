//! Prints a file, and what is appended to it, until control-C: as `tail -f` does.
//!
//! ```text
//! cargo run --features signal --example follow -- FILE
//! ```
//!
//! Shows a signal, an interval, the standard output, and two futures of which the first one counts.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::fs::OpenOptions;
use completeio::io::AsyncWriteExt;
use completeio::signal::ctrl_c;
use completeio::stdio::stdout;
use completeio::task::block_on;
use completeio::time::{Duration, MissedTickBehavior, interval};
use futures_lite::future::or;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

const HELP: &str = "\
usage: follow [--interval MILLISECONDS] FILE
Prints a file from its beginning, and what is appended to it, until control-C.
  --interval MILLISECONDS  between two looks at it (100)";

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let interval = args.value("--interval").unwrap_or(100);
    let names = args.names();
    let ([name], 1..) = (&names[..], interval) else {
        common::wrong("follow needs the name of one file, and a millisecond at least");
    };
    let name = Path::new(name);
    match block_on(follow(name, Duration::from_millis(interval))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("follow: {}: {error}", name.display());
            ExitCode::FAILURE
        }
    }
}

/// Prints what the file has, and looks again whenever the interval is over. What was read is
/// printed before it ends.
async fn follow(name: &Path, period: Duration) -> io::Result<()> {
    let file = OpenOptions::new().read(true).open(name).await?;
    let mut stdout = stdout();
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupt = pin!(ctrl_c());
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut offset = 0;
    let mut at_end = false;
    loop {
        let is_time = async {
            if at_end {
                ticks.tick().await;
            }
            Ok(true)
        };
        let is_interrupted = async { interrupt.as_mut().await.map(|()| false) };
        if !or(is_interrupted, is_time).await? {
            return Ok(());
        }
        if at_end && file.metadata().await?.size() < offset {
            eprintln!("follow: {}: it was cut off", name.display());
            offset = 0;
        }
        let (read, part) = file.read_at(buffer, offset).await;
        let read = read?;
        let (written, part) = stdout.write_all(part).await;
        written?;
        offset += read as u64;
        at_end = read == 0;
        buffer = part;
        buffer.clear();
    }
}
