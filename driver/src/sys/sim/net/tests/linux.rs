//! The model against the kernel that the tests run on: the same calls give the same.
//!
//! What a call on a socket does to another's may take the kernel a moment. So the kernel's side
//! waits, before each call on a socket, until poll(2) says of it what the model says.
#![allow(unsafe_code, reason = "the calls that the model is compared with")]

mod any;
mod random;
mod tcp;
mod udp;
mod unix;

use super::calls::{Call, Model, Outcome, To, reachable};
use crate::sys::sim::errno::Errno;
use crate::sys::sim::net::{Address, Name};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs calls on the kernel.
struct Kernel {
    sockets: Vec<Option<OwnedFd>>,
    names: Vec<Option<Address>>,
    directory: PathBuf,
}

/// How often it looks for what the kernel is to say.
const PATIENCE: u32 = 1_000_000;

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn checked(result: i32) -> Result<i32, Errno> {
    usize_checked(result as isize).map(|_| result)
}

fn usize_checked(result: isize) -> Result<usize, Errno> {
    usize::try_from(result)
        .map_err(|_| Errno(std::io::Error::last_os_error().raw_os_error().unwrap()))
}

fn len(bytes: &[u8]) -> libc::socklen_t {
    bytes.len().try_into().unwrap()
}

fn family(number: i32) -> [u8; 2] {
    u16::try_from(number).unwrap().to_ne_bytes()
}

fn encode(address: &Address) -> Vec<u8> {
    match address {
        Address::Unspecified => [&family(libc::AF_UNSPEC)[..], &[0; 14]].concat(),
        Address::Inet(addr) => match addr.ip() {
            IpAddr::V4(ip) => [
                &family(libc::AF_INET)[..],
                &addr.port().to_be_bytes(),
                &ip.octets(),
                &[0; 8],
            ]
            .concat(),
            IpAddr::V6(ip) => [
                &family(libc::AF_INET6)[..],
                &addr.port().to_be_bytes(),
                &[0; 4],
                &ip.octets(),
                &[0; 4],
            ]
            .concat(),
        },
        Address::Unix(Name::Unnamed) => family(libc::AF_UNIX).to_vec(),
        Address::Unix(Name::Path(path)) => [&family(libc::AF_UNIX)[..], path, &[0]].concat(),
        Address::Unix(Name::Abstract(name)) => [&family(libc::AF_UNIX)[..], &[0], name].concat(),
    }
}

fn decode(bytes: &[u8]) -> Address {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk().unwrap()));
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    match family {
        libc::AF_INET => {
            let ip: [u8; 4] = bytes[4..8].try_into().unwrap();
            Address::Inet(SocketAddr::new(Ipv4Addr::from(ip).into(), port(bytes)))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = bytes[8..24].try_into().unwrap();
            Address::Inet(SocketAddr::new(Ipv6Addr::from(ip).into(), port(bytes)))
        }
        libc::AF_UNIX => Address::Unix(match &bytes[2..] {
            [] => Name::Unnamed,
            [0, name @ ..] => Name::Abstract(name.to_vec()),
            path => Name::Path(path.strip_suffix(&[0]).unwrap_or(path).to_vec()),
        }),
        _ => Address::Unspecified,
    }
}

