//! Blocks of a file.

use super::Ring;
use bench::child::{Args, Outcome};
use bench::meter::Meter;
use bench::work::{Blocks, open};
use io_uring::{opcode, squeue, types};
use std::os::fd::AsRawFd;

/// Reads or writes `depth=N` at a time; with `fixed` the file is registered.
pub(super) fn run(ring: &mut Ring<'_>, args: &Args) -> Result<Outcome, String> {
    let (depth, write, fixed) = (args.need("depth")?, args.has("write"), args.has("fixed"));
    let file = open(args)?;
    let blocks = Blocks::new(args, &file)?;
    let bytes = blocks.bytes();
    let len = u32::try_from(bytes).map_err(|e| e.to_string())?;
    if fixed {
        let registered = ring.submitter.register_files(&[file.as_raw_fd()]);
        registered.map_err(|e| format!("the file is not registered: {e}"))?;
    }
    let mut buffers: Vec<_> = (0..depth).map(|_| vec![0u8; bytes]).collect();
    let mut offsets = vec![0; depth];
    let fd = types::Fd(file.as_raw_fd());
    let entry = |buffer: &mut Vec<u8>, offset| -> squeue::Entry {
        let memory = buffer.as_mut_ptr();
        match (write, fixed) {
            (false, false) => opcode::Read::new(fd, memory, len).offset(offset).build(),
            (false, true) => opcode::Read::new(types::Fixed(0), memory, len)
                .offset(offset)
                .build(),
            (true, false) => opcode::Write::new(fd, memory, len).offset(offset).build(),
            (true, true) => opcode::Write::new(types::Fixed(0), memory, len)
                .offset(offset)
                .build(),
        }
    };
    let mut push = |ring: &mut Ring<'_>, i: usize, done: Option<usize>| -> Result<(), String> {
        if let Some(moved) = done {
            blocks.whole(moved).map_err(|e| e.to_string())?;
            if !write {
                blocks
                    .check(&buffers[i], offsets[i])
                    .map_err(|e| e.to_string())?;
            }
        }
        offsets[i] = blocks.next();
        if write {
            blocks.mark(&mut buffers[i], offsets[i]);
        }
        let entry = entry(&mut buffers[i], offsets[i]);
        // SAFETY: nothing else is in flight on the buffer, which is there until all is done.
        unsafe { ring.push(&entry.user_data(i as u64)) };
        Ok(())
    };
    for i in 0..depth {
        push(ring, i, None)?;
    }
    let meter = Meter::new(args.goal()?);
    let mut in_flight = depth;
    while in_flight > 0 {
        ring.enter(1);
        while let Some(cqe) = ring.cq.next() {
            let i = usize::try_from(cqe.user_data()).map_err(|e| e.to_string())?;
            let moved = usize::try_from(cqe.result());
            let moved = moved.map_err(|_| format!("error {}", -cqe.result()))?;
            if meter.step(1) {
                push(ring, i, Some(moved))?;
            } else {
                in_flight -= 1;
            }
        }
    }
    meter.outcome()
}
