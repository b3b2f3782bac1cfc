//! I33: the same sequence of operations on files, pipes and sockets, taken three ways: by plain
//! system calls that never block, on the io_uring backend, on the readiness backend. Results,
//! errnos, every byte of the memory that was lent, and what is left of files and descriptors in the
//! end must agree.
//!
//! Each step completes before the next. One that the plain way says would block is pushed all the
//! same, must not complete, and is then cancelled. What differs on purpose stands in the table of
//! `known.rs`; nothing else is excused.

mod driven;
mod known;
mod outcome;
mod plain;
mod roles;
mod site;
mod step;

use self::driven::Driven;
use self::known::{Tally, excuse, not_asked, not_asked_of};
use self::outcome::{Outcome, Seen};
use self::plain::Plain;
use self::roles::{Kind, Roles, kind_of};
use self::site::Site;
use self::step::{Step, steps};
use crate::session::Session;
use crate::summary::Summary;
use crate::{ALARM_S, Options, watch};
use completeio_driver::driver::{Backend, Driver};
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
};
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, process};

/// The seeds of what was found once: they are tried first.
const SEEDS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/proptest-regressions/differential.txt"
);
/// After so many cases it says how far it came.
const PROGRESS: u32 = 250;
/// A failure is made smaller for so long.
const SHRINK: Duration = Duration::from_secs(120);

/// Does so many sequences. The last line is `N passed, N failed, N skipped`: sequences on a
/// backend.
pub(crate) fn run(options: &Options) {
    let mut backends = Vec::new();
    let mut skipped = 0;
    for backend in [Backend::IoUring, Backend::Readiness] {
        match Driver::builder().backend(backend).build() {
            Ok(_) => backends.push(backend),
            Err(e) => {
                println!("skipped: {backend}: {e}");
                skipped += u64::from(options.cases);
            }
        }
    }
    let seed = options.seed.unwrap_or_else(some_seed);
    println!("{} sequences of the seed {seed}", options.cases);
    let dir = scratch(options);
    let ran = Ran::default();
    let result = if backends.is_empty() {
        Ok(())
    } else {
        runner(options.cases, seed).run(&steps(), |steps| ran.case(&dir, &backends, &steps))
    };
    let _ = fs::remove_dir_all(&dir);
    ran.tally
        .borrow()
        .lines()
        .for_each(|line| println!("{line}"));
    let passed = ran.passed.get();
    let failed = u64::from(result.is_err());
    match &result {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => {
            println!("FAILED after {} sequences: {reason}", ran.cases.get());
            println!("the smallest sequence that was found:");
            for (n, step) in steps.iter().enumerate() {
                println!("{n:>4}: {step:?}");
            }
        }
        Err(error) => println!("FAILED: {error}"),
    }
    let summary = Summary {
        passed,
        failed,
        skipped,
    };
    summary.end();
}

fn runner(cases: u32, seed: u64) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(SEEDS))),
        max_shrink_time: u32::try_from(SHRINK.as_millis()).unwrap_or(u32::MAX),
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn some_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |now| u64::from(now.subsec_nanos()))
}

/// A directory of this process's own.
fn scratch(options: &Options) -> PathBuf {
    let above = if options.dir.as_os_str().is_empty() {
        env::temp_dir()
    } else {
        options.dir.clone()
    };
    above.join(format!("completeio-differential-{}", process::id()))
}

/// What was done so far.
#[derive(Default)]
struct Ran {
    cases: Cell<u32>,
    steps: Cell<usize>,
    passed: Cell<u64>,
    failed: Cell<bool>,
    tally: RefCell<Tally>,
}

impl Ran {
    fn case(&self, dir: &Path, backends: &[Backend], steps: &[Step]) -> Result<(), TestCaseError> {
        watch(ALARM_S);
        let result = Case::new(dir, backends)
            .and_then(|mut case| case.run(steps, &mut self.tally.borrow_mut()));
        if self.failed.get() {
            // One that is being made smaller.
            return verdict(result);
        }
        self.cases.set(self.cases.get() + 1);
        self.steps.set(self.steps.get() + steps.len());
        let verdict = verdict(result);
        match &verdict {
            Ok(()) => self.passed.set(self.passed.get() + backends.len() as u64),
            Err(_) => self.failed.set(true),
        }
        if self.cases.get() % PROGRESS == 0 {
            println!("{} sequences, {} steps", self.cases.get(), self.steps.get());
        }
        verdict
    }
}