impl Kernel {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("completeio-net-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        Self {
            sockets: Vec::new(),
            names: Vec::new(),
            directory,
        }
    }

    fn made(&mut self, fd: RawFd) {
        let mut on = 1;
        // SAFETY: (K1) reads a word.
        checked(unsafe { libc::ioctl(fd, libc::FIONBIO, &raw mut on) }).unwrap();
        // SAFETY: (R1) a call has just made it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        self.sockets.push(Some(fd));
        self.names.push(None);
    }

    /// What it shares with others on this machine begins with this.
    fn prefix(&self) -> Vec<u8> {
        let directory = self.directory.to_str().unwrap();
        format!("{directory}/").into_bytes()
    }

    fn address(&self, to: To) -> Address {
        let named = |name: &str| [&self.prefix(), name.as_bytes()].concat();
        match to {
            To::Ip(ip, port) => Address::Inet(SocketAddr::new(ip, port)),
            To::Name(place) => self.names[place].clone().unwrap(),
            To::Path(path) => Address::Unix(Name::Path(named(path))),
            To::Abstract(name) => Address::Unix(Name::Abstract(named(name))),
            To::Unnamed => Address::Unix(Name::Unnamed),
            To::Unspecified => Address::Unspecified,
        }
    }

    fn fd(&self, place: usize) -> Result<RawFd, Errno> {
        let fd = self.sockets[place].as_ref();
        fd.map(AsRawFd::as_raw_fd).ok_or(Errno(libc::EBADF))
    }

    fn name(&self, place: usize, peer: bool) -> Result<Address, Errno> {
        let fd = self.fd(place)?;
        let mut bytes = [0_u8; 128];
        let mut room = len(&bytes);
        let room_at = &raw mut room;
        let call = if peer {
            libc::getpeername
        } else {
            libc::getsockname
        };
        // SAFETY: (K1) writes at most as many bytes as there are.
        checked(unsafe { call(fd, bytes.as_mut_ptr().cast(), room_at) })?;
        Ok(decode(&bytes[..room as usize]))
    }

    fn named(&self, place: usize, peer: bool) -> Result<Outcome, Errno> {
        let prefix = self.prefix();
        let bare = |name: Vec<u8>| name.strip_prefix(&prefix[..]).unwrap_or(&name).to_vec();
        Ok(Outcome::of_name(&match self.name(place, peer)? {
            Address::Unix(Name::Path(path)) => Address::Unix(Name::Path(bare(path))),
            Address::Unix(Name::Abstract(name)) => Address::Unix(Name::Abstract(bare(name))),
            address => address,
        }))
    }

    fn remember(&mut self, place: usize) {
        self.names[place] = self.name(place, false).ok().and_then(reachable);
    }

    fn poll(&self, place: usize, timeout: i32) -> u16 {
        const ALL: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
        let Ok(fd) = self.fd(place) else { return 0 };
        let mut poll = libc::pollfd {
            fd,
            events: ALL,
            revents: 0,
        };
        // SAFETY: (K1) one entry.
        checked(unsafe { libc::poll(&raw mut poll, 1, timeout) }).unwrap();
        poll.revents.unsigned_abs()
    }

    fn run(&mut self, call: &Call) -> Outcome {
        self.call(call).unwrap_or_else(Outcome::from)
    }

    fn send(&self, place: usize, bytes: &[u8], to: Option<To>) -> Result<Outcome, Errno> {
        let to = to.map_or(Vec::new(), |to| encode(&self.address(to)));
        let flags = libc::MSG_NOSIGNAL;
        let (fd, at, to_len) = (self.fd(place)?, bytes.as_ptr().cast(), len(&to));
        let to = if to.is_empty() {
            ptr::null()
        } else {
            to.as_ptr()
        };
        // SAFETY: (K1) reads the bytes and the address.
        let sent = unsafe { libc::sendto(fd, at, bytes.len(), flags, to.cast(), to_len) };
        usize_checked(sent).map(Outcome::Count)
    }

    fn call(&mut self, call: &Call) -> Result<Outcome, Errno> {
        match *call {
            Call::Socket(domain, kind, protocol) => {
                let kind = kind | libc::SOCK_CLOEXEC;
                // SAFETY: (K1) no memory.
                let fd = checked(unsafe { libc::socket(domain, kind, protocol) })?;
                self.made(fd);
            }
            Call::Pair(kind) => {
                let mut fds = [0; 2];
                let at = fds.as_mut_ptr();
                // SAFETY: (K1) writes two descriptors.
                checked(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, at) })?;
                fds.into_iter().for_each(|fd| self.made(fd));
            }
            Call::Pipe => {
                let mut fds = [0; 2];
                // SAFETY: (K1) writes two descriptors.
                checked(unsafe { libc::pipe(fds.as_mut_ptr()) })?;
                fds.into_iter().for_each(|fd| self.made(fd));
            }
            Call::Bind(place, to) => {
                let to = encode(&self.address(to));
                let (fd, len) = (self.fd(place)?, len(&to));
                // SAFETY: (K1) reads the address.
                checked(unsafe { libc::bind(fd, to.as_ptr().cast(), len) })?;
                self.remember(place);
            }
            Call::Listen(place, backlog) => {
                // SAFETY: (K1) no memory.
                checked(unsafe { libc::listen(self.fd(place)?, backlog) })?;
                self.remember(place);
            }
            Call::Connect(place, to) => {
                let to = encode(&self.address(to));
                let (fd, len) = (self.fd(place)?, len(&to));
                // SAFETY: (K1) reads the address.
                let mut result = checked(unsafe { libc::connect(fd, to.as_ptr().cast(), len) });
                if result == Err(Errno(libc::EINPROGRESS)) && self.poll(place, 100) != 0 {
                    // SAFETY: as above.
                    result = checked(unsafe { libc::connect(fd, to.as_ptr().cast(), len) });
                }
                result?;
                self.remember(place);
            }
            Call::Accept(place) => {
                let (fd, none, no_len) = (self.fd(place)?, ptr::null_mut(), ptr::null_mut());
                // SAFETY: (K1) no memory.
                let accepted = checked(unsafe { libc::accept(fd, none, no_len) });
                self.made(accepted?);
            }
            Call::Send(place, ref bytes) => return self.send(place, bytes, None),
            Call::SendTo(place, ref bytes, to) => return self.send(place, bytes, Some(to)),
            Call::Recv(place, room) | Call::Peek(place, room) => {
                let mut bytes = vec![0; room];
                let peek = matches!(call, Call::Peek(..));
                let flags = if peek { libc::MSG_PEEK } else { 0 };
                let (fd, at) = (self.fd(place)?, bytes.as_mut_ptr().cast());
                // SAFETY: (K1) writes at most as many bytes as there are.
                let received = unsafe { libc::recv(fd, at, room, flags) };
                bytes.truncate(usize_checked(received)?);
                return Ok(Outcome::Bytes(bytes));
            }
            Call::Read(place, room) => {
                let mut bytes = vec![0; room];
                let (fd, at) = (self.fd(place)?, bytes.as_mut_ptr().cast());
                // SAFETY: (K1) writes at most as many bytes as there are.
                let read = unsafe { libc::read(fd, at, room) };
                bytes.truncate(usize_checked(read)?);
                return Ok(Outcome::Bytes(bytes));
            }
            Call::Write(place, ref bytes) => {
                let (fd, at) = (self.fd(place)?, bytes.as_ptr().cast());
                // SAFETY: (K1) reads the bytes.
                let written = unsafe { libc::write(fd, at, bytes.len()) };
                return usize_checked(written).map(Outcome::Count);
            }
            Call::Shutdown(place, how) => {
                // SAFETY: (K1) no memory.
                checked(unsafe { libc::shutdown(self.fd(place)?, how) })?;
            }
            Call::Set(place, level, name, ref value) => {
                let (fd, at, len) = (self.fd(place)?, value.as_ptr().cast(), len(value));
                // SAFETY: (K1) reads the value.
                checked(unsafe { libc::setsockopt(fd, level, name, at, len) })?;
            }
            Call::Get(place, level, name) => {
                let mut value = vec![0_u8; 32];
                let mut room = len(&value);
                let (fd, at, room_at) = (self.fd(place)?, value.as_mut_ptr().cast(), &raw mut room);
                // SAFETY: (K1) writes at most as many bytes as there are.
                checked(unsafe { libc::getsockopt(fd, level, name, at, room_at) })?;
                value.truncate(room as usize);
                return Ok(Outcome::Bytes(value));
            }
            Call::LocalName(place) => return self.named(place, false),
            Call::PeerName(place) => return self.named(place, true),
            Call::Poll(place) => {
                self.fd(place)?;
                return Ok(Outcome::Poll(self.poll(place, 0)));
            }
            Call::Close(place) => {
                self.fd(place)?;
                self.sockets[place] = None;
            }
        }
        Ok(Outcome::Done)
    }
}

