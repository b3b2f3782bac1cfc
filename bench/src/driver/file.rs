//! Blocks of a file.

use super::text;
use bench::child::{Args, Outcome};
use bench::meter::Meter;
use bench::work::{Blocks, open};
use completeio_driver::driver::{Builder, CompleteIo, Descriptor, Driver, Entry};
use completeio_driver::op::{Op, OpCode, OpObject, ReadAt, WriteAt};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// Reads or writes `depth=N` at a time; with `fixed` the file is registered.
pub(super) fn run(builder: Builder, args: &Args) -> Result<Outcome, String> {
    let file = open(args)?;
    let blocks = Blocks::new(args, &file)?;
    let mut driver = builder.build().map_err(text)?;
    if args.has("fixed") {
        let fd = driver.register_fd(file.as_raw_fd(), 0).map_err(text)?;
        on(fd, driver, &blocks, args)
    } else {
        let fd = driver.attach(file.as_raw_fd()).map_err(text)?;
        on(fd, driver, &blocks, args)
    }
}

fn on<F: Descriptor + Copy + 'static>(
    fd: F,
    driver: Driver<'_>,
    blocks: &Blocks,
    args: &Args,
) -> Result<Outcome, String> {
    let depth = 0..args.need("depth")?;
    let meter = Meter::new(args.goal()?);
    if args.has("write") {
        let ops = depth.map(|_| WriteAt::new(fd, 0, blocks.buffer(true)));
        transfer(ops.collect(), driver, blocks, &meter).map_err(text)?;
    } else {
        let ops = depth.map(|_: usize| ReadAt::new(fd, 0, blocks.buffer(false)));
        transfer(ops.collect(), driver, blocks, &meter).map_err(text)?;
    }
    meter.outcome()
}

/// A transfer that is done again and again.
trait Transfer: OpCode + Op<Output = usize> + 'static {
    /// Makes it that of the next block.
    fn aim(&mut self, blocks: &Blocks);

    /// Whether it has moved the right one.
    fn check(&self, blocks: &Blocks) -> io::Result<()>;
}

impl<F: Descriptor + 'static> Transfer for ReadAt<F, Vec<u8>> {
    #[inline]
    fn aim(&mut self, blocks: &Blocks) {
        self.buf_mut().clear();
        self.set_offset(blocks.next());
    }

    #[inline]
    fn check(&self, blocks: &Blocks) -> io::Result<()> {
        blocks.check(self.buf(), self.offset())
    }
}

impl<F: Descriptor + 'static> Transfer for WriteAt<F, Vec<u8>> {
    #[inline]
    fn aim(&mut self, blocks: &Blocks) {
        let offset = blocks.next();
        blocks.mark(self.buf_mut(), offset);
        self.set_offset(offset);
    }

    #[inline]
    fn check(&self, _blocks: &Blocks) -> io::Result<()> {
        Ok(())
    }
}

/// The operations are there longer than the driver: what is given last is dropped first.
fn transfer<O: Transfer>(
    mut ops: Vec<O>,
    mut driver: Driver<'_>,
    blocks: &Blocks,
    meter: &Meter,
) -> io::Result<()> {
    let first = NonNull::new(ops.as_mut_ptr()).expect("a vector has an address");
    let mut entries: Vec<Entry> = Vec::with_capacity(ops.len());
    let push = |driver: &mut Driver<'_>, i: usize| {
        // SAFETY: one of the vector's.
        let mut op = unsafe { first.add(i) };
        // SAFETY: out of flight, as all that is pushed here; `ops` is not touched before the driver
        // is gone.
        unsafe { op.as_mut() }.aim(blocks);
        // SAFETY: as above.
        let object = unsafe { OpObject::from_ptr(op, i) };
        assert!(
            driver.try_push_dyn(object).is_ok(),
            "the queue has room for all"
        );
    };
    let mut in_flight = ops.len();
    for i in 0..in_flight {
        push(&mut driver, i);
    }
    while in_flight > 0 {
        // SAFETY: operations in flight are left alone.
        unsafe { driver.submit(None, &mut entries)? };
        for entry in entries.drain(..) {
            let i = entry.user_data();
            // SAFETY: one of the vector's.
            let mut op = unsafe { first.add(i) };
            // SAFETY: its last entry is here.
            let op = unsafe { op.as_mut() };
            // SAFETY: the user data is the operation's place.
            let moved = unsafe { op.finish(entry) }?;
            blocks.whole(moved)?;
            op.check(blocks)?;
            if meter.step(1) {
                push(&mut driver, i);
            } else {
                in_flight -= 1;
            }
        }
    }
    Ok(())
}
