//! The IOCP backend: overlapped calls of one completion port, worker threads for what takes none,
//! timers of its own.
//!
//! A push keeps the operation in plain words. [`Iocp::turn`] starts what was pushed: it makes the
//! overlapped call, which the kernel finishes when it can; it hands what would block to the
//! workers, and timeouts to the heaps. Then it takes packets, many at a time, and waits for them if
//! it is told to. Everything completes locally, what the kernel has finished at once too: there is
//! no other queue, and what a turn does is bounded by what was pushed and by the room for packets.
//! So no busy socket keeps it from timers, wake-ups and the others.
//!
//! * `packets`: the `OVERLAPPED`s, with the table of who may touch one. `status`: what the kernel's
//!   words mean.
//! * `table`, `attach`: the handles and sockets, and how calls on each are made.
//! * `net`, `stream`, `file`, `path`, `wait`: one family of operations each.
//! * Beside this directory: `keeper`, what it shares with the other backend that keeps its
//!   operations itself; `flights`, the operations in flight, with the table of their states;
//!   `deadlines`; and `workers`, the threads.
//!
//! Invariants that its SAFETY comments name beside the general ones:
//! * (V1) A place of [`Packets`] is the kernel's from the call that is given it until its status
//!   was written and a packet for it was taken, be it a late one of an earlier call, or until the
//!   call failed, or succeeded at once on a handle that sends no packet then. Nobody here touches
//!   it meanwhile, and no other call gets it: its flight is in the state `Kernel`.
//! * (V2) What a call points to is lent until its operation completes (D1), which is after its
//!   packet was taken. That holds whoever closes the handle meanwhile: the kernel ends the call
//!   with the last handle of its file, and sends the packet; until then nothing here can end it,
//!   and what was lent stays so.
//! * (V3) A wait for a process is given a place and the port. The thread that tells of the end
//!   touches the place for the last time before it posts the packet; a wait that is taken back has
//!   told, or never will.
#![allow(
    unsafe_code,
    reason = "makes calls with the addresses that it was lent"
)]

mod attach;
mod file;
mod net;
mod packets;
mod path;
mod status;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod wait;

use self::file::Work;
use self::net::Extensions;
use self::packets::Packets;
use self::status::About;
use self::table::{Table, Way};
use super::afd::Afd;
use super::fd::{AsRawFd, OwnedFd, RawFd};
use super::files::Files;
use super::flights::State;
use super::keeper::{Keeper, Kept, Starts};
use super::port::{Port, Sender};
use super::{Block, pipe, pipe_flags, plain};
use crate::builder::{Limits, Support};
use crate::clock::Instant;
use crate::error::SetupError;
use crate::local::Core;
use crate::op::call::{Call, FileCall, PathCall, PlainCall, SocketCall};
use crate::outlet::Outlet;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, ERROR_MORE_DATA, HANDLE};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED_ENTRY};

type Workers = super::workers::Workers<Work>;

/// How many packets are taken at a time.
const PACKETS: usize = 64;

/// The state of one driver.
pub(crate) struct Iocp {
    // Dropped before `table`: a job that runs uses a held file's number.
    kept: Kept<Work>,
    packets: Packets,
    /// Beside each flight.
    ongoing: Box<[Ongoing]>,
    /// How many flights the kernel has.
    kernel: u32,
    table: Table,
    extensions: Extensions,
    /// An error where the system keeps it from this program.
    afd: io::Result<Afd>,
    port: Arc<Port>,
    taken: Box<[MaybeUninit<OVERLAPPED_ENTRY>; PACKETS]>,
}

/// What is kept of a call while the kernel has it.
#[derive(Debug)]
struct Ongoing {
    /// What it was made on.
    fd: RawFd,
    /// The held file that it was made on, so that it can be cancelled whatever becomes of its slot.
    file: Option<u32>,
    about: About,
    /// The socket that an accept is to give, or the process that a wait is for.
    own: Option<OwnedFd>,
    /// The wait for a process.
    wait: HANDLE,
}

