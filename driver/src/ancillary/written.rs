//! Rooms as kernels fill them.

use super::*;
use crate::sys::fd::OwnedFd;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::net::UnixStream;

/// The bytes of the room.
pub(super) const ROOM: usize = 120;

/// What is there, with descriptors left alone.
pub(super) fn read<const N: usize>(room: &mut Incoming<N>) -> Vec<String> {
    room.messages().map(|m| format!("{m:?}")).collect()
}

/// Whatever a kernel writes into a room is read as recvmsg(2) and cmsg(3) have it, and each
/// descriptor there is given out once or closed. Which are taken is the first byte's choice; the
/// second says how much the last try of the kernel's has written.
pub fn check(bytes: &[u8]) {
    let Some(([taken, last], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let mut room = Incoming::<ROOM>::new();
    let filled = bytes.len().min(ROOM);
    room.bytes[..filled].copy_from_slice(&bytes[..filled]);
    let (ours, theirs) = UnixStream::pair().expect("two descriptors");
    let (messages, is_cut) = messages(&room.bytes);
    let mut numbers = 0;
    for message in &messages {
        if message.has_descriptors() {
            numbers += open(&mut room.bytes[message.data.clone()], &theirs);
        }
    }
    drop(theirs);

    let before = room.bytes;
    assert_eq!(room.messages().count(), messages.len(), "{messages:?}");
    for (message, expected) in room.messages().zip(&messages) {
        let data = &before[expected.data.clone()];
        match message {
            ControlMessage::Rights(fds) | ControlMessage::PidFd(fds) => {
                assert!(expected.has_descriptors(), "{expected:?}");
                numbers -= fds.remaining();
            }
            ControlMessage::Other {
                level,
                kind,
                data: other,
            } => {
                assert_eq!((level, kind, other), (expected.level, expected.kind, data));
            }
            known => assert!(!data.is_empty(), "{known:?} of nothing"),
        }
    }
    assert_eq!(numbers, 0, "descriptors that were not given");
    assert_eq!(before, room.bytes, "what is not taken stays");

    let mut fds = Vec::new();
    for (n, message) in room.messages().enumerate() {
        if let ControlMessage::Rights(some) | ControlMessage::PidFd(some) = message {
            fds.extend(some.take(usize::from(taken >> (n % 4 * 2) & 3)));
        }
    }
    // A kernel cuts what does not fit, the length with it.
    if !is_cut {
        let (last, all) = (usize::from(*last), read(&mut room));
        let end = |message: &Message| message.data.end.next_multiple_of(8).min(ROOM);
        let ends: Vec<usize> = messages.iter().map(end).collect();
        let junk = ends.last().map_or(0, |all| all.saturating_sub(last));
        let gone = ends
            .iter()
            .position(|end| *end == junk)
            .map_or(0, |at| at + 1);
        room.keep_last(last);
        assert_eq!(
            read(&mut room),
            all[gone..],
            "the last {last} bytes of {ends:?}"
        );
    }
    drop((room, fds));
    assert!(is_left(ours), "a descriptor was not closed");
}

/// A message as cmsg(3) finds it.
#[derive(Debug)]
struct Message {
    level: i32,
    kind: i32,
    data: std::ops::Range<usize>,
}

impl Message {
    fn has_descriptors(&self) -> bool {
        self.level == libc::SOL_SOCKET && [libc::SCM_RIGHTS, 4].contains(&self.kind)
    }
}

/// What there is, and whether the last one claims more than the room has.
fn messages(bytes: &[u8; ROOM]) -> (Vec<Message>, bool) {
    let (mut messages, mut at, mut is_cut) = (Vec::new(), 0, false);
    while at + 16 <= ROOM {
        let word = |from| *bytes[at + from..].first_chunk().expect("within the head");
        let int = |from| i32::from_ne_bytes(*bytes[at + from..].first_chunk().expect("as above"));
        let len = usize::from_ne_bytes(word(0));
        if len < 16 {
            break;
        }
        is_cut = len > ROOM - at;
        let end = at + len.min(ROOM - at);
        messages.push(Message {
            level: int(8),
            kind: int(12),
            data: at + 16..end,
        });
        at = end.next_multiple_of(8);
    }
    (messages, is_cut)
}

/// Makes descriptors of the numbers that could be some, each a clone of `of`; how many?
fn open(numbers: &mut [u8], of: &UnixStream) -> usize {
    let mut opened = 0;
    for number in numbers.chunks_exact_mut(4) {
        if number[3] < 0x80 {
            let fd = of.as_fd().try_clone_to_owned().expect("a descriptor");
            number.copy_from_slice(&fd.into_raw_fd().to_ne_bytes());
            opened += 1;
        }
    }
    opened
}

/// Whether nobody has the other end. Under Miri, which has no sockets but pairs, this waits until
/// it is so.
fn is_left(end: UnixStream) -> bool {
    if !cfg!(miri) {
        end.set_nonblocking(true).expect("it is a socket");
    }
    match File::from(OwnedFd::from(end)).read(&mut [0]) {
        Ok(n) => n == 0,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            false
        }
    }
}
