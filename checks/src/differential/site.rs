//! One way's directory and descriptors, and what is left there in the end.

use super::outcome::digest;
use super::roles::{Kind, Role, Roles};
use super::step::Pair;
use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The first number of the first way, and how many each has: no closed one is given out again.
const FIRST: RawFd = 200;
const EACH: RawFd = 200;
/// How long loopback may take.
const SETTLED_S: u64 = 5;

/// One way's directory and descriptors.
pub(crate) struct Site {
    root: PathBuf,
    base: RawFd,
    numbers: Vec<RawFd>,
}

impl Site {
    /// An empty one, in a directory of its own below `dir`.
    pub(crate) fn new(dir: &Path, way: RawFd) -> io::Result<Self> {
        let root = dir.join(way.to_string());
        fs::create_dir_all(&root)?;
        Ok(Self {
            root,
            base: FIRST + way * EACH,
            numbers: Vec::new(),
        })
    }

    /// The descriptor of the role at `place`.
    pub(crate) fn number(&self, place: usize) -> RawFd {
        self.numbers[place]
    }

    /// Moves a new descriptor to the number that it has from here on.
    pub(crate) fn place(&mut self, fd: OwnedFd) -> io::Result<RawFd> {
        let taken = RawFd::try_from(self.numbers.len()).map_err(io::Error::other)?;
        let wanted = self.base + taken;
        // SAFETY: takes numbers.
        let number =
            checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, wanted) })?;
        self.numbers.push(number);
        if number == wanted && taken < EACH {
            return Ok(number);
        }
        Err(io::Error::other(format!("{wanted} is taken by somebody")))
    }

    pub(crate) fn path(&self, name: &str) -> io::Result<CString> {
        let mut path = self.root.as_os_str().as_bytes().to_vec();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        CString::new(path).map_err(io::Error::other)
    }

    /// What every sequence begins with, and their kinds.
    pub(crate) fn begin(&self, roles: &mut Roles) -> io::Result<Vec<OwnedFd>> {
        let with = |name: &str, bytes: &[u8]| {
            let path = self.root.join(name);
            fs::write(&path, bytes)?;
            OpenOptions::new().read(true).write(true).open(path)
        };
        let text: Vec<u8> = (0..5000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut fds: Vec<OwnedFd> = vec![
            File::open(&self.root)?.into(),
            with("a", &text)?.into(),
            with("b", &[])?.into(),
        ];
        (0..3).for_each(|_| roles.add(Kind::File));
        for device in ["/dev/zero", "/dev/null", "/dev/full"] {
            let file = OpenOptions::new().read(true).write(true).open(device)?;
            fds.push(file.into());
            roles.add(Kind::Device);
        }
        fds.extend(pipe(0)?);
        roles.add(Kind::Pipe);
        roles.add(Kind::Pipe);
        fds.extend(pair(Pair::Unix)?);
        roles.add_pair(Kind::Unix);
        Ok(fds)
    }

    /// Waits until all that was sent over TCP has come.
    pub(crate) fn settle(&self, roles: &Roles) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(SETTLED_S);
        let tcp = |role: &&Role| role.kind == Kind::Tcp && !role.closed;
        let of = roles.iter().zip(&self.numbers);
        for (role, number) in of.filter(|(role, _)| tcp(role)) {
            while !has_come(*number, role)? {
                if Instant::now() > deadline {
                    return Err(io::Error::other("what was sent over TCP does not come"));
                }
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// All that can be compared of what is left, a line each.
    pub(crate) fn remains(&self, roles: &Roles) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        walk(&self.root, "", &mut lines)?;
        self.settle(roles)?;
        for (place, (role, number)) in roles.iter().zip(&self.numbers).enumerate() {
            if !role.closed {
                lines.push(format!(
                    "{place} {:?}: {}",
                    role.kind,
                    descriptor(*number, role)?
                ));
            }
        }
        Ok(lines)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for number in &self.numbers {
            // SAFETY: of this site alone; closed ones were not given out again.
            unsafe { libc::close(*number) };
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// The result of a call that says -1.
pub(crate) fn checked(n: libc::c_int) -> io::Result<RawFd> {
    if n < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(n)
    }
}

/// Both ends of a pipe.
pub(crate) fn pipe(flags: i32) -> io::Result<[OwnedFd; 2]> {
    let mut fds = [-1; 2];
    // SAFETY: writes two numbers to a local.
    checked(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | flags) })?;
    // SAFETY: new descriptors that nobody else knows.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Two connected sockets.
pub(crate) fn pair(pair: Pair) -> io::Result<[OwnedFd; 2]> {
    let kind = match pair {
        Pair::Unix => libc::SOCK_STREAM,
        Pair::Datagrams => libc::SOCK_DGRAM,
        Pair::Packets => libc::SOCK_SEQPACKET,
        Pair::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let connected = TcpStream::connect(listener.local_addr()?)?;
            return Ok([connected.into(), listener.accept()?.0.into()]);
        }
    };
    let mut fds = [-1; 2];
    let kind = kind | libc::SOCK_CLOEXEC;
    // SAFETY: writes two numbers to a local.
    checked(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: new descriptors that nobody else knows.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Lets plain calls fail where they would block.
pub(crate) fn set_non_blocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes numbers.
    let mode = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: takes numbers.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, mode | libc::O_NONBLOCK) })?;
    Ok(())
}

