//! Where and when it is measured.

use std::fs;
use std::process::Command;

/// One line: the date, the commit, the kernel, the CPU.
pub(crate) fn describe() -> String {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim().to_owned())
    };
    let date = said("date", &["-u", "+%F"]);
    let commit = said("git", &["describe", "--always", "--dirty", "--exclude=*"]);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let kernel = kernel.map(|kernel| format!("Linux {}", kernel.trim()));
    let parts = [date, commit, kernel, cpu()];
    let known = parts.into_iter().flatten();
    known.collect::<Vec<_>>().join(", ")
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let names = || {
        info.lines()
            .filter_map(|line| line.strip_prefix("model name"))
    };
    let name = names().next()?.trim_start_matches([' ', '\t', ':']);
    Some(format!("{} × {name}", names().count()))
}
