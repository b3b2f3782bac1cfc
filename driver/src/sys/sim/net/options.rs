//! The options of a socket that are kept and given back.
//!
//! See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).

use super::{Kind, Net, Socket, SocketId};
use crate::sys::sim::errno::{Errno, Result};

/// As the kernel comes: `net.core.rmem_max` and `wmem_max`.
const BUFFER_MAX: u32 = 4 << 20;
const SEND_BUFFER_MIN: u32 = 4608;
const RECEIVE_BUFFER_MIN: u32 = 2304;

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) reuse_address: bool,
    pub(super) reuse_port: bool,
    keep_alive: bool,
    no_delay: bool,
    pub(super) linger: Linger,
    /// In bytes; as the caller asked, doubled.
    send_buffer: u32,
    receive_buffer: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Linger {
    on: i32,
    seconds: i32,
}

impl Linger {
    /// Whether a close throws away what was not sent, and resets the connection.
    pub(super) fn is_abort(self) -> bool {
        self.on != 0 && self.seconds == 0
    }
}

impl Options {
    fn new(send_buffer: u32, receive_buffer: u32) -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            keep_alive: false,
            no_delay: false,
            linger: Linger::default(),
            send_buffer,
            receive_buffer,
        }
    }

    pub(super) fn tcp() -> Self {
        Self::new(16_384, 131_072)
    }

    pub(super) fn other() -> Self {
        Self::new(212_992, 212_992)
    }

    pub(super) fn send_buffer(&self) -> usize {
        self.send_buffer as usize
    }

    pub(super) fn receive_buffer(&self) -> usize {
        self.receive_buffer as usize
    }
}

impl Net {
    /// Sets an option from the bytes of its value, as
    /// [setsockopt(2)](https://man7.org/linux/man-pages/man2/setsockopt.2.html) takes them.
    pub(crate) fn set_option(
        &mut self,
        id: SocketId,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        let socket = self.socket_mut(id)?;
        let flag = || word(value).map(|word| word != 0);
        if level == libc::SOL_SOCKET {
            word(value)?;
        }
        let options = &mut socket.base.options;
        match (level, name, &mut socket.kind) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR, _) => options.reuse_address = flag()?,
            (libc::SOL_SOCKET, libc::SO_REUSEPORT, Kind::Unix(_)) if flag()? => {
                return Err(Errno(libc::EOPNOTSUPP));
            }
            (libc::SOL_SOCKET, libc::SO_REUSEPORT, _) => options.reuse_port = flag()?,
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, _) => options.keep_alive = flag()?,
            (libc::SOL_SOCKET, libc::SO_SNDBUF, _) => {
                options.send_buffer = doubled(value, SEND_BUFFER_MIN)?;
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF, _) => {
                options.receive_buffer = doubled(value, RECEIVE_BUFFER_MIN)?;
            }
            (libc::SOL_SOCKET, libc::SO_LINGER, _) => {
                let (on, seconds) = (word(value)?, word(value.get(4..).unwrap_or(&[]))?);
                options.linger = Linger {
                    on: i32::from(on != 0),
                    seconds: if on == 0 {
                        options.linger.seconds
                    } else {
                        seconds
                    },
                };
            }
            (libc::IPPROTO_TCP, libc::TCP_NODELAY, Kind::Tcp(_)) => options.no_delay = flag()?,
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, kind) => match kind.inet_mut() {
                Some((inet, _)) if inet.v6 && inet.local.is_none() => inet.v6_only = flag()?,
                Some((inet, _)) if inet.v6 => return Err(Errno(libc::EINVAL)),
                _ => return Err(unknown(level, kind)),
            },
            (_, _, kind) => return Err(unknown(level, kind)),
        }
        Ok(())
    }

    /// The bytes of an option's value, as
    /// [getsockopt(2)](https://man7.org/linux/man-pages/man2/getsockopt.2.html) gives them.
    /// Asking for `SO_ERROR` takes the error.
    pub(crate) fn option(&mut self, id: SocketId, level: i32, name: i32) -> Result<Vec<u8>> {
        let socket = self.socket_mut(id)?;
        let options = &socket.base.options;
        let value = match (level, name, &socket.kind) {
            (libc::SOL_SOCKET, libc::SO_ERROR, _) => {
                socket.base.error.take().map_or(0, |errno| errno.0)
            }
            (libc::SOL_SOCKET, libc::SO_TYPE, _) => socket.kind.type_number(),
            (libc::SOL_SOCKET, libc::SO_REUSEADDR, _) => i32::from(options.reuse_address),
            (libc::SOL_SOCKET, libc::SO_REUSEPORT, _) => i32::from(options.reuse_port),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, _) => i32::from(options.keep_alive),
            (libc::SOL_SOCKET, libc::SO_SNDBUF, _) => {
                return Ok(options.send_buffer.to_ne_bytes().to_vec());
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF, _) => {
                return Ok(options.receive_buffer.to_ne_bytes().to_vec());
            }
            (libc::SOL_SOCKET, libc::SO_LINGER, _) => {
                let Linger { on, seconds } = options.linger;
                return Ok([on.to_ne_bytes(), seconds.to_ne_bytes()].concat());
            }
            (libc::IPPROTO_TCP, libc::TCP_NODELAY, Kind::Tcp(_)) => i32::from(options.no_delay),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, kind) => match kind.inet() {
                Some((inet, _)) if inet.v6 => i32::from(inet.v6_only),
                _ => return Err(unknown_to_get(level, kind)),
            },
            (_, _, kind) => return Err(unknown_to_get(level, kind)),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// The socket of an id that must not name an end of a pipe.
    pub(super) fn socket_mut(&mut self, id: SocketId) -> Result<&mut Socket> {
        let socket = self.sockets.get_mut(id).ok_or(Errno(libc::EBADF))?;
        match &socket.kind {
            kind if kind.is_closed() => Err(Errno(libc::EBADF)),
            Kind::Reader(_) | Kind::Writer(_) => Err(Errno(libc::ENOTSOCK)),
            Kind::Tcp(_) | Kind::Udp(_) | Kind::Unix(_) => Ok(socket),
        }
    }
}

/// The error of an option that is not kept: Unix sockets know no level but the sockets' own.
fn unknown(level: i32, kind: &Kind) -> Errno {
    match kind {
        Kind::Unix(_) if level != libc::SOL_SOCKET => Errno(libc::EOPNOTSUPP),
        _ => Errno(libc::ENOPROTOOPT),
    }
}

/// IPv4 sockets have another error for a level that is not theirs when it is asked for.
fn unknown_to_get(level: i32, kind: &Kind) -> Errno {
    let own = match kind {
        Kind::Tcp(_) => libc::IPPROTO_TCP,
        _ => libc::IPPROTO_UDP,
    };
    let is_own = [libc::SOL_SOCKET, libc::IPPROTO_IP, own].contains(&level);
    match kind.inet() {
        Some((inet, _)) if !inet.v6 && !is_own => Errno(libc::EOPNOTSUPP),
        _ => unknown(level, kind),
    }
}

fn word(value: &[u8]) -> Result<i32> {
    let word = value.first_chunk().ok_or(Errno(libc::EINVAL))?;
    Ok(i32::from_ne_bytes(*word))
}

/// The kernel doubles what is asked for, to have room for its own bookkeeping.
fn doubled(value: &[u8], min: u32) -> Result<u32> {
    // A negative size is a huge one.
    let asked = u32::from_ne_bytes(word(value)?.to_ne_bytes());
    Ok((asked.min(BUFFER_MAX) * 2).max(min))
}