/// What came of the beginning of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// It is over, and there will be no packet.
    Done,
    /// It has failed, with this error number, and there will be no packet.
    Failed(u32),
    /// A packet will come.
    Pending,
    /// There was more than the room for it. It is over if the kernel has said so in its place,
    /// whether or not a packet comes.
    Cut,
}

impl Begun {
    /// What a call says that returns 0 when it fails.
    fn of(ok: i32, skips: bool) -> Self {
        if ok != 0 {
            return if skips { Self::Done } else { Self::Pending };
        }
        match u32::from_ne_bytes(plain::last_error().wrapping_neg().to_ne_bytes()) {
            ERROR_IO_PENDING => Self::Pending,
            ERROR_MORE_DATA => Self::Cut,
            error => Self::Failed(error),
        }
    }
}

impl Iocp {
    pub(crate) fn new(limits: &Limits, core: &Core) -> Result<Self, SetupError> {
        let descriptors = u32::try_from(limits.descriptors).expect("a limit of 20 bits");
        let port = core.shared.waker().port().clone();
        pipe::keys();
        let extensions = Extensions::find()
            .map_err(|e| SetupError::os("asking Winsock for its extensions", e))?;
        let workers = match limits.workers {
            0 => None,
            threads => Some(
                Workers::start(threads, limits.in_flight, core.shared.clone())
                    .map_err(|e| SetupError::os("CreateThread", e))?,
            ),
        };
        let ongoing = |_| Ongoing {
            fd: super::NO_FD,
            file: None,
            about: About::Handle,
            own: None,
            wait: std::ptr::null_mut(),
        };
        Ok(Self {
            kept: Kept::new(limits, workers),
            packets: Packets::with_capacity(limits.in_flight, port.raw()),
            ongoing: (0..limits.in_flight).map(ongoing).collect(),
            kernel: 0,
            table: Table::new(descriptors, limits.file_slots, limits.in_flight),
            extensions,
            afd: Afd::open(&port),
            port,
            taken: Box::new([const { MaybeUninit::uninit() }; PACKETS]),
        })
    }

    pub(crate) fn granted(&self) -> Vec<(&'static str, String)> {
        let mut granted = vec![(
            "precision of waits",
            "a tick of the system's, up to 16 ms".to_owned(),
        )];
        let (descriptors, file_slots) = (self.table.descriptors(), self.table.file_slots());
        granted.extend(self.kept.granted(descriptors, file_slots));
        if let Err(error) = &self.afd {
            granted.push(("polls", format!("missing, for there is no device: {error}")));
        }
        granted
    }

