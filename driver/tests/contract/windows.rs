//! What only Windows has, or has in its own way: pipes with and without names, files sent by the
//! kernel, sockets connected anew.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use completeio_driver::ancillary::{Credentials, Incoming, Outgoing};
use completeio_driver::buf::Aligned;
use completeio_driver::driver::{AsRawFd, CompleteIo, Cwd, Fd, FixedFd, OwnedFd, RawFd, Refusal};
use completeio_driver::op::{
    Allocate, Close, Connect, ConnectNamedPipe, Disconnect, HardLink, Op, OpenAt, OpenOptions,
    Pipe, Poll, PollEvents, Read, ReadAt, ReadVectoredAt, Recv, RecvMsg, Rename, RwFlags, Send,
    SendMsg, SetSockOpt, SockOpt, Sync, TransmitFile, Write, WriteAt, WriteVectored,
};
use std::ffi::CString;
use std::io::{self, ErrorKind, Read as _, Seek, SeekFrom, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr;
use windows_sys::Win32::Foundation::{
    ERROR_INVALID_HANDLE, ERROR_NO_DATA, ERROR_OPERATION_ABORTED, ERROR_PIPE_BUSY,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_READMODE_MESSAGE, PIPE_TYPE_BYTE, PIPE_TYPE_MESSAGE,
};

contract! {
    pipes_move_bytes_and_end,
    nothing_that_is_written_is_no_end,
    what_is_missing_is_told_so,
    a_pipe_is_not_synced,
    reads_and_writes_of_a_pipe_wait,
    messages_stay_apart_and_none_is_lost,
    calls_of_a_pipe_always_wait,
    a_client_comes_before_or_after,
    the_next_client_of_one_end,
    a_wait_for_a_client_is_cancelled,
    a_server_end_that_waits_itself,
    a_driver_dropped_while_a_worker_waits,
    a_part_of_a_file_is_sent,
    what_cannot_be_sent,
    messages_that_are_missing_are_refused,
    a_socket_is_connected_anew,
    headers_of_datagrams_v4,
    headers_of_datagrams_v6,
    a_datagram_with_a_source_arrives,
    polls_tell_of_sockets,
    polls_of_sockets_that_are_attached_elsewhere,
    polls_end_by_cancellation_and_with_their_socket,
    files_past_the_cache,
}

/// The kind of an error by its number.
fn number(error: u32) -> Option<i32> {
    i32::try_from(error).ok()
}

fn read(l: &mut Ledger, from: &OwnedFd, room: usize) -> Vec<u8> {
    let (op, entry) = l.entry_of(Read::new(
        kit::plain(from),
        vec![0; room].into_boxed_slice(),
    ));
    let n = l.finish(op, entry).unwrap();
    l.op(op).buf()[..n].to_vec()
}

fn write(l: &mut Ledger, to: &OwnedFd, bytes: &'static [u8]) -> io::Result<usize> {
    l.run(Write::new(kit::plain(to), bytes))
}

fn pipes_move_bytes_and_end(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (reader, writer) = l.run(Pipe::new()).unwrap();
    assert_eq!(write(&mut l, &writer, b"some bytes").unwrap(), 10);
    let vectored = WriteVectored::new(kit::plain(&writer), [b"and ", b"more"]);
    assert!(l.run(vectored).unwrap() > 0);
    assert_eq!(read(&mut l, &reader, 4), b"some");
    assert!(read(&mut l, &reader, 64).starts_with(b" bytesand "));
    drop(writer);
    assert_eq!(read(&mut l, &reader, 8), b"");
    let (reader, writer) = l.run(Pipe::default()).unwrap();
    drop(reader);
    let error = write(&mut l, &writer, b"to nobody").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
    // No pipe has positions.
    assert!(l.run(ReadAt::new(kit::plain(&writer), 0, [0; 4])).is_err());
}

/// It is nothing to whoever reads, by the port and by a worker.
fn nothing_that_is_written_is_no_end(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut pipes: Vec<(OwnedFd, OwnedFd)> = [false, true]
        .map(|messages| l.run(Pipe::new().packets(messages)).unwrap())
        .into();
    for messages in [false, true] {
        let (name, end) = server(false, messages);
        pipes.push((l.run(client(&name)).unwrap(), end));
    }
    for (reader, writer) in &pipes {
        assert_eq!(write(&mut l, writer, b"").unwrap(), 0);
        let vectored = WriteVectored::new(kit::plain(writer), [b""; 3]);
        assert_eq!(l.run(vectored).unwrap(), 0);
        assert_eq!(write(&mut l, writer, b"x").unwrap(), 1);
        assert_eq!(read(&mut l, reader, 8), b"x");
    }
}

/// What a call would do that there is not.
fn what_is_missing_is_told_so(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (file, path) = (kit::file(b"text"), kit::TempPath::new());
    let told = |result: io::Result<()>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    };
    let at = kit::plain(&file);
    let read = ReadAt::new(at, 0, [0; 4]).flags(RwFlags::NOWAIT);
    told(l.run(read).map(drop));
    told(l.run(Allocate::zero(at, 0, 4)));
    let name = path.c_string();
    let rename = Rename::new(Cwd, name.clone(), Cwd, name.clone()).exchange(true);
    told(l.run(rename));
    told(l.run(HardLink::new(at, c"".to_owned(), Cwd, name).empty_path(true)));
}

