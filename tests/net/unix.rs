use crate::common::Temp;
use crate::kit::skipped;
use crate::kit::{errno, numbers, poll_once, read_to_end, run};
use crate::unix_only::Ended;
use completeio::ancillary::{ControlMessage, Credentials, Incoming, Outgoing, space};
use completeio::driver::OwnedFd;
use completeio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use completeio::net::{UnixDatagram, UnixListener, UnixStream};
use completeio::op::SockOpt;
use completeio::task::spawn;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

/// A path for a socket, which is removed with its handle; one that is left there is in the way.
fn path(name: &str) -> Temp {
    let temp = Temp(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
    let _ = fs::remove_file(&temp.0);
    temp
}

/// This process.
fn me() -> Credentials {
    // SAFETY: asks for numbers.
    let uid = unsafe { libc::getuid() };
    // SAFETY: as above.
    let gid = unsafe { libc::getgid() };
    let pid = i32::try_from(std::process::id()).unwrap();
    Credentials { pid, uid, gid }
}

#[test]
fn streams_by_path_and_by_abstract_name() {
    run(|| async {
        let path = path("stream.sock");
        let name = format!("\0completeio {}", std::process::id());
        for path in [path.0.clone(), PathBuf::from(name)] {
            let listener = UnixListener::bind(&path).await.unwrap();
            let address = listener.local_addr().unwrap();
            if let Some(name) = address.as_abstract_name() {
                assert_eq!(name, &path.to_str().unwrap().as_bytes()[1..]);
            } else {
                assert_eq!(address.as_pathname().as_ref(), Some(&path));
            }
            let again = UnixListener::bind(&path).await;
            assert_eq!(errno(again), libc::EADDRINUSE);
            let client = UnixStream::connect(&path).await.unwrap();
            assert!(client.peer_addr().unwrap() == address);
            let (stream, peer) = listener.accept().await.unwrap();
            assert_eq!((peer.as_pathname(), peer.as_abstract_name()), (None, None));
            assert_eq!(stream.peer_cred().await.unwrap(), me());
            let bytes = numbers(1 << 16);
            let expected = bytes.clone();
            let (reader, mut writer) = client.into_split();
            let written = spawn(async move { writer.write_all(bytes).await.0 });
            let all = read_to_end(&stream).await.unwrap();
            assert!(all == expected, "{} bytes", all.len());
            written.await.unwrap().unwrap();
            (&stream).write_vectored(["b", "ye"]).await.0.unwrap();
            drop(stream);
            assert_eq!(read_to_end(reader).await.unwrap(), b"bye");
        }
        let gone = UnixStream::connect(&path.0).await;
        assert_eq!(errno(gone), libc::ECONNREFUSED, "its path is still there");
        let nothing = UnixStream::connect(path.0.with_extension("none")).await;
        assert_eq!(errno(nothing), libc::ENOENT);
        for long in ["x".repeat(108), format!("\0{}", "x".repeat(108))] {
            let error = UnixStream::connect(long).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

/// Each has what is in the other's file.
#[test]
fn descriptors_both_ways() {
    run(|| async {
        let temps = ["one", "two"].map(|name| Temp::new(name, name.as_bytes()));
        let (a, b) = UnixStream::pair().unwrap();
        for (from, to, temp) in [(&a, &b, &temps[0]), (&b, &a, &temps[1])] {
            let file = OwnedFd::from(File::open(&temp.0).unwrap());
            let control = Outgoing::<{ space(4) }, _>::with_rights([file]).unwrap();
            // It waits, and has the file open itself.
            let room = Incoming::<{ space(8) }>::new();
            let mut receive = Box::pin(to.recv_msg([Vec::with_capacity(8)], room));
            assert!(poll_once(&mut receive).await.is_none());
            let (sent, (_, control)) = from.send_msg(["fi", "le"], control).await;
            assert_eq!(sent.unwrap(), 4);
            drop(control.into_rights());
            let (received, (text, mut control)) = receive.await;
            assert!(!received.unwrap().control_truncated);
            assert_eq!(text, [b"file"]);
            let Some(ControlMessage::Rights(mut files)) = control.messages().next() else {
                panic!("no file came");
            };
            let mut text = Vec::new();
            File::from(files.next().unwrap())
                .read_to_end(&mut text)
                .unwrap();
            assert_eq!(text, fs::read(&temp.0).unwrap());
            assert!(files.next().is_none());
        }
    });
}

/// I16: descriptors that come to a receive that is dropped, or that nobody takes, are closed.
#[test]
fn descriptors_that_nobody_takes_are_closed() {
    run(|| async {
        for dropped in [true, false] {
            let (a, b) = UnixStream::pair().unwrap();
            let (mut reader, writer) = std::io::pipe().unwrap();
            let control =
                Outgoing::<{ space(4) }, _>::with_rights([OwnedFd::from(writer)]).unwrap();
            let room = Incoming::<{ space(4) }>::new();
            let mut receive = Box::pin(b.recv_msg([[0; 8]], room));
            assert!(poll_once(&mut receive).await.is_none());
            let (sent, (_, control)) = a.send_msg(["x"], control).await;
            sent.unwrap();
            drop(control);
            if !dropped {
                receive.await.0.unwrap();
            } else {
                drop(receive);
            }
            drop((a, b));
            let end = thread::spawn(move || reader.read(&mut [0; 1]).unwrap());
            while !end.is_finished() {
                completeio::task::yield_now().await;
            }
            assert_eq!(end.join().unwrap(), 0, "a writer is left");
        }
    });
}

#[test]
fn descriptors_to_and_from_python() {
    const PROGRAM: &str = "
import os, socket
s = socket.socket(fileno=0)
text, fds, flags, addr = socket.recv_fds(s, 16, 4)
assert text == b'to python' and len(fds) == 2, (text, fds)
os.write(fds[1], b'python was here')
socket.send_fds(s, [b'from ', b'python'], [fds[0]])
";
    run(|| async {
        let (ours, theirs) = net::UnixStream::pair().unwrap();
        let child = Command::new("python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn();
        let mut child = match child {
            Ok(child) => Ended(child),
            Err(error) => return skipped("python3", &error),
        };
        let ours = UnixStream::try_from(ours).unwrap();
        assert_eq!(ours.peer_cred().await.unwrap(), me(), "it made the pair");
        let temp = Temp::new("python", b"of the file");
        let (mut reader, writer) = std::io::pipe().unwrap();
        let files = [File::open(&temp.0).unwrap().into(), OwnedFd::from(writer)];
        let control = Outgoing::<{ space(8) }, _>::with_rights(files).unwrap();
        ours.send_msg(["to ", "python"], control).await.0.unwrap();
        let room = Incoming::<{ space(4) }>::new();
        let (received, (text, mut control)) = ours.recv_msg([[0; 16]], room).await;
        assert_eq!(&text[0][..received.unwrap().len], b"from python");
        let Some(ControlMessage::Rights(mut files)) = control.messages().next() else {
            panic!("no file came");
        };
        let mut text = String::new();
        File::from(files.next().unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "of the file");
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "python was here");
        assert!(child.0.wait().unwrap().success());
    });
}

#[test]
fn datagrams() {
    run(|| async {
        let paths = ["a.sock", "b.sock"].map(path);
        let a = UnixDatagram::bind(&paths[0].0).await.unwrap();
        let b = UnixDatagram::bind(&paths[1].0).await.unwrap();
        a.connect(&paths[1].0).await.unwrap();
        assert_eq!(a.peer_addr().unwrap().as_pathname().unwrap(), paths[1].0);
        a.send("to b").await.0.unwrap();
        let (received, text) = b.recv_from([0; 4]).await;
        let (len, from) = received.unwrap();
        assert_eq!((len, text), (4, *b"to b"));
        assert_eq!(from.as_pathname().unwrap(), paths[0].0);
        b.send_to("back", from).await.0.unwrap();
        assert_eq!(a.recv([0; 8]).await.0.unwrap(), 4);

        let nobody = UnixDatagram::unbound().unwrap();
        let at_b = b.local_addr().unwrap();
        nobody.send_to("anonymous", at_b).await.0.unwrap();
        let (received, _) = b.recv_from([0; 16]).await;
        let from = received.unwrap().1;
        assert_eq!((from.as_pathname(), from.as_abstract_name()), (None, None));

        // I26: more than there is room for, and nothing at all.
        let (a, b) = UnixDatagram::pair().unwrap();
        a.send_vectored(["too", " long"]).await.0.unwrap();
        a.send("").await.0.unwrap();
        let (received, text) = b.recv_msg([[0; 3]], Incoming::<0>::new()).await;
        assert!(received.unwrap().truncated);
        assert_eq!(text.0, [*b"too"]);
        assert_eq!(b.recv([0; 3]).await.0.unwrap(), 0);
    });
}

/// Who has sent it, as the kernel says.
#[test]
fn credentials_of_a_message() {
    run(|| async {
        let (a, b) = UnixDatagram::pair().unwrap();
        b.set_option(SockOpt::RECV_CREDENTIALS, true).await.unwrap();
        a.send("x").await.0.unwrap();
        let room = Incoming::<{ space(12) }>::new();
        let (_, (_, mut control)) = b.recv_msg([[0; 1]], room).await;
        let Some(ControlMessage::Credentials(who)) = control.messages().next() else {
            panic!("nobody");
        };
        assert_eq!(who, me());
    });
}

#[test]
fn with_a_peer_of_std() {
    run(|| async {
        let path = path("std.sock");
        let listener = UnixListener::bind(&path.0).await.unwrap();
        let to = path.0.clone();
        let peer = thread::spawn(move || {
            let mut peer = net::UnixStream::connect(to).unwrap();
            peer.write_all(b"hello").unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            let mut text = Vec::new();
            peer.read_to_end(&mut text).unwrap();
            text
        });
        let (mut stream, _) = listener.incoming().next().await.unwrap();
        assert_eq!(stream.peek([0; 5]).await.1, *b"hello");
        assert_eq!(read_to_end(&stream).await.unwrap(), b"hello");
        stream.write("bye").await.0.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(peer.join().unwrap(), b"bye");
        // I24.
        assert_eq!(errno(stream.write("x").await.0), libc::EPIPE);
        assert_eq!(stream.read([0; 1]).await.0.unwrap(), 0);
    });
}
