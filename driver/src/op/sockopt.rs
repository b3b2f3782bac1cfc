//! Options of sockets: set, asked for, and set on what an accept or a connect gives.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, PlainCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::ancillary::Credentials;
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::{Descriptor, Target};
use crate::sys::fd::RawFd;
use crate::sys::options::{self as sys, name};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::time::Duration;

/// An option of sockets whose value is a `T`.
///
/// The common ones are constants; [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html),
/// [tcp(7)](https://man7.org/linux/man-pages/man7/tcp.7.html) and
/// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html) say what they mean.
///
/// ```
/// use completeio_driver::op::SockOpt;
/// let option: SockOpt<bool> = SockOpt::NO_DELAY;
/// assert_ne!(option.level(), SockOpt::KEEP_ALIVE.level());
/// ```
pub struct SockOpt<T> {
    level: i32,
    name: i32,
    _value: PhantomData<fn() -> T>,
}

impl<T> SockOpt<T> {
    /// Any option, by its level and name in the platform's C library.
    ///
    /// ```
    /// use completeio_driver::op::SockOpt;
    /// // SAFETY: the option is a name of up to 16 bytes.
    /// let congestion: SockOpt<[u8; 16]> =
    ///     unsafe { SockOpt::from_raw(libc::IPPROTO_TCP, libc::TCP_CONGESTION) };
    /// ```
    ///
    /// # Safety
    /// The option's value holds no address that the kernel follows, as those of `SO_ATTACH_FILTER`
    /// and `TCP_ZEROCOPY_RECEIVE` do.
    pub const unsafe fn from_raw(level: i32, name: i32) -> Self {
        Self {
            level,
            name,
            _value: PhantomData,
        }
    }

    const fn known(level: i32, name: i32) -> Self {
        // SAFETY: (K1) the constants below are of options whose values are integers.
        unsafe { Self::from_raw(level, name) }
    }

    /// Its level: `SOL_SOCKET`, or a protocol.
    pub const fn level(self) -> i32 {
        self.level
    }

    /// Its number at that level.
    pub const fn name(self) -> i32 {
        self.name
    }
}

impl SockOpt<bool> {
    /// Small messages are sent at once (`TCP_NODELAY`).
    pub const NO_DELAY: Self = Self::known(name::TCP, name::NODELAY);
    /// A silent peer is probed (`SO_KEEPALIVE`).
    pub const KEEP_ALIVE: Self = Self::known(name::SOCKET, name::KEEPALIVE);
    /// An address may be bound that old connections still use (`SO_REUSEADDR`).
    pub const REUSE_ADDR: Self = Self::known(name::SOCKET, name::REUSEADDR);
    /// An address may be bound by several sockets, which share what comes (`SO_REUSEPORT`).
    pub const REUSE_PORT: Self = Self::known(name::SOCKET, name::REUSEPORT);
    /// Datagrams may go to everybody (`SO_BROADCAST`).
    pub const BROADCAST: Self = Self::known(name::SOCKET, name::BROADCAST);
    /// An IPv6 socket takes no IPv4 (`IPV6_V6ONLY`).
    pub const V6_ONLY: Self = Self::known(name::IPV6, name::V6ONLY);
}

