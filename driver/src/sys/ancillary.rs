//! Control messages as the platform lays them out, and what those mean that this crate knows.
//!
//! All of it is arithmetic on bytes: nothing here follows a pointer.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

/// The length at the head of a control message.
#[cfg(any(target_os = "linux", target_os = "android", windows))]
type Len = usize;
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
type Len = u32;

const LEN: usize = size_of::<Len>();
const INT: usize = size_of::<i32>();

/// What control messages are aligned to, in bytes.
pub(crate) const ALIGN: usize = if cfg!(target_vendor = "apple") {
    INT
} else {
    size_of::<usize>()
};
/// The bytes in front of a message's data.
pub(crate) const HEADER: usize = align(LEN + 2 * INT);
/// The bytes of a descriptor's number.
pub(crate) const FD: usize = INT;

#[cfg(unix)]
const _: () = assert!(HEADER >= size_of::<libc::cmsghdr>());

/// The next multiple of [`ALIGN`]; as many bytes as a message with so many takes.
pub(crate) const fn align(len: usize) -> usize {
    len.saturating_add(ALIGN - 1) & !(ALIGN - 1)
}

/// The head of a control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The bytes of its data, as it claims.
    pub(crate) data_len: usize,
    pub(crate) level: i32,
    pub(crate) kind: i32,
}

/// The head at the beginning of `bytes`, if there is one.
#[allow(
    clippy::useless_conversion,
    reason = "the length is of another type elsewhere"
)]
pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let head = bytes.get(..HEADER)?;
    let (len, rest) = head.split_first_chunk::<LEN>()?;
    let len = usize::try_from(Len::from_ne_bytes(*len)).ok()?;
    Some(Head {
        data_len: len.checked_sub(HEADER)?,
        level: int(rest)?,
        kind: int(rest.get(INT..)?)?,
    })
}

/// Begins a message at the beginning of `bytes`, if it fits; returns the place for its data, with
/// what aligns the next, all zeroes.
pub(crate) fn begin(bytes: &mut [u8], level: i32, kind: i32, data_len: usize) -> Option<&mut [u8]> {
    let len = Len::try_from(HEADER.checked_add(data_len)?).ok()?;
    let whole = bytes.get_mut(..HEADER.checked_add(align(data_len))?)?;
    let (head, data) = whole.split_at_mut(HEADER);
    head[..LEN].copy_from_slice(&len.to_ne_bytes());
    head[LEN..LEN + INT].copy_from_slice(&level.to_ne_bytes());
    head[LEN + INT..LEN + 2 * INT].copy_from_slice(&kind.to_ne_bytes());
    data.fill(0);
    Some(data)
}

/// The integer at the beginning of `bytes`.
pub(crate) fn int(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|int| i32::from_ne_bytes(*int))
}

/// What a message means, beside those that are not known.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    expect(dead_code, reason = "most are Linux's")
)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Known {
    /// Numbers of descriptors that are the receiver's now.
    Rights,
    /// One, or an error number instead.
    PidFd,
    Credentials {
        pid: i32,
        uid: u32,
        gid: u32,
    },
    Timestamp(SystemTime),
    TrafficClass(u8),
    PacketInfo4 {
        interface: u32,
        local: Ipv4Addr,
        destination: Ipv4Addr,
    },
    PacketInfo6 {
        interface: u32,
        destination: Ipv6Addr,
    },
    SegmentSize(u16),
}

