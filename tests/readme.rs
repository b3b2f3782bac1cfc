//! README's table of operations is what the drivers report.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use completeio::driver::{Backend, Driver, Support};
use std::collections::BTreeMap;

/// Operations by name, and what the table says of them on io_uring, on readiness, and on systems
/// that are not here.
fn table() -> BTreeMap<String, [String; 4]> {
    let readme = include_str!("../README.md");
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| operation |"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // What follows "of" is what it is made of.
        let named = cells[1].split(" of ").next().unwrap();
        let names = named.split('`').skip(1).step_by(2);
        for name in names {
            let how = [2, 3, 4, 5].map(|column| cells[column].to_owned());
            let twice = table.insert(name.to_owned(), how);
            assert_eq!(twice, None, "`{name}` has one row");
        }
    }
    table
}

fn word(support: Support) -> &'static str {
    match support {
        Support::Native => "native",
        Support::Ready => "ready",
        Support::Inline => "inline",
        Support::Worker => "worker",
        Support::Missing => "missing",
        other => panic!("{other:?} has no word in the table"),
    }
}

fn check(backend: Backend, column: usize) {
    let driver = match Driver::builder().backend(backend).build() {
        Ok(driver) => driver,
        Err(error) => return eprintln!("skipped: {backend}: {error}"),
    };
    let mut table = table();
    for (name, support) in &driver.capabilities().operations {
        let row = table.remove(*name);
        let Some(how) = row else {
            panic!("`{name}` has no row in README.md");
        };
        if column == 0 && *support == Support::Missing {
            eprintln!("skipped: this kernel has no {name}");
            continue;
        }
        let (how, word) = (&how[column], word(*support));
        assert!(
            how.contains(word),
            "{backend}, `{name}`: README.md says {how:?}, the driver {word}"
        );
    }
    // Made of others.
    table.remove("Exact");
    assert!(table.is_empty(), "{backend} knows nothing of {table:?}");
}

/// What a platform lacks is missing, and nothing that Linux lacks is there.
#[test]
fn the_table_says_something_of_every_system() {
    let words = ["ready", "inline", "worker", "missing"];
    for (name, how) in table() {
        if name == "Exact" {
            continue; // Made of others.
        }
        for there in &how[2..] {
            assert!(
                words.iter().any(|word| there.contains(word)),
                "{name}: {there:?}"
            );
            let lacks = |how: &str| how == "missing";
            assert!(lacks(there) || !lacks(&how[1]), "{name}: {there:?}");
        }
    }
}

#[test]
fn the_table_is_what_io_uring_reports() {
    check(Backend::IoUring, 0);
}

#[test]
fn the_table_is_what_readiness_reports() {
    check(Backend::Readiness, 1);
}