/// What control messages come: see [`ancillary`](crate::ancillary). Linux and Windows only.
impl SockOpt<bool> {
    /// The traffic class of IPv4 datagrams, whose two low bits are ECN (`IP_RECVTOS`).
    pub const RECV_TRAFFIC_CLASS_V4: Self = Self::known(name::IP, name::RECVTOS);
    /// The traffic class of IPv6 datagrams, whose two low bits are ECN (`IPV6_RECVTCLASS`).
    pub const RECV_TRAFFIC_CLASS_V6: Self = Self::known(name::IPV6, name::RECVTCLASS);
    /// Where IPv4 datagrams have arrived (`IP_PKTINFO`).
    pub const RECV_PACKET_INFO_V4: Self = Self::known(name::IP, name::PKTINFO);
    /// Where IPv6 datagrams have arrived (`IPV6_RECVPKTINFO`).
    pub const RECV_PACKET_INFO_V6: Self = Self::known(name::IPV6, name::RECVPKTINFO);
    /// Several UDP datagrams of one sender as one, with the size of each (`UDP_GRO`). On
    /// Windows `UDP_RECV_MAX_COALESCED_SIZE`, of 65,535 bytes when it is set.
    pub const RECV_SEGMENTS: Self = Self::known(name::UDP, name::GRO);
    /// Who has sent a message, on Linux's Unix sockets (`SO_PASSCRED`).
    pub const RECV_CREDENTIALS: Self = Self::known(name::SOCKET, name::PASSCRED);
}

impl SockOpt<Credentials> {
    /// Who has connected a Unix socket, or listens at its other end; only to be asked for
    /// (`SO_PEERCRED`). Linux only.
    pub const PEER_CREDENTIALS: Self = Self::known(name::SOCKET, name::PEERCRED);
}

impl SockOpt<i32> {
    /// Size of the receive buffer in bytes (`SO_RCVBUF`). Linux doubles what it is given.
    pub const RECV_BUFFER: Self = Self::known(name::SOCKET, name::RCVBUF);
    /// Size of the send buffer in bytes (`SO_SNDBUF`). Linux doubles what it is given.
    pub const SEND_BUFFER: Self = Self::known(name::SOCKET, name::SNDBUF);
    /// The error that waits on the socket, which asking takes away; 0 for none (`SO_ERROR`).
    pub const ERROR: Self = Self::known(name::SOCKET, name::ERROR);
    /// What kind of socket it is, `SOCK_…` (`SO_TYPE`).
    pub const TYPE: Self = Self::known(name::SOCKET, name::TYPE);
    /// Seconds of silence before the first probe (`TCP_KEEPIDLE`).
    pub const KEEP_IDLE: Self = Self::known(name::TCP, name::KEEPIDLE);
    /// Seconds between probes (`TCP_KEEPINTVL`).
    pub const KEEP_INTERVAL: Self = Self::known(name::TCP, name::KEEPINTVL);
    /// Probes without an answer before the connection is given up (`TCP_KEEPCNT`).
    pub const KEEP_COUNT: Self = Self::known(name::TCP, name::KEEPCNT);
}

impl SockOpt<Linger> {
    /// What a close does with bytes that are not sent yet (`SO_LINGER`).
    pub const LINGER: Self = Self::known(name::SOCKET, name::LINGER);
}

impl SockOpt<Option<Duration>> {
    /// How long blocking receives wait; no operation of this crate (`SO_RCVTIMEO`).
    pub const RECV_TIMEOUT: Self = Self::known(name::SOCKET, name::RCVTIMEO);
    /// How long blocking sends wait; no operation of this crate (`SO_SNDTIMEO`).
    pub const SEND_TIMEOUT: Self = Self::known(name::SOCKET, name::SNDTIMEO);
}

impl<T> Clone for SockOpt<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SockOpt<T> {}

impl<T> fmt::Debug for SockOpt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SockOpt")
            .field("level", &self.level)
            .field("name", &self.name)
            .finish()
    }
}

/// What a close does with bytes that are not sent yet.
///
/// ```
/// use completeio_driver::op::Linger;
/// use std::time::Duration;
/// assert_eq!(Linger::after(Duration::from_millis(10)).duration(), Some(Duration::from_secs(1)));
/// assert_eq!(Linger::OFF.duration(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Linger(Option<Duration>);

impl Linger {
    /// A close returns at once, and the bytes are sent behind it.
    pub const OFF: Self = Self(None);
    /// A close throws the bytes away, and resets the connection.
    pub const RESET: Self = Self(Some(Duration::ZERO));

