//! Files of the small runtime, and their names.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Temp, bounded, open_on, poll_once};
use completeio::fs::{self, File, OpenOptions};
use completeio::task::{block_on, spawn, yield_now};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::Poll;

/// A directory in the target's directory that is removed with its handle.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

#[test]
fn the_end_of_a_file() {
    let temp = Temp::new("fs-end", b"abcdef");
    block_on(async {
        let file = File::open(&temp.0).unwrap();
        let (read, text) = file.read_at(Vec::with_capacity(8), 4).await;
        assert_eq!((read.unwrap(), &text[..]), (2, &b"ef"[..]), "in the middle");
        for beyond in [6, 7, 1 << 40] {
            let (read, text) = file.read_at(Vec::with_capacity(8), beyond).await;
            assert_eq!((read.unwrap(), text.len()), (0, 0));
            let (read, _) = file.read_to_end_at(Vec::new(), beyond).await;
            assert_eq!(read.unwrap(), 0);
        }
        let (read, text) = file.read_exact_at([0; 4], 2).await;
        read.unwrap();
        assert_eq!(&text, b"cdef");
        let (read, text) = file.read_exact_at(Vec::with_capacity(8), 3).await;
        let error = read.unwrap_err();
        assert_eq!((error.kind(), error.moved()), (ErrorKind::UnexpectedEof, 3));
        assert_eq!(text, b"def", "what came before the end");
        let (read, _) = file.read_exact_at([0; 0], 100).await;
        read.unwrap();
    });
}

#[test]
fn several_buffers() {
    let temp = Temp::new("fs-vectored", b"");
    block_on(async {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(&temp.0).await.unwrap();
        let (written, _) = file.write_vectored_all_at(["ab", "", "cde"], 1).await;
        written.unwrap();
        let (written, _) = file.write_vectored_at(("f", *b"g"), 6).await;
        assert_eq!(written.unwrap(), 2);
        assert_eq!(std::fs::read(&temp.0).unwrap(), b"\0abcdefg");
        let (read, (one, two)) = file
            .read_vectored_at(([0; 3], Vec::with_capacity(9)), 1)
            .await;
        assert_eq!(read.unwrap(), 7);
        assert_eq!((&one, &two[..]), (b"abc", &b"defg"[..]));
        let (read, parts) = file.read_vectored_exact_at([[0; 2]; 3], 2).await;
        read.unwrap();
        assert_eq!(parts, [*b"bc", *b"de", *b"fg"]);
        let (read, _) = file.read_vectored_exact_at([[0; 2]; 3], 3).await;
        let error = read.unwrap_err();
        assert_eq!((error.kind(), error.moved()), (ErrorKind::UnexpectedEof, 5));
    });
}