/// It would wait for whoever reads.
fn a_pipe_is_not_synced(cx: &mut Cx) {
    let mut l = cx.ledger();
    for overlapped in [false, true] {
        let (name, end) = server(overlapped, false);
        let _client = l.run(client(&name)).unwrap();
        assert_eq!(write(&mut l, &end, b"not read").unwrap(), 8);
        let error = l.run(Sync::new(kit::plain(&end))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

fn reads_and_writes_of_a_pipe_wait(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (reader, writer) = l.run(Pipe::new()).unwrap();
    let op = l.start(Read::new(kit::plain(&reader), [0; 8]), 1);
    assert!(l.turn().is_empty(), "nothing is there");
    l.start(Write::new(kit::plain(&writer), "text"), 2);
    let entry = l.take_sorted(2).remove(0);
    assert_eq!(l.finish(op, entry).unwrap(), 4);
    // Full, until somebody reads.
    l.start(Write::new(kit::plain(&writer), vec![7; 1 << 20]), 3);
    assert!(l.turn().is_empty(), "there is no room for all of it");
    let mut got = 0;
    let room = || vec![0; 1 << 16].into_boxed_slice();
    while got < 1 << 20 {
        let op = l.start(Read::new(kit::plain(&reader), room()), 4);
        let mut entry = l.one();
        if entry.user_data() == 3 {
            assert_eq!(entry.result().unwrap(), 1 << 20);
            entry = l.one();
        }
        got += l.finish(op, entry).unwrap();
    }
    l.settle();
    // Cancelled, a read leaves what comes.
    let op = l.start(Read::new(kit::plain(&reader), [0; 8]), 2);
    l.hand_over();
    l.try_cancel(2).unwrap();
    let entry = l.one();
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), number(ERROR_OPERATION_ABORTED));
    assert_eq!(write(&mut l, &writer, b"next").unwrap(), 4);
    assert_eq!(read(&mut l, &reader, 8), b"next");
    // One that is in flight when the driver ends.
    l.start(Read::new(kit::plain(&reader), [0; 8]), 3);
    l.hand_over();
    l.abandon();
}

/// What a read has no room for, the next one gets.
fn messages_stay_apart_and_none_is_lost(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (reader, writer) = l.run(Pipe::new().packets(true)).unwrap();
    for message in [&b"one"[..], b"twenty", b"three"] {
        assert_eq!(write(&mut l, &writer, message).unwrap(), message.len());
    }
    assert_eq!(read(&mut l, &reader, 64), b"one");
    assert_eq!(read(&mut l, &reader, 4), b"twen");
    assert_eq!(read(&mut l, &reader, 64), b"ty");
    assert_eq!(read(&mut l, &reader, 5), b"three");
    // The same for one that waits.
    for _ in 0..64 {
        let op = l.start(Read::new(kit::plain(&reader), [0; 4]), 1);
        l.hand_over();
        l.start(Write::new(kit::plain(&writer), "message"), 2);
        let entry = l.take_sorted(2).remove(0);
        assert_eq!(l.finish(op, entry).unwrap(), 4);
        assert_eq!(read(&mut l, &reader, 4), b"age");
    }
}

fn calls_of_a_pipe_always_wait(cx: &mut Cx) {
    let mut l = cx.ledger();
    assert_eq!(
        refusal(&mut l, Pipe::new().non_blocking(true)),
        Some(Refusal::Unsupported)
    );
}

/// A name for a pipe, and its server end.
pub(crate) fn server(overlapped: bool, messages: bool) -> (CString, OwnedFd) {
    let name = format!(
        r"\\.\pipe\contract-{}-{}",
        std::process::id(),
        kit::unique()
    );
    let wide: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let access = if overlapped {
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED
    } else {
        PIPE_ACCESS_DUPLEX
    };
    let mode = if messages {
        PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE
    } else {
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE
    };
    // SAFETY: reads a name that ends with a zero.
    let end = unsafe { CreateNamedPipeW(wide.as_ptr(), access, mode, 1, 512, 512, 0, ptr::null()) };
    assert_ne!(end, INVALID_HANDLE_VALUE, "{}", io::Error::last_os_error());
    // SAFETY: made just now, and nobody else's.
    let end = unsafe { OwnedHandle::from_raw_handle(end) };
    (CString::new(name).unwrap(), end.into())
}

pub(crate) fn client(name: &CString) -> OpenAt<Cwd> {
    OpenAt::new(Cwd, name.clone(), OpenOptions::new().read(true).write(true))
}

fn both_ways(l: &mut Ledger, a: &OwnedFd, b: &OwnedFd) {
    assert_eq!(write(l, a, b"there").unwrap(), 5);
    assert_eq!(read(l, b, 16), b"there");
    assert_eq!(write(l, b, b"and back").unwrap(), 8);
    assert_eq!(read(l, a, 16), b"and back");
}

fn a_client_comes_before_or_after(cx: &mut Cx) {
    let mut l = cx.ledger();
    for messages in [false, true] {
        let (name, end) = server(true, messages);
        let waits = l.start(ConnectNamedPipe::new(kit::plain(&end)), 1);
        assert!(l.turn().is_empty(), "nobody has come");
        let comes = l.start(client(&name), 2);
        let mut entries = l.take_sorted(2);
        let theirs = l.finish(comes, entries.remove(1)).unwrap();
        l.finish(waits, entries.remove(0)).unwrap();
        both_ways(&mut l, &end, &theirs);
    }
    let (name, end) = server(true, false);
    let theirs = l.run(client(&name)).unwrap();
    l.run(ConnectNamedPipe::new(kit::plain(&end))).unwrap();
    both_ways(&mut l, &end, &theirs);
}

fn the_next_client_of_one_end(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (name, end) = server(true, false);
    for _ in 0..3 {
        let waits = l.start(ConnectNamedPipe::new(kit::plain(&end)), 1);
        let comes = l.start(client(&name), 2);
        let mut entries = l.take_sorted(2);
        let theirs = l.finish(comes, entries.remove(1)).unwrap();
        l.finish(waits, entries.remove(0)).unwrap();
        let busy = l.run(client(&name)).unwrap_err();
        assert_eq!(busy.raw_os_error(), number(ERROR_PIPE_BUSY));
        both_ways(&mut l, &end, &theirs);
        l.run(Disconnect::new(kit::plain(&end))).unwrap();
        assert!(write(&mut l, &theirs, b"to nobody").is_err());
    }
    // One that has come and gone.
    let (name, end) = server(true, false);
    drop(l.run(client(&name)).unwrap());
    let gone = l.run(ConnectNamedPipe::new(kit::plain(&end)));
    assert_eq!(gone.unwrap_err().raw_os_error(), number(ERROR_NO_DATA));
}

fn a_wait_for_a_client_is_cancelled(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (name, end) = server(true, false);
    for _ in 0..100 {
        let waits = l.start(ConnectNamedPipe::new(kit::plain(&end)), 1);
        l.hand_over();
        l.try_cancel(1).unwrap();
        let entry = l.one();
        let error = l.finish(waits, entry).unwrap_err();
        assert_eq!(error.raw_os_error(), number(ERROR_OPERATION_ABORTED));
    }
    let theirs = l.run(client(&name)).unwrap();
    l.run(ConnectNamedPipe::new(kit::plain(&end))).unwrap();
    both_ways(&mut l, &end, &theirs);
    let (_name, end) = server(true, false);
    l.start(ConnectNamedPipe::new(kit::plain(&end)), 1);
    l.hand_over();
    l.abandon();
}

/// A worker waits for it.
fn a_server_end_that_waits_itself(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (name, end) = server(false, false);
    let waits = l.start(ConnectNamedPipe::new(kit::plain(&end)), 1);
    l.hand_over();
    let theirs = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let entry = l.one();
    l.finish(waits, entry).unwrap();
    (&theirs).write_all(b"text").unwrap();
    let at = kit::plain(&end);
    assert_eq!(l.errno(ReadAt::new(at, 0, [0; 8])), code::ESPIPE);
    assert_eq!(l.errno(WriteAt::new(at, 0, "no")), code::ESPIPE);
    let parts = [[0; 4], [0; 4]];
    assert_eq!(l.errno(ReadVectoredAt::new(at, 0, parts)), code::ESPIPE);
    assert_eq!(read(&mut l, &end, 8), b"text");
    l.run(Disconnect::new(at)).unwrap();
    assert_eq!((&theirs).read(&mut [0; 8]).unwrap_or(0), 0, "the end");
}

/// Nobody else would ever end the call of the worker. What is closed behind it is closed.
fn a_driver_dropped_while_a_worker_waits(cx: &mut Cx) {
    for n in 0..60 {
        let mut l = cx.with(|limits| limits.workers(1));
        let (name, end) = server(false, false);
        let at = kit::plain(&end);
        let waits = n % 3;
        let _client = (waits > 0).then(|| l.run(client(&name)).unwrap());
        match waits {
            0 => {
                l.start(ConnectNamedPipe::new(at), 1);
            }
            1 => {
                l.start(Read::new(at, [0; 8]), 1);
            }
            _ => {
                // More than there is room for.
                l.start(Write::new(at, vec![0; 1 << 16]), 1);
            }
        }
        l.hand_over();
        let file = kit::owned(kit::file(b""));
        let number = file.as_raw_fd();
        l.start(Close::new(file), 2);
        l.hand_over();
        l.abandon();
        assert!(!kit::is_open(number));
    }
}

fn a_part_of_a_file_is_sent(cx: &mut Cx) {
    let mut l = cx.ledger();
    let bytes: Vec<u8> = (0..100_000_u32)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect();
    let file = kit::file(&bytes);
    let position = (&file).seek(SeekFrom::Start(5)).unwrap();
    let (socket, peer) = kit::tcp_pair();
    let to = l.at(&socket);
    for (offset, len) in [(0, 1), (7, 5000), (99_000, 1000), (0, 100_000), (3, 0)] {
        let send = TransmitFile::new(kit::plain(&file), offset, len, to);
        let send = l.start(send, 1);
        let mut entries = l.turn();
        let mut got = vec![0; len];
        (&peer).read_exact(&mut got).unwrap();
        let start = usize::try_from(offset).unwrap();
        assert_eq!(got, &bytes[start..start + len], "{offset} {len}");
        let entry = entries.pop().unwrap_or_else(|| l.one());
        assert_eq!(l.finish(send, entry).unwrap(), len);
    }
    // Where the file ends, and from there on.
    for (offset, sent) in [(99_990, 10), (100_000, 0), (1 << 40, 0)] {
        let send = TransmitFile::new(kit::plain(&file), offset, 64, to);
        assert_eq!(l.run(send).unwrap(), sent, "{offset}");
    }
    assert_eq!(
        (&file).stream_position().unwrap(),
        position,
        "it is left alone"
    );
    // What was sent before and after stays in order.
    assert_eq!(l.run(Send::new(to, "end")).unwrap(), 3);
    let mut got = [0; 13];
    (&peer).read_exact(&mut got).unwrap();
    assert_eq!((&got[..10], &got[10..]), (&bytes[99_990..], &b"end"[..]));
}

fn what_cannot_be_sent(cx: &mut Cx) {
    let mut l = cx.ledger();
    let file = kit::file(b"text");
    let (socket, _peer) = kit::tcp_pair();
    let to = kit::plain(&socket);
    let send = TransmitFile::new(kit::plain(&file), u64::MAX, 1, to);
    assert_eq!(refusal(&mut l, send), Some(Refusal::Offset));
    let send = TransmitFile::new(FixedFd::from_id(0), 0, 1, to);
    assert_eq!(refusal(&mut l, send), Some(Refusal::FixedDescriptor));
    let send = TransmitFile::new(kit::plain(&file), 0, 4, kit::plain(&file));
    assert_eq!(l.run(send).unwrap_err().raw_os_error(), Some(10038));
    // Without a file the call would send nothing, and say so.
    let nothing = [
        kit::plain(&socket),
        kit::number(RawFd::from_number(-1)),
        kit::number(RawFd::from_number(-100)),
    ];
    for file in nothing {
        let error = l.run(TransmitFile::new(file, 0, 4, to)).unwrap_err();
        assert_eq!(error.raw_os_error(), number(ERROR_INVALID_HANDLE));
    }
    let unconnected = kit::tcp_socket();
    let send = TransmitFile::new(kit::plain(&file), 0, 4, kit::plain(&unconnected));
    assert_eq!(l.run(send).unwrap_err().kind(), ErrorKind::NotConnected);
}

/// Wine drops them, Windows may: nobody would hear of it.
fn messages_that_are_missing_are_refused(cx: &mut Cx) {
    let mut l = cx.ledger();
    let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    a.connect(b.local_addr().unwrap()).unwrap();
    let at = kit::plain(&a);
    let mut control = Outgoing::<128>::new();
    let who = Credentials {
        pid: 1,
        uid: 2,
        gid: 3,
    };
    control.credentials(who).unwrap();
    let send = SendMsg::new(at, ["text"], control);
    assert_eq!(refusal(&mut l, send), Some(Refusal::Unsupported));
    let control = Outgoing::<128, _>::with_rights([kit::plain(&b)]).unwrap();
    let send = SendMsg::new(at, ["text"], control);
    assert_eq!(refusal(&mut l, send), Some(Refusal::Unsupported));
    // None is none.
    let control = Outgoing::<128, _>::with_rights([at; 0]).unwrap();
    assert_eq!(l.run(SendMsg::new(at, ["text"], control)).unwrap(), 4);
}

fn refusal<O: Op + 'static>(l: &mut Ledger, op: O) -> Option<Refusal> {
    let (_op, entry) = l.entry_of(op);
    entry.refusal()
}

