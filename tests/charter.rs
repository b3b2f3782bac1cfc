//! The first two programs of README.md, on every system that has a backend.
#![cfg(all(feature = "runtime", feature = "arrayvec"))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[test]
fn the_first() {
    use completeio::{fs::File, task::block_on};

    let buffer = block_on(async {
        let file = File::open("Cargo.toml").unwrap();
        let (read, buffer) = file.read_to_end_at(Vec::with_capacity(1024), 0).await;
        let read = read.unwrap();
        assert_eq!(read, buffer.len());
        String::from_utf8(buffer).unwrap()
    });
    assert_eq!(buffer, std::fs::read_to_string("Cargo.toml").unwrap());
}

#[test]
fn the_second() {
    use arrayvec::ArrayVec;
    use completeio::{
        buf::IntoInner,
        driver::{AsRawFd, CompleteIo, Driver, Entry},
        fs::File,
        op::ReadAt,
    };
    use std::collections::VecDeque;

    let mut driver = Driver::new().unwrap();
    let file = File::open("Cargo.toml").unwrap();
    let fd = driver.attach(file.as_raw_fd()).unwrap();
    let mut op = ReadAt::new(fd, 0, Vec::with_capacity(4096));
    let mut ops = VecDeque::from([(&mut op, 0).into()]);
    driver.push_queue(&mut ops);
    let mut entries = ArrayVec::<Entry, 1>::new();
    // SAFETY: the operation is not touched until its entry has come.
    unsafe {
        driver.submit(None, &mut entries).unwrap();
    }
    let entry = entries.drain(..).next().unwrap();
    assert_eq!(entry.user_data(), 0);
    let n = entry.into_result().unwrap();
    let mut buffer = op.into_inner();
    // SAFETY: so many bytes were read.
    unsafe {
        buffer.set_len(n);
    }
    let whole = std::fs::read("Cargo.toml").unwrap();
    assert_eq!(buffer, whole[..n]);
}