/// I27: it becomes shorter between two reads, and while one is under way.
#[test]
fn truncated_while_it_is_read() {
    let temp = Temp::new("fs-truncated", &vec![7; 1 << 20]);
    bounded(move || {
        block_on(async {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).open(&temp.0).await.unwrap();
            let half = file.read_exact_at(Vec::with_capacity(1 << 19), 0).await;
            half.0.unwrap();
            file.set_len(1 << 18).await.unwrap();
            let (read, all) = file.read_to_end_at(half.1, 1 << 19).await;
            assert_eq!((read.unwrap(), all.len()), (0, 1 << 19), "it ends before");
            for _ in 0..50 {
                std::fs::write(&temp.0, vec![7; 1 << 18]).unwrap();
                let mut read = pin!(file.read_exact_at(Vec::with_capacity(1 << 18), 0));
                let mut cut = pin!(file.set_len(10));
                let (mut all, mut done) = (None, false);
                poll_fn(|context| {
                    if all.is_none() {
                        if let Poll::Ready(read) = read.as_mut().poll(context) {
                            all = Some(read);
                        }
                    }
                    done = done || cut.as_mut().poll(context).map(Result::unwrap).is_ready();
                    if all.is_some() && done {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
                let (read, bytes) = all.unwrap();
                match read {
                    Ok(()) => assert_eq!(bytes.len(), 1 << 18),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
                }
                assert!(bytes[..10].iter().all(|byte| *byte == 7));
            }
        });
    });
}

/// Options that std takes are taken, and those that it refuses are refused.
#[test]
fn options_that_contradict_each_other() {
    macro_rules! options {
        ($type:ty, $on:expr) => {{
            let mut options = <$type>::new();
            options.read($on(0)).write($on(1)).append($on(2));
            options.truncate($on(3)).create($on(4)).create_new($on(5));
            options
        }};
    }
    let dir = Dir::new("fs-contradictions");
    let path = dir.join("file");
    let prepare = |there| {
        let _ = std::fs::remove_file(&path);
        if there {
            std::fs::write(&path, "text").unwrap();
        }
    };
    let end = |opened: std::io::Result<()>| {
        let opened = opened.map_err(|error| error.kind());
        (opened, std::fs::read(&path).ok())
    };
    block_on(async {
        for bits in 0..128_u32 {
            let on = |bit: u32| bits & (1 << bit) != 0;
            prepare(on(6));
            let theirs = options!(std::fs::OpenOptions, on);
            let theirs = end(theirs.open(&path).map(drop));
            prepare(on(6));
            let ours = options!(OpenOptions, on);
            let ours = end(ours.open(&path).await.map(drop));
            assert_eq!(theirs, ours, "{bits:07b}");
        }
    });
}

/// More names than are read at once; each comes once, and none is lost by a future that is dropped.
#[test]
fn what_is_in_a_directory() {
    let dir = Dir::new("fs-read-dir");
    for len in [0, 1, 63, 64, 65, 300] {
        for n in 0..len {
            std::fs::write(dir.join(&n.to_string()), "").unwrap();
        }
        block_on(async {
            let mut names = fs::read_dir(&dir.0).await.unwrap();
            let mut seen = Vec::new();
            loop {
                {
                    let mut dropped = pin!(names.next_entry());
                    match poll_once(&mut dropped).await {
                        Poll::Ready(entry) => match entry.unwrap() {
                            Some(entry) => seen.push(entry.file_name()),
                            None => break,
                        },
                        Poll::Pending => {}
                    }
                }
                match names.next_entry().await.unwrap() {
                    Some(entry) => seen.push(entry.file_name()),
                    None => break,
                }
            }
            assert!(names.next_entry().await.unwrap().is_none(), "and no more");
            let mut seen: Vec<u32> = seen
                .iter()
                .map(|n| n.to_str().unwrap().parse().unwrap())
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..len).collect::<Vec<_>>());
        });
    }
}

#[test]
fn copies() {
    let dir = Dir::new("fs-copy");
    let bytes: Vec<u8> = (0..150_000_u32).flat_map(u32::to_le_bytes).collect();
    block_on(async {
        let (from, to) = (dir.join("from"), dir.join("to"));
        for bytes in [&bytes[..], &bytes[..128 << 10], &[]] {
            std::fs::write(&from, bytes).unwrap();
            #[cfg(unix)]
            unix::allow(&from, 0o700);
            assert_eq!(fs::copy(&from, &to).await.unwrap(), bytes.len() as u64);
            assert_eq!(std::fs::read(&to).unwrap(), bytes, "and no more than that");
            #[cfg(unix)]
            assert_eq!(unix::allowed(&to), 0o700);
        }
        std::fs::write(&from, "text").unwrap();
        std::fs::hard_link(&from, dir.join("same")).unwrap();
        for same in [&from, &dir.join("same")] {
            assert_eq!(kind(fs::copy(&from, same).await), ErrorKind::InvalidInput);
        }
        assert_eq!(std::fs::read(&from).unwrap(), b"text", "it is still there");
        assert_eq!(kind(fs::copy(&dir.0, &to).await), ErrorKind::InvalidInput);
        #[cfg(unix)]
        assert_eq!(
            kind(fs::copy("/dev/null", &to).await),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            kind(fs::copy(dir.join("none"), &to).await),
            ErrorKind::NotFound
        );
        assert_eq!(std::fs::read(&to).unwrap(), b"", "as it was");
    });
}

