//! What only Unix has, of the sockets that all systems have.

use crate::common::this_test;
use crate::kit::{errno, numbers, run, skipped};
use crate::tcp::{echo, listener};
use crate::udp::socket;
use completeio::ancillary::{ControlMessage, Incoming, Outgoing, space};
use completeio::net::{TcpSocket, UdpSocket};
use completeio::op::SockOpt;
use completeio::task::yield_now;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{self, Ipv4Addr};
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

/// A child that does not outlive its test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn half_closed_by_socat() {
    run(|| async {
        let (listener, address) = listener().await;
        let bytes = numbers(1 << 16);
        let client = Command::new("socat")
            .args(["-t60", "-", &format!("TCP:{address}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut client = match client {
            Ok(client) => Ended(client),
            Err(error) => return skipped("socat", &error),
        };
        let mut stdin = client.0.stdin.take().unwrap();
        let mut stdout = client.0.stdout.take().unwrap();
        let input = bytes.clone();
        let writer = thread::spawn(move || stdin.write_all(&input).unwrap());
        let reader = thread::spawn(move || {
            let mut back = Vec::new();
            stdout.read_to_end(&mut back).unwrap();
            back
        });
        echo(listener.accept().await.unwrap().0).await.unwrap();
        writer.join().unwrap();
        assert!(reader.join().unwrap() == bytes);
        assert!(client.0.wait().unwrap().success());
    });
}

/// I22: an error, which comes once for each call, and is over when there is room.
#[test]
fn too_many_files_at_an_accept() {
    // The limit is the process's.
    let child = this_test("unix_only::with_few_files").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "changes a limit of its process: `too_many_files_at_an_accept` runs it"]
fn with_few_files() {
    run(|| async {
        let (listener, address) = listener().await;
        let peers = [(); 2].map(|()| net::TcpStream::connect(address).unwrap());
        let spare = fs::File::open("/dev/null").unwrap();
        let highest = fs::read_dir("/proc/self/fd").unwrap().map(|fd| {
            let name = fd.unwrap().file_name();
            name.to_str().unwrap().parse::<libc::rlim_t>().unwrap()
        });
        let highest = highest.max().unwrap();
        let mut fillers = Vec::new();
        let limit = libc::rlimit {
            rlim_cur: highest + 1,
            rlim_max: highest + 1,
        };
        // SAFETY: a valid limit.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        assert_eq!(set, 0);
        while let Ok(file) = fs::File::open("/dev/null") {
            fillers.push(file);
        }
        for _ in 0..3 {
            assert_eq!(errno(listener.accept().await), libc::EMFILE);
        }
        drop(spare);
        let (first, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, peers[0].local_addr().unwrap());
        assert_eq!(errno(listener.accept().await), libc::EMFILE);
        drop(first);
        yield_now().await;
        let (_second, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, peers[1].local_addr().unwrap());
    });
}

#[test]
fn an_address_that_is_shared() {
    run(|| async {
        let first = TcpSocket::new_v4().await.unwrap();
        first.set_option(SockOpt::REUSE_PORT, true).await.unwrap();
        first.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let first = first.listen(8).await.unwrap();
        let address = first.local_addr().unwrap();
        let second = TcpSocket::new_v4().await.unwrap();
        assert_eq!(errno(second.bind(address).await), libc::EADDRINUSE);
        second.set_option(SockOpt::REUSE_PORT, true).await.unwrap();
        second.bind(address).await.unwrap();
        second.listen(8).await.unwrap();
    });
}

/// One send, several datagrams; several datagrams, one receive.
#[test]
fn segments() {
    run(|| async {
        let (server, at) = socket().await;
        server
            .set_option(SockOpt::RECV_SEGMENTS, true)
            .await
            .unwrap();
        let (client, _) = socket().await;
        client.connect(at).await.unwrap();
        let mut control = Outgoing::<{ space(2) }>::new();
        control.segment_size(1000).unwrap();
        let sent = client.send_msg([vec![7; 2500]], control).await.0;
        assert_eq!(sent.unwrap(), 2500);
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 2500 {
            let room = Box::new(Incoming::<{ space(4) }>::new());
            let buffers = [Vec::with_capacity(65_536)];
            let (received, (_, mut control)) = server.recv_msg(buffers, room).await;
            let len = received.unwrap().len;
            let size = match control.messages().next() {
                Some(ControlMessage::SegmentSize(size)) => usize::from(size),
                None => len,
                other => panic!("{other:?}"),
            };
            sizes.extend((0..len).step_by(size).map(|at| size.min(len - at)));
        }
        assert_eq!(sizes, [1000, 1000, 500]);
    });
}

/// Another program at the other end: it sees the class and the source, and sends a class back.
#[test]
fn python_answers() {
    const PROGRAM: &str = "
import socket, sys
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(('127.0.0.1', 0))
u.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
print(u.getsockname()[1], flush=True)
text, control, flags, addr = u.recvmsg(16, 64)
assert text == b'hello', text
assert control == [(socket.IPPROTO_IP, socket.IP_TOS, b'\\x02')], control
assert addr[0] == '127.0.0.5', addr
u.sendmsg([b'back'], [(socket.IPPROTO_IP, socket.IP_TOS, (1).to_bytes(4, sys.byteorder))], 0, addr)
";
    run(|| async {
        let child = Command::new("python3")
            .args(["-c", PROGRAM])
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => Ended(child),
            Err(error) => return skipped("python3", &error),
        };
        let mut port = String::new();
        let mut said = BufReader::new(child.0.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        socket
            .set_option(SockOpt::RECV_TRAFFIC_CLASS_V4, true)
            .await
            .unwrap();
        let mut control = Outgoing::<{ space(4) + space(12) }>::new();
        control.traffic_class_v4(2).unwrap();
        control
            .source(Ipv4Addr::new(127, 0, 0, 5).into(), 0)
            .unwrap();
        let at = (Ipv4Addr::LOCALHOST, port).into();
        let sent = socket.send_msg_to(["hello"], control, at).await.0;
        assert_eq!(sent.unwrap(), 5);
        let room = Incoming::<{ space(4) }>::new();
        let (received, (text, mut control)) = socket.recv_msg([[0; 4]], room).await;
        assert_eq!((received.unwrap().len, text), (4, [*b"back"]));
        let class = control.messages().next();
        assert!(
            matches!(class, Some(ControlMessage::TrafficClass(1))),
            "{class:?}"
        );
        assert!(child.0.wait().unwrap().success());
    });
}