fn a_socket_is_connected_anew(cx: &mut Cx) {
    let mut l = cx.ledger();
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let socket = kit::tcp_socket();
    let at = l.at(&socket);
    for listener in &listeners {
        l.run(Connect::new(at, listener.local_addr().unwrap()))
            .unwrap();
        let (peer, _) = listener.accept().unwrap();
        assert_eq!(l.run(Send::new(at, "text")).unwrap(), 4);
        let ends = l.start(Disconnect::new(at), 1);
        let mut entries = l.turn();
        let mut got = String::new();
        (&peer).read_to_string(&mut got).unwrap();
        assert_eq!(got, "text");
        drop(peer);
        let entry = entries.pop().unwrap_or_else(|| l.one());

        l.finish(ends, entry).unwrap();
        assert_eq!(
            l.run(Recv::new(at, [0; 4])).unwrap_err().kind(),
            ErrorKind::NotConnected
        );
    }
}

type Receive = RecvMsg<Fd, [[u8; 16]; 1], Incoming<128>>;

/// The sizes of the next datagram and of its control messages, and what these say.
fn received(l: &mut Ledger, from: &UdpSocket) -> (usize, Vec<String>) {
    let at = l.at(from);
    let op: Receive = RecvMsg::new(at, [[0; 16]], Incoming::new());
    let (op, entry) = l.entry_of(op);
    let got = l.finish(op, entry).unwrap();
    assert!(!got.truncated && !got.control_truncated);
    let messages = l.op(op).control_mut().messages();
    let said = messages.map(|message| format!("{message:?}")).collect();
    l.detach(at);
    (got.len, said)
}