#[test]
fn many_files_are_open_at_once() {
    let temp = Temp::new("fs-many", b"many");
    bounded(move || {
        block_on(async {
            let tasks: Vec<_> = (0..500)
                .map(|_| {
                    let path = temp.0.clone();
                    spawn(async move {
                        let file = OpenOptions::new().read(true).open(path).await.unwrap();
                        let (read, text) = file.read_at([0; 8], 0).await;
                        assert_eq!((read.unwrap(), &text), (4, b"many\0\0\0\0"));
                        file
                    })
                })
                .collect();
            let mut files = Vec::new();
            for task in tasks {
                files.push(task.await.unwrap());
            }
            assert_eq!(open_on(&temp), 500);
            for file in files.drain(..250) {
                file.close().await.unwrap();
            }
            assert_eq!(open_on(&temp), 250);
            drop(files);
            assert_eq!(open_on(&temp), 0);
        });
    });
}

/// I5, I16: each write is whole, or was not begun, or is cut short; their buffers and files are
/// given back.
#[test]
fn six_hundred_writes_dropped_at_once() {
    const LEN: usize = 4096;
    let temp = Temp::new("fs-dropped-writes", b"");
    bounded(move || {
        block_on(async {
            let tasks: Vec<_> = (0..600_u64)
                .map(|n| {
                    let path = temp.0.clone();
                    spawn(async move {
                        let file = OpenOptions::new().write(true).open(path).await.unwrap();
                        let byte = u8::try_from(n % 255).unwrap() + 1;
                        file.write_all_at(vec![byte; LEN], n * LEN as u64)
                            .await
                            .0
                            .unwrap();
                    })
                })
                .collect();
            // As many as by now write, others still open.
            while fs::metadata(&temp.0).await.unwrap().size() == 0 {
                yield_now().await;
            }
            tasks.iter().for_each(|task| task.abort());
        });
        assert_eq!(open_on(&temp), 0);
        let bytes = std::fs::read(&temp.0).unwrap();
        for (n, bytes) in bytes.chunks(LEN).enumerate() {
            let byte = u8::try_from(n % 255).unwrap() + 1;
            assert!(bytes.iter().all(|b| [0, byte].contains(b)), "write {n}");
        }
    });
}

/// Opens, reads, and other operations that are dropped at their first poll, and go on with nothing.
#[test]
fn cancelled_operations() {
    let temp = Temp::new("fs-cancelled", &vec![7; 1 << 16]);
    bounded(move || {
        block_on(async {
            async fn begin(future: impl Future) {
                let _ = poll_once(&mut pin!(future)).await;
            }
            let file = File::open(&temp.0).unwrap();
            for _ in 0..100 {
                begin(OpenOptions::new().read(true).open(&temp.0)).await;
                begin(fs::read(&temp.0)).await;
                begin(file.read_at(Vec::with_capacity(1 << 16), 0)).await;
                begin(file.read_exact_at(Vec::with_capacity(1 << 17), 0)).await;
                begin(file.metadata()).await;
                begin(File::open(&temp.0).unwrap().close()).await;
                let (read, bytes) = file.read_at(Vec::with_capacity(8), 0).await;
                assert_eq!((read.unwrap(), &bytes[..]), (8, &[7; 8][..]));
            }
        });
        assert_eq!(open_on(&temp), 0);
    });
}

/// A file that another operation still has is closed by that.
#[test]
fn closed_while_it_is_read() {
    let temp = Temp::new("fs-close", b"text");
    block_on(async {
        let file = std::fs::File::open(&temp.0).unwrap();
        let file = File::from(file);
        {
            let mut read = pin!(file.read_at(Vec::with_capacity(8), 0));
            let polled = poll_once(&mut read).await;
            assert!(polled.is_pending());
        }
        file.close().await.unwrap();
    });
    assert_eq!(open_on(&temp), 0);
}

