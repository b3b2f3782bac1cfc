//! What is left after a crash, for many seeds: never what must not be, and at times all that may.

use super::*;

const SEEDS: u64 = 400;

/// What was seen after a crash, over all seeds. `run` brings a disk to where it crashes, `look`
/// says what it finds.
fn outcomes<T: Ord>(torn: bool, run: impl Fn(&mut Disk), look: impl Fn(&Disk) -> T) -> BTreeSet<T> {
    let after = |seed| {
        let mut disk = Disk::new();
        run(&mut disk);
        disk.check();
        disk.0.crash(&mut Random::new(seed), torn);
        disk.check();
        let seen = look(&disk);
        // What survived is durable.
        disk.0.crash(&mut Random::new(seed + 1), torn);
        assert!(look(&disk) == seen);
        seen
    };
    (0..SEEDS).map(after).collect()
}

fn set<T: Ord, const N: usize>(items: [T; N]) -> BTreeSet<T> {
    BTreeSet::from(items)
}

#[test]
fn what_is_synced_is_there() {
    let run = |disk: &mut Disk| {
        disk.mkdir("d");
        let f = disk.file("d/f", &[7; 5000]);
        disk.0.set_xattr(f, b"user.a", b"1", 0, NOW).unwrap();
        disk.0.sync(f, false);
        let dir = disk.find("d").unwrap();
        disk.0.sync(dir, false);
    };
    let look = |disk: &Disk| {
        let f = disk.find("d/f").unwrap();
        assert_eq!(disk.0.get_xattr(f, b"user.a", 1), Ok(&b"1"[..]));
        disk.contents(f)
    };
    assert_eq!(outcomes(true, run, look), set([vec![7; 5000]]));
}

#[test]
fn a_name_is_durable_by_its_directory_only() {
    let run = |disk: &mut Disk| {
        let f = disk.file("f", b"text");
        disk.0.sync(f, false);
    };
    let expected = set([None, Some(b"text".to_vec())]);
    assert_eq!(outcomes(true, run, |disk| disk.read("f")), expected);
}

#[test]
fn a_directory_brings_what_came_before_its_own_changes() {
    let run = |disk: &mut Disk| {
        disk.mkdir("d");
        disk.mkdir("e");
        disk.mkdir("d/1");
        disk.mkdir("e/2");
        let d = disk.find("d").unwrap();
        disk.0.sync(d, true);
    };
    let look = |disk: &Disk| ["d/1", "e", "e/2"].map(|path| disk.find(path).is_ok());
    let expected = set([[true, true, false], [true, true, true]]);
    assert_eq!(outcomes(false, run, look), expected);
}

#[test]
fn names_are_lost_from_the_end() {
    let run = |disk: &mut Disk| {
        for name in ["a", "b", "c"] {
            disk.mkdir(name);
        }
    };
    let look = |disk: &Disk| disk.0.names(ROOT).unwrap().concat();
    let expected = ["", "a", "ab", "abc"].map(|names| names.as_bytes().to_vec());
    assert_eq!(outcomes(false, run, look), set(expected));
}

