//! The differences that are documented, and what is not asked: one table, by name.

use super::outcome::{Outcome, Seen};
use super::roles::{Kind, Roles};
use super::step::{Door, LONG, Move, Step};
use completeio_driver::driver::Backend;

/// So much of a device is read at once.
const PAGE: usize = 4096;

/// What is excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    OffsetAboveMax,
    FlagRefused,
    ManyParts,
    NowaitWrite,
    NowaitRead,
    FlagsOfDevices,
    PositionOfStreams,
    DatagramWithoutRoom,
    WholePackets,
    WouldWaitHalfway,
    TcpAtItsEnd,
    TheRoot,
    SpliceErrors,
    Nothing,
    FlagsFirst,
    NamesFirst,
    PeekedTwice,
    ShutDatagrams,
    ShortOfDevices,
    SpliceOfDevices,
}

/// How an excuse is named, and why it is one.
const TABLE: [(Known, &str, &str); 20] = [
    (
        Known::OffsetAboveMax,
        "offset above i64::MAX",
        "the driver refuses it, and no system call has it",
    ),
    (
        Known::FlagRefused,
        "refused flag",
        "RWF_HIPRI, MSG_TRUNC of a receive, MSG_ZEROCOPY: the driver refuses them",
    ),
    (
        Known::ManyParts,
        "more than 1,024 parts",
        "the driver moves the first 1,024; the system call, which gives EINVAL, is given those",
    ),
    (
        Known::NowaitWrite,
        "NOWAIT write into the page cache",
        "EAGAIN on io_uring, EOPNOTSUPP by the call: see RwFlags::NOWAIT",
    ),
    (
        Known::NowaitRead,
        "NOWAIT read",
        "moves what is cached, which the kernel decides: what both moved is compared",
    ),
    (
        Known::FlagsOfDevices,
        "flags on devices and directories",
        "which take none: io_uring makes the call without them: see RwFlags",
    ),
    (
        Known::PositionOfStreams,
        "offset on pipes and sockets",
        "io_uring reads and writes without it: not asked there: see ReadAt",
    ),
    (
        Known::DatagramWithoutRoom,
        "datagram without room",
        "io_uring's kernel sends an empty one: not asked there: see Send",
    ),
    (
        Known::WholePackets,
        "WAIT_ALL on packets",
        "io_uring goes on with the next one: asked nowhere: see MsgFlags::WAIT_ALL",
    ),
    (
        Known::WouldWaitHalfway,
        "WAIT_ALL that would wait",
        "with a part of the bytes taken, which a call that never waits gives: asked nowhere",
    ),
    (
        Known::TcpAtItsEnd,
        "TCP with a full window, or a peer that is gone",
        "what comes when is the network's affair: asked nowhere",
    ),
    (
        Known::TheRoot,
        "close of the way's own directory",
        "all other steps start there: asked nowhere",
    ),
    (
        Known::SpliceErrors,
        "splice with several errors",
        "io_uring's kernel looks for them in another order: see Splice",
    ),
    (
        Known::Nothing,
        "transfer of no bytes",
        "is a success where the kernel does not look at the descriptor or the flags: see ReadAt",
    ),
    (
        Known::FlagsFirst,
        "a wrong flag and a wrong offset",
        "io_uring's kernel looks at the flag first: see RwFlags",
    ),
    (
        Known::NamesFirst,
        "a name that can be none, and another error",
        "io_uring's kernel looks at the names first: see Rename",
    ),
    (
        Known::PeekedTwice,
        "PEEK with WAIT_ALL, and fewer bytes than that",
        "io_uring's kernel takes the same ones again for what is missing: see MsgFlags::PEEK",
    ),
    (
        Known::ShutDatagrams,
        "receive of datagrams behind a shutdown",
        "0 by a call that blocks and on io_uring, a wait on readiness: asked nowhere: see Shutdown",
    ),
    (
        Known::ShortOfDevices,
        "read of a device",
        "is cut short where the thread has run for long: what both moved is compared",
    ),
    (
        Known::SpliceOfDevices,
        "splice of more than a page from a device",
        "is cut short in the same way, and what follows depends on it: asked nowhere",
    ),
];

/// How often each was needed.
#[derive(Debug, Default)]
pub(crate) struct Tally([u64; TABLE.len()]);

impl Tally {
    pub(crate) fn count(&mut self, known: Known) {
        self.0[known as usize] += 1;
    }

    /// A line for each that was needed.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let used = TABLE.iter().zip(&self.0).filter(|(_, times)| **times > 0);
        used.map(|((_, name, why), times)| format!("excused {times} times: {name}: {why}"))
    }
}

/// Why no way is asked to take a step.
pub(crate) fn not_asked(roles: &Roles, step: &Step) -> Option<Known> {
    match step {
        Step::Close { fd } if roles.find(*fd) == 0 => Some(Known::TheRoot),
        Step::Move(m) => {
            let role = roles.of(m.fd);
            if m.write && role.kind == Kind::Tcp && roles.is_full(m.fd, m.len()) {
                return Some(Known::TcpAtItsEnd);
            }
            if !m.write && role.kind == Kind::Datagrams && role.ended {
                return Some(Known::ShutDatagrams);
            }
            let Door::Socket { flags } = m.door else {
                return roles.is_over(m.fd).then_some(Known::TcpAtItsEnd);
            };
            let whole = flags & libc::MSG_WAITALL != 0;
            if whole && matches!(role.kind, Kind::Packets | Kind::Datagrams) {
                return Some(Known::WholePackets);
            }
            if whole && role.kind.is_socket() && roles.waits_halfway(m.fd, m.write, m.len()) {
                return Some(Known::WouldWaitHalfway);
            }
            roles.is_over(m.fd).then_some(Known::TcpAtItsEnd)
        }
        Step::Shutdown { fd, .. } => roles.is_over(*fd).then_some(Known::TcpAtItsEnd),
        Step::Splice { ends, len, .. } => {
            let [from, to] = *ends;
            if roles.of(from).kind == Kind::Device && *len > PAGE {
                return Some(Known::SpliceOfDevices);
            }
            let full = roles.of(to).kind == Kind::Tcp && roles.is_full(to, *len);
            (full || roles.is_over(from) || roles.is_over(to)).then_some(Known::TcpAtItsEnd)
        }
        _ => None,
    }
}

