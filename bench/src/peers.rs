//! The program of the other runtimes, which is built when it is needed.

use crate::process::Program;
use std::path::Path;
use std::process::Command;

/// Builds it beside what the workspace builds.
///
/// # Errors
/// It cannot be built; the reason was printed by then.
pub(crate) fn build() -> Result<Program, String> {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = bench.join("../target/peers");
    eprintln!("the other runtimes: building bench/peers, a few minutes for the first time …");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--manifest-path",
        ])
        .arg(bench.join("peers/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status();
    match status {
        Ok(status) if status.success() => Ok(Program::new(target.join("release/bench-peers"))),
        failed => {
            let reason = match failed {
                Ok(status) => format!("bench/peers is not built: {status}"),
                Err(error) => format!("bench/peers is not built: cargo: {error}"),
            };
            eprintln!("{reason}; the others go on");
            Err(reason)
        }
    }
}