/// Replaces `f` by way of another name.
fn replace(disk: &mut Disk, syncs_file: bool, syncs_dir: bool) {
    let f = disk.file("f", b"old text");
    disk.0.sync(f, false);
    disk.0.sync(ROOT, false);
    let new = disk.file("new", b"new");
    if syncs_file {
        disk.0.sync(new, true);
    }
    disk.rename("new", "f", 0).unwrap();
    if syncs_dir {
        disk.0.sync(ROOT, false);
    }
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one() {
    let look = |disk: &Disk| disk.read("f").unwrap();
    let run = |disk: &mut Disk| replace(disk, true, true);
    assert_eq!(outcomes(true, run, look), set([b"new".to_vec()]));
    let run = |disk: &mut Disk| replace(disk, true, false);
    let expected = set([b"new".to_vec(), b"old text".to_vec()]);
    assert_eq!(outcomes(true, run, look), expected);
}

#[test]
fn a_file_that_was_never_synced_may_be_anything() {
    let run = |disk: &mut Disk| replace(disk, false, true);
    let seen = outcomes(true, run, |disk| disk.read("f").unwrap());
    for expected in [&b""[..], b"new", b"ne", b"\0\0\0"] {
        assert!(seen.contains(expected), "{expected:?} never");
    }
    // A sector that is not torn is there or not, and sizes between are of whole sectors.
    let seen = outcomes(false, run, |disk| disk.read("f").unwrap());
    let expected = set([Vec::new(), b"new".to_vec(), vec![0; 3]]);
    assert_eq!(seen, expected);
    // A longer one is of any length.
    let run = |disk: &mut Disk| {
        disk.file("f", &[1; 5 * SECTOR + 200]);
        disk.0.sync(ROOT, false);
    };
    let seen = outcomes(false, run, |disk| disk.read("f").unwrap().len());
    let expected = [0, 1, 2, 3, 4, 5].map(|sectors| sectors * SECTOR);
    let expected = expected.into_iter().chain([5 * SECTOR + 200]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn what_was_cut_off_and_written_again_may_be_empty() {
    let run = |disk: &mut Disk| {
        let f = disk.file("f", b"old text");
        disk.0.sync(f, false);
        disk.0.sync(ROOT, false);
        disk.file("f", b"new");
    };
    let seen = outcomes(false, run, |disk| disk.read("f").unwrap());
    for expected in [&b""[..], b"new", b"\0\0\0", b"old text", b"old"] {
        assert!(seen.contains(expected), "{expected:?} never");
    }
    // However long it is.
    let run = |disk: &mut Disk| {
        let f = disk.file("f", b"old text");
        disk.0.sync(f, false);
        disk.0.sync(ROOT, false);
        for size in [0, 1 << 40] {
            disk.0.truncate(f, size, NOW).unwrap();
        }
    };
    let size = |disk: &Disk| disk.0.stat(disk.find("f").unwrap()).size;
    let seen = outcomes(false, run, |disk| size(disk) == 0);
    assert_eq!(seen, set([true, false]));
}

#[test]
fn what_was_cut_off_is_gone_or_as_it_was() {
    let run = |disk: &mut Disk| {
        let f = disk.file("f", &[1; 3000]);
        disk.0.sync(f, false);
        disk.0.sync(ROOT, false);
        disk.0.truncate(f, 512, NOW).unwrap();
    };
    let expected = set([vec![1; 512], vec![1; 3000]]);
    assert_eq!(
        outcomes(true, run, |disk| disk.read("f").unwrap()),
        expected
    );
}

#[test]
fn sectors_are_the_old_or_the_new_ones() {
    let (old, new) = ([1; 3 * SECTOR], [2; 3 * SECTOR]);
    let run = |disk: &mut Disk| {
        let f = disk.file("f", &old);
        disk.0.sync(f, false);
        disk.0.sync(ROOT, false);
        disk.write(f, 0, &new);
        disk.0.sync(ROOT, false);
    };
    let look = |disk: &Disk| {
        let bytes = disk.read("f").unwrap();
        assert_eq!(bytes.len(), 3 * SECTOR);
        let sectors = bytes.chunks(SECTOR);
        // How each begins, and how often it changes.
        let outline = sectors.map(|sector| {
            let changes = sector.windows(2).filter(|pair| pair[0] != pair[1]);
            (sector[0], changes.count())
        });
        outline.collect::<Vec<_>>()
    };
    let whole = outcomes(false, run, look);
    assert_eq!(whole.len(), 8, "each sector for itself");
    assert!(whole.iter().flatten().all(|(_, changes)| *changes == 0));
    let torn = outcomes(true, run, look);
    assert!(torn.iter().flatten().all(|(_, changes)| *changes <= 1));
    assert!(torn.iter().flatten().any(|(_, changes)| *changes == 1));
}

#[test]
fn what_was_not_changed_since_is_intact() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut disk = Disk::new();
        let text: Vec<u8> = (1..=250).cycle().take(10_000).collect();
        let f = disk.file("f", &text);
        disk.0.sync(f, true);
        disk.0.sync(ROOT, true);
        let mut untouched = vec![true; text.len()];
        let mut largest = text.len() as u64;
        for _ in 0..random.below(6) {
            let (start, len) = (random.below(15_000), random.below(2000) + 1);
            let end = start + len;
            match random.below(4) {
                0 => disk.0.truncate(f, start, NOW).unwrap(),
                1 => {
                    let space = [Space::PunchHole, Space::Zero][to_usize(random.below(2))];
                    let done = disk.0.allocate(f, space, true, start, len, NOW);
                    done.unwrap();
                    forget(&mut untouched, start, end);
                    continue;
                }
                _ => {
                    disk.write(f, start, &vec![0xff; to_usize(len)]);
                    forget(&mut untouched, start, end);
                }
            }
            let size = disk.0.stat(f).size;
            largest = largest.max(size);
            forget(&mut untouched, size, u64::MAX);
        }
        let before = disk.contents(f);
        disk.0.crash(&mut random, seed % 2 == 0);
        disk.check();
        let after = disk.read("f").unwrap();
        for (at, _) in untouched.iter().enumerate().filter(|(_, same)| **same) {
            assert_eq!(after[at], text[at], "seed {seed}, byte {at}");
        }
        assert!(after.len() as u64 <= largest);
        for (at, byte) in after.iter().enumerate() {
            let may_be = [Some(&0), before.get(at), text.get(at)];
            assert!(may_be.contains(&Some(byte)), "seed {seed}, byte {at}");
        }
        // Beyond the end there is nothing.
        disk.0.truncate(f, 20_000, NOW).unwrap();
        let rest = &disk.contents(f)[after.len()..];
        assert!(rest.iter().all(|byte| *byte == 0), "seed {seed}");
    }
}

fn forget(untouched: &mut [bool], start: u64, end: u64) {
    let len = untouched.len() as u64;
    untouched[to_usize(start.min(len))..to_usize(end.min(len))].fill(false);
}

#[test]
fn nothing_is_open_afterwards() {
    let run = |disk: &mut Disk| {
        let f = disk.file("f", b"text");
        disk.0.sync(f, false);
        disk.0.sync(ROOT, false);
        disk.unlink("f", 0).unwrap();
    };
    let look = |disk: &Disk| {
        let found = disk.read("f");
        assert!(disk.0.nodes.values().all(|node| node.holds == 0));
        assert_eq!(disk.0.nodes.len(), 1 + usize::from(found.is_some()));
        found
    };
    let expected = set([None, Some(b"text".to_vec())]);
    assert_eq!(outcomes(true, run, look), expected);
    let run = |disk: &mut Disk| {
        run(disk);
        disk.0.sync(ROOT, false);
    };
    assert_eq!(outcomes(true, run, look), set([None]));
}

#[test]
fn attributes_are_the_old_or_the_new_ones() {
    let later = NOW * 2;
    let run = |disk: &mut Disk| {
        let f = disk.file("f", b"");
        disk.0.set_xattr(f, b"user.a", b"1", 0, NOW).unwrap();
        disk.0.sync(f, false);
        disk.0.sync(ROOT, false);
        disk.0.set_xattr(f, b"user.a", b"2", 0, later).unwrap();
        disk.0.set_xattr(f, b"user.b", b"3", 0, later).unwrap();
        disk.0.sync(f, true);
    };
    let look = |disk: &Disk| {
        let f = disk.find("f").unwrap();
        let get = |name: &[u8]| disk.0.get_xattr(f, name, 1).map(<[u8]>::to_vec).ok();
        (
            get(b"user.a").unwrap(),
            get(b"user.b"),
            disk.0.stat(f).times.changed,
        )
    };
    assert_eq!(outcomes(true, run, look).len(), 8);
}

/// All names, and what they lead to.
fn tree(disk: &Disk) -> BTreeMap<(Inode, Vec<u8>), Inode> {
    let mut tree = BTreeMap::new();
    for (dir, node) in &disk.0.nodes {
        if let Kind::Directory(directory) = &node.kind {
            let names = directory.entries.iter();
            tree.extend(names.map(|(name, inode)| ((*dir, name.to_vec()), *inode)));
        }
    }
    tree
}

/// One change of names, or a call that fails.
fn step(disk: &mut Disk, random: &mut Random) {
    const PATHS: [&str; 8] = ["a", "b", "c", "a/a", "a/b", "b/a", "b/b", "a/b/c"];
    let mut path = || PATHS[to_usize(random.below(PATHS.len() as u64))];
    let (from, to) = (path(), path());
    let name = from.as_bytes();
    // What fails changes nothing, which is as good.
    let _ = match random.below(7) {
        0 => disk.0.mkdir(ROOT, name, 0o755, NOW),
        1 => disk.open(from, libc::O_CREAT).map(|inode| {
            disk.0.release(inode);
        }),
        2 => disk.unlink(from, 0),
        3 => disk.unlink(from, REMOVE_DIR),
        4 => disk.hard_link(from, to, 0),
        5 => disk.rename(from, to, EXCHANGE),
        _ => disk.rename(from, to, 0),
    };
}

#[test]
fn names_are_as_they_were_at_one_point_since_the_last_sync() {
    let mut lost = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut disk = Disk::new();
        for _crash in 0..3 {
            let mut trees = vec![tree(&disk)];
            for _ in 0..random.below(40) {
                step(&mut disk, &mut random);
                disk.check();
                if random.below(10) == 0 {
                    // Made last, so that it has everything.
                    disk.0.open(ROOT, b"last", libc::O_CREAT, 0, NOW).unwrap();
                    disk.unlink("last", 0).unwrap();
                    disk.0.sync(ROOT, false);
                    trees.clear();
                }
                trees.push(tree(&disk));
            }
            disk.0.crash(&mut random, false);
            disk.check();
            let now = tree(&disk);
            let at = trees.iter().rposition(|then| *then == now);
            lost.insert(trees.len() - at.expect("it was so at one point"));
        }
    }
    assert!(lost.len() > 10, "{lost:?}");
}

#[test]
fn names_become_durable_in_time() {
    let mut disk = Disk::new();
    disk.mkdir("first");
    for _ in 0..3000 {
        let f = disk.file("f", b"");
        disk.0.release(f);
        disk.unlink("f", 0).unwrap();
    }
    assert!(disk.0.journal.len() < 5000);
    disk.0.crash(&mut Random::new(1), false);
    assert!(disk.find("first").is_ok());
}

#[test]
fn one_seed_gives_one_disk() {
    let run = |seed| {
        let mut random = Random::new(seed);
        let mut disk = Disk::new();
        for _ in 0..50 {
            step(&mut disk, &mut random);
        }
        disk.file("f", &[1; 10_000]);
        disk.0.crash(&mut random, true);
        format!("{:?}", disk.0)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
