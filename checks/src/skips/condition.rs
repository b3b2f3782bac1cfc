//! When a skip is right.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// What may be different on other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is no such program.
    Missing(String),
    /// The kernel is older.
    Before(u32, u32),
    /// The kernel has no io_uring, or forbids it.
    NoIoUring,
    /// A command of the shell fails.
    Fails(String),
}

impl Condition {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (verb, object) = text.split_once(' ')?;
        match (verb, object) {
            ("missing", tool) => Some(Self::Missing(tool.to_owned())),
            ("before", release) => {
                version(release).map(|(major, minor)| Self::Before(major, minor))
            }
            ("no", "io_uring") => Some(Self::NoIoUring),
            ("fails", command) => Some(Self::Fails(command.to_owned())),
            _ => None,
        }
    }

    pub(super) fn holds(&self) -> bool {
        match self {
            Self::Missing(tool) => !is_installed(tool),
            Self::Before(major, minor) => kernel() < (*major, *minor),
            Self::NoIoUring => !has_io_uring(),
            Self::Fails(command) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]).stdin(Stdio::null());
                shell.stdout(Stdio::null()).stderr(Stdio::null());
                !shell.status().is_ok_and(|status| status.success())
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(tool) => write!(f, "missing {tool}"),
            Self::Before(major, minor) => write!(f, "before {major}.{minor}"),
            Self::NoIoUring => f.write_str("no io_uring"),
            Self::Fails(command) => write!(f, "fails {command}"),
        }
    }
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| {
        let program = fs::metadata(dir.join(tool));
        program.is_ok_and(|program| program.is_file() && program.permissions().mode() & 0o111 != 0)
    })
}

/// The two first numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    version(&release).expect("a release begins with two numbers")
}

/// Asked of the kernel, and not of the driver, which may be what is wrong.
fn has_io_uring() -> bool {
    let mut params = [0_u32; 30];
    // SAFETY: the kernel reads and writes an `io_uring_params`, of 120 bytes.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if fd < 0 {
        let errno = io::Error::last_os_error().raw_os_error();
        return !matches!(errno, Some(libc::ENOSYS | libc::EPERM | libc::ENOMEM));
    }
    // SAFETY: just made, and known to nobody else.
    unsafe { libc::close(i32::try_from(fd).unwrap()) };
    kernel() >= (6, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_looked_at() {
        for (text, holds) in [
            ("missing sh", false),
            ("missing no-such-tool", true),
            ("before 2.6", false),
            ("before 999.0", true),
            ("fails false", true),
            ("fails echo a | grep -q a", false),
        ] {
            let condition = Condition::parse(text).unwrap();
            assert_eq!(
                (condition.to_string(), condition.holds()),
                (text.to_owned(), holds)
            );
        }
        assert_eq!(Condition::parse("no io_uring"), Some(Condition::NoIoUring));
        for wrong in ["", "missing", "no strace", "before six", "sometimes"] {
            assert_eq!(Condition::parse(wrong), None, "{wrong}");
        }
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
    }
}