fn on(l: &mut Ledger, socket: &UdpSocket, option: SockOpt<bool>) {
    l.run(SetSockOpt::new(kit::plain(socket), option, true))
        .unwrap();
}

fn headers_of_datagrams_v4(cx: &mut Cx) {
    let mut l = cx.ledger();
    let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    a.connect(b.local_addr().unwrap()).unwrap();
    on(&mut l, &b, SockOpt::RECV_PACKET_INFO_V4);
    a.send(b"text").unwrap();
    let (len, said) = received(&mut l, &b);
    assert_eq!((len, said.len()), (4, 1), "{said:?}");
    let here = "destination: 127.0.0.1, local: 127.0.0.1, interface: ";
    assert!(
        said[0].starts_with(&format!("PacketInfo(PacketInfo {{ {here}")),
        "{said:?}"
    );
    on(&mut l, &b, SockOpt::RECV_TRAFFIC_CLASS_V4);
    a.send(b"more").unwrap();
    let (_, said) = received(&mut l, &b);
    assert!(
        said.iter().any(|said| said == "TrafficClass(0)"),
        "{said:?}"
    );
}

fn headers_of_datagrams_v6(cx: &mut Cx) {
    let mut l = cx.ledger();
    let Ok(a) = UdpSocket::bind("[::1]:0") else {
        return kit::skip("no IPv6 here");
    };
    let b = UdpSocket::bind("[::1]:0").unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    on(&mut l, &b, SockOpt::RECV_PACKET_INFO_V6);
    on(&mut l, &b, SockOpt::RECV_TRAFFIC_CLASS_V6);
    a.send(b"text").unwrap();
    let (_, mut said) = received(&mut l, &b);
    said.sort();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("destination: ::1"), "{said:?}");
    assert_eq!(said[1], "TrafficClass(0)");
}

