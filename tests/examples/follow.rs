//! The one that follows a file, until control-C.

use crate::kit::{Watchdog, backends, command, directory, fail, succeed};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// A shell appends to the file, and cuts it off.
#[test]
fn follow_prints_what_a_shell_appends_until_control_c() {
    let file = directory("follow").join("log");
    for &backend in backends() {
        fs::write(&file, "one\n").unwrap();
        let mut follow = command("follow", backend);
        follow.args(["--interval", "1"]).arg(&file);
        let piped = follow.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let _watchdog = Watchdog::new(&child);
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut warned = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut line = || said.next().unwrap().unwrap();
        let shell = |script| succeed(Command::new("sh").arg("-c").arg(script).arg(&file));
        assert_eq!(line(), "one");
        shell("echo two >> \"$0\"; echo three >> \"$0\"");
        assert_eq!((&*line(), &*line()), ("two", "three"));
        shell("head -c 300000 /dev/zero | tr '\\0' x >> \"$0\"; echo >> \"$0\"");
        assert_eq!(line(), "x".repeat(300_000));
        shell(": > \"$0\"");
        let warning = warned.next().unwrap().unwrap();
        assert!(warning.ends_with("/log: it was cut off"), "{warning}");
        shell("echo four >> \"$0\"");
        assert_eq!(line(), "four");
        succeed(Command::new("kill").args(["-INT", &child.id().to_string()]));
        assert!(child.wait().unwrap().success(), "control-C is its end");
        assert!(said.next().is_none() && warned.next().is_none());
        let error = fail(command("follow", backend).arg("no-such-file"), 1);
        assert!(error.contains("no-such-file: No such file"), "{error}");
    }
}

/// What it can print has no end.
#[test]
fn follow_obeys_control_c_while_there_is_more() {
    for &backend in backends() {
        let mut follow = command("follow", backend);
        let mut child = follow
            .arg("/dev/zero")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let _watchdog = Watchdog::new(&child);
        let mut printed = child.stdout.take().unwrap();
        printed.read_exact(&mut [0; 1 << 20]).unwrap();
        succeed(Command::new("kill").args(["-INT", &child.id().to_string()]));
        std::io::copy(&mut printed, &mut std::io::sink()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
