//! What a driver is tested on: this system, or a simulated host; descriptors of either, and who is
//! at their other ends.

use crate::kit;
use completeio_driver::address::Address;
use completeio_driver::driver::{AsFd, AsRawFd, BorrowedFd, Builder, Cwd, Driver, OwnedFd, RawFd};
use completeio_driver::op::{self, MsgFlags, OpenAt, OpenOptions, Pipe, Recv, Unlink};
#[cfg(sim)]
use simulated::Simulated;
use std::io::{self, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::rc::Rc;

/// This system, or a simulated host.
#[derive(Clone, Default)]
pub(crate) struct Site(Option<Rc<Simulated>>);

impl Site {
    #[cfg(sim)]
    pub(crate) fn simulated() -> Self {
        Self(Some(Rc::new(Simulated::new())))
    }

    pub(crate) fn driver(&self, builder: Builder) -> Driver<'static> {
        match &self.0 {
            None => builder.build().unwrap(),
            Some(host) => host.driver(builder),
        }
    }

    /// How many descriptors are open on a simulated host.
    pub(crate) fn open_descriptors(&self) -> usize {
        self.0.as_ref().map_or(0, |host| host.open_descriptors())
    }

    /// Two sockets that are connected to each other.
    pub(crate) fn pair(&self) -> (End, End) {
        self.ends(kit::pair, Simulated::pair)
    }

    /// Both ends of a pipe: to read, to write.
    pub(crate) fn pipe(&self) -> (End, End) {
        self.ends(kit::pipe, Simulated::pipe)
    }

    /// A file without a name that holds these bytes.
    pub(crate) fn file(&self, bytes: &[u8]) -> End {
        self.end(match &self.0 {
            None => kit::file(bytes).into(),
            Some(host) => host.file(bytes),
        })
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.0.is_some()
    }

    /// The address that a socket is bound to.
    pub(crate) fn local_address(&self, socket: BorrowedFd<'_>) -> Address {
        match &self.0 {
            None => {
                let socket = UdpSocket::from(socket.try_clone_to_owned().unwrap());
                socket.local_addr().unwrap().into()
            }
            Some(host) => host.local_address(socket),
        }
    }

    fn ends<E: Into<OwnedFd>>(
        &self,
        real: fn() -> (E, E),
        simulated: fn(&Simulated) -> (OwnedFd, OwnedFd),
    ) -> (End, End) {
        let (a, b) = match &self.0 {
            None => {
                let (a, b) = real();
                (a.into(), b.into())
            }
            Some(host) => simulated(host),
        };
        (self.end(a), self.end(b))
    }

    fn end(&self, fd: OwnedFd) -> End {
        End {
            file: fd.into(),
            host: self.0.clone(),
        }
    }
}

/// One end of a connection or of a pipe, or a file. Reads and writes of it are made beside the
/// driver that is tested.
pub(crate) struct End {
    file: kit::PlainFile,
    host: Option<Rc<Simulated>>,
}

impl End {
    /// What has arrived on a socket and was not read, without waiting.
    pub(crate) fn arrived(&self) -> Vec<u8> {
        match &self.host {
            None => kit::arrived(&self.file),
            Some(host) => host.arrived(self.as_fd()),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &self.host {
            None => self.file.shutdown(how),
            Some(host) => host.run(&mut op::Shutdown::new(self.as_fd(), how)),
        }
    }
}

impl Read for &End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.host {
            None => (&self.file).read(buf),
            Some(host) => host.run(&mut op::Read::new(self.as_fd(), buf)),
        }
    }
}

impl Write for &End {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.host {
            None => (&self.file).write(buf),
            Some(host) => host.run(&mut op::Write::new(self.as_fd(), buf)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for End {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl From<End> for OwnedFd {
    fn from(end: End) -> Self {
        end.file.into()
    }
}

/// What is made beside the driver that is tested.
impl Simulated {
    fn pipe(&self) -> (OwnedFd, OwnedFd) {
        self.run(&mut Pipe::new()).unwrap()
    }

    /// A file without a name that holds these bytes.
    fn file(&self, bytes: &[u8]) -> OwnedFd {
        let options = OpenOptions::new().read(true).write(true).create_new(true);
        let open = &mut OpenAt::new(Cwd, c"file", options);
        let file = self.run(open).unwrap();
        let written = self.run(&mut op::WriteAt::new(file.as_fd(), 0, bytes));
        assert_eq!(written.unwrap(), bytes.len());
        self.run(&mut Unlink::file(Cwd, c"file")).unwrap();
        file
    }

    fn arrived(&self, fd: BorrowedFd<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let flags = MsgFlags::from_bits(kit::DONT_WAIT);
            let mut part = [0; 4096];
            match self.run(&mut Recv::new(fd, &mut part[..]).flags(flags)) {
                Ok(0) => return bytes,
                Ok(n) => bytes.extend(&part[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return bytes,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[cfg(sim)]
mod simulated {
    use crate::steps;
    use completeio_driver::address::Address;
    use completeio_driver::driver::{BorrowedFd, Builder, Driver, Holds, OwnedFd};
    use completeio_driver::op::Op;
    use completeio_driver::sim::{Faults, Host, World};
    use std::cell::RefCell;
    use std::io;

    /// A host of a world without faults, and a driver on it beside the one that is tested.
    pub(crate) struct Simulated {
        beside: RefCell<Driver<'static>>,
        host: Host,
        world: World,
    }

    impl Simulated {
        pub(crate) fn new() -> Self {
            let world = World::new(1, Faults::none());
            let host = world.host("a");
            let few = Driver::builder().entries(4).in_flight(4).slots(0);
            let beside = RefCell::new(host.driver(few).unwrap());
            Self {
                beside,
                host,
                world,
            }
        }

        pub(crate) fn driver(&self, builder: Builder) -> Driver<'static> {
            self.host.driver(builder).unwrap()
        }

        pub(crate) fn open_descriptors(&self) -> usize {
            self.world.open_descriptors()
        }

        pub(crate) fn local_address(&self, socket: BorrowedFd<'_>) -> Address {
            self.world.local_address(socket).unwrap()
        }

        pub(crate) fn pair(&self) -> (OwnedFd, OwnedFd) {
            self.host.socket_pair().unwrap()
        }

        /// What comes out of an operation on the other driver.
        pub(crate) fn run<O: Op>(&self, op: &mut O) -> io::Result<O::Output>
        where
            O::Fd: Holds,
        {
            let mut driver = self.beside.borrow_mut();
            driver.scope(|s| steps::run(s, op).0).unwrap()
        }
    }
}

/// There is none in a build without them.
#[cfg(not(sim))]
enum Simulated {}

#[cfg(not(sim))]
impl Simulated {
    fn driver(&self, _: Builder) -> Driver<'static> {
        match *self {}
    }

    fn open_descriptors(&self) -> usize {
        match *self {}
    }

    fn local_address(&self, _: BorrowedFd<'_>) -> Address {
        match *self {}
    }

    fn pair(&self) -> (OwnedFd, OwnedFd) {
        match *self {}
    }

    fn run<O: op::Op>(&self, _: &mut O) -> io::Result<O::Output> {
        match *self {}
    }
}