    pub(crate) fn operations(&self) -> Vec<(&'static str, Support)> {
        let worker = if self.kept.workers.is_some() {
            Support::Worker
        } else {
            Support::Inline
        };
        vec![
            ("Nop", Support::Inline),
            ("Timeout", Support::Inline),
            ("ReadAt", Support::Native),
            ("WriteAt", Support::Native),
            ("Read", Support::Native),
            ("Write", Support::Native),
            ("ReadVectored", Support::Native),
            ("WriteVectored", Support::Native),
            ("Splice", Support::Missing),
            ("Tee", Support::Missing),
            ("ReadVectoredAt", worker),
            ("WriteVectoredAt", worker),
            ("Sync", worker),
            ("SyncRange", Support::Missing),
            ("Truncate", worker),
            ("Allocate", worker),
            ("Advise", Support::Missing),
            ("Stat", worker),
            ("StatAt", worker),
            ("Recv", Support::Native),
            ("Send", Support::Native),
            ("Accept", Support::Native),
            ("Connect", Support::Native),
            ("SendTo", Support::Native),
            ("RecvFrom", Support::Native),
            ("SendVectored", Support::Native),
            ("RecvVectored", Support::Native),
            ("SendToVectored", Support::Native),
            ("RecvFromVectored", Support::Native),
            ("SendMsg", Support::Native),
            ("RecvMsg", Support::Native),
            ("Shutdown", Support::Inline),
            ("Socket", Support::Inline),
            ("Pipe", Support::Inline),
            ("Bind", Support::Inline),
            ("Listen", Support::Inline),
            ("SetSockOpt", Support::Inline),
            ("GetSockOpt", Support::Inline),
            ("FutexWake", Support::Missing),
            ("FutexWait", Support::Missing),
            ("WaitId", Support::Native),
            ("Deadline", Support::Inline),
            ("TimeoutUpdate", Support::Inline),
            (
                "Poll",
                if self.afd.is_ok() {
                    Support::Native
                } else {
                    Support::Missing
                },
            ),
            ("OpenAt", worker),
            ("Unlink", worker),
            ("Rename", worker),
            ("MakeDir", worker),
            ("Symlink", worker),
            ("HardLink", worker),
            ("GetXattr", Support::Missing),
            ("SetXattr", Support::Missing),
            ("GetPathXattr", Support::Missing),
            ("SetPathXattr", Support::Missing),
            ("Close", worker),
            ("Raw", Support::Missing),
            ("ConnectNamedPipe", Support::Native),
            ("Disconnect", Support::Native),
            ("TransmitFile", Support::Native),
        ]
    }

    /// Whether a flight waits for a process, which it has a handle of its own of.
    fn waits_for_process(&self, index: u32) -> bool {
        matches!(
            self.kept.flights[index].call,
            Call::Socket {
                call: SocketCall::WaitId { .. },
                ..
            }
        )
    }

    /// Asks the kernel to end a call. `true`: it was a wait, which is over, and no packet will
    /// come.
    fn cancel_call(&mut self, index: u32) -> bool {
        if self.waits_for_process(index) {
            return self.stop_waiting(index);
        }
        let fd = match (self.kept.flights[index].call, &self.afd) {
            (
                Call::Socket {
                    call: SocketCall::Poll { .. },
                    ..
                },
                Ok(afd),
            ) => afd.as_raw_fd(),
            _ => self.ongoing[index as usize].fd,
        };
        let handle = attach::handle(fd);
        let overlapped = self.packets.overlapped(index);
        // Whatever it says, the packet is on its way or will come: the call may be over already.
        // SAFETY: (V1) the address names the call, and is not followed.
        unsafe { CancelIoEx(handle, overlapped) };
        false
    }

