//! An operation in flight.

use super::descriptors::DescriptorId;
use crate::clock::Clock;
use crate::fd::Target;
use crate::key::Key;
use crate::op::call::{Call, FileCall, PathCall, PlainCall, SocketCall, StreamCall};
use crate::sys::Which;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) key: Key,
    pub(super) call: Call,
    /// Its number in the trace.
    pub(super) number: u64,
    /// The descriptors that it uses; the kernel's way: those that its targets named when it was
    /// handed over.
    pub(super) files: [Option<DescriptorId>; 2],
    /// It is not tried before; nor does its completion come before, once it is done.
    pub(super) from: Duration,
    /// When a timeout is over.
    pub(super) expires: Option<Duration>,
    /// When it is cancelled, if it has not completed.
    pub(super) deadline: Option<Duration>,
    pub(super) cancelled: bool,
    /// Whether it was tried, and had to wait or is done.
    pub(super) tried: bool,
    /// Its result, once it is done.
    pub(super) result: Option<i32>,
}

/// What an operation that moves bytes of a stream waits behind: those that were handed over before
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane(DescriptorId, Direction);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

impl Flight {
    /// Whether a cancellation means it; `file` is what its target is.
    pub(super) fn is_named(&self, which: Which, file: Option<DescriptorId>) -> bool {
        match which {
            Which::Raw(key) => self.key.without_fd() == key,
            Which::Key(key) => self.key == key,
            Which::Target(_) => file.is_some() && self.files.contains(&file),
            Which::All => true,
        }
    }

    /// A close is not cancelled: its descriptor was given up.
    pub(super) fn is_cancellable(&self) -> bool {
        !matches!(self.call, Call::Close { .. })
    }

    /// How far it is.
    pub(super) fn stage(&self) -> (bool, Option<i32>) {
        (self.tried, self.result)
    }

    /// Whether it fails where others wait.
    pub(super) fn gives_up(&self) -> bool {
        let Call::Socket { call, .. } = self.call else {
            return false;
        };
        match call {
            SocketCall::Recv { flags, .. }
            | SocketCall::RecvMsg { flags, .. }
            | SocketCall::Send { flags, .. }
            | SocketCall::SendTo { flags, .. }
            | SocketCall::SendMsg { flags, .. } => flags & libc::MSG_DONTWAIT != 0,
            SocketCall::Accept { .. }
            | SocketCall::Connect { .. }
            | SocketCall::Poll { .. }
            | SocketCall::WaitId { .. } => false,
        }
    }

    pub(super) fn lane(&self) -> Option<Lane> {
        let direction = match self.call {
            Call::Stream { call, .. } => match call {
                StreamCall::Read { .. } | StreamCall::ReadVectored { .. } => Direction::In,
                StreamCall::Write { .. } | StreamCall::WriteVectored { .. } => Direction::Out,
            },
            Call::Socket { call, .. } => match call {
                SocketCall::Recv { .. }
                | SocketCall::RecvMsg { .. }
                | SocketCall::Accept { .. } => Direction::In,
                SocketCall::Send { .. }
                | SocketCall::SendTo { .. }
                | SocketCall::SendMsg { .. } => Direction::Out,
                SocketCall::Connect { .. }
                | SocketCall::Poll { .. }
                | SocketCall::WaitId { .. } => return None,
            },
            _ => return None,
        };
        Some(Lane(self.files[0]?, direction))
    }

    /// When it does something by itself.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        if self.result.is_some() || self.from > now {
            return Some(self.from);
        }
        self.expires.into_iter().chain(self.deadline).min()
    }
}

/// What a call is directed at.
pub(super) fn targets(call: &Call) -> [Option<Target>; 2] {
    match call {
        Call::File { target, .. }
        | Call::Stream { target, .. }
        | Call::Socket { target, .. }
        | Call::Close { target } => [Some(*target), None],
        Call::Plain(call) => [call.target(), None],
        Call::Path(call) => call.dirs().map(|dir| (!is_cwd(dir)).then_some(dir)),
        Call::Splice(call) => [Some(call.from), Some(call.to)],
        Call::Nop
        | Call::Timeout { .. }
        | Call::TimeoutUpdate { .. }
        | Call::FutexWait { .. }
        | Call::Raw { .. } => [None; 2],
    }
}

fn is_cwd(target: Target) -> bool {
    target == Target::Plain(crate::sys::CWD)
}

/// The time of a timeout on the world's clock.
pub(super) fn expiry(spec: Duration, clock: Clock, absolute: bool, now: Duration) -> Duration {
    if absolute {
        // All clocks of a world go alike.
        now.saturating_add(spec.saturating_sub(crate::sys::clock::now(clock)))
    } else {
        now.saturating_add(spec)
    }
}

/// What the trace calls it.
pub(super) fn name(call: &Call) -> &'static str {
    match call {
        Call::Nop => "nop",
        Call::Timeout { .. } => "timeout",
        Call::TimeoutUpdate { .. } => "timeout update",
        Call::File { call, .. } => match call {
            FileCall::Read { .. } | FileCall::ReadVectored { .. } => "read at",
            FileCall::Write { .. } | FileCall::WriteVectored { .. } => "write at",
            FileCall::Sync { .. } => "sync",
            FileCall::SyncRange { .. } => "sync range",
            FileCall::Truncate { .. } => "truncate",
            FileCall::Allocate { .. } => "allocate",
            FileCall::Advise { .. } => "advise",
            FileCall::Stat { .. } => "stat",
            FileCall::GetXattr { .. } => "get xattr",
            FileCall::SetXattr { .. } => "set xattr",
        },
        Call::Path(call) => match call {
            PathCall::Open { .. } => "open",
            PathCall::Unlink { .. } => "unlink",
            PathCall::Rename { .. } => "rename",
            PathCall::MakeDir { .. } => "make dir",
            PathCall::Symlink { .. } => "symlink",
            PathCall::HardLink { .. } => "hard link",
            PathCall::Stat { .. } => "stat at",
            PathCall::GetXattr { .. } => "get path xattr",
            PathCall::SetXattr { .. } => "set path xattr",
        },
        Call::Stream { call, .. } => match call {
            StreamCall::Read { .. } | StreamCall::ReadVectored { .. } => "read",
            StreamCall::Write { .. } | StreamCall::WriteVectored { .. } => "write",
        },
        Call::Splice(call) if call.tee => "tee",
        Call::Splice(_) => "splice",
        Call::Socket { call, .. } => match call {
            SocketCall::Recv { .. } => "recv",
            SocketCall::RecvMsg { .. } => "recv message",
            SocketCall::Send { .. } => "send",
            SocketCall::SendTo { .. } => "send to",
            SocketCall::SendMsg { .. } => "send message",
            SocketCall::Accept { .. } => "accept",
            SocketCall::Connect { .. } => "connect",
            SocketCall::Poll { .. } => "poll",
            SocketCall::WaitId { .. } => "wait for a child",
        },
        Call::Plain(call) => match call {
            PlainCall::Shutdown { .. } => "shutdown",
            PlainCall::Socket { .. } => "socket",
            PlainCall::Pipe { .. } => "pipe",
            PlainCall::FutexWake { .. } => "futex wake",
            PlainCall::Bind { .. } => "bind",
            PlainCall::Listen { .. } => "listen",
            PlainCall::SetOption { .. } => "set option",
            PlainCall::GetOption { .. } => "get option",
        },
        Call::FutexWait { .. } => "futex wait",
        Call::Close { .. } => "close",
        Call::Raw { .. } => "raw",
    }
}