/// std and the runtime see the same file.
#[test]
fn shared_with_std() {
    let temp = Temp::new("fs-shared", b"abc");
    let mut file = std::fs::File::open(&temp.0).unwrap();
    let again = file.try_clone().unwrap();
    block_on(async {
        let file = File::from(again);
        let (read, text) = file.read_at([0; 3], 0).await;
        assert_eq!((read.unwrap(), &text), (3, b"abc"));
    });
    let mut text = [0; 3];
    file.rewind().unwrap();
    file.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"abc");
}

/// What other systems do in another way.
#[cfg(unix)]
mod unix {
    use super::*;
    #[cfg(target_os = "linux")]
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    pub(super) fn allow(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    pub(super) fn allowed(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    /// What the kernel says of an open file.
    #[cfg(target_os = "linux")]
    fn is_direct(file: &File) -> bool {
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        flags & libc::O_DIRECT != 0
    }

    #[cfg(not(target_os = "linux"))]
    fn is_direct(_: &File) -> bool {
        true
    }

    /// I27: holes are zeroes, and take no space until there is some.
    #[test]
    fn sparse_cut_off_and_allocated() {
        const GIGABYTE: u64 = 1 << 30;
        let temp = Temp::new("fs-sparse", b"");
        block_on(async {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).open(&temp.0).await.unwrap();
            file.write_all_at("end", GIGABYTE).await.0.unwrap();
            let metadata = file.metadata().await.unwrap();
            assert_eq!(metadata.size(), GIGABYTE + 3);
            assert!(metadata.blocks() < 1 << 10, "{metadata:?}");
            let (read, hole) = file
                .read_exact_at(vec![1; 1 << 16].into_boxed_slice(), GIGABYTE / 2)
                .await;
            read.unwrap();
            assert!(hole.iter().all(|byte| *byte == 0));
            let (read, text) = file.read_to_end_at(Vec::new(), GIGABYTE - 1).await;
            assert_eq!((read.unwrap(), &text[..]), (4, &b"\0end"[..]));
            file.set_len(2).await.unwrap();
            file.set_len(5).await.unwrap();
            file.sync_data().await.unwrap();
            file.sync_all().await.unwrap();
            assert_eq!(fs::read(&temp.0).await.unwrap(), [0; 5]);
            match file.allocate(0, 1 << 16).await {
                Ok(()) => assert!(file.metadata().await.unwrap().blocks() >= 128),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            }
            assert_eq!(kind(file.set_len(u64::MAX).await), ErrorKind::InvalidInput);
            file.close().await.unwrap();
        });
        assert_eq!(open_on(&temp), 0);
    }

    #[test]
    fn how_a_file_is_opened() {
        let dir = Dir::new("fs-options");
        block_on(async {
            let path = dir.join("file");
            let read = async |path| fs::read_to_string(path).await.unwrap();
            assert_eq!(
                kind(OpenOptions::new().read(true).open(&path).await),
                ErrorKind::NotFound
            );
            let mut new = OpenOptions::new();
            new.write(true).create_new(true).mode(0o640);
            let file = new.open(&path).await.unwrap();
            file.write_all_at("abc", 0).await.0.unwrap();
            assert_eq!(allowed(&path), 0o640);
            assert_eq!(kind(new.open(&path).await), ErrorKind::AlreadyExists);
            let file = OpenOptions::new().append(true).open(&path).await.unwrap();
            file.write_all_at("def", 0).await.0.unwrap();
            assert_eq!(read(&path).await, "abcdef");
            let file = OpenOptions::new().write(true).open(&path).await.unwrap();
            file.write_all_at("A", 0).await.0.unwrap();
            assert_eq!(read(&path).await, "Abcdef");
            let mut flags = OpenOptions::new();
            flags.read(true).custom_flags(libc::O_DIRECTORY);
            assert_eq!(kind(flags.open(&path).await), ErrorKind::NotADirectory);
            flags.open(&dir.0).await.unwrap();
            match OpenOptions::new().read(true).direct(true).open(&path).await {
                Ok(file) => assert!(is_direct(&file)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "none here"),
            }
            let emptied = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)
                .await;
            assert_eq!(emptied.unwrap().metadata().await.unwrap().size(), 0);
            assert_eq!(
                kind(OpenOptions::new().read(true).open("a\0b").await),
                ErrorKind::InvalidInput
            );
        });
    }

