//! What makes sockets, and what never waits on them.

use crate::counting::Marks;
use crate::kit::{Files, Fixed, Lent, Number, PLACE, Rig, tcp_socket};
use crate::system::{IS_LINUX, NO_LEVEL};
use completeio_driver::driver::{AsRawFd, CompleteIo, OwnedFd};
use completeio_driver::op::{
    Accept, Bind, Connect, GetSockOpt, Listen, Op, Pipe, SetSockOpt, Shutdown, SockOpt, Socket,
    SocketOptions,
};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};

/// What makes sockets, and what never waits on them.
pub(crate) struct Sockets {
    pub(crate) make: Lent<Socket>,
    pub(crate) no_such: Lent<Socket>,
    pub(crate) pipe: Lent<Pipe>,
    pub(crate) bind: Lent<Bind<OwnedFd>>,
    pub(crate) listen: Lent<Listen<Number>>,
    pub(crate) set: Lent<SetSockOpt<Number, bool>>,
    pub(crate) get: Lent<GetSockOpt<Number, bool>>,
    pub(crate) shutdown: Lent<Shutdown<Number>>,
    pub(crate) fixed_get: Lent<GetSockOpt<Fixed, bool>>,
    pub(crate) bind_file: Lent<Bind<Number>>,
    pub(crate) get_of_file: Lent<GetSockOpt<Number, bool>>,
    pub(crate) accept: Lent<Accept<Number>>,
    pub(crate) connect: Lent<Connect<OwnedFd>>,
    pub(crate) accept_on_unix: Lent<Accept<OwnedFd>>,
    pub(crate) _client: UnixStream,
}

impl Sockets {
    pub(crate) fn new(files: &Files) -> Self {
        let socket = tcp_socket();
        let number = Number(socket.as_raw_fd());
        let file = Number(files.file.as_raw_fd());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let path = files.dir.join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        let options = SocketOptions::new().no_delay(true).keep_alive(true);
        let listener = files.listener.local_addr().unwrap();
        let accept = Accept::new(Number(files.listener.as_raw_fd()));
        let connect = Connect::new(tcp_socket(), listener);
        Self {
            make: Lent::new(Socket::stream(&any.into())),
            no_such: Lent::new(Socket::new(9999, 0, 0)),
            pipe: Lent::new(Pipe::new()),
            bind: Lent::new(Bind::new(socket, any)),
            listen: Lent::new(Listen::new(number, 1)),
            set: Lent::new(SetSockOpt::new(number, SockOpt::NO_DELAY, true)),
            get: Lent::new(GetSockOpt::new(number, SockOpt::NO_DELAY)),
            shutdown: Lent::new(Shutdown::new(number, std::net::Shutdown::Both)),
            fixed_get: Lent::new(GetSockOpt::new(Fixed(PLACE), SockOpt::KEEP_ALIVE)),
            bind_file: Lent::new(Bind::new(file, any)),
            get_of_file: Lent::new(GetSockOpt::new(file, SockOpt::NO_DELAY)),
            accept: Lent::new(accept.options(options)),
            connect: Lent::new(connect.options(options)),
            _client: UnixStream::connect(&path).unwrap(),
            accept_on_unix: Lent::new(Accept::new(unix.into()).options(options)),
        }
    }
}

/// Sockets, from nothing to the end.
pub(crate) fn sockets(rig: &mut Rig<'_>, ops: &mut Sockets, marks: &mut Marks) {
    drop(rig.run(&mut ops.make, 1).unwrap());
    assert_eq!(rig.fail(&mut ops.no_such, 2), libc::EAFNOSUPPORT);
    marks.step("Socket");
    drop(rig.run(&mut ops.pipe, 2).unwrap());
    rig.push(&ops.pipe, 2);
    let entry = rig.wait(2);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.pipe.op().dispose(entry) };
    marks.step("Pipe");
    rig.run(&mut ops.bind, 3).unwrap();
    assert_eq!(rig.fail(&mut ops.bind, 3), libc::EINVAL);
    assert_eq!(rig.fail(&mut ops.bind_file, 3), libc::ENOTSOCK);
    marks.step("Bind");
    rig.run(&mut ops.set, 4).unwrap();
    assert!(rig.run(&mut ops.get, 4).unwrap());
    assert_eq!(rig.fail(&mut ops.get_of_file, 4), libc::ENOTSOCK);
    rig.push(&ops.fixed_get, 4);
    rig.wait(4);
    marks.step("SetSockOpt, GetSockOpt");
    for (id, n) in [(10, 1), (20, 4)] {
        for _ in 0..n {
            rig.push(&ops.set, id);
            rig.push_typed(&ops.get, id + 1);
            rig.driver.try_cancel(id).unwrap();
            rig.settle();
        }
    }
    marks.step("SetSockOpt, cancelled");
    rig.run(&mut ops.listen, 5).unwrap();
    // Linux takes it for the end of the listening.
    assert_eq!(rig.run(&mut ops.shutdown, 5).is_ok(), IS_LINUX);
    assert_eq!(rig.fail(&mut ops.shutdown, 5), libc::ENOTCONN);
    marks.step("Listen, Shutdown");
    rig.push(&ops.accept, 6);
    rig.run(&mut ops.connect, 7).unwrap();
    let entry = rig.wait(6);
    // SAFETY: the entry of this operation's only flight.
    drop(unsafe { ops.accept.op().finish(entry) }.unwrap());
    let error = rig.run(&mut ops.accept_on_unix, 8).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(NO_LEVEL));
    marks.step("options of connections");
}