    /// Completes the operation whose packet has come.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn arrived(
        &mut self,
        core: &mut Core,
        overlapped: *const windows_sys::Win32::System::IO::OVERLAPPED,
    ) {
        let Some(index) = self.packets.index_of(overlapped) else {
            core.stats.unknown += 1;
            return;
        };
        let is_kernels =
            !self.kept.flights.is_free(index) && self.kept.flights[index].state == State::Kernel;
        if !is_kernels || self.packets.is_pending(index) {
            return; // Of a call that was cut short, and is over.
        }
        // SAFETY: (D1) the caller's contract; (V1) its packet has come.
        let result = unsafe { self.result_of(index) };
        self.take_back(index);
        self.complete(core, index, result);
    }

    /// The kernel has a call, and its held file stays open.
    fn hand_over(&mut self, index: u32) {
        let target = self.kept.flights[index].target();
        let slot = target.and_then(|target| self.table.resolve(target)?.1);
        let file = slot.and_then(|slot| self.table[slot].file());
        if let Some(file) = file {
            self.table.files.share(file);
        }
        self.ongoing[index as usize].file = file;
        self.kept.flights.hand_over(index, State::Kernel);
        self.kernel += 1;
    }

    /// What the kernel has is the driver's again.
    fn take_back(&mut self, index: u32) {
        if let Some(file) = self.ongoing[index as usize].file.take() {
            self.table.files.release(file);
        }
        self.kept.flights.take_back(index);
        self.kernel -= 1;
    }

    /// The result of a call that is over; does what is left to do.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn). (V1) Its packet has come, or none will.
    unsafe fn result_of(&mut self, index: u32) -> i32 {
        let (status, bytes) = self.packets.outcome(index);
        let outcome = status::decode(self.ongoing[index as usize].about, status, bytes);
        match self.kept.flights[index].call {
            Call::Socket { call, .. } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.finish_socket(index, call, outcome) }
            }
            _ => outcome.result,
        }
    }

    /// Begins a call of the kernel's, with the place of its flight, and completes what is over at
    /// once.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn). `call` does no more than make one call with the place of
    /// `index`.
    unsafe fn begin(
        &mut self,
        core: &mut Core,
        index: u32,
        (fd, about): (RawFd, About),
        call: impl FnOnce(&mut Self) -> Begun,
    ) {
        let ongoing = &mut self.ongoing[index as usize];
        (ongoing.fd, ongoing.about) = (fd, about);
        match call(self) {
            Begun::Cut if !self.packets.is_pending(index) => {
                // SAFETY: (D1) the caller's contract; (V1) the kernel is done with it.
                let result = unsafe { self.result_of(index) };
                self.complete(core, index, result);
            }
            Begun::Pending | Begun::Cut => self.hand_over(index),
            Begun::Done => {
                // SAFETY: (D1) the caller's contract; (V1) no packet will come.
                let result = unsafe { self.result_of(index) };
                self.complete(core, index, result);
            }
            Begun::Failed(error) => {
                let result = status::decode_error(about, error);
                self.complete(core, index, result);
            }
        }
    }

    /// Makes a call that never waits; a negative result is an error number.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn perform_plain(&mut self, call: PlainCall) -> i32 {
        let fd = match call.target() {
            None => super::NO_FD,
            Some(target) => match self.table.resolve(target) {
                Some((fd, _)) => fd,
                None => return net::NOT_A_SOCKET,
            },
        };
        // SAFETY: (D1) the caller's contract.
        let result = unsafe { plain::perform(fd, call) };
        match call {
            PlainCall::Socket { .. } if result >= 0 => self.forget(super::fd_of(result)),
            PlainCall::Pipe { ends, .. } if result >= 0 => {
                // SAFETY: (D1) a place of the operation, which the call has filled.
                let ends = unsafe { *ends };
                ends.into_iter().for_each(|end| self.forget(end));
            }
            _ => {}
        }
        result
    }

    /// See the contract in `sys.rs`. What the kernel has, or a worker, is waited for; its
    /// completion is local, like all of them, and delivered by the caller.
    pub(crate) fn shut_down<T: Outlet>(&mut self, core: &mut Core, _: &mut T) {
        self.wind_down(core);
        while self.kernel > 0 {
            // SAFETY: (D1) what was handed over is where it was until this function has returned.
            let asked = unsafe { self.ask(core, None) };
            assert!(asked.is_ok(), "I5: the port is open: {asked:?}");
        }
    }

    /// See the contract in `sys.rs`. The port's handle is signalled while it has packets; if a
    /// worker has a result already, the time is now.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, core: &mut Core) -> io::Result<Option<Instant>> {
        // SAFETY: (D1) the caller's contract.
        unsafe { self.turn(core, Block::Never) }?;
        Ok(self.until())
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.port.as_raw_fd()
    }
}

/// A time as a wait takes it: whole milliseconds, rounded up, and never the number that means for
/// ever.
fn milliseconds(patience: Option<Duration>) -> u32 {
    const FOR_EVER: u32 = u32::MAX;
    patience.map_or(FOR_EVER, |left| {
        let up = left.as_nanos().div_ceil(1_000_000);
        u32::try_from(up).unwrap_or(FOR_EVER).min(FOR_EVER - 1)
    })
}

