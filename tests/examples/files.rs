//! Those that copy and read files.

use crate::common::bytes;
use crate::kit::{backends, command, directory, run, succeed, text};
use std::fs;
use std::path::Path;

#[test]
fn cat_copies_files() {
    let dir = directory("cat");
    for &backend in backends() {
        let mut all = Vec::new();
        let mut names = Vec::new();
        for len in [0, 1, 5 << 20] {
            let (name, bytes) = (dir.join(len.to_string()), bytes(len));
            fs::write(&name, &bytes).unwrap();
            let output = run(command("cat", backend).arg(&name));
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert!(output.stdout == bytes, "{backend}: {len} bytes differ");
            all.extend(bytes);
            names.push(name);
        }
        let output = run(command("cat", backend).args(&names));
        assert!(
            output.status.success() && output.stdout == all,
            "{backend}: several differ"
        );
    }
}

/// By tasks and by threads, which the example compares; checked against known sums.
#[test]
fn remote_sums_files() {
    let dir = directory("remote");
    let sums = [
        ("empty", Vec::new(), "cbf29ce484222325          0"),
        ("a", b"a".to_vec(), "af63dc4c8601ec8c          1"),
        ("foobar", b"foobar".to_vec(), "85944171f73967e8          6"),
    ];
    let mut names = Vec::new();
    let mut expected = String::new();
    for (name, bytes, sum) in sums {
        let name = dir.join(name);
        fs::write(&name, bytes).unwrap();
        expected += &format!("{sum} {}\n", name.display());
        names.push(name);
    }
    let large = dir.join("large");
    fs::write(&large, bytes(1 << 20)).unwrap();
    for &backend in backends() {
        let out = succeed(command("remote", backend).args(&names));
        assert_eq!(out, expected, "{backend}");
        // More files than the driver has slots.
        let out = succeed(command("remote", backend).args([&large; 40]));
        assert_eq!(out.matches("    1048576 ").count(), 40, "{out}");
    }
}

/// By operations that are the caller's, and by tasks.
pub(crate) const COPIERS: [&str; 2] = ["cp", "cp_tasks"];

const SIZES: [usize; 6] = [0, 1, 4095, 4096, (1 << 20) + 17, 20 << 20];

/// Copies files of all sizes; `false` where the file system has no direct IO.
fn copies_are_identical(example: &str, dir: &Path, options: &[&str]) -> bool {
    let (from, to) = (dir.join("from"), dir.join("to"));
    for size in SIZES {
        let bytes = bytes(size);
        fs::write(&from, &bytes).unwrap();
        for &backend in backends() {
            for depth in ["1", "32"] {
                // What was there is longer, and goes.
                fs::write(&to, &[7; 8000][..]).unwrap();
                let mut cp = command(example, backend);
                let cp = cp.args(options).args(["--depth", depth]).args([&from, &to]);
                let output = run(cp);
                let error = text(&output.stderr);
                if error.contains("past the page cache: Invalid argument") {
                    println!("skipped: {error}");
                    return false;
                }
                assert!(output.status.success(), "{cp:?}: {error}");
                assert!(
                    fs::read(&to).unwrap() == bytes,
                    "{cp:?}: {size} bytes differ"
                );
            }
        }
    }
    true
}

#[test]
fn cp_makes_identical_files() {
    for example in COPIERS {
        let dir = directory(example);
        copies_are_identical(example, &dir, &[]);
        // Blocks that divide nothing, and a file in which they all are short.
        copies_are_identical(example, &dir, &["--block", "50021"]);
    }
}

/// Checked against a known CRC-32.
#[cfg(feature = "arrayvec")]
#[test]
fn arena_sums_files() {
    let name = directory("arena").join("foobar");
    fs::write(&name, "foobar").unwrap();
    for &backend in backends() {
        let said = succeed(command("arena", backend).arg(&name));
        assert!(said.contains("9ef61f95"), "{said}");
    }
}

