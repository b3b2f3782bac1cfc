//! Kinds and options of sockets as Winsock has them.
#![allow(unsafe_code, reason = "the promise of a representation")]

use super::fd::RawFd;
use super::plain;
use std::io;
use std::time::Duration;
use windows_sys::Win32::Networking::WinSock as w;

pub(crate) use crate::sys::values::*;

/// Kinds of sockets.
pub(crate) mod kind {
    use super::w;

    pub(crate) const STREAM: i32 = w::SOCK_STREAM;
    pub(crate) const DGRAM: i32 = w::SOCK_DGRAM;
    /// A flag of no system: another call stands in for it.
    pub(crate) const CLOEXEC: i32 = 1 << 28;
    /// A flag of no system: another call stands in for it.
    pub(crate) const NONBLOCK: i32 = 1 << 29;
}

/// Levels and names of options.
pub(crate) mod name {
    use super::w;

    pub(crate) const SOCKET: i32 = w::SOL_SOCKET;
    pub(crate) const TCP: i32 = w::IPPROTO_TCP;
    pub(crate) const UDP: i32 = w::IPPROTO_UDP;
    pub(crate) const IP: i32 = w::IPPROTO_IP;
    pub(crate) const IPV6: i32 = w::IPPROTO_IPV6;
    pub(crate) const BROADCAST: i32 = w::SO_BROADCAST;
    pub(crate) const ERROR: i32 = w::SO_ERROR;
    pub(crate) const KEEPALIVE: i32 = w::SO_KEEPALIVE;
    pub(crate) const LINGER: i32 = w::SO_LINGER;
    pub(crate) const RCVBUF: i32 = w::SO_RCVBUF;
    pub(crate) const RCVTIMEO: i32 = w::SO_RCVTIMEO;
    pub(crate) const REUSEADDR: i32 = w::SO_REUSEADDR;
    pub(crate) const SNDBUF: i32 = w::SO_SNDBUF;
    pub(crate) const SNDTIMEO: i32 = w::SO_SNDTIMEO;
    pub(crate) const TYPE: i32 = w::SO_TYPE;
    pub(crate) const NODELAY: i32 = w::TCP_NODELAY;
    pub(crate) const KEEPCNT: i32 = w::TCP_KEEPCNT;
    pub(crate) const KEEPIDLE: i32 = w::TCP_KEEPIDLE;
    pub(crate) const KEEPINTVL: i32 = w::TCP_KEEPINTVL;
    pub(crate) const V6ONLY: i32 = w::IPV6_V6ONLY;
    pub(crate) const PKTINFO: i32 = w::IP_PKTINFO;
    pub(crate) const RECVTOS: i32 = w::IP_RECVTOS;
    pub(crate) const RECVPKTINFO: i32 = w::IPV6_PKTINFO;
    pub(crate) const RECVTCLASS: i32 = w::IPV6_RECVTCLASS;
    /// The most bytes that come as one, instead of yes or no.
    pub(crate) const GRO: i32 = w::UDP_RECV_MAX_COALESCED_SIZE;
    /// No such options: whoever asks hears so.
    pub(crate) const REUSEPORT: i32 = -1;
    pub(crate) const PASSCRED: i32 = -1;
    pub(crate) const PEERCRED: i32 = -1;
}

/// The value of `SO_LINGER`.
pub(crate) type RawLinger = w::LINGER;
/// The value of an option that is a time: milliseconds.
pub(crate) type RawTime = u32;

pub(crate) fn linger(after: Option<Duration>) -> RawLinger {
    RawLinger {
        l_onoff: after.is_some().into(),
        l_linger: after.map_or(0, |after| u16::try_from(seconds(after)).unwrap_or(u16::MAX)),
    }
}

pub(crate) fn from_linger(raw: RawLinger) -> Option<Duration> {
    (raw.l_onoff != 0).then_some(Duration::from_secs(raw.l_linger.into()))
}

/// Whole milliseconds, rounded up: zero would mean for ever.
pub(crate) fn time(wait: Option<Duration>) -> RawTime {
    wait.map_or(0, |wait| {
        let millis = wait.as_nanos().div_ceil(1_000_000);
        RawTime::try_from(millis).unwrap_or(RawTime::MAX)
    })
}

pub(crate) fn from_time(raw: RawTime) -> Option<Duration> {
    (raw != 0).then_some(Duration::from_millis(raw.into()))
}

/// Sets whether calls on a socket block.
pub(crate) fn set_non_blocking(fd: RawFd, yes: bool) -> io::Result<()> {
    let mut yes = u32::from(yes);
    // SAFETY: (K1) the kernel reads an integer.
    let failed = unsafe { w::ioctlsocket(plain::socket(fd), w::FIONBIO, &raw mut yes) };
    done(plain::winsock_result(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_survive() {
        for (nanos, millis) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(time(Some(Duration::from_nanos(nanos))), millis);
        }
        assert_eq!(
            (from_time(time(None)), time(Some(Duration::MAX))),
            (None, u32::MAX)
        );
        for (given, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            let there = linger(Some(Duration::from_millis(given)));
            assert_eq!(from_linger(there), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(from_linger(linger(None)), None);
    }
}