    /// A close waits for the bytes so long at most. Whole seconds, rounded up.
    pub fn after(longest: Duration) -> Self {
        Self(sys::from_linger(sys::linger(Some(longest))))
    }

    /// The longest wait, if there is any.
    pub fn duration(self) -> Option<Duration> {
        self.0
    }
}

/// A value of an option of sockets: `bool`, `i32`, `u32`, [`Linger`], `Option<Duration>` for times
/// (`None` is none; microseconds, rounded up), [`Credentials`], `[u8; N]` for what has no type
/// here.
///
/// Sealed: the kernel reads and writes the bytes of a value.
pub trait OptionValue: value::Value {}

impl<T: value::Value> OptionValue for T {}

pub(crate) mod value {
    use super::{Credentials, Duration, Linger, sys};

    /// A value, and how the kernel has it.
    pub trait Value: Copy {
        #[allow(private_bounds, reason = "what the kernel has")]
        type Raw: sys::RawValue;

        fn into_raw(self) -> Self::Raw;

        /// What `len` bytes from the kernel say; nothing if they are too few.
        fn from_raw(raw: Self::Raw, len: usize) -> Option<Self>;
    }

    fn whole<T>(raw: T, len: usize) -> Option<T> {
        (len == size_of::<T>()).then_some(raw)
    }

    impl Value for i32 {
        type Raw = Self;

        fn into_raw(self) -> Self {
            self
        }

        fn from_raw(raw: Self, len: usize) -> Option<Self> {
            whole(raw, len)
        }
    }

    impl Value for u32 {
        type Raw = Self;

        fn into_raw(self) -> Self {
            self
        }

        fn from_raw(raw: Self, len: usize) -> Option<Self> {
            whole(raw, len)
        }
    }

    impl Value for bool {
        type Raw = i32;

        fn into_raw(self) -> i32 {
            self.into()
        }

        fn from_raw(raw: i32, len: usize) -> Option<Self> {
            whole(raw, len).map(|raw| raw != 0)
        }
    }

    impl Value for Linger {
        type Raw = sys::RawLinger;

        fn into_raw(self) -> Self::Raw {
            sys::linger(self.0)
        }

        fn from_raw(raw: Self::Raw, len: usize) -> Option<Self> {
            whole(raw, len).map(|raw| Self(sys::from_linger(raw)))
        }
    }

    impl Value for Option<Duration> {
        type Raw = sys::RawTime;

        fn into_raw(self) -> Self::Raw {
            sys::time(self)
        }

        fn from_raw(raw: Self::Raw, len: usize) -> Option<Self> {
            whole(raw, len).map(sys::from_time)
        }
    }

    impl Value for Credentials {
        type Raw = sys::RawCredentials;

        fn into_raw(self) -> Self::Raw {
            let pid = u32::from_ne_bytes(self.pid.to_ne_bytes());
            [pid, self.uid, self.gid]
        }

        fn from_raw(raw: Self::Raw, len: usize) -> Option<Self> {
            whole(raw, len).map(|[pid, uid, gid]| Self {
                pid: i32::from_ne_bytes(pid.to_ne_bytes()),
                uid,
                gid,
            })
        }
    }

    /// The kernel may give fewer; those behind them are zero.
    impl<const N: usize> Value for [u8; N] {
        type Raw = Self;

        fn into_raw(self) -> Self {
            self
        }

        fn from_raw(raw: Self, _len: usize) -> Option<Self> {
            Some(raw)
        }
    }
}