fn verdict(result: io::Result<Option<String>>) -> Result<(), TestCaseError> {
    match result {
        Ok(None) => Ok(()),
        Ok(Some(difference)) => Err(TestCaseError::fail(difference)),
        Err(e) => Err(TestCaseError::fail(format!("the check itself: {e}"))),
    }
}

/// One sequence, three ways.
struct Case {
    roles: Roles,
    plain: Plain,
    driven: Vec<Driven>,
}

impl Case {
    fn new(dir: &Path, backends: &[Backend]) -> io::Result<Self> {
        let mut case = Self {
            roles: Roles::default(),
            plain: Plain {
                site: Site::new(dir, 0)?,
            },
            driven: Vec::new(),
        };
        for (backend, way) in backends.iter().zip(1..) {
            let driver = Driver::builder().backend(*backend).entries(16).workers(1);
            let session = Session::of(driver.build()?);
            let site = Site::new(dir, way)?;
            case.driven.push(Driven::new(*backend, site, session));
        }
        let begun = case.plain.site.begin(&mut case.roles)?;
        for (fd, role) in begun.into_iter().zip(case.roles.iter()) {
            case.plain.keep(role.kind, fd)?;
        }
        for way in &mut case.driven {
            let begun = way.site.begin(&mut Roles::default())?;
            for (fd, role) in begun.into_iter().zip(case.roles.iter()) {
                way.keep(role.kind, fd)?;
            }
        }
        Ok(case)
    }

    /// The first difference that is found.
    fn run(&mut self, steps: &[Step], tally: &mut Tally) -> io::Result<Option<String>> {
        for (n, step) in steps.iter().enumerate() {
            if let Some(known) = not_asked(&self.roles, step) {
                tally.count(known);
                continue;
            }
            self.plain.site.settle(&self.roles)?;
            let (plain, made) = self.plain.act(&self.roles, step, tally)?;
            let mut made_by = Vec::new();
            for way in &mut self.driven {
                if let Some(known) = not_asked_of(way.backend, &self.roles, step, &plain) {
                    tally.count(known);
                    made_by.push(Vec::new());
                    continue;
                }
                way.site.settle(&self.roles)?;
                let (seen, made) = way.act(&self.roles, step, &plain)?;
                made_by.push(made);
                if seen == plain {
                    continue;
                }
                match excuse(way.backend, &self.roles, step, &plain, &seen) {
                    Some(known) => tally.count(known),
                    None => {
                        let backend = way.backend;
                        return Ok(Some(format!(
                            "step {n}, {step:?}: plain {plain:?}; {backend}: {seen:?}"
                        )));
                    }
                }
            }
            self.roles.learn(step, &plain);
            self.keep(step, made, made_by, &plain)?;
        }
        self.compare()
    }

    /// Gives what a step has made to the ways.
    fn keep(
        &mut self,
        step: &Step,
        made: Vec<OwnedFd>,
        made_by: Vec<Vec<OwnedFd>>,
        plain: &Seen,
    ) -> io::Result<()> {
        if plain.outcome != Outcome::Done(0) || made.is_empty() {
            return Ok(());
        }
        let kind = match step {
            Step::Pair(pair) => kind_of(*pair),
            Step::Pipe { .. } => Kind::Pipe,
            _ => opened(&made[0])?,
        };
        match step {
            Step::Pair(_) => self.roles.add_pair(kind),
            _ => made.iter().for_each(|_| self.roles.add(kind)),
        }
        for fd in made {
            self.plain.keep(kind, fd)?;
        }
        for (way, made) in self.driven.iter_mut().zip(made_by) {
            for fd in made {
                way.keep(kind, fd)?;
            }
        }
        Ok(())
    }

    /// What is left.
    fn compare(&self) -> io::Result<Option<String>> {
        let plain = self.plain.site.remains(&self.roles)?;
        for way in &self.driven {
            let seen = way.site.remains(&self.roles)?;
            if seen != plain {
                let (backend, only) = (way.backend, |a: &[String], b: &[String]| {
                    let lines = a.iter().filter(|line| !b.contains(line));
                    lines.cloned().collect::<Vec<_>>()
                });
                let (left, right) = (only(&plain, &seen), only(&seen, &plain));
                return Ok(Some(format!(
                    "in the end: plain {left:#?}; {backend}: {right:#?}"
                )));
            }
        }
        Ok(None)
    }
}

/// What a descriptor that was opened by its name is.
fn opened(fd: &impl AsFd) -> io::Result<Kind> {
    let file = File::from(fd.as_fd().try_clone_to_owned()?);
    let device = file.metadata()?.file_type().is_char_device();
    Ok(if device { Kind::Device } else { Kind::File })
}