fn a_datagram_with_a_source_arrives(cx: &mut Cx) {
    let mut l = cx.ledger();
    // Of any address, which would be 127.0.0.1.
    let a = UdpSocket::bind("0.0.0.0:0").unwrap();
    let b = UdpSocket::bind("127.0.0.1:0").unwrap();
    let source = Ipv4Addr::new(127, 0, 0, 2);
    let mut control = Outgoing::<128>::new();
    control.source(source.into(), 0).unwrap();
    let to = b.local_addr().unwrap();
    let send = SendMsg::new(kit::plain(&a), ["te", "xt"], control).to(to);
    assert_eq!(l.run(send).unwrap(), 4);
    let mut room = [0; 8];
    let (len, from) = b.recv_from(&mut room).unwrap();
    assert_eq!((&room[..len], from.ip()), (&b"text"[..], source.into()));
}

fn asked(l: &mut Ledger, socket: &impl AsRawFd, events: PollEvents) -> PollEvents {
    l.run(Poll::new(kit::plain(socket), events)).unwrap()
}

fn polls_tell_of_sockets(cx: &mut Cx) {
    let mut l = cx.ledger();
    let both = PollEvents::READABLE | PollEvents::WRITABLE;
    let (a, b) = kit::tcp_pair();
    assert_eq!(asked(&mut l, &a, both), PollEvents::WRITABLE);
    let op = l.start(Poll::new(kit::plain(&a), PollEvents::READABLE), 1);
    assert!(l.turn().is_empty(), "nothing has come");
    (&b).write_all(b"text").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), PollEvents::READABLE);
    // It took nothing.
    assert_eq!(asked(&mut l, &a, both), both);
    assert_eq!(l.run(Recv::new(kit::plain(&a), [0; 8])).unwrap(), 4);
    // The end of the peer's side, and the end of all.
    b.shutdown(Shutdown::Write).unwrap();
    let ended = PollEvents::READABLE | PollEvents::READ_CLOSED;
    assert_eq!(asked(&mut l, &a, PollEvents::READABLE), ended);
    let (a, b) = kit::tcp_pair();
    kit::reset_on_close(&b);
    let op = l.start(Poll::new(kit::plain(&a), PollEvents::NONE), 1);
    assert!(l.turn().is_empty(), "nothing has happened");
    drop(b);
    let entry = l.one();
    assert!(l.finish(op, entry).unwrap().contains(PollEvents::HANG_UP));
    // Who listens.
    let (listener, addr) = kit::listener();
    let op = l.start(Poll::new(kit::plain(&listener), PollEvents::READABLE), 1);
    assert!(l.turn().is_empty(), "nobody has come");
    let _client = TcpStream::connect(addr).unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), PollEvents::READABLE);
    let _accepted = listener.accept().unwrap();
}

