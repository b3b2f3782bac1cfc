//! `cat`: copies files of any size to the standard output.
//!
//! ```text
//! cargo run --example cat -- Cargo.toml README.md
//! ```
//!
//! Shows one operation, and one buffer in it, that are lent to the driver again and again:
//! [`complete`] does that, the only place here that is `unsafe`.

mod common;

use common::Args;
use completeio::driver::{AsFd, AsRawFd, CompleteIo, Driver, Entry, Fd};
use completeio::op::{Op, OpObject, ReadAt};
use std::fs::{File, FileType};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::{self, ExitCode};
use std::ptr::NonNull;

const HELP: &str = "\
usage: cat FILE...
Copies files to the standard output, through completeio.";

/// Bytes that one read asks for.
const BLOCK: usize = 128 * 1024;

fn main() -> ExitCode {
    let names = Args::new(HELP).names();
    if names.is_empty() {
        common::wrong("cat needs the name of a file");
    }
    let mut driver = Driver::new().unwrap_or_else(|error| give_up("no driver", error));
    // Not std's own, which keeps the last line in a buffer and forgets an error at the end.
    let out = io::stdout().as_fd().try_clone_to_owned();
    let mut out = File::from(out.unwrap_or_else(|error| give_up("standard output", error)));
    let mut failed = false;
    for name in names.iter().map(Path::new) {
        if let Err(error) = cat(&mut driver, name, &mut out) {
            if error.kind() == ErrorKind::BrokenPipe {
                give_up("standard output", error);
            }
            eprintln!("cat: {}: {error}", name.display());
            failed = true;
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(unix)]
fn has_positions(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    !(kind.is_fifo() || kind.is_char_device())
}

#[cfg(not(unix))]
fn has_positions(kind: FileType) -> bool {
    kind.is_file()
}

/// Copies one file.
fn cat(driver: &mut Driver<'_>, name: &Path, out: &mut File) -> io::Result<()> {
    let mut file = File::open(name)?;
    if !has_positions(file.metadata()?.file_type()) {
        // Pipes and terminals have no positions to read at.
        return io::copy(&mut file, out).map(drop);
    }
    let fd = driver.attach(file.as_raw_fd())?;
    let result = copy(driver, fd, out);
    driver.detach(fd);
    result
}

/// Copies from the start of a file to its end.
fn copy(driver: &mut Driver<'_>, fd: Fd, out: &mut File) -> io::Result<()> {
    let mut op = ReadAt::new(fd, 0, Vec::with_capacity(BLOCK));
    while complete(driver, &mut op)? > 0 {
        let bytes = op.buf_mut();
        out.write_all(bytes)
            .unwrap_or_else(|error| give_up("standard output", error));
        let n = bytes.len() as u64;
        bytes.clear();
        op.set_offset(op.offset() + n);
    }
    Ok(())
}

/// Lends `op` to the driver, and waits until it is complete.
fn complete<'arena, O: Op + 'arena>(
    driver: &mut Driver<'arena>,
    op: &mut O,
) -> io::Result<O::Output> {
    // SAFETY: `op` is not in flight: nothing is when this function is called, or after it has
    // returned. Until then it is borrowed, so that nobody moves or touches it.
    let object = unsafe { OpObject::from_ptr(NonNull::from(&mut *op), 0) };
    driver
        .try_push_dyn(object)
        .expect("there is room for one operation");
    let mut entry = None::<Entry>;
    let entry = loop {
        // SAFETY: the operation stays where it is until its entry is here, and its file is open.
        // If the driver fails, the process ends, and nothing is freed before.
        let submitted = unsafe { driver.submit(None, &mut entry) };
        submitted.unwrap_or_else(|error| give_up("the driver failed", error));
        if let Some(entry) = entry.take() {
            break entry;
        }
    };
    // SAFETY: this is the last entry of the only operation in flight.
    unsafe { op.finish(entry) }
}

/// Ends the process; in silence when the reader of a pipe has gone.
fn give_up(what: &str, error: impl Into<io::Error>) -> ! {
    let error = error.into();
    if error.kind() != ErrorKind::BrokenPipe {
        eprintln!("cat: {what}: {error}");
    }
    process::exit(1);
}
