//! `cp`: copies a file, several blocks at a time.
//!
//! ```text
//! cargo run --release --example cp -- --depth 16 --direct FROM TO
//! ```
//!
//! Shows a queue of operations that is the caller's, many of them in flight, buffers that wander
//! between a read and a write, transfers that are continued, and direct IO (`copier.rs`); and
//! files that the driver opens (here).

#[path = "../common/mod.rs"]
mod common;
mod copier;

use common::Args;
use completeio::driver::{CompleteIo, Cwd, Driver, Entry};
use completeio::op::{Op, OpObject, OpenAt, OpenOptions};
use copier::Copier;
use std::ffi::{CString, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::ptr::NonNull;

const HELP: &str = "\
usage: cp [--direct] [--depth N] [--block BYTES] FROM TO
Copies a file, through completeio.
  --direct       past the page cache
  --depth N      blocks that are copied at the same time (8)
  --block BYTES  size of one block (262144)";

/// What went wrong, and with which file.
type Result<T> = std::result::Result<T, String>;

/// What direct IO wants addresses, lengths and offsets to be multiples of: enough for any disk.
const ALIGN: usize = 4096;

fn main() -> ExitCode {
    let copied = start(Options::new(Args::new(HELP))).and_then(|mut copier| copier.run());
    match copied {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cp: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    direct: bool,
    depth: usize,
    block: usize,
    from: PathBuf,
    to: PathBuf,
}

impl Options {
    fn new(mut args: Args) -> Self {
        let direct = args.flag("--direct");
        let depth = args.value("--depth").unwrap_or(8);
        let block = args.value("--block").unwrap_or(256 * 1024);
        let names: std::result::Result<[OsString; 2], _> = args.names().try_into();
        let Ok([from, to]) = names else {
            common::wrong("cp needs two names, FROM and TO");
        };
        if !(1..=1024).contains(&depth) {
            common::wrong("--depth goes from 1 to 1024");
        }
        if !(1..=1 << 30).contains(&block) || direct && block % ALIGN != 0 {
            common::wrong(format_args!(
                "--block goes to 1 GiB; with --direct by {ALIGN}"
            ));
        }
        Self {
            direct,
            depth,
            block,
            from: from.into(),
            to: to.into(),
        }
    }
}

/// Opens both files.
fn start(options: Options) -> Result<Copier> {
    let driver = Driver::builder().entries(options.depth).build();
    let mut driver = driver.map_err(|error| error.to_string())?;
    let doing = match options.direct {
        false => "opening",
        true => "opening past the page cache",
    };
    let how = OpenOptions::new().direct(options.direct);
    let (source, from) = open_regular(&mut driver, &options.from, how.read(true), doing)?;
    let how = how.write(true).create(true).mode(system::mode(&from));
    let (target, to) = open_regular(&mut driver, &options.to, how, doing)?;
    if system::is_same(&options, &from, &to) {
        return Err(format!("{}: is the source itself", options.to.display()));
    }
    target.set_len(0).map_err(about(&options.to, "emptying"))?;
    Copier::new(driver, options, source, target, from.len())
}

/// What differs between systems.
#[cfg(unix)]
mod system {
    use super::Options;
    use std::fs::Metadata;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    pub(super) fn mode(of: &Metadata) -> u32 {
        of.permissions().mode() & 0o777
    }

    pub(super) fn is_same(_: &Options, from: &Metadata, to: &Metadata) -> bool {
        (from.dev(), from.ino()) == (to.dev(), to.ino())
    }
}

/// What differs between systems.
#[cfg(not(unix))]
mod system {
    use super::Options;
    use std::fs::{self, Metadata};
    use std::path::Path;

    pub(super) fn mode(_: &Metadata) -> u32 {
        0o666
    }

    pub(super) fn is_same(options: &Options, _: &Metadata, _: &Metadata) -> bool {
        let whole = |path: &Path| fs::canonicalize(path).ok();
        whole(&options.from) == whole(&options.to)
    }
}

/// Opens a file through the driver, and makes sure that it has offsets and a size.
fn open_regular(
    driver: &mut Driver<'_>,
    name: &Path,
    how: OpenOptions,
    doing: &str,
) -> Result<(File, Metadata)> {
    let path = CString::new(name.as_os_str().as_encoded_bytes());
    let path = path.map_err(|error| about(name, doing)(error.into()))?;
    let file = open(driver, path, how).map_err(about(name, doing))?;
    let metadata = file.metadata().map_err(about(name, "looking at it"))?;
    if !metadata.is_file() {
        return Err(format!("{}: is no regular file", name.display()));
    }
    Ok((file, metadata))
}

/// Opens a file through the driver, which has nothing else to do.
fn open(driver: &mut Driver<'_>, path: CString, how: OpenOptions) -> io::Result<File> {
    let mut op = OpenAt::new(Cwd, path, how);
    // SAFETY: it is not in flight, and not touched from here to the end of the loop.
    let object = unsafe { OpObject::from_ptr(NonNull::from(&mut op), 0) };
    driver
        .try_push_dyn(object)
        .expect("there is room for one operation");
    let mut entry = None::<Entry>;
    let entry = loop {
        // SAFETY: the operation stays where it is until its entry is here. If the driver fails,
        // the process ends, and nothing is freed before.
        if let Err(error) = unsafe { driver.submit(None, &mut entry) } {
            eprintln!("cp: the driver failed: {error}");
            process::exit(1);
        }
        if let Some(entry) = entry.take() {
            break entry;
        }
    };
    // SAFETY: this is the last entry of the only operation in flight.
    unsafe { op.finish(entry) }.map(File::from)
}

/// Which file, and what about it.
fn about(name: &Path, what: &str) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{}: {what}: {error}", name.display())
}