pub(crate) use super::options::name::SOCKET;
#[cfg(unix)]
pub(crate) const RIGHTS: i32 = libc::SCM_RIGHTS;
/// No message takes descriptors along.
#[cfg(windows)]
pub(crate) const RIGHTS: i32 = MISSING;
/// The kind of a message that the system does not have, or its crate does not know.
pub(crate) const MISSING: i32 = -1;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use self::linux::*;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// `SCM_PIDFD` of linux/socket.h, which the C library may lack.
    const PIDFD: i32 = 4;
    const TIMESTAMPNS: i32 = libc::SO_TIMESTAMPNS;

    pub(crate) fn known(level: i32, kind: i32, data: &[u8]) -> Option<Known> {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => Some(Known::Rights),
            (libc::SOL_SOCKET, PIDFD) => Some(Known::PidFd),
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                let [pid, uid, gid] = words(data)?;
                let pid = i32::from_ne_bytes(pid);
                let [uid, gid] = [uid, gid].map(u32::from_ne_bytes);
                Some(Known::Credentials { pid, uid, gid })
            }
            (libc::SOL_SOCKET, TIMESTAMPNS) => timestamp(data).map(Known::Timestamp),
            // IPv4 gives a byte, and takes a byte or an integer; IPv6 an integer.
            (libc::IPPROTO_IP, libc::IP_TOS) => match data {
                [class] => Some(Known::TrafficClass(*class)),
                _ => None,
            },
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                let [class] = words(data)?;
                let class = u8::try_from(i32::from_ne_bytes(class)).ok()?;
                Some(Known::TrafficClass(class))
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let [interface, local, destination] = words(data)?;
                Some(Known::PacketInfo4 {
                    interface: u32::from_ne_bytes(interface),
                    local: local.into(),
                    destination: destination.into(),
                })
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => packet_info_v6(data),
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let [size] = words(data)?;
                let size = u16::try_from(i32::from_ne_bytes(size)).ok()?;
                Some(Known::SegmentSize(size))
            }
            _ => None,
        }
    }

    /// A `timespec` since 1970.
    fn timestamp(data: &[u8]) -> Option<SystemTime> {
        const WORD: usize = size_of::<libc::c_long>();
        if data.len() != 2 * WORD {
            return None;
        }
        let (seconds, nanoseconds) = data.split_first_chunk::<WORD>()?;
        let seconds = libc::c_long::from_ne_bytes(*seconds);
        let nanoseconds = libc::c_long::from_ne_bytes(nanoseconds.try_into().ok()?);
        let nanoseconds = u32::try_from(nanoseconds)
            .ok()
            .filter(|n| *n < 1_000_000_000)?;
        UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
    }

    /// Level, kind and data of a message that is to be sent.
    pub(crate) type Raw<const N: usize> = (i32, i32, [u8; N]);

    pub(crate) fn credentials(pid: i32, uid: u32, gid: u32) -> Raw<12> {
        let words = [pid.to_ne_bytes(), uid.to_ne_bytes(), gid.to_ne_bytes()];
        (SOCKET, libc::SCM_CREDENTIALS, joined(words))
    }

    pub(crate) fn traffic_class_v4(class: u8) -> Raw<4> {
        let class = i32::from(class).to_ne_bytes();
        (libc::IPPROTO_IP, libc::IP_TOS, class)
    }

    pub(crate) fn traffic_class_v6(class: u8) -> Raw<4> {
        let class = i32::from(class).to_ne_bytes();
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)
    }

    pub(crate) fn source_v4(source: Ipv4Addr, interface: u32) -> Raw<12> {
        let words = [interface.to_ne_bytes(), source.octets(), [0; 4]];
        (libc::IPPROTO_IP, libc::IP_PKTINFO, joined(words))
    }

    pub(crate) fn source_v6(source: Ipv6Addr, interface: u32) -> Raw<20> {
        let data = source_data_v6(source, interface);
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, data)
    }

    pub(crate) fn segment_size(size: u16) -> Raw<2> {
        (libc::SOL_UDP, libc::UDP_SEGMENT, size.to_ne_bytes())
    }

    fn joined(words: [[u8; 4]; 3]) -> [u8; 12] {
        let mut data = [0; 12];
        for (to, word) in data.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word);
        }
        data
    }
}

#[cfg(windows)]
pub(crate) use self::winsock::*;

/// Every message's data is whole integers and addresses.
#[cfg(windows)]
mod winsock {
    use super::*;
    use windows_sys::Win32::Networking::WinSock as w;

    pub(crate) fn known(level: i32, kind: i32, data: &[u8]) -> Option<Known> {
        match (level, kind) {
            // The whole class, or no more of it than its two bits of ECN.
            (w::IPPROTO_IP, w::IP_TOS | w::IP_ECN)
            | (w::IPPROTO_IPV6, w::IPV6_TCLASS | w::IPV6_ECN) => {
                let [class] = words(data)?;
                let class = u8::try_from(i32::from_ne_bytes(class)).ok()?;
                Some(Known::TrafficClass(class))
            }
            (w::IPPROTO_IP, w::IP_PKTINFO) => {
                let [destination, interface] = words(data)?;
                Some(Known::PacketInfo4 {
                    interface: u32::from_ne_bytes(interface),
                    local: destination.into(),
                    destination: destination.into(),
                })
            }
            (w::IPPROTO_IPV6, w::IPV6_PKTINFO) => packet_info_v6(data),
            (w::IPPROTO_UDP, COALESCED_INFO) => {
                let [size] = words(data)?;
                let size = u16::try_from(u32::from_ne_bytes(size)).ok()?;
                Some(Known::SegmentSize(size))
            }
            _ => None,
        }
    }

    const COALESCED_INFO: i32 = crate::sys::signed(w::UDP_COALESCED_INFO);

    /// Level, kind and data of a message that is to be sent.
    pub(crate) type Raw<const N: usize> = (i32, i32, [u8; N]);

    pub(crate) fn credentials(_: i32, _: u32, _: u32) -> Raw<12> {
        (SOCKET, MISSING, [0; 12])
    }

    pub(crate) fn traffic_class_v4(class: u8) -> Raw<4> {
        let kind = if class < 4 { w::IP_ECN } else { w::IP_TOS };
        (w::IPPROTO_IP, kind, i32::from(class).to_ne_bytes())
    }

    pub(crate) fn traffic_class_v6(class: u8) -> Raw<4> {
        let kind = if class < 4 {
            w::IPV6_ECN
        } else {
            w::IPV6_TCLASS
        };
        (w::IPPROTO_IPV6, kind, i32::from(class).to_ne_bytes())
    }