/// Sets an option of a socket.
///
/// Completes when it is set.
///
/// Errors: as [setsockopt(2)](https://man7.org/linux/man-pages/man2/setsockopt.2.html), unchanged.
///
/// io_uring: `setsockopt`, in place; on a fixed descriptor `IORING_OP_URING_CMD`, Linux 6.7, else
/// [`Refusal::FixedDescriptor`]; that command says `EOPNOTSUPP` for files that are no sockets, and
/// success for a few devices. readiness: `setsockopt`, in place.
///
/// ```
/// use completeio_driver::driver::{AsFd, CompleteIo, Driver};
/// use completeio_driver::op::{Op, SetSockOpt, SockOpt};
/// use std::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let mut op = SetSockOpt::new(client.as_fd(), SockOpt::NO_DELAY, true);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// assert!(client.nodelay()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[repr(C)]
pub struct SetSockOpt<F, T: OptionValue> {
    head: OpHead,
    fd: F,
    option: SockOpt<T>,
    value: T::Raw,
}

impl<F: Descriptor, T: OptionValue> SetSockOpt<F, T> {
    /// Sets `option` of the socket `fd` to `value`.
    pub fn new(fd: F, option: SockOpt<T>, value: T) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            option,
            value: value.into_raw(),
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, T: OptionValue> OpCode for SetSockOpt<F, T> {}

impl<F: Descriptor, T: OptionValue> Describe for SetSockOpt<F, T> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let (target, SockOpt { level, name, .. }) = (op.fd.target(), op.option);
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let value = unsafe { &raw const (*this).value }.cast();
        let len = sys::len_of::<T::Raw>();
        Ok(Call::Plain(PlainCall::SetOption {
            target,
            level,
            name,
            value,
            len,
        }))
    }
}

impl<F: Descriptor, T: OptionValue> Op for SetSockOpt<F, T> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

/// Asks for an option of a socket.
///
/// Completes with its value. One that is of another size than the type is an error of the kind
/// [`InvalidData`](io::ErrorKind::InvalidData), but for bytes: those that the kernel does not fill
/// are zero.
///
/// Errors: as [getsockopt(2)](https://man7.org/linux/man-pages/man2/getsockopt.2.html), unchanged.
///
/// io_uring: `getsockopt`, in place; on a fixed descriptor, at the level `SOL_SOCKET`,
/// `IORING_OP_URING_CMD`, Linux 6.7, else [`Refusal::FixedDescriptor`]. readiness: `getsockopt`, in
/// place.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{GetSockOpt, Op, SockOpt};
/// use std::{net::UdpSocket, os::fd::OwnedFd};
///
/// let socket = OwnedFd::from(UdpSocket::bind("127.0.0.1:0")?);
/// let mut op = GetSockOpt::new(socket, SockOpt::TYPE);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, libc::SOCK_DGRAM);
/// # Ok::<(), std::io::Error>(())
/// ```
#[repr(C)]
pub struct GetSockOpt<F, T: OptionValue> {
    head: OpHead,
    fd: F,
    option: SockOpt<T>,
    value: T::Raw,
}

impl<F: Descriptor, T: OptionValue> GetSockOpt<F, T> {
    /// Asks for `option` of the socket `fd`.
    pub fn new(fd: F, option: SockOpt<T>) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            option,
            value: sys::zeroed(),
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, T: OptionValue> OpCode for GetSockOpt<F, T> {}

impl<F: Descriptor, T: OptionValue> Describe for GetSockOpt<F, T> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight; the reference ends here.
        let op = unsafe { &mut *this };
        op.value = sys::zeroed(); // Nothing of an earlier flight is left.
        let (target, SockOpt { level, name, .. }) = (op.fd.target(), op.option);
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let value = unsafe { &raw mut (*this).value }.cast();
        let len = sys::len_of::<T::Raw>();
        Ok(Call::Plain(PlainCall::GetOption {
            target,
            level,
            name,
            value,
            len,
        }))
    }
}

impl<F: Descriptor, T: OptionValue> Op for GetSockOpt<F, T> {
    type Fd = F;
    type Output = T;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<T> {
        let len = entry.into_result()?;
        T::from_raw(self.value, len).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

macro_rules! option_of {
    ($($op:ident)*) => {$(
        impl<F: fmt::Debug, T: OptionValue> fmt::Debug for $op<F, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($op))
                    .field("fd", &self.fd)
                    .field("option", &self.option)
                    .finish_non_exhaustive()
            }
        }

        impl<F, T: OptionValue> IntoInner for $op<F, T> {
            type Inner = F;

            fn into_inner(self) -> F {
                self.fd
            }
        }
    )*};
}
option_of!(SetSockOpt GetSockOpt);

