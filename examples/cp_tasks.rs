//! Copies a file as `cp` does, by tasks.
//!
//! ```text
//! cargo run --release --example cp_tasks -- --depth 16 FROM TO
//! ```
//!
//! Shows files that are opened by operations, several tasks on the same two of them, and transfers
//! that say how far they came.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::fs::{File, OpenOptions};
use completeio::task::{block_on, spawn};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

const HELP: &str = "\
usage: cp_tasks [--depth N] [--block BYTES] FROM TO
Copies a file, several blocks at the same time.
  --depth N      tasks, of which each copies a block (8)
  --block BYTES  size of one block (262144)";

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let depth = args.value("--depth").unwrap_or(8);
    let block = args.value("--block").unwrap_or(256 * 1024);
    if !(1..=1024).contains(&depth) || !(1..=1 << 30).contains(&block) {
        common::wrong("--depth goes from 1 to 1024, --block from 1 to 1 GiB");
    }
    let names: Vec<_> = args.names().into_iter().map(PathBuf::from).collect();
    let [from, to] = &names[..] else {
        common::wrong("cp_tasks needs two names, FROM and TO");
    };
    match block_on(copy(from, to, depth, block)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cp_tasks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Opens both files, and has tasks copy what is in the first.
async fn copy(from: &Path, to: &Path, depth: usize, block: usize) -> io::Result<()> {
    let about = |name: &Path, what| {
        let what = format!("{}: {what}", name.display());
        |error| common::named(what, error)
    };
    let source = OpenOptions::new().read(true).open(from).await;
    let source = source.map_err(about(from, "opening"))?;
    let known = source.metadata().await?;
    if !known.is_file() {
        return Err(io::Error::other(format!(
            "{}: is no regular file",
            from.display()
        )));
    }
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).mode(known.mode() & 0o777);
    let target = options.open(to).await.map_err(about(to, "opening"))?;
    let replaced = target.metadata().await?;
    if (replaced.dev(), replaced.ino()) == (known.dev(), known.ino()) {
        return Err(io::Error::other(format!(
            "{}: is the source itself",
            to.display()
        )));
    }
    target.set_len(0).await.map_err(about(to, "emptying"))?;
    let next = Cell::new(0);
    let files = Rc::new((source, target, next));
    let copiers: Vec<_> = (0..depth)
        .map(|_| {
            let (files, buffer) = (files.clone(), Vec::with_capacity(block));
            spawn(async move { blocks(&files.0, &files.1, &files.2, buffer).await })
        })
        .collect();
    for copier in copiers {
        copier.await?.map_err(about(from, "copying"))?;
    }
    Ok(())
}

/// Copies one block after the other that nobody else copies, to the end of the source.
async fn blocks(
    source: &File,
    target: &File,
    next: &Cell<u64>,
    mut buffer: Vec<u8>,
) -> io::Result<()> {
    loop {
        let offset = next.get();
        next.set(offset + buffer.capacity() as u64);
        let (read, block) = source.read_exact_at(buffer, offset).await;
        let ended = match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
            read => read.map(|()| false)?,
        };
        let (written, block) = target.write_all_at(block, offset).await;
        written?;
        if ended {
            return Ok(());
        }
        buffer = block;
        buffer.clear();
    }
}
