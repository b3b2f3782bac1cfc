//! What a cell of the table has: a driver with its books, what the operation needs, and its memory.

use crate::ends::{End, Site};
use crate::kit;
use crate::ledger::{Cx, Ledger, Lent};
use crate::region::Region;
use crate::tree::Tree;
#[cfg(windows)]
use crate::windows;
use completeio_driver::address::Address;
use completeio_driver::driver::{
    BorrowedFd, Builder, CompleteIo, Cwd, Entry, OwnedFd, Refusal, Support,
};
use completeio_driver::op::{
    Bind, Connect, Listen, MsgFlags, Op, OpenAt, OpenOptions, Raw, Send, SendTo, SetPathXattr,
    SetSockOpt, SockOpt, Socket, Write,
};
use std::ffi::{CStr, CString};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::ptr::NonNull;

/// A descriptor that the rig keeps open.
pub(super) type Borrowed = BorrowedFd<'static>;

/// What an operation ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Error(i32),
    /// This backend has no such operation.
    Unsupported,
}

/// An operation of any kind.
pub(super) type Made = Box<dyn Operation>;

/// See [`Made`].
pub(super) trait Operation {
    fn push(&self, l: &mut Ledger);
    fn finish(&self, l: &mut Ledger, entry: Entry) -> io::Result<()>;
    fn free(&self, l: &mut Ledger);
}

impl<O: Op + 'static> Operation for Lent<O> {
    fn push(&self, l: &mut Ledger) {
        l.push(*self, OPERATION);
    }

    fn finish(&self, l: &mut Ledger, entry: Entry) -> io::Result<()> {
        l.finish(*self, entry).map(drop)
    }

    fn free(&self, l: &mut Ledger) {
        l.free(*self);
    }
}

/// The user data of the operation, and of what helps it to complete.
const OPERATION: usize = 1;
pub(super) const HELP: usize = 2;

/// An attribute.
pub(super) const NAME: &CStr = c"user.completeio";

/// What is done by the driver that is tested, or by another.
type Deed = Box<dyn FnOnce(&mut Ledger)>;

/// What the operation lies in, and what is behind it.
const LEN: usize = 2 * 4096;

/// The next free port.
pub(super) fn any_port() -> Address {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()
}

/// A driver that has few places is soon made.
fn few(limits: Builder) -> Builder {
    limits.entries(16).in_flight(32).slots(0).workers(1)
}

pub(super) struct Rig {
    pub(super) l: Ledger,
    /// Done when the operation was pushed.
    help: Option<Deed>,
    /// What an operation waited for: comes when it is out of flight, by another driver.
    late: Option<Deed>,
    kept: Vec<OwnedFd>,
    children: Vec<Child>,
    /// Where paths begin on this system.
    tree: Option<Tree>,
    /// Where the operation lies, mapped twice. Miri has no such memory, and sees more.
    memory: Option<[Region; 2]>,
    site: Site,
}

impl Rig {
    pub(super) fn new(cx: &Cx) -> Self {
        Self {
            l: cx.with(few),
            help: None,
            late: None,
            kept: Vec::new(),
            children: Vec::new(),
            tree: None,
            memory: (!cfg!(miri)).then(|| Region::twice(LEN)),
            site: (**cx).clone(),
        }
    }

    /// Whether this backend, or this system's kernel, has no such operation.
    pub(super) fn lacks(&self, kind: &str) -> bool {
        let operations = &self.l.capabilities().operations;
        operations.contains(&(kind, Support::Missing))
    }