/// Options that [`Accept`](super::Accept) and [`Connect`](super::Connect) set on a connection when
/// it stands, by plain calls of their `finish`. What is not named stays as it is.
///
/// ```
/// use completeio_driver::op::{Accept, SocketOptions};
/// use std::{net::TcpListener, os::fd::OwnedFd};
///
/// let options = SocketOptions::new().no_delay(true).keep_alive(true);
/// let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0")?);
/// let op = Accept::new(listener).options(options);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketOptions {
    no_delay: Option<bool>,
    keep_alive: Option<bool>,
    non_blocking: Option<bool>,
    recv_buffer: Option<i32>,
    send_buffer: Option<i32>,
    linger: Option<Linger>,
}

impl SocketOptions {
    /// None.
    pub const fn new() -> Self {
        Self {
            no_delay: None,
            keep_alive: None,
            non_blocking: None,
            recv_buffer: None,
            send_buffer: None,
            linger: None,
        }
    }

    /// Small messages are sent at once ([`SockOpt::NO_DELAY`]); an error on what is not TCP.
    pub const fn no_delay(mut self, yes: bool) -> Self {
        self.no_delay = Some(yes);
        self
    }

    /// A silent peer is probed ([`SockOpt::KEEP_ALIVE`]).
    pub const fn keep_alive(mut self, yes: bool) -> Self {
        self.keep_alive = Some(yes);
        self
    }

    /// Plain calls on the connection fail where they would block (`O_NONBLOCK`). Operations wait.
    pub const fn non_blocking(mut self, yes: bool) -> Self {
        self.non_blocking = Some(yes);
        self
    }

    /// Size of the receive buffer in bytes ([`SockOpt::RECV_BUFFER`]).
    pub const fn recv_buffer(mut self, bytes: i32) -> Self {
        self.recv_buffer = Some(bytes);
        self
    }

    /// Size of the send buffer in bytes ([`SockOpt::SEND_BUFFER`]).
    pub const fn send_buffer(mut self, bytes: i32) -> Self {
        self.send_buffer = Some(bytes);
        self
    }

    /// What a close does with bytes that are not sent yet ([`SockOpt::LINGER`]).
    pub const fn linger(mut self, linger: Linger) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Refuses what cannot be set on a target: a fixed descriptor has no number for a call.
    #[inline]
    pub(crate) fn check(&self, target: Target) -> Result<(), Refusal> {
        match target {
            Target::Fixed(_) if *self != Self::new() => Err(Refusal::FixedDescriptor),
            Target::Fixed(_) | Target::Plain(_) => Ok(()),
        }
    }

    /// Sets them, until one fails.
    pub(crate) fn apply(&self, target: Target) -> io::Result<()> {
        if *self == Self::new() {
            return Ok(());
        }
        let Target::Plain(fd) = target else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        set(fd, SockOpt::NO_DELAY, self.no_delay)?;
        set(fd, SockOpt::KEEP_ALIVE, self.keep_alive)?;
        set(fd, SockOpt::RECV_BUFFER, self.recv_buffer)?;
        set(fd, SockOpt::SEND_BUFFER, self.send_buffer)?;
        set(fd, SockOpt::LINGER, self.linger)?;
        self.non_blocking
            .map_or(Ok(()), |yes| sys::set_non_blocking(fd, yes))
    }
}

fn set<T: OptionValue>(fd: RawFd, option: SockOpt<T>, value: Option<T>) -> io::Result<()> {
    value.map_or(Ok(()), |value| {
        sys::set(fd, option.level, option.name, value.into_raw())
    })
}