/// A library's, which has its own port; and several polls of one.
fn polls_of_sockets_that_are_attached_elsewhere(cx: &mut Cx) {
    let (a, b) = kit::tcp_pair();
    let mut elsewhere = cx.ledger();
    let _there = elsewhere.at(&a);
    let mut l = cx.ledger();
    for i in 0..3 {
        l.start(Poll::new(kit::plain(&a), PollEvents::READABLE), i);
    }
    assert!(l.turn().is_empty(), "nothing has come");
    (&b).write_all(b"text").unwrap();
    for entry in l.take_sorted(3) {
        assert!(entry.result().unwrap() > 0);
    }
    // The fixed ones are sockets as well.
    let mut l = cx.ledger();
    l.register_fd(b.as_raw_fd(), 0).unwrap();
    let poll = Poll::new(FixedFd::from_id(0), PollEvents::WRITABLE);
    assert_eq!(l.run(poll).unwrap(), PollEvents::WRITABLE);
}

fn polls_end_by_cancellation_and_with_their_socket(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (a, b) = kit::tcp_pair();
    for _ in 0..100 {
        let op = l.start(Poll::new(kit::plain(&a), PollEvents::READABLE), 1);
        l.hand_over();
        l.try_cancel(1).unwrap();
        let entry = l.one();
        let error = l.finish(op, entry).unwrap_err();
        assert_eq!(error.raw_os_error(), number(ERROR_OPERATION_ABORTED));
    }
    (&b).write_all(b"text").unwrap();
    assert_eq!(
        asked(&mut l, &a, PollEvents::READABLE),
        PollEvents::READABLE
    );
    // What is no socket, or none any more.
    let file = kit::file(b"text");
    let poll = Poll::new(kit::plain(&file), PollEvents::READABLE);
    assert_eq!(l.run(poll).unwrap_err().raw_os_error(), Some(10038));
    let op = l.start(Poll::new(kit::plain(&b), PollEvents::READABLE), 1);
    l.hand_over();
    l.start(Close::new(kit::owned(b)), 2);
    let entry = l.take_sorted(2).remove(0);
    assert!(l.finish(op, entry).is_err());
    // By its owner: nobody has cancelled the poll.
    let (b, _a) = kit::tcp_pair();
    let op = l.start(Poll::new(kit::plain(&b), PollEvents::READABLE), 1);
    l.hand_over();
    drop(b);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap_err().raw_os_error(), Some(10038));
    let (a, _b) = kit::tcp_pair();
    l.start(Poll::new(kit::plain(&a), PollEvents::READABLE), 1);
    l.hand_over();
    l.abandon();
}

fn files_past_the_cache(cx: &mut Cx) {
    let mut l = cx.ledger();
    let path = kit::TempPath::new();
    let options = OpenOptions::new().read(true).write(true).create(true);
    let open = OpenAt::new(Cwd, path.c_string(), options.direct(true));
    let file = l.run(open).unwrap();
    let at = l.at(&file);
    let mut bytes = Aligned::new(8192, 4096);
    bytes.set_len(8192);
    bytes.fill(7);
    assert_eq!(l.run(WriteAt::new(at, 4096, bytes)).unwrap(), 8192);
    let (op, entry) = l.entry_of(ReadAt::new(at, 8192, Aligned::new(4096, 4096)));
    assert_eq!(l.finish(op, entry).unwrap(), 4096);
    assert_eq!(l.op(op).buf()[..], [7; 4096]);
    l.detach(at);
}