/// Whether a TCP socket has got all that was sent to it.
fn has_come(fd: RawFd, role: &Role) -> io::Result<bool> {
    let mut unread: libc::c_int = 0;
    // SAFETY: writes a number to a local.
    checked(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut unread) })?;
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: reads and writes a local.
    checked(unsafe { libc::poll(&raw mut poll, 1, 0) })?;
    let all = usize::try_from(unread).is_ok_and(|unread| unread >= role.unread);
    let over = poll.revents != 0;
    Ok(if role.ended { over } else { all })
}

/// What lies below a directory.
fn walk(dir: &Path, below: &str, lines: &mut Vec<String>) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(dir)?.collect::<io::Result<_>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let (path, name) = (entry.path(), entry.file_name());
        let shown = format!("{below}{}", name.to_string_lossy());
        let data = fs::symlink_metadata(&path)?;
        let mut line = format!("{shown}: {:o}, {} names", data.mode(), data.nlink());
        if data.is_file() {
            line += &contents(&File::open(&path)?)?;
        } else if data.is_symlink() {
            line += &format!(" -> {}", fs::read_link(&path)?.display());
        }
        if data.is_file() || data.is_dir() {
            line += &attributes(&path)?;
        }
        lines.push(line);
        if data.is_dir() {
            walk(&path, &format!("{shown}/"), lines)?;
        }
    }
    Ok(())
}

/// The size of a file and those of its pages that are not all zeroes.
fn contents(file: &File) -> io::Result<String> {
    let size = file.metadata()?.size();
    let mut line = format!(", {size} bytes");
    let (fd, mut at) = (file.as_raw_fd(), 0_u64);
    loop {
        // SAFETY: takes numbers.
        let data = unsafe { libc::lseek64(fd, at.try_into().unwrap_or(i64::MAX), libc::SEEK_DATA) };
        // Nothing but a hole comes behind.
        let Ok(data) = u64::try_from(data) else {
            return Ok(line);
        };
        let mut page = [0; 4096];
        at = data - data % page.len() as u64;
        let n = file.read_at(&mut page, at)?;
        if page[..n].iter().any(|byte| *byte != 0) {
            line += &format!(" {at}:{:x}", digest(&page[..n]));
        }
        at += page.len() as u64;
    }
}

/// The attributes of the kind that users may set.
fn attributes(path: &Path) -> io::Result<String> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut line = String::new();
    for name in [c"user.a", c"user.b"] {
        if let Some(value) = attribute(&path, name) {
            line += &format!(
                ", {}={}:{:x}",
                name.to_string_lossy(),
                value.len(),
                digest(&value)
            );
        }
    }
    Ok(line)
}

fn attribute(path: &CStr, name: &CStr) -> Option<Vec<u8>> {
    let mut value = vec![0_u8; 1 << 16];
    // SAFETY: reads two names, and writes at most as many bytes as there are.
    let n = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(usize::try_from(n).ok()?);
    Some(value)
}

/// What an open descriptor has still to give.
fn descriptor(fd: RawFd, role: &Role) -> io::Result<String> {
    // SAFETY: takes numbers.
    let position = unsafe { libc::lseek64(fd, 0, libc::SEEK_CUR) };
    let line = format!("at {position}");
    let path = format!("/proc/self/fd/{fd}");
    let kind = fs::metadata(&path)?.file_type();
    if kind.is_file() {
        // Also one that has no name any more.
        return Ok(line + &contents(&File::open(path)?)?);
    }
    if !(kind.is_fifo() || kind.is_socket()) {
        return Ok(line);
    }
    set_non_blocking(fd)?;
    // SAFETY: takes numbers.
    let own = checked(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: new, and nobody else knows it.
    let mut from = File::from(unsafe { OwnedFd::from_raw_fd(own) });
    let mut rest = Vec::new();
    let mut piece = vec![0; 1 << 17];
    // A message that is empty looks like the end.
    for _ in 0..64 {
        match from.read(&mut piece) {
            Ok(0) if matches!(role.kind, Kind::Datagrams | Kind::Packets) => rest.push(0),
            Ok(0) => return Ok(format!("{line}, {} and the end", left(&rest))),
            Ok(n) => rest.extend_from_slice(&piece[..n]),
            Err(e) => {
                let end = e.raw_os_error();
                return Ok(format!("{line}, {} and {end:?}", left(&rest)));
            }
        }
    }
    Ok(format!("{line}, {}", left(&rest)))
}

fn left(bytes: &[u8]) -> String {
    format!("{} bytes left ({:x})", bytes.len(), digest(bytes))
}