    /// The operation that it is about.
    pub(super) fn op<O: Op + 'static>(&mut self, op: O) -> Option<Made> {
        let lent = match &self.memory {
            None => self.l.lend(op),
            Some([lent, _]) => {
                assert!(size_of::<O>() <= LEN, "it is too large");
                let place = NonNull::new(lent.lend(0..size_of::<O>()).as_mut_ptr());
                self.l.lend_at(op, place.expect("a mapping").cast())
            }
        };
        Some(Box::new(lent))
    }

    pub(super) fn push(&mut self, op: &Made) {
        op.push(&mut self.l);
        if let Some(help) = self.help.take() {
            help(&mut self.l);
        }
    }

    pub(super) fn cancel(&mut self) {
        self.l.try_cancel(OPERATION).unwrap();
    }

    /// Hands over what was pushed, and takes nothing.
    pub(super) fn hand_over(&mut self) {
        let _prepared = self.l.prepare_wait();
    }

    /// The operation's entry.
    pub(super) fn entry(&mut self) -> Entry {
        loop {
            let entry = self.l.one();
            if entry.user_data() == OPERATION {
                return entry;
            }
            self.l.dispose(entry);
        }
    }

    /// No entry of the operation.
    pub(super) fn nothing_comes(&mut self) {
        for entry in self.l.turn() {
            assert_ne!(entry.user_data(), OPERATION);
            self.l.dispose(entry);
        }
    }

    pub(super) fn finish(&mut self, op: &Made, entry: Entry) -> Outcome {
        let refused = entry.refusal();
        match op.finish(&mut self.l, entry) {
            Ok(()) => Outcome::Done,
            Err(_) if refused == Some(Refusal::Unsupported) => Outcome::Unsupported,
            Err(error) => Outcome::Error(error.raw_os_error().expect("the kernel's error")),
        }
    }

    /// I3: the operation is out of flight, and nobody writes to its memory, whatever comes.
    pub(super) fn watch(mut self, cx: &Cx, op: &Made) {
        op.free(&mut self.l);
        if let Some([_, watched]) = &self.memory {
            watched.fill(0xAA);
        }
        if let Some(late) = self.late.take() {
            late(&mut cx.with(few));
        }
        if !self.l.is_abandoned() {
            self.nothing_comes();
        }
        if let Some([_, watched]) = &self.memory {
            watched.assert_stays(0xAA);
        }
    }

    pub(super) fn help(&mut self, help: impl FnOnce(&mut Ledger) + 'static) {
        self.help = Some(Box::new(help));
    }

    fn late(&mut self, late: impl FnOnce(&mut Ledger) + 'static) {
        self.late = Some(Box::new(late));
    }

    fn keep(&mut self, fd: impl Into<OwnedFd>) -> Borrowed {
        self.kept.push(fd.into());
        kit::plain(&self.kept[self.kept.len() - 1])
    }

    fn keep_both(&mut self, (a, b): (End, End)) -> [Borrowed; 2] {
        [a, b].map(|end| self.keep(end))
    }

    pub(super) fn file(&mut self) -> Borrowed {
        let file = self.site.file(b"text");
        self.keep(file)
    }

    /// Both ends of a pipe: to read, to write.
    pub(super) fn pipe(&mut self) -> [Borrowed; 2] {
        let pipe = self.site.pipe();
        self.keep_both(pipe)
    }

    /// The end of a pipe that has bytes.
    pub(super) fn filled_pipe(&mut self) -> Borrowed {
        let (reader, mut writer) = self.site.pipe();
        writer.write_all(b"text").unwrap();
        self.keep_both((reader, writer))[0]
    }

    /// The end of a pipe that has none, before it is too late.
    pub(super) fn empty_pipe(&mut self) -> Borrowed {
        let [reader, writer] = self.pipe();
        self.late(move |l| assert_eq!(l.run(Write::new(writer, *b"late")).unwrap(), 4));
        reader
    }

    /// The end of a pipe that takes no more.
    pub(super) fn full_pipe(&mut self) -> Borrowed {
        let [_, writer] = self.pipe();
        match kit::PIPE_ROOM {
            Some(room) => {
                let filled = self.l.run(Write::new(writer, vec![0; room]));
                assert_eq!(filled.unwrap(), room);
            }
            None => kit::fill(writer),
        }
        writer
    }

    /// The end of a named pipe to which a client has come, or comes when it is too late.
    #[cfg(windows)]
    pub(super) fn named_pipe(&mut self, is_connected: bool) -> Borrowed {
        let (name, end) = windows::server(true, false);
        if is_connected {
            let client = self.l.run(windows::client(&name)).unwrap();
            self.keep(client);
        } else {
            self.late(move |l| drop(l.run(windows::client(&name)).unwrap()));
        }
        self.keep(end)
    }

    pub(super) fn pair(&mut self) -> [Borrowed; 2] {
        let pair = self.site.pair();
        self.keep_both(pair)
    }

    /// A socket that bytes have arrived on.
    pub(super) fn filled_socket(&mut self) -> Borrowed {
        let [ours, theirs] = self.pair();
        assert_eq!(self.l.run(Send::new(theirs, *b"text")).unwrap(), 4);
        ours
    }

    /// A socket that none have arrived on, before it is too late.
    pub(super) fn quiet_socket(&mut self) -> Borrowed {
        let [ours, theirs] = self.pair();
        self.late(move |l| assert_eq!(l.run(Send::new(theirs, *b"late")).unwrap(), 4));
        ours
    }

    /// A socket that takes no more.
    pub(super) fn full_socket(&mut self) -> Borrowed {
        let [ours, _] = self.pair();
        self.l
            .run(SetSockOpt::new(ours, SockOpt::SEND_BUFFER, 1))
            .unwrap();
        if kit::DONT_WAIT == 0 {
            // None can be kept from waiting: one waits before it.
            self.l.start(Send::new(ours, vec![0; 16 << 20]), HELP);
            self.hand_over();
            return ours;
        }
        let flags = MsgFlags::from_bits(kit::DONT_WAIT);
        loop {
            match self.l.run(Send::new(ours, [0; 4096]).flags(flags)) {
                Ok(_) => {}
                Err(e) => {
                    assert_eq!(e.kind(), io::ErrorKind::WouldBlock, "{e}");
                    return ours;
                }
            }
        }
    }

    pub(super) fn owned_socket(&mut self) -> OwnedFd {
        self.l
            .run(Socket::new(kit::AF_INET, kit::SOCK_STREAM, 0))
            .unwrap()
    }

    pub(super) fn socket(&mut self, kind: i32) -> Borrowed {
        let socket = self.l.run(Socket::new(kit::AF_INET, kind, 0));
        self.keep(socket.unwrap())
    }

    /// A socket with an address of its own.
    pub(super) fn bound(&mut self, kind: i32) -> (Borrowed, Address) {
        let socket = self.socket(kind);
        self.l.run(Bind::new(socket, any_port())).unwrap();
        let addr = self.site.local_address(socket);
        (socket, addr)
    }

    pub(super) fn listener(&mut self, backlog: u32) -> (Borrowed, Address) {
        let (listener, addr) = self.bound(kit::SOCK_STREAM);
        self.l.run(Listen::new(listener, backlog)).unwrap();
        (listener, addr)
    }

    /// A listener that somebody has connected to.
    pub(super) fn busy_listener(&mut self) -> Borrowed {
        let (listener, addr) = self.listener(8);
        let client = self.socket(kit::SOCK_STREAM);
        self.l.run(Connect::new(client, addr)).unwrap();
        listener
    }

    /// A listener that nobody has connected to, before it is too late.
    pub(super) fn idle_listener(&mut self) -> Borrowed {
        let (listener, addr) = self.listener(8);
        let client = self.socket(kit::SOCK_STREAM);
        self.late(move |l| l.run(Connect::new(client, addr)).unwrap());
        listener
    }

    /// The address of a listener that takes no more connections: the next is pending, where it is
    /// not refused.
    pub(super) fn full_listener(&mut self) -> Option<Address> {
        if kit::FULL_REFUSES {
            return None;
        }
        let (_, addr) = self.listener(kit::SHORTEST_QUEUE.unsigned_abs());
        for client in [(); 4].map(|()| self.socket(kit::SOCK_STREAM)) {
            self.l.start(Connect::new(client, addr), HELP);
        }
        self.hand_over();
        Some(addr)
    }

    /// A socket that a datagram has arrived on.
    pub(super) fn filled_datagrams(&mut self) -> Borrowed {
        let (socket, addr) = self.bound(kit::SOCK_DGRAM);
        let from = self.socket(kit::SOCK_DGRAM);
        assert_eq!(self.l.run(SendTo::new(from, *b"text", addr)).unwrap(), 4);
        socket
    }

    /// A socket that none has arrived on, before it is too late.
    pub(super) fn quiet_datagrams(&mut self) -> Borrowed {
        let (socket, addr) = self.bound(kit::SOCK_DGRAM);
        let from = self.socket(kit::SOCK_DGRAM);
        self.late(move |l| assert_eq!(l.run(SendTo::new(from, *b"late", addr)).unwrap(), 4));
        socket
    }

    /// An entry of io_uring's with no more than an opcode.
    pub(super) fn raw(&mut self, opcode: u8) -> Option<Made> {
        let mut entry = [0; 64];
        entry[0] = opcode;
        // SAFETY: names no memory.
        self.op(unsafe { Raw::new(entry) })
    }

    pub(super) fn open(&mut self, path: CString) -> Borrowed {
        let opened = self.l.run(OpenAt::read(Cwd, path)).unwrap();
        self.keep(opened)
    }

    /// A path of its own, where nothing is.
    pub(super) fn path(&mut self) -> CString {
        let name = kit::unique();
        if self.site.is_simulated() {
            return CString::new(name).unwrap();
        }
        self.tree.get_or_insert_with(Tree::new).c_string(&name)
    }

    /// The path of a file.
    pub(super) fn named_file(&mut self) -> CString {
        let path = self.path();
        let options = OpenOptions::new().write(true).create_new(true);
        let opened = self.l.run(OpenAt::new(Cwd, path.clone(), options));
        self.keep(opened.unwrap());
        path
    }

    /// The path of a file with an attribute, if there are such here.
    pub(super) fn marked_file(&mut self) -> Option<CString> {
        let path = self.named_file();
        match self.l.run(SetPathXattr::new(path.clone(), NAME, *b"text")) {
            Ok(()) => Some(path),
            Err(error) => {
                kit::skip(&format!("extended attributes of users: {error}"));
                None
            }
        }
    }

    /// A child of this process, which ends when what it reads does.
    pub(super) fn child(&mut self) -> &mut Child {
        let child = kit::reader().stdin(Stdio::piped()).spawn().unwrap();
        self.children.push(child);
        self.children.last_mut().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