impl Call {
    /// The socket that it is about, if it must wait for what was done to that.
    fn place(&self) -> Option<usize> {
        match *self {
            Self::Socket(..) | Self::Pair(_) | Self::Pipe => None,
            Self::Bind(place, _)
            | Self::Listen(place, _)
            | Self::Connect(place, _)
            | Self::Accept(place)
            | Self::Send(place, _)
            | Self::SendTo(place, ..)
            | Self::Recv(place, _)
            | Self::Peek(place, _)
            | Self::Read(place, _)
            | Self::Write(place, _)
            | Self::Shutdown(place, _)
            | Self::Set(place, ..)
            | Self::Get(place, ..)
            | Self::LocalName(place)
            | Self::PeerName(place)
            | Self::Poll(place)
            | Self::Close(place) => Some(place),
        }
    }
}

/// The model and the kernel, at the same place of the same program.
struct Both {
    model: Model,
    kernel: Kernel,
    calls: Vec<Call>,
}

impl Both {
    fn new() -> Self {
        Self {
            model: Model::new(),
            kernel: Kernel::new(),
            calls: Vec::new(),
        }
    }

    fn run(&mut self, call: Call) {
        if let Some(place) = call.place() {
            self.wait(place);
        }
        let (expected, found) = (self.kernel.run(&call), self.model.run(&call));
        self.calls.push(call);
        let calls = &self.calls;
        assert_eq!(found, expected, "the model's, the kernel's: {calls:?}");
    }

    /// Waits until poll(2) says what the model says.
    fn wait(&self, place: usize) {
        let expected = self.model.poll(place);
        for _ in 0..PATIENCE {
            if self.kernel.poll(place, 0) == expected {
                return;
            }
            std::thread::yield_now();
        }
        let found = self.kernel.poll(place, 0);
        let calls = &self.calls;
        assert_eq!(
            expected, found,
            "poll of {place}, the model's, the kernel's: {calls:?}"
        );
    }
}

fn compare(calls: &[Call]) {
    let mut both = Both::new();
    for call in calls {
        both.run(call.clone());
    }
}