/// Pipes and holes, modes and links, what is past the cache; and errors as Unix words them.
#[cfg(unix)]
mod unix_only {
    use super::*;
    use crate::kit::{Watchdog, fail, on_backends};
    use std::io::Write;
    use std::process::Stdio;

    #[test]
    fn cat_says_what_is_wrong_and_goes_on() {
        let dir = directory("cat-errors");
        let (good, missing) = (dir.join("good"), dir.join("missing"));
        fs::write(&good, "good").unwrap();
        for &backend in backends() {
            let output = run(command("cat", backend).args([&missing, &dir, &good]));
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert_eq!(output.stdout, b"good");
            let missing = format!("cat: {}: No such file or directory", missing.display());
            let directory = format!("cat: {}: Is a directory", dir.display());
            assert!(
                error.contains(&missing) && error.contains(&directory),
                "{error}"
            );
        }
    }

    #[test]
    fn cat_reads_pipes() {
        for &backend in backends() {
            let mut child = command("cat", backend)
                .arg("/dev/stdin")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let _watchdog = Watchdog::new(&child);
            child
                .stdin
                .take()
                .unwrap()
                .write_all(b"through a pipe")
                .unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success() && output.stdout == b"through a pipe");
        }
    }

    #[test]
    fn remote_says_what_is_wrong_and_goes_on() {
        let dir = directory("remote-errors");
        let (good, missing) = (dir.join("good"), dir.join("missing"));
        fs::write(&good, "a").unwrap();
        for &backend in backends() {
            let output = run(command("remote", backend).args([&missing, &dir, &good]));
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(text(&output.stdout).starts_with("af63dc4c8601ec8c"));
            assert!(
                error.contains("missing: No such file") && error.contains("Is a directory"),
                "{error}"
            );
        }
    }

    #[test]
    fn cp_direct_makes_identical_files() {
        let dir = directory("cp-direct");
        if copies_are_identical("cp", &dir, &["--direct"]) {
            copies_are_identical("cp", &dir, &["--direct", "--block", "4096"]);
        }
    }

    #[test]
    fn cp_copies_holes_modes_and_files_without_a_size() {
        use std::os::unix::fs::PermissionsExt;
        let dir = directory("cp-special");
        let (from, to) = (dir.join("from"), dir.join("to"));
        let sparse = fs::File::create(&from).unwrap();
        sparse.set_len((3 << 20) + 5).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();
        for (example, backend) in on_backends(COPIERS) {
            let _ = fs::remove_file(&to);
            succeed(command(example, backend).args([&from, &to]));
            assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
            assert_eq!(
                fs::metadata(&to).unwrap().permissions().mode() & 0o777,
                0o640
            );
            let version = Path::new("/proc/version");
            if version.exists() {
                succeed(command(example, backend).args([version, &to]));
                assert_eq!(fs::read(&to).unwrap(), fs::read(version).unwrap());
            }
        }
    }

    #[test]
    fn cp_says_what_is_wrong() {
        let dir = directory("cp-errors");
        let [file, link, missing] = ["file", "link", "missing"].map(|name| dir.join(name));
        fs::write(&file, "content").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let nowhere = missing.join("file");
        for (example, backend) in on_backends(COPIERS) {
            for (from, to, wrong, what) in [
                (&file, &file, &file, "is the source itself"),
                (&file, &link, &link, "is the source itself"),
                (
                    &missing,
                    &file,
                    &missing,
                    "opening: No such file or directory",
                ),
                (
                    &file,
                    &nowhere,
                    &nowhere,
                    "opening: No such file or directory",
                ),
                (&dir, &file, &dir, "is no regular file"),
                (&file, &dir, &dir, "opening: Is a directory"),
            ] {
                let error = fail(command(example, backend).args([from, to]), 1);
                let expected = format!("{example}: {}: {what}", wrong.display());
                assert!(error.starts_with(&expected), "{error} is not {expected}");
                assert_eq!(fs::read(&file).unwrap(), b"content", "{what}");
            }
        }
    }
}