    #[test]
    fn names() {
        let dir = Dir::new("fs-names");
        block_on(async {
            let (a, b, deep) = (dir.join("a"), dir.join("b"), dir.join("x/y/z"));
            fs::write(&a, "text").await.0.unwrap();
            fs::hard_link(&a, &b).await.unwrap();
            assert_eq!(fs::metadata(&b).await.unwrap().nlink(), 2);
            fs::remove_file(&a).await.unwrap();
            assert!(!fs::try_exists(&a).await.unwrap());
            fs::rename(&b, &a).await.unwrap();
            assert_eq!(fs::read(&a).await.unwrap(), b"text");
            fs::symlink("a", &b).await.unwrap();
            assert_eq!(fs::read_link(&b).await.unwrap(), Path::new("a"));
            assert_eq!(
                fs::canonicalize(&b).await.unwrap(),
                fs::canonicalize(&a).await.unwrap()
            );
            assert!(fs::symlink_metadata(&b).await.unwrap().is_symlink());
            assert!(fs::metadata(&b).await.unwrap().is_file());
            assert_eq!(
                kind(fs::try_exists(a.join("below")).await),
                ErrorKind::NotADirectory
            );
            assert_eq!(
                kind(fs::create_dir(deep.join("..")).await),
                ErrorKind::NotFound
            );
            fs::create_dir_all(&deep).await.unwrap();
            fs::create_dir_all(&deep).await.unwrap();
            fs::create_dir_all("").await.unwrap();
            fs::create_dir_all("/").await.unwrap();
            assert_eq!(
                kind(fs::create_dir_all(a.join("below")).await),
                ErrorKind::NotADirectory
            );
            assert_eq!(kind(fs::create_dir_all(&a).await), ErrorKind::AlreadyExists);
            assert_eq!(
                kind(fs::remove_dir(dir.join("x")).await),
                ErrorKind::DirectoryNotEmpty
            );
            fs::remove_dir(&deep).await.unwrap();
            assert!(!fs::try_exists(&deep).await.unwrap());
            fs::remove_dir_all(dir.join("x")).await.unwrap();
            assert_eq!(
                kind(fs::remove_file(dir.join("x")).await),
                ErrorKind::NotFound
            );
            assert_eq!(kind(fs::read_dir(dir.join("x")).await), ErrorKind::NotFound);
            fs::write(&a, b"\xff").await.0.unwrap();
            assert_eq!(kind(fs::read_to_string(&a).await), ErrorKind::InvalidData);
            let (written, back) = fs::write(dir.join("x/y"), vec![1]).await;
            assert_eq!((kind(written), back), (ErrorKind::NotFound, vec![1]));
        });
    }

    #[test]
    fn very_long_paths() {
        let dir = Dir::new("fs-long");
        block_on(async {
            let name = "n".repeat(255);
            fs::write(dir.join(&name), "x").await.0.unwrap();
            assert_eq!(fs::read(dir.join(&name)).await.unwrap(), b"x");
            let too_long = dir.join(&"n".repeat(256));
            assert_eq!(kind(fs::read(&too_long).await), ErrorKind::InvalidFilename);
            // Just as long as a path may be, and a byte longer.
            let mut long = dir.join(&name).into_os_string().into_string().unwrap();
            let at = long.len() - name.len();
            long.insert_str(at, &"./".repeat(4095));
            let most = 4095 - name.len();
            let slashes = "/".repeat(most - at);
            let longest = format!("{}{slashes}{name}", &long[..at]);
            assert_eq!(longest.len(), 4095);
            assert_eq!(fs::read(&longest).await.unwrap(), b"x");
            let longer = format!("{}/{slashes}{name}", &long[..at]);
            assert_eq!(kind(fs::read(longer).await), ErrorKind::InvalidFilename);
        });
    }
}

