//! Makes the operations of a script, each with what may come of it.

mod files;
mod sockets;

use super::disk::{Disk, NAMES};
use super::expect::Expect;
use super::network::Network;
use super::plan::{Bytes, Parts, Plain, Raw, Safe};
use super::script::{Call, Kind};
use crate::lent::Lent;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{Driver, Holds, OwnedFd};
use completeio_driver::op::{Deadline, Nop, OpenOptions, Timeout, TimeoutUpdate};
use completeio_driver::sim::World;
use std::ffi::CString;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// What is known of a world.
pub(super) struct Model {
    pub(super) world: World,
    pub(super) ips: [IpAddr; 2],
    pub(super) disks: [Disk; 2],
    pub(super) files: [Vec<OpenFile>; 2],
    pub(super) network: Network,
}

/// One of a host's files, open for reading and writing.
pub(super) struct OpenFile {
    pub(super) file: usize,
    pub(super) fd: Rc<OwnedFd>,
}

/// An operation, for the layers that take it.
pub(super) enum Made {
    Safe(Box<dyn Safe>),
    Raw(Lent<dyn Raw>),
}
/// Who asks for an operation.
pub(super) struct Asker<'a> {
    pub(super) model: &'a mut Model,
    pub(super) host: usize,
    /// For the raw layer: what only that takes is made too.
    pub(super) raw: Option<RawUse<'a>>,
}

pub(super) struct RawUse<'a> {
    pub(super) driver: &'a mut Driver<'static>,
    /// The files in its table.
    pub(super) fixed: &'a [Option<usize>],
    /// Its timeouts in flight.
    pub(super) timeouts: Vec<usize>,
}

/// A safe operation, within its deadline if it has one.
fn limited<O: Plain + 'static>(op: O, call: &Call, expect: Expect) -> (Made, Expect)
where
    O::Fd: Holds,
{
    let has_deadline = call.deadline.is_some();
    let op: Box<dyn Safe> = match call.deadline {
        Some(deadline) => Box::new(Deadline::after(op, deadline)),
        None => Box::new(op),
    };
    (
        Made::Safe(op),
        Expect {
            has_deadline,
            ..expect
        },
    )
}

fn name(at: usize) -> CString {
    CString::new(format!("n{}", at % NAMES)).unwrap()
}

pub(super) fn file_name(file: usize) -> CString {
    CString::new(format!("f{file}")).unwrap()
}

pub(super) fn for_all() -> OpenOptions {
    OpenOptions::new().read(true).write(true).create(true)
}

/// Bytes that tell themselves from others.
fn bytes(call: &Call) -> Bytes {
    let mixed = call.pick as u64 ^ call.offset.rotate_left(7);
    (0..call.len as u64)
        .map(|at| (at.wrapping_mul(mixed | 1) >> 3).to_le_bytes()[0])
        .collect()
}

fn halves(bytes: &[u8]) -> Parts {
    let (first, second) = bytes.split_at(bytes.len() / 3);
    [first.to_vec(), second.to_vec()]
}

fn room(len: usize) -> Bytes {
    Vec::with_capacity(len)
}

fn rooms(len: usize) -> Parts {
    [room(len / 3), room(len - len / 3)]
}
impl Asker<'_> {
    /// The operation that a script asks for, if there is what it is directed at.
    pub(super) fn make(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let expect = Expect::new(call.kind, &[]);
        match call.kind {
            Kind::Nop => Some(limited(Nop::new(), call, expect)),
            Kind::Timeout => {
                let duration = Duration::from_micros(call.offset * call.len as u64);
                let earliest = Some(Instant::now() + duration);
                Some(limited(
                    Timeout::after(duration),
                    call,
                    Expect { earliest, ..expect },
                ))
            }
            Kind::TimeoutUpdate => {
                let raw = self.raw.as_ref()?;
                let at = call.pick.checked_rem(raw.timeouts.len())?;
                let of = raw.timeouts[at];
                let op = TimeoutUpdate::after(of, Duration::from_micros(call.offset));
                let expect = Expect {
                    updates: Some(of),
                    errnos: &[libc::ENOENT],
                    ..expect
                };
                Some(limited(op, call, expect))
            }
            Kind::Create
            | Kind::MakeDir
            | Kind::Unlink
            | Kind::RemoveDir
            | Kind::Rename
            | Kind::StatAt => Some(self.on_names(call)),
            Kind::Tcp | Kind::Udp | Kind::Pipe => Some(self.new_socket(call)),
            Kind::Connect
            | Kind::Accept
            | Kind::Bind
            | Kind::Listen
            | Kind::Shutdown
            | Kind::Poll => self.on_socket(call),
            Kind::Send | Kind::SendVectored | Kind::SendAll | Kind::Write => self.send(call),
            Kind::Recv | Kind::RecvVectored | Kind::RecvExact | Kind::Read => self.receive(call),
            Kind::RecvAttached => self.receive_attached(call),
            Kind::SendTo | Kind::RecvFrom => self.datagram(call),
            Kind::Close => self.close(call),
            Kind::ReadFixed | Kind::WriteFixed | Kind::CloseFixed => self.on_fixed(call),
            _ => self.on_file(call),
        }
    }
}
