//! What the kernel has of the driver's own while a call is in flight: an `OVERLAPPED` for each
//! place in the slab of flights, in memory that stays where it is.
//!
//! | state of a place | who may touch it | what comes next |
//! |---|---|---|
//! | at rest | the driver's thread | a call begins with it |
//! | lent | the kernel, or the thread that waits for a process; nobody here | a packet for it was taken when its status was written, or the call failed at once |
//!
//! A call that was cut short (a message longer than the room) fails at once, and may send a packet
//! nevertheless. It is over then; the packet that is late is told by what stands in the place:
//! while a call is in flight that is `STATUS_PENDING`, until the kernel writes how it ended.
//!
//! They lie here and not in the operations, because a packet says no more than an address. Whoever
//! has a handle that is attached may make overlapped calls of his own on it (the standard library
//! does, when it waits for a child's output), whose packets come to this port too. An address
//! within the slab names one of ours; any other is not followed.
#![allow(unsafe_code, reason = "lends memory to the kernel")]

use crate::sys::afd::Question;
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use windows_sys::Win32::Foundation::{HANDLE, STATUS_PENDING};
use windows_sys::Win32::System::IO::{
    OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0, PostQueuedCompletionStatus,
};

/// One place. The kernel knows it by its beginning.
#[repr(C)]
pub(super) struct Packet {
    overlapped: OVERLAPPED,
    /// Flags that a receive reads and writes.
    flags: u32,
    /// What is asked of a socket.
    question: Question,
    /// Where the end of a process is told, and whether it was.
    port: HANDLE,
    told: AtomicBool,
}

const PENDING: usize = STATUS_PENDING as usize;

/// The slab.
pub(super) struct Packets {
    packets: Box<[UnsafeCell<Packet>]>,
}

impl Packets {
    /// The only place that allocates.
    pub(super) fn with_capacity(capacity: u32, port: HANDLE) -> Self {
        let packet = |_| {
            UnsafeCell::new(Packet {
                overlapped: OVERLAPPED::default(),
                flags: 0,
                question: Question::NONE,
                port,
                told: AtomicBool::new(false),
            })
        };
        Self {
            packets: (0..capacity).map(packet).collect(),
        }
    }

    /// Makes a place ready for a call at this offset in a file.
    pub(super) fn begin(&self, index: u32, offset: u64, flags: i32) {
        // SAFETY: (V1) at rest: nobody else touches it.
        let packet = unsafe { &mut *self.packets[index as usize].get() };
        packet.overlapped = overlapped(offset, ptr::null_mut());
        packet.flags = u32::from_ne_bytes(flags.to_ne_bytes());
        packet.told = AtomicBool::new(false);
    }

    /// What the kernel is given.
    pub(super) fn overlapped(&self, index: u32) -> *mut OVERLAPPED {
        self.packets[index as usize].get().cast()
    }

    /// Where a receive's flags stand.
    pub(super) fn flags(&self, index: u32) -> *mut u32 {
        let packet = self.packets[index as usize].get();
        // SAFETY: (V1) only the field's address is taken.
        unsafe { &raw mut (*packet).flags }
    }

    /// Where a question is put and answered, while the place is at rest.
    pub(super) fn question(&self, index: u32) -> *mut Question {
        let packet = self.packets[index as usize].get();
        // SAFETY: (V1) only the field's address is taken.
        unsafe { &raw mut (*packet).question }
    }

    /// Whose packet names this address, if it is one of ours.
    pub(super) fn index_of(&self, overlapped: *const OVERLAPPED) -> Option<u32> {
        let offset = overlapped
            .addr()
            .checked_sub(self.packets.as_ptr().addr())?;
        let index = offset / size_of::<Packet>();
        let is_ours = offset % size_of::<Packet>() == 0 && index < self.packets.len();
        is_ours.then(|| u32::try_from(index).expect("a limit of 32 bits"))
    }

