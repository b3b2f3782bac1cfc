//! Checksums of files, which are read in many pieces at the same time.
//!
//! ```text
//! cargo run --release --example arena -- Cargo.toml README.md
//! ```
//!
//! Shows operations and buffers in an arena (`bumpalo`): a scope borrows them from there and gives
//! them back, in whatever order they complete, without `unsafe` and without an allocation of their
//! own. Prints the CRC-32 (that of gzip), the bytes and the name of each file.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use arrayvec::ArrayVec;
use bumpalo::Bump;
use common::Args;
use completeio::driver::{AsFd, BorrowedFd, Driver};
use completeio::op::ReadAt;
use completeio::scope::{Event, Scope, Ticket};
use std::fs::File;
use std::io;
use std::mem;
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
usage: arena [--depth N] FILE...
Prints the CRC-32 and the length of files.
  --depth N    reads at the same time, 1 to 1024 (16)";

/// Bytes that one read asks for.
const CHUNK: usize = 64 * 1024;

type Chunk = ArrayVec<u8, CHUNK>;
type Read<'env> = ReadAt<BorrowedFd<'env>, &'env mut Chunk>;

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let depth = args.value("--depth").unwrap_or(16);
    let names = args.names();
    if !(1..=1024).contains(&depth) {
        common::wrong("--depth is out of range");
    }
    if names.is_empty() {
        common::wrong("arena needs the name of a file");
    }
    let mut driver = match Driver::builder().entries(depth).build() {
        Ok(driver) => driver,
        Err(error) => {
            eprintln!("arena: no driver: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut arena = Bump::new();
    let mut total = Total::default();
    let mut failed = false;
    for name in names.iter().map(Path::new) {
        match checksum(&mut driver, &arena, name, depth, &mut total) {
            Ok((crc, bytes)) => println!("{crc:08x} {bytes} {}", name.display()),
            Err(error) => {
                eprintln!("arena: {}: {error}", name.display());
                failed = true;
            }
        }
        total.memory = total.memory.max(arena.allocated_bytes());
        // Nothing in it is lent any more: the borrow has ended, and so the compiler lets us.
        arena.reset();
    }
    let Total {
        reads,
        out_of_order,
        memory,
    } = total;
    println!("{reads} reads, {out_of_order} out of order, {memory} bytes in the arena");
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[derive(Default)]
struct Total {
    reads: u64,
    out_of_order: u64,
    memory: usize,
}

/// A place in the window of chunks that are read at the same time.
enum Place<'s, 'env> {
    /// The driver has the operation.
    Reading(Ticket<'s, 'env, Read<'env>>),
    /// The chunk is whole, or the file's last one; those before it may not be.
    Whole(&'env mut Read<'env>),
    /// Between the two.
    Taken,
}

/// Reads a file, and returns its CRC-32 and its length.
fn checksum(
    driver: &mut Driver<'_>,
    arena: &Bump,
    name: &Path,
    depth: usize,
    total: &mut Total,
) -> io::Result<(u32, u64)> {
    let file = File::open(name)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    let file = &*arena.alloc(file);
    driver.scope(|s| {
        let places = arena.alloc_slice_fill_with(depth, |place| {
            let buffer = arena.alloc_with(Chunk::new);
            let op = arena.alloc(ReadAt::new(file.as_fd(), start(place), buffer));
            read(s, op, place)
        });
        let (mut crc, mut bytes) = (!0, 0);
        // The chunk of the file that comes next, and the completion that would come next.
        let (mut chunk, mut expected) = (0, 0);
        loop {
            let mut event = None;
            s.submit(None, &mut event)?;
            let Some(done) = event.and_then(Event::done) else {
                continue;
            };
            let token = done.token();
            let Place::Reading(ticket) = mem::replace(&mut places[token], Place::Taken) else {
                unreachable!("a place that reads has completed");
            };
            let (n, op) = ticket.redeem(done).expect("each token has one ticket");
            let n = n?;
            total.reads += 1;
            total.out_of_order += u64::from(token != expected);
            expected = (token + 1) % depth;
            places[token] = if n > 0 && !op.buf().is_full() {
                op.set_offset(op.offset() + n as u64); // A short read: the rest of the chunk.
                read(s, op, token)
            } else {
                Place::Whole(op)
            };

            // What is whole by now, in the order of the file.
            while let Place::Whole(_) = &places[chunk % depth] {
                let place = &mut places[chunk % depth];
                let Place::Whole(op) = mem::replace(place, Place::Taken) else {
                    unreachable!("asked before");
                };
                crc = crc32(crc, op.buf());
                bytes += op.buf().len() as u64;
                if !op.buf().is_full() {
                    // The end. Reads beyond it are in flight: the scope waits for them.
                    return Ok((!crc, bytes));
                }
                op.buf_mut().clear();
                op.set_offset(start(chunk + depth));
                *place = read(s, op, chunk % depth);
                chunk += 1;
            }
        }
    })?
}

/// Where a chunk begins.
fn start(chunk: usize) -> u64 {
    chunk as u64 * CHUNK as u64
}

/// Lends a read to the driver.
fn read<'s, 'env>(
    scope: &mut Scope<'s, 'env>,
    op: &'env mut Read<'env>,
    place: usize,
) -> Place<'s, 'env> {
    let ticket = scope.try_lend(op, place);
    Place::Reading(ticket.expect("there is room for each place"))
}

/// Goes on with a CRC-32 (reflected, polynomial 0x04c11db7).
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(crc, |crc, byte| {
        TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8)
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let (mut i, mut byte) = (0, 0);
    while i < 256 {
        let mut crc: u32 = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
        byte += 1;
    }
    table
}
