//! Kinds and options of sockets as the platform's C library has them.
#![allow(unsafe_code, reason = "the promise of a representation")]

use super::plain;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

pub(crate) use super::values::*;

/// Kinds of sockets.
pub(crate) mod kind {
    #[cfg(not(target_vendor = "apple"))]
    pub(crate) use libc::{SOCK_CLOEXEC as CLOEXEC, SOCK_NONBLOCK as NONBLOCK};
    pub(crate) use libc::{SOCK_DGRAM as DGRAM, SOCK_STREAM as STREAM};
    /// A flag of no system: a call of its own stands in for it.
    #[cfg(target_vendor = "apple")]
    pub(crate) const CLOEXEC: i32 = 1 << 28;
    /// A flag of no system: a call of its own stands in for it.
    #[cfg(target_vendor = "apple")]
    pub(crate) const NONBLOCK: i32 = 1 << 29;
}

/// Levels and names of options.
pub(crate) mod name {
    #[cfg(not(target_vendor = "apple"))]
    pub(crate) use libc::SO_LINGER as LINGER;
    #[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
    pub(crate) use libc::TCP_KEEPIDLE as KEEPIDLE;
    pub(crate) use libc::{
        IPPROTO_IPV6 as IPV6, IPPROTO_TCP as TCP, IPV6_V6ONLY as V6ONLY, SO_BROADCAST as BROADCAST,
        SO_ERROR as ERROR, SO_KEEPALIVE as KEEPALIVE, SO_RCVBUF as RCVBUF, SO_RCVTIMEO as RCVTIMEO,
        SO_REUSEADDR as REUSEADDR, SO_REUSEPORT as REUSEPORT, SO_SNDBUF as SNDBUF,
        SO_SNDTIMEO as SNDTIMEO, SO_TYPE as TYPE, SOL_SOCKET as SOCKET, TCP_NODELAY as NODELAY,
    };
    #[cfg(target_vendor = "apple")]
    pub(crate) use libc::{SO_LINGER_SEC as LINGER, TCP_KEEPALIVE as KEEPIDLE};
    #[cfg(not(target_os = "openbsd"))]
    pub(crate) use libc::{TCP_KEEPCNT as KEEPCNT, TCP_KEEPINTVL as KEEPINTVL};
    /// No such options (`ENOPROTOOPT`): the system's own settings hold for all sockets.
    #[cfg(target_os = "openbsd")]
    mod kept {
        pub(crate) const KEEPIDLE: i32 = -1;
        pub(crate) const KEEPCNT: i32 = -1;
        pub(crate) const KEEPINTVL: i32 = -1;
    }
    #[cfg(target_os = "openbsd")]
    pub(crate) use self::kept::*;

    pub(crate) use self::told::*;

    /// What asks for control messages and credentials.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    mod told {
        pub(crate) use libc::{
            IP_PKTINFO as PKTINFO, IP_RECVTOS as RECVTOS, IPPROTO_IP as IP,
            IPV6_RECVPKTINFO as RECVPKTINFO, IPV6_RECVTCLASS as RECVTCLASS,
            SO_PASSCRED as PASSCRED, SO_PEERCRED as PEERCRED, SOL_UDP as UDP, UDP_GRO as GRO,
        };
    }

    /// No such options (`ENOPROTOOPT`), for the messages are not known there.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    mod told {
        pub(crate) use libc::{IPPROTO_IP as IP, IPPROTO_UDP as UDP};
        pub(crate) const PKTINFO: i32 = -1;
        pub(crate) const RECVTOS: i32 = -1;
        pub(crate) const RECVPKTINFO: i32 = -1;
        pub(crate) const RECVTCLASS: i32 = -1;
        pub(crate) const PASSCRED: i32 = -1;
        pub(crate) const PEERCRED: i32 = -1;
        pub(crate) const GRO: i32 = -1;
    }
}

// SAFETY: (K1) two integers.
unsafe impl RawValue for RawTime {}

/// The value of `SO_LINGER`.
pub(crate) type RawLinger = libc::linger;
/// The value of an option that is a time.
pub(crate) type RawTime = libc::timeval;

pub(crate) fn linger(after: Option<Duration>) -> RawLinger {
    RawLinger {
        l_onoff: after.is_some().into(),
        l_linger: after.map_or(0, |after| i32::try_from(seconds(after)).unwrap_or(i32::MAX)),
    }
}

pub(crate) fn from_linger(raw: RawLinger) -> Option<Duration> {
    let seconds = u64::try_from(raw.l_linger).unwrap_or(0);
    (raw.l_onoff != 0).then_some(Duration::from_secs(seconds))
}

/// Whole microseconds, rounded up: zero would mean for ever.
#[allow(clippy::useless_conversion, reason = "the type is another elsewhere")]
pub(crate) fn time(wait: Option<Duration>) -> RawTime {
    let wait = wait.unwrap_or(Duration::ZERO);
    let up = Duration::from_nanos(u64::from(
        wait.subsec_nanos().next_multiple_of(1000) - wait.subsec_nanos(),
    ));
    let wait = wait.saturating_add(up);
    let mut raw = zeroed::<RawTime>();
    let most = libc::c_long::MAX.unsigned_abs();
    let seconds = wait.as_secs().min(most).try_into();
    raw.tv_sec = seconds.expect("no time has less bits than a `long`");
    let micros = i32::try_from(wait.subsec_micros()).expect("less than a million");
    raw.tv_usec = micros.into();
    raw
}

pub(crate) fn from_time(raw: RawTime) -> Option<Duration> {
    let seconds = u64::try_from(raw.tv_sec).unwrap_or(0);
    let micros = u64::try_from(raw.tv_usec).unwrap_or(0);
    let wait = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
    (!wait.is_zero()).then_some(wait)
}

/// Sets whether calls on a descriptor block.
pub(crate) fn set_non_blocking(fd: RawFd, yes: bool) -> io::Result<()> {
    let mut yes = libc::c_int::from(yes);
    // SAFETY: (K1) the kernel reads an integer.
    done(plain::result(
        unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut yes) } as isize,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_survive() {
        for (given, nanos) in [(0, 0), (1, 1000), (999, 1000), (1000, 1000), (1001, 2000)] {
            let there = time(Some(Duration::from_nanos(given)));
            let back = from_time(there).unwrap_or(Duration::ZERO);
            assert_eq!(back, Duration::from_nanos(nanos));
        }
        assert_eq!(from_time(time(None)), None);
        let almost = Duration::new(4, 999_999_999);
        assert_eq!(from_time(time(Some(almost))), Some(Duration::from_secs(5)));
        assert!(from_time(time(Some(Duration::MAX))).is_some());
        for (given, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            let there = linger(Some(Duration::from_millis(given)));
            assert_eq!(from_linger(there), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(from_linger(linger(None)), None);
    }
}
