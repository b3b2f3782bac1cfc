//! Test programs, built and found.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory of a package of this workspace: its tests run there.
pub(crate) fn package(name: &str) -> PathBuf {
    root().join(name)
}

/// The directory of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Builds these integration tests of a package; where the programs are.
pub(crate) fn build(
    package: &str,
    tests: &[&str],
    configure: impl FnOnce(&mut Command),
) -> Vec<PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .current_dir(root())
        .args(["test", "-q", "-p", package])
        .args(tests.iter().flat_map(|test| ["--test", test]))
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit());
    configure(&mut cargo);
    let built = cargo.output().unwrap();
    let messages = String::from_utf8(built.stdout).unwrap();
    let programs: Vec<PathBuf> = messages.lines().filter_map(program).collect();
    ensure!(
        built.status.success() && programs.len() == tests.len(),
        "{tests:?} of {package} cannot be built"
    );
    programs
}

/// The program that a message of cargo's names, if it is an integration test.
fn program(message: &str) -> Option<PathBuf> {
    let (_, rest) = message.split_once("\"executable\":\"")?;
    let (program, _) = rest.split_once('"')?;
    message
        .contains("\"kind\":[\"test\"]")
        .then(|| program.into())
}