/// Why a backend is not asked to take a step that did nothing by the plain call.
pub(crate) fn not_asked_of(
    backend: Backend,
    roles: &Roles,
    step: &Step,
    plain: &Seen,
) -> Option<Known> {
    let Step::Move(m) = step else { return None };
    if backend != Backend::IoUring {
        return None;
    }
    let role = roles.of(m.fd);
    if plain.outcome == Outcome::Errno(libc::ESPIPE) && role.kind.has_no_position() {
        return Some(Known::PositionOfStreams);
    }
    let waits = plain.outcome == Outcome::Waits && m.write;
    (waits && role.kind == Kind::Datagrams).then_some(Known::DatagramWithoutRoom)
}

/// Why the call itself says something else than the driver has to.
pub(crate) fn refused(m: &Move) -> Option<Known> {
    match m.door {
        Door::At { offset, .. } if i64::try_from(offset).is_err() => Some(Known::OffsetAboveMax),
        Door::At { flags, .. } if flags & libc::RWF_HIPRI != 0 => Some(Known::FlagRefused),
        Door::Socket { flags } => {
            let refused = if m.write {
                libc::MSG_ZEROCOPY
            } else {
                libc::MSG_TRUNC
            };
            (flags & refused != 0).then_some(Known::FlagRefused)
        }
        _ => None,
    }
}

/// Why a backend may have seen this where the plain call saw that.
pub(crate) fn excuse(
    backend: Backend,
    roles: &Roles,
    step: &Step,
    plain: &Seen,
    seen: &Seen,
) -> Option<Known> {
    let io_uring = backend == Backend::IoUring;
    let is = |seen: &Seen, errno| seen.outcome == Outcome::Errno(errno);
    let either = |outcome| plain.outcome == outcome || seen.outcome == outcome;
    let names_first = |names: [&str; 2]| {
        let wrong = names.iter().any(|name| name.is_empty() || *name == LONG);
        let name = is(seen, libc::ENOENT) || is(seen, libc::ENAMETOOLONG);
        let both = wrong && name && matches!(plain.outcome, Outcome::Errno(_));
        (both && io_uring).then_some(Known::NamesFirst)
    };
    let m = match step {
        Step::Splice { len: 0, .. } | Step::Tee { len: 0, .. } => {
            return either(Outcome::Done(0)).then_some(Known::Nothing);
        }
        Step::Splice { .. } | Step::Tee { .. } => {
            let known = [libc::EBADF, libc::ESPIPE, libc::EINVAL].map(Outcome::Errno);
            let both = known.contains(&plain.outcome) && known.contains(&seen.outcome);
            return (both && io_uring).then_some(Known::SpliceErrors);
        }
        Step::Open { path, .. } => return names_first([path, path]),
        Step::Rename { from, to, .. } | Step::HardLink { from, to, .. } => {
            return names_first([from, to]);
        }
        Step::Move(m) => m,
        _ => return None,
    };
    if m.len() == 0 && either(Outcome::Done(0)) {
        return Some(Known::Nothing);
    }
    if let (Outcome::Done(all), Outcome::Done(n)) = (plain.outcome, seen.outcome) {
        let fewer = usize::try_from(n).ok().filter(|_| n > 0 && n < all);
        let alike = fewer.is_some_and(|n| plain.bytes[..n] == seen.bytes[..n]);
        if roles.of(m.fd).kind == Kind::Device && !m.write && alike {
            return Some(Known::ShortOfDevices);
        }
    }
    if let Door::Socket { flags } = m.door {
        const BOTH: i32 = libc::MSG_PEEK | libc::MSG_WAITALL;
        let short = matches!(plain.outcome, Outcome::Done(n) if n < m.len() as u64);
        return (io_uring && flags & BOTH == BOTH && short).then_some(Known::PeekedTwice);
    }
    let Door::At { flags, .. } = m.door else {
        return None;
    };
    if flags == 0 {
        return None;
    }
    if io_uring {
        let takes_none = roles.of(m.fd).kind == Kind::Device || is(seen, libc::EISDIR);
        if takes_none && is(plain, libc::EOPNOTSUPP) {
            return Some(Known::FlagsOfDevices);
        }
        let flag = is(seen, libc::EOPNOTSUPP) || is(seen, libc::EAGAIN);
        if is(plain, libc::EINVAL) && flag {
            return Some(Known::FlagsFirst);
        }
    }
    if flags & libc::RWF_NOWAIT == 0 {
        return None;
    }
    if m.write {
        let differs = is(plain, libc::EOPNOTSUPP) && is(seen, libc::EAGAIN);
        return (io_uring && differs).then_some(Known::NowaitWrite);
    }
    let moved = |seen: &Seen| match seen.outcome {
        Outcome::Done(n) => usize::try_from(n).ok(),
        Outcome::Errno(libc::EAGAIN) => Some(seen.moved),
        _ => None,
    };
    let both = moved(plain)?.min(moved(seen)?);
    (plain.bytes[..both] == seen.bytes[..both]).then_some(Known::NowaitRead)
}