#[cfg(feature = "sim")]
mod simulated {
    use super::{ErrorKind, OpenOptions, fs, kind};
    use completeio::driver::Driver;
    use completeio::sim::{self, Faults, World};
    use completeio::task::Runtime;
    use std::future::Future;

    fn run<F: Future>(world: &World, future: F) -> F::Output {
        let driver = world.host("a").driver(Driver::builder()).unwrap();
        Runtime::builder().build_on(driver).block_on(future)
    }

    /// A disk for four pages: what there is room for is written, and told.
    #[test]
    fn a_disk_that_is_full() {
        let faults = Faults {
            disk_size: 4 * 4096,
            ..Faults::none()
        };
        run(&World::new(1, faults), async {
            let mut options = OpenOptions::new();
            options.write(true).create(true);
            let file = options.open("/full").await.unwrap();
            let (written, buffer) = file.write_all_at(vec![7; 20_000], 0).await;
            let error = written.unwrap_err();
            assert_eq!(
                (error.kind(), error.moved()),
                (ErrorKind::StorageFull, 16_384)
            );
            assert_eq!(buffer.len(), 20_000);
            file.set_len(4096).await.unwrap();
            let parts = [vec![7; 5000], vec![7; 5000], vec![7; 5000]];
            let error = file.write_vectored_all_at(parts, 4096).await.0.unwrap_err();
            assert_eq!(
                (error.kind(), error.moved()),
                (ErrorKind::StorageFull, 12_288)
            );
        });
    }

    /// All that is done by operations, on a disk whose results come late, in part and in any order.
    #[test]
    fn a_disk_of_a_host() {
        sim::check(0..50, &Faults::default(), |world| {
            run(world, async {
                let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
                fs::create_dir_all("/a/b/c").await.unwrap();
                fs::write("/a/b/c/one", bytes.clone()).await.0.unwrap();
                assert_eq!(fs::copy("/a/b/c/one", "/a/two").await.unwrap(), 400_000);
                assert!(fs::read("/a/two").await.unwrap() == bytes);
                assert_eq!(
                    kind(fs::copy("/a/two", "/a/two").await),
                    ErrorKind::InvalidInput
                );
                fs::hard_link("/a/two", "/a/three").await.unwrap();
                fs::rename("/a/three", "/four").await.unwrap();
                fs::symlink("/four", "/five").await.unwrap();
                assert!(fs::symlink_metadata("/five").await.unwrap().is_symlink());
                assert_eq!(fs::metadata("/five").await.unwrap().nlink(), 2);
                let mut options = OpenOptions::new();
                let file = options.read(true).write(true).open("/five").await.unwrap();
                file.set_len(10).await.unwrap();
                file.write_vectored_all_at(["ab", "cde"], 2)
                    .await
                    .0
                    .unwrap();
                let (read, text) = file.read_exact_at(vec![0; 6].into_boxed_slice(), 1).await;
                read.unwrap();
                assert_eq!(*text, *b"\0abcde");
                file.allocate(0, 4096).await.unwrap();
                file.sync_all().await.unwrap();
                file.close().await.unwrap();
                fs::remove_file("/a/b/c/one").await.unwrap();
                fs::remove_dir("/a/b/c").await.unwrap();
                assert!(!fs::try_exists("/a/b/c").await.unwrap());
                assert_eq!(fs::read("/a/two").await.unwrap().len(), 4096);
            });
        });
    }
}