    /// Whether the kernel has not written yet how the call of this place ends.
    pub(super) fn is_pending(&self, index: u32) -> bool {
        let overlapped = self.overlapped(index);
        // SAFETY: (V1) only the field's address is taken.
        let status = unsafe { &raw const (*overlapped).Internal };
        // SAFETY: (V1) a word that the kernel writes once; no more than that is read of it.
        unsafe { status.read_volatile() == PENDING }
    }

    /// The status of a call that is over, and how many bytes it has moved.
    pub(super) fn outcome(&self, index: u32) -> (i32, usize) {
        let overlapped = self.overlapped(index);
        // SAFETY: (V1) the call is over: its place is at rest.
        let status = unsafe { (*overlapped).Internal };
        // SAFETY: (V1) as above.
        let bytes = unsafe { (*overlapped).InternalHigh };
        debug_assert_ne!(status, PENDING, "its packet has come");
        let [a, b, c, d, ..] = status.to_ne_bytes();
        (i32::from_ne_bytes([a, b, c, d]), bytes)
    }

    /// Whether the end of the process that this place waits for was told: a packet is on its way.
    pub(super) fn was_told(&self, index: u32) -> bool {
        let packet = self.packets[index as usize].get();
        // SAFETY: (V1) an atomic, which is shared with one thread.
        unsafe { (*packet).told.load(Ordering::Acquire) }
    }
}

/// For a call at this offset in a file, whose end signals an event if there is one.
pub(super) fn overlapped(offset: u64, event: HANDLE) -> OVERLAPPED {
    let half = |shift: u32| {
        u32::try_from(offset >> shift & u64::from(u32::MAX)).expect("masked to fewer bits")
    };
    OVERLAPPED {
        Internal: PENDING,
        InternalHigh: 0,
        Anonymous: OVERLAPPED_0 {
            Anonymous: OVERLAPPED_0_0 {
                Offset: half(0),
                OffsetHigh: half(32),
            },
        },
        hEvent: event,
    }
}

/// Tells the port that a process has ended: called once by a thread of the system's.
///
/// # Safety
/// (V3) `packet` is a place that was lent for this wait.
pub(super) unsafe extern "system" fn tell(packet: *mut std::ffi::c_void, _: bool) {
    let packet = packet.cast::<Packet>();
    // SAFETY: (V3) the caller's contract.
    let port = unsafe { (*packet).port };
    // SAFETY: (V3) the caller's contract.
    unsafe { (*packet).overlapped.Internal = 0 };
    // SAFETY: (V3) the caller's contract; the last time that it is touched here.
    unsafe { (*packet).told.store(true, Ordering::Release) };
    let key = crate::sys::port::Sender::Waits as usize;
    // SAFETY: (V3) the driver takes the packet before it closes the port; the address is not
    // followed.
    let posted = unsafe { PostQueuedCompletionStatus(port, 0, key, packet.cast()) };
    debug_assert_ne!(posted, 0, "the port is open");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_places_and_no_others_do() {
        let packets = Packets::with_capacity(3, ptr::null_mut());
        for index in 0..3 {
            let at = packets.overlapped(index);
            assert_eq!(packets.index_of(at), Some(index));
            assert_eq!(packets.index_of(at.wrapping_byte_add(8)), None);
        }
        let first = packets.overlapped(0);
        for elsewhere in [
            ptr::null_mut(),
            first.wrapping_byte_sub(size_of::<Packet>()),
            first.wrapping_byte_add(3 * size_of::<Packet>()),
            ptr::without_provenance_mut(usize::MAX),
        ] {
            assert_eq!(packets.index_of(elsewhere), None);
        }
    }

    #[test]
    fn offsets_have_two_halves() {
        let packets = Packets::with_capacity(1, ptr::null_mut());
        packets.begin(0, 0x1234_5678_9abc_def0, 7);
        // SAFETY: a place of the test's own, which nobody else has.
        let overlapped = unsafe { *packets.overlapped(0) };
        // SAFETY: two integers, whichever way they are looked at.
        let halves = unsafe { overlapped.Anonymous.Anonymous };
        assert_eq!(
            (halves.Offset, halves.OffsetHigh),
            (0x9abc_def0, 0x1234_5678)
        );
        assert!(packets.is_pending(0));
    }
}
