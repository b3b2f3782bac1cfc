//! The fuzz targets without a fuzzer: what it has found once (`corpus/`), and so many inputs of a
//! seed.

use completeio_driver::fuzzing::noise;
use std::fs;
use std::path::Path;

/// Inputs of a seed, and how long they are at most: fewer and shorter where each step takes long.
const INPUTS: u64 = if cfg!(miri) { 3 } else { 200 };
const LONGEST: u64 = if cfg!(miri) { 160 } else { 2000 };

fn run(name: &str, target: fn(&[u8])) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let kept = fs::read_dir(kept).into_iter().flatten();
    let mut kept: Vec<_> = kept.map(|file| file.expect("it is there").path()).collect();
    kept.sort();
    for path in kept.iter().take(if cfg!(miri) { 3 } else { usize::MAX }) {
        println!("{}", path.display());
        target(&fs::read(path).expect("it can be read"));
    }
    for seed in 0..INPUTS {
        println!("the seed {seed}");
        let len = LONGEST * (seed + 1) / INPUTS;
        target(&noise(seed, usize::try_from(len).expect("a few thousand")));
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        const TARGETS: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            run(stringify!($name), fuzz::$name);
        })*
    };
}
targets!(address, control_messages, script, slots, timeouts, timers);

/// What a fuzzer runs and what is kept of it is run here, too.
#[test]
fn no_target_is_left_out() {
    for dir in ["fuzz_targets", "corpus"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        for file in fs::read_dir(dir).expect("it is there") {
            let path = file.expect("it is there").path();
            let name = path.file_stem().and_then(|name| name.to_str());
            assert!(
                name.is_some_and(|name| TARGETS.contains(&name)),
                "{}",
                path.display()
            );
        }
    }
}