impl Keeper for Iocp {
    type Work = Work;
    type Kind = Way;
    const STARTS: Starts<Self> = Starts {
        socket: Self::start_socket,
        stream: Self::start_stream,
        file: Self::start_file,
        path: Self::start_path,
        close: Self::start_close,
        splice: None,
        plain: Self::perform_plain,
    };

    fn kept(&self) -> &Kept<Work> {
        &self.kept
    }

    fn kept_mut(&mut self) -> &mut Kept<Work> {
        &mut self.kept
    }

    fn files(&mut self) -> &mut Files<Way> {
        &mut self.table.files
    }

    fn is_missing(call: &Call) -> bool {
        match call {
            Call::Raw { .. } | Call::FutexWait { .. } | Call::Splice(_) => true,
            Call::Plain(PlainCall::FutexWake { .. }) => true,
            Call::Plain(PlainCall::Pipe { flags, .. }) => flags & pipe_flags::NONBLOCK != 0,
            Call::File { call, .. } => matches!(
                call,
                FileCall::SyncRange { .. }
                    | FileCall::Advise { .. }
                    | FileCall::GetXattr { .. }
                    | FileCall::SetXattr { .. }
            ),
            Call::Path(call) => {
                matches!(call, PathCall::GetXattr { .. } | PathCall::SetXattr { .. })
            }
            Call::Nop
            | Call::Timeout { .. }
            | Call::TimeoutUpdate { .. }
            | Call::Socket { .. }
            | Call::Stream { .. }
            | Call::Plain(_)
            | Call::Close { .. } => false,
        }
    }

    unsafe fn ask(&mut self, core: &mut Core, patience: Option<Duration>) -> io::Result<bool> {
        self.kept.begin_to_ask(core);
        let mut rang = false;
        let count = self
            .port
            .take(&mut self.taken[..], milliseconds(patience))?;
        for i in 0..count {
            // SAFETY: (K1) the port has written so many.
            let packet = unsafe { self.taken[i].assume_init() };
            if packet.lpCompletionKey == Sender::Notifier as usize {
                rang = true;
            } else if packet.lpCompletionKey != Sender::Workers as usize {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.arrived(core, packet.lpOverlapped) };
            }
        }
        Ok(rang)
    }

    fn has_news(&self) -> bool {
        self.kernel > 0
    }

    fn stop(&mut self, index: u32, state: State) -> bool {
        debug_assert_eq!(state, State::Kernel, "flight {index}");
        let is_over = self.cancel_call(index);
        if is_over {
            self.take_back(index);
        }
        is_over
    }

    fn complete(&mut self, core: &mut Core, index: u32, result: i32) {
        // What was made for a call that failed, or stands for what is over.
        drop(self.ongoing[index as usize].own.take());
        self.kept.complete(core, index, result);
    }

    fn performed(&mut self, core: &mut Core, index: u32, result: i32) {
        if let (Call::Path(PathCall::Open { .. }), 0..) = (self.kept.flights[index].call, result) {
            self.forget(super::fd_of(result));
        }
        self.complete(core, index, result);
    }

    fn file_slots(&self) -> u32 {
        self.table.file_slots()
    }

    fn hold(&mut self, fd: RawFd) -> io::Result<u32> {
        self.hold_duplicate(fd)
    }

    fn direct(&mut self, _core: &mut Core, id: u32, file: u32) {
        let slot = self.table.fixed(id).expect("the range was checked");
        self.retire(slot);
        let (fd, way) = (self.table.files.fd(file), self.table.files.kind(file));
        self.table[slot].occupy(fd, way, Some(file));
    }
}

impl Drop for Iocp {
    /// Its fields free what the kernel has had.
    fn drop(&mut self) {
        assert_eq!(self.kernel, 0, "I5: it was shut down before");
    }
}

impl fmt::Debug for Iocp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iocp")
            .field("pushed", &self.kept.flights.pushed_len())
            .field("kernel", &self.kernel)
            .finish_non_exhaustive()
    }
}
