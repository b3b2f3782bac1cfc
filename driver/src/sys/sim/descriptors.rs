//! The descriptors of a world: real numbers, and the simulated objects behind them.
//!
//! A number is that of the one end of a pair of sockets, whose other end is kept here: so it is
//! nobody else's in the process, whoever has it closes it as any other, and a read of the other end
//! tells that it is closed. What it stands for lives on while operations in flight use it, as a
//! kernel's file does.
#![allow(unsafe_code, reason = "`fcntl` is a foreign function")]

use super::errno::{Errno, Result};
use super::fs::Inode;
use super::net::SocketId;
use super::world::HostId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// What a descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// Or a directory.
    File {
        inode: Inode,
        /// The flags of open(2) that stay with it.
        flags: i32,
    },
    /// Or an end of a pipe.
    Socket(SocketId),
}

/// A descriptor in the table, also after its number is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DescriptorId(usize);

#[derive(Debug)]
pub(super) struct Descriptor {
    host: HostId,
    object: Object,
    number: RawFd,
    /// Ends when the number is closed; `None` then.
    watch: Option<File>,
    /// How many operations in flight, and places of a driver's table, use it.
    users: u32,
    position: u64,
}

#[derive(Debug, Default)]
pub(super) struct Descriptors {
    by_number: BTreeMap<RawFd, DescriptorId>,
    places: Vec<Option<Descriptor>>,
}

impl Descriptors {
    /// A new descriptor for an object.
    pub(super) fn make(&mut self, host: HostId, object: Object) -> Result<OwnedFd> {
        let (watch, held) = pair().map_err(|e| Errno(e.raw_os_error().unwrap_or(libc::EMFILE)))?;
        let number = held.as_raw_fd();
        let descriptor = Descriptor {
            host,
            object,
            number,
            watch: Some(watch),
            users: 0,
            position: 0,
        };
        let free = self.places.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[at] = Some(descriptor);
        // What had the number before was closed, and is found closed by the next sweep.
        self.by_number.insert(number, DescriptorId(at));
        Ok(held.into())
    }

    /// The number was closed by who has the id.
    pub(super) fn close(&mut self, id: DescriptorId) {
        self[id].watch = None;
        let number = self[id].number;
        self.by_number.remove(&number);
    }

    /// Whose descriptor a number is, if it is one of this host.
    pub(super) fn find(&self, host: HostId, number: RawFd) -> Result<DescriptorId> {
        let id = self.by_number.get(&number).copied();
        id.filter(|id| self[*id].host == host)
            .ok_or(Errno(libc::EBADF))
    }

    /// The same on any host.
    pub(super) fn find_anywhere(&self, number: RawFd) -> Option<(HostId, DescriptorId)> {
        let id = *self.by_number.get(&number)?;
        Some((self[id].host, id))
    }

    pub(super) fn object(&self, id: DescriptorId) -> Object {
        self[id].object
    }

    pub(super) fn position(&mut self, id: DescriptorId) -> &mut u64 {
        &mut self[id].position
    }

    pub(super) fn keep(&mut self, id: DescriptorId) {
        self[id].users += 1;
    }

    /// Ends a use; gives the object if it was the last of a closed descriptor.
    pub(super) fn release(&mut self, id: DescriptorId) -> Option<(HostId, Object)> {
        self[id].users -= 1;
        self.take_if_over(id)
    }

    /// Finds what was closed since: the objects that nobody uses any more, in the order of their
    /// making.
    pub(super) fn sweep(&mut self) -> Vec<(HostId, Object)> {
        let mut over = Vec::new();
        for at in 0..self.places.len() {
            let Some(descriptor) = &mut self.places[at] else {
                continue;
            };
            if descriptor.watch.as_ref().is_some_and(is_closed) {
                descriptor.watch = None;
                let (number, id) = (descriptor.number, DescriptorId(at));
                if self.by_number.get(&number) == Some(&id) {
                    self.by_number.remove(&number);
                }
                over.extend(self.take_if_over(id));
            }
        }
        over
    }

    fn take_if_over(&mut self, id: DescriptorId) -> Option<(HostId, Object)> {
        let descriptor = &self[id];
        if descriptor.watch.is_some() || descriptor.users > 0 {
            return None;
        }
        let over = self.places[id.0].take();
        over.map(|descriptor| (descriptor.host, descriptor.object))
    }

    /// Forgets a host's descriptors, which keep their numbers until they are closed.
    pub(super) fn crash(&mut self, host: HostId) {
        for place in &mut self.places {
            if place
                .as_ref()
                .is_some_and(|descriptor| descriptor.host == host)
            {
                *place = None;
            }
        }
        let places = &self.places;
        self.by_number.retain(|_, id| places[id.0].is_some());
    }

    /// How many are open, or used.
    pub(super) fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }
}

impl std::ops::Index<DescriptorId> for Descriptors {
    type Output = Descriptor;

    fn index(&self, id: DescriptorId) -> &Descriptor {
        self.places[id.0].as_ref().expect("kept by who has its id")
    }
}

impl std::ops::IndexMut<DescriptorId> for Descriptors {
    fn index_mut(&mut self, id: DescriptorId) -> &mut Descriptor {
        self.places[id.0].as_mut().expect("kept by who has its id")
    }
}

/// The end that tells when the other is closed, and that one. It is read by read(2): Miri, which
/// has no sockets but pairs, refuses the recv(2) of a `UnixStream`.
fn pair() -> io::Result<(File, UnixStream)> {
    let (watch, held) = UnixStream::pair()?;
    let watch = File::from(OwnedFd::from(watch));
    // SAFETY: (K1) integers in, one out. Miri does not know what `set_nonblocking` does.
    if unsafe { libc::fcntl(watch.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((watch, held))
}

fn is_closed(mut watch: &File) -> bool {
    matches!(watch.read(&mut [0]), Ok(0))
}
