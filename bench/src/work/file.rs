//! Blocks of a file, read or written, so many at a time.

use super::text;
use crate::alloc::PAGE;
use crate::child::{Args, Outcome};
use crate::machine::Random;
use crate::meter::Meter;
use crate::peer::{File, Peer};
use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc;

/// Reads, or with `write` writes, `path=…`, with O_DIRECT if `direct`: `depth=N` at a time.
pub(super) fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let (path, direct) = (args.need::<String>("path")?, args.has("direct"));
    let (depth, write) = (args.need::<u64>("depth")?, args.has("write"));
    let file = open(args)?;
    let blocks = Rc::new(Blocks::new(args, &file)?);
    let goal = args.goal()?;
    let meter = P::block_on(args, async move {
        let file = Rc::new(P::file(file, &path, direct).await?);
        let meter = Rc::new(Meter::new(goal));
        let tasks: Vec<_> = (0..depth)
            .map(|_| {
                P::spawn(transfer::<P>(
                    file.clone(),
                    blocks.clone(),
                    meter.clone(),
                    write,
                ))
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        io::Result::Ok(meter)
    })?;
    meter.map_err(text)?.outcome()
}

async fn transfer<P>(
    file: Rc<impl File<P>>,
    blocks: Rc<Blocks>,
    meter: Rc<Meter>,
    write: bool,
) -> io::Result<()> {
    let mut buffer = blocks.buffer(write);
    loop {
        let offset = blocks.next();
        let moved;
        if write {
            blocks.mark(&mut buffer, offset);
            (moved, buffer) = file.write_at(buffer, offset).await;
        } else {
            buffer.clear();
            (moved, buffer) = file.read_at(buffer, offset).await;
            blocks.check(&buffer, offset)?;
        }
        blocks.whole(moved?)?;
        if !meter.step(1) {
            return Ok(());
        }
    }
}

/// Opens what [`Blocks`] are of.
///
/// # Errors
/// It cannot.
pub fn open(args: &Args) -> Result<fs::File, String> {
    let path: String = args.need("path")?;
    let flags = if args.has("direct") {
        libc::O_DIRECT
    } else {
        0
    };
    let mut options = OpenOptions::new();
    options.read(true).write(args.has("write"));
    let opened = options.custom_flags(flags).open(&path);
    opened.map_err(|e| format!("{path}: {e}"))
}

/// Which blocks of a file come next: any, or with `sequential` one after the other. Each page of
/// them begins with its place.
#[derive(Debug)]
pub struct Blocks {
    bytes: usize,
    count: u64,
    sequential: bool,
    random: RefCell<Random>,
    next: Cell<u64>,
}

impl Blocks {
    /// Those of `block=BYTES`.
    ///
    /// # Errors
    /// There are none.
    pub fn new(args: &Args, file: &fs::File) -> Result<Self, String> {
        let bytes = args.need("block")?;
        let count = file.metadata().map_err(text)?.len() / bytes as u64;
        if count == 0 {
            return Err("the file is too small".to_owned());
        }
        Ok(Self {
            bytes,
            count,
            sequential: args.has("sequential"),
            random: RefCell::new(Random::new(1)),
            next: Cell::new(0),
        })
    }

    /// Bytes of a block.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A buffer for one: full for a write, else empty.
    pub fn buffer(&self, write: bool) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(self.bytes);
        if write {
            buffer.resize(self.bytes, 0xA5);
        }
        buffer
    }

    /// Where the next one begins.
    #[inline]
    pub fn next(&self) -> u64 {
        let block = if self.sequential {
            let block = self.next.get();
            self.next.set((block + 1) % self.count);
            block
        } else {
            self.random.borrow_mut().number() % self.count
        };
        block * self.bytes as u64
    }

    /// Writes into each page of a block which one it is.
    #[inline]
    pub fn mark(&self, block: &mut [u8], offset: u64) {
        for (page, offset) in block.chunks_mut(PAGE).zip((offset..).step_by(PAGE)) {
            page[..8].copy_from_slice(&offset.to_le_bytes());
        }
    }

    /// Whether a block is this one.
    ///
    /// # Errors
    /// It is another.
    #[inline]
    pub fn check(&self, block: &[u8], offset: u64) -> io::Result<()> {
        match block.get(..8) {
            Some(mark) if mark == offset.to_le_bytes() => Ok(()),
            _ => Err(io::Error::other("not the block that was asked for")),
        }
    }

    /// Whether a whole block was moved.
    ///
    /// # Errors
    /// It was a part.
    #[inline]
    pub fn whole(&self, moved: usize) -> io::Result<()> {
        match moved == self.bytes {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
