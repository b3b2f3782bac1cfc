//! C1: what is read of a room, and who owns the descriptors there.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::written::read;
use super::*;
use crate::fuzzing::noise;

fn filled<const N: usize>(messages: &[(i32, i32, &[u8])]) -> Incoming<N> {
    let mut room = Incoming::new();
    let mut at = 0;
    for (level, kind, data) in messages {
        let place = sys::begin(&mut room.bytes[at..], *level, *kind, data.len()).unwrap();
        place[..data.len()].copy_from_slice(data);
        at += sys::HEADER + place.len();
    }
    room
}

#[test]
fn whatever_a_kernel_writes() {
    for round in 0_u8..if cfg!(miri) { 50 } else { 250 } {
        let mut bytes = noise(round.into(), 2 + written::ROOM);
        // Lengths that may pass, and levels that are known.
        for (n, head) in bytes[2..].chunks_exact_mut(24).enumerate() {
            if round % 4 < 3 {
                head[..16].fill(0);
                head[0] = [16, 17, 20, 24, 28, 200][(usize::from(round) + n) % 6];
                head[8] = 1;
                head[12] = 1 + round % 2;
                // Descriptors that there are, and those that there are not.
                head[19] = round << 6;
                head[23] = round << 5;
            }
        }
        written::check(&bytes);
    }
    written::check(&[]);
}

#[test]
fn lengths_at_the_edges() {
    let head = |len: usize| {
        let mut room = filled::<40>(&[(9, 9, &[7; 8])]);
        room.bytes[..8].copy_from_slice(&len.to_ne_bytes());
        read(&mut room)
    };
    for short in [0, 1, 15] {
        assert!(head(short).is_empty(), "{short}: less than its own head");
    }
    assert_eq!(head(16)[0], "Other { level: 9, kind: 9, data: [] }");
    assert_eq!(head(19)[0], "Other { level: 9, kind: 9, data: [7, 7, 7] }");
    for long in [40, 41, usize::MAX - 7, usize::MAX] {
        let messages = head(long);
        assert_eq!(messages.len(), 1, "{long}: cut at the end of the room");
        assert!(messages[0].matches(',').count() >= 24, "{messages:?}");
    }
    assert!(Incoming::<0>::new().messages().next().is_none());
    assert!(Incoming::<15>::new().messages().next().is_none());
}

#[test]
fn what_is_known_is_read_and_else_given_as_it_is() {
    let (level, tos) = (0, 1);
    for (data, known) in [(&[3][..], true), (&[3, 0, 0, 0], false), (&[], false)] {
        let mut room = filled::<64>(&[(level, tos, data), (5, 6, b"next")]);
        let messages = read(&mut room);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0] == "TrafficClass(3)", known, "{messages:?}");
        assert!(messages[1].starts_with("Other { level: 5, kind: 6, data: [110,"));
    }
    let mut sent = Outgoing::<{ space(20) + space(12) }>::new();
    sent.source("::1".parse().unwrap(), 3).unwrap();
    sent.credentials(Credentials {
        pid: 7,
        uid: 8,
        gid: 9,
    })
    .unwrap();
    assert_eq!(sent.traffic_class_v4(1), Err(NoRoom(())));
    let mut room = Incoming { bytes: sent.bytes };
    let messages = read(&mut room);
    assert!(messages[0].contains("destination: ::1") && messages[0].contains("interface: 3"));
    assert_eq!(
        messages[1],
        "Credentials(Credentials { pid: 7, uid: 8, gid: 9 })"
    );
}

#[test]
#[cfg_attr(miri, ignore = "opens files")]
fn descriptors_are_given_once_and_the_rest_is_closed() {
    use std::os::fd::{AsRawFd, IntoRawFd};
    let null = || std::fs::File::open("/dev/null").unwrap();
    let numbers = [null(), null(), null()].map(IntoRawFd::into_raw_fd);
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
    let mut room = filled::<64>(&[(sys::SOCKET, sys::RIGHTS, &bytes)]);
    let Some(ControlMessage::Rights(mut fds)) = room.messages().next() else {
        panic!("descriptors are there");
    };
    assert_eq!(fds.remaining(), 3);
    let first = fds.next().unwrap();
    assert_eq!(first.as_raw_fd(), numbers[0]);
    let Some(ControlMessage::Rights(fds)) = room.messages().next() else {
        panic!("the others are there");
    };
    assert_eq!(fds.remaining(), 2);
    drop(room);
    let links = numbers.map(|n| std::fs::read_link(format!("/proc/self/fd/{n}")).ok());
    let null = |link: &Option<std::path::PathBuf>| {
        link.as_ref()
            .is_some_and(|path| path.as_os_str() == "/dev/null")
    };
    assert!(null(&links[0]));
}

#[test]
fn what_a_fruitless_try_left_is_taken_out() {
    let [junk, class] = [(5, 5, &[1; 12][..]), (0, 1, &[2][..])];
    let last = space(1);
    for messages in [&[class][..], &[junk, class], &[junk, junk, class]] {
        let mut room = filled::<128>(messages);
        room.keep_last(last);
        assert_eq!(read(&mut room), ["TrafficClass(2)"]);
    }
    // All of it is wanted, nothing is there, and lengths that cannot be.
    let mut room = filled::<128>(&[junk, class]);
    room.keep_last(space(12) + last);
    assert_eq!(read(&mut room).len(), 2);
    room.keep_last(last + 1);
    room.keep_last(usize::MAX);
    assert_eq!(read(&mut room).len(), 2);
    room.keep_last(0);
    assert!(read(&mut room).is_empty());
    room.keep_last(7);
}