    pub(crate) fn source_v4(source: Ipv4Addr, interface: u32) -> Raw<8> {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&source.octets());
        data[4..].copy_from_slice(&interface.to_ne_bytes());
        (w::IPPROTO_IP, w::IP_PKTINFO, data)
    }

    pub(crate) fn source_v6(source: Ipv6Addr, interface: u32) -> Raw<20> {
        let data = source_data_v6(source, interface);
        (w::IPPROTO_IPV6, w::IPV6_PKTINFO, data)
    }

    pub(crate) fn segment_size(size: u16) -> Raw<4> {
        let size = u32::from(size).to_ne_bytes();
        (w::IPPROTO_UDP, w::UDP_SEND_MSG_SIZE, size)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_sent_is_known_when_it_comes() {
            let v4 = Ipv4Addr::new(127, 0, 0, 7);
            let (level, kind, data) = source_v4(v4, 3);
            let here = Known::PacketInfo4 {
                interface: 3,
                local: v4,
                destination: v4,
            };
            assert_eq!(known(level, kind, &data), Some(here));
            let (level, kind, data) = source_v6(Ipv6Addr::LOCALHOST, 9);
            let here = Known::PacketInfo6 {
                interface: 9,
                destination: Ipv6Addr::LOCALHOST,
            };
            assert_eq!(known(level, kind, &data), Some(here));
            assert_eq!(known(level, kind, &data[1..]), None);
            for class in [0, 3, 4, 255] {
                for (level, kind, data) in [traffic_class_v4(class), traffic_class_v6(class)] {
                    let there = Some(Known::TrafficClass(class));
                    assert_eq!(known(level, kind, &data), there, "{level} {kind}");
                }
            }
            assert_eq!(traffic_class_v4(3).1, w::IP_ECN);
            assert_eq!(traffic_class_v6(4).1, w::IPV6_TCLASS);
            assert_eq!(segment_size(1200), (17, 2, 1200_u32.to_ne_bytes()));
            let coalesced = known(17, 3, &1200_u32.to_ne_bytes());
            assert_eq!(coalesced, Some(Known::SegmentSize(1200)));
        }

        /// As `WSA_CMSG_LEN` and `WSA_CMSG_SPACE` have it.
        #[test]
        fn heads_are_as_winsock_has_them() {
            assert_eq!(HEADER, size_of::<w::CMSGHDR>());
            let mut bytes = [7; 64];
            let data = begin(&mut bytes, 17, 2, 4).expect("there is room");
            assert_eq!(data.len(), align_of::<w::CMSGHDR>().next_multiple_of(4));
            assert_eq!(bytes[..8], (HEADER + 4).to_ne_bytes());
        }
    }
}

/// Data that is so many words of four bytes, and no more.
#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn words<const N: usize>(data: &[u8]) -> Option<[[u8; 4]; N]> {
    let mut words = [[0; 4]; N];
    if data.len() != 4 * N {
        return None;
    }
    for (word, bytes) in words.iter_mut().zip(data.chunks_exact(4)) {
        word.copy_from_slice(bytes);
    }
    Some(words)
}

/// An address and the index of an interface, as `in6_pktinfo` has them.
#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn packet_info_v6(data: &[u8]) -> Option<Known> {
    let (destination, interface) = data.split_first_chunk::<16>()?;
    Some(Known::PacketInfo6 {
        interface: u32::from_ne_bytes(interface.try_into().ok()?),
        destination: (*destination).into(),
    })
}

#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn source_data_v6(source: Ipv6Addr, interface: u32) -> [u8; 20] {
    let mut data = [0; 20];
    data[..16].copy_from_slice(&source.octets());
    data[16..].copy_from_slice(&interface.to_ne_bytes());
    data
}

/// Elsewhere only descriptors are known: there is no backend that would move the others.
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
pub(crate) fn known(level: i32, kind: i32, _data: &[u8]) -> Option<Known> {
    ((level, kind) == (SOCKET, RIGHTS)).then_some(Known::Rights)
}

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
pub(crate) use self::elsewhere::*;

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
mod elsewhere {
    use super::*;

    type Raw = (i32, i32, [u8; 20]);
    const NONE: Raw = (SOCKET, MISSING, [0; 20]);

    pub(crate) fn credentials(_: i32, _: u32, _: u32) -> Raw {
        NONE
    }

    pub(crate) fn traffic_class_v4(_: u8) -> Raw {
        NONE
    }

    pub(crate) fn traffic_class_v6(_: u8) -> Raw {
        NONE
    }

    pub(crate) fn source_v4(_: Ipv4Addr, _: u32) -> Raw {
        NONE
    }

    pub(crate) fn source_v6(_: Ipv6Addr, _: u32) -> Raw {
        NONE
    }

    pub(crate) fn segment_size(_: u16) -> Raw {
        NONE
    }
}
