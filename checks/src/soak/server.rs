//! Sends back what it receives, after a look at it.

use super::life::{End, Life};
use super::{ADDRESSES, OPTIONS, Shared, reset};
use crate::pattern::Pattern;
use crate::tasks::Tasks;
use completeio_driver::buf::IntoInner;
use completeio_driver::driver::{CompleteIo, Driver, Fd, Notifier, OwnedFd, Stats};
use completeio_driver::op::{Accept, Bind, Deadline, Exact, Listen, Recv, Send, Socket};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// So many connections wait to be accepted, if the kernel allows it.
const BACKLOG: u32 = 4096;
/// The operations that accept from one listener at a time.
const ACCEPTS: usize = 4;
/// What is received at a time.
const TAKEN: usize = 4096;
/// Every other receive ends by this deadline, and is begun again.
const PATIENCE: Duration = Duration::from_millis(20);

/// Where a server is, and how it is woken.
pub(super) struct Server {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) notifier: Notifier,
}

/// Serves until `is_over` is said, and every connection has ended.
pub(super) fn run(mut driver: Driver<'static>, shared: Arc<Shared>, up: &Sender<Server>) -> Stats {
    let notifier = driver.notifier();
    let host = Host {
        tasks: Tasks::new(driver),
        shared,
        addresses: Rc::default(),
        connections: Rc::default(),
    };
    for n in 1..=ADDRESSES {
        let listening = host.clone();
        host.tasks.spawn(async move { listening.listen(n).await });
    }
    let addresses = &host.addresses;
    host.tasks
        .run_until(|| addresses.borrow().len() == usize::from(ADDRESSES));
    let server = Server {
        addresses: addresses.borrow().clone(),
        notifier,
    };
    ensure!(up.send(server).is_ok(), "nobody waits for the server");
    let is_over = || host.shared.is_over.load(Ordering::Acquire) && host.connections.get() == 0;
    host.tasks.run_until(is_over);
    // The accepts are left.
    let asked = host
        .tasks
        .session(|session| session.driver.try_cancel_all());
    ensure!(asked.is_ok(), "no place for a cancellation");
    host.tasks.run();
    host.tasks.session(|session| session.driver.stats())
}

#[derive(Clone)]
struct Host {
    tasks: Tasks,
    shared: Arc<Shared>,
    addresses: Rc<RefCell<Vec<SocketAddr>>>,
    connections: Rc<Cell<usize>>,
}

impl Host {
    /// Listens on the n-th address.
    async fn listen(&self, n: u8) {
        let tasks = &self.tasks;
        let any = SocketAddr::from((Ipv4Addr::new(127, 0, 0, n), 0));
        let socket = tasks.perform("socket", Socket::stream(&any.into())).await;
        let fd = tasks.attach(&socket);
        tasks.perform("bind", Bind::new(fd, any)).await;
        tasks.perform("listen", Listen::new(fd, BACKLOG)).await;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let listener = Rc::new(OwnedFd::from(listener));
        for _ in 0..ACCEPTS {
            let (host, listener) = (self.clone(), listener.clone());
            tasks.spawn(async move { host.accept(fd, listener).await });
        }
        self.addresses.borrow_mut().push(address);
    }

    /// Accepts until that is cancelled.
    async fn accept(&self, fd: Fd, listener: Rc<OwnedFd>) {
        loop {
            let (accepted, _) = self.tasks.attempt(Accept::new(fd).options(OPTIONS)).await;
            match accepted {
                Ok(accepted) => self.serve(accepted.fd),
                Err(e) if e.raw_os_error() == Some(libc::ECANCELED) => break,
                Err(e) => crate::fail(format_args!("accept: {e}")),
            }
        }
        if let Some(listener) = Rc::into_inner(listener) {
            self.tasks.close(listener).await;
        }
    }

    fn serve(&self, fd: OwnedFd) {
        self.connections.set(self.connections.get() + 1);
        let host = self.clone();
        self.tasks.spawn(async move {
            let socket = host.tasks.attach(&fd);
            host.echo(socket).await;
            host.tasks.close(fd).await;
            host.connections.set(host.connections.get() - 1);
        });
    }

    async fn echo(&self, socket: Fd) {
        let receive = Exact::new(Recv::new(socket, [0; 8]));
        let (received, op) = self.tasks.attempt(receive).await;
        let id = match received {
            Ok(_) => *op.buf(),
            Err(e) => {
                let (kind, n) = (e.kind(), op.advanced());
                let is_end = matches!(
                    kind,
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                );
                ensure!(is_end && n == 0, "{n} bytes of a number, and then {e}");
                return;
            }
        };
        let life = Life::draw(self.shared.seed, u64::from_le_bytes(id));
        let came = self.echo_all(socket, &life, id).await;
        let Life { id, end, .. } = life;
        match came {
            Ok(came) => {
                let whole = life.len();
                let is_whole = came == whole || (end == End::ResetUnread && came < whole);
                ensure!(is_whole, "{id}, {end:?}: the end after {came} of {whole}");
            }
            Err(e) => {
                let is_reset = matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                );
                ensure!(is_reset && life.may_be_reset(), "{id}, {end:?}: {e}");
            }
        }
        if end == End::ResetByServer {
            reset(&self.tasks, socket).await;
        }
    }

    /// How many bytes came, until the client has ended, or the server ends.
    async fn echo_all(&self, socket: Fd, life: &Life, id: [u8; 8]) -> io::Result<usize> {
        let by_server = matches!(life.end, End::ClosedByServer | End::ResetByServer);
        let pattern = Pattern(life.id);
        self.send(socket, id.to_vec()).await?;
        let mut buffer = Vec::with_capacity(TAKEN);
        let mut came = 0;
        for n in 0.. {
            if by_server && came == life.len() {
                break;
            }
            buffer.clear();
            let receive = Recv::new(socket, buffer);
            let received;
            (received, buffer) = if n % 2 == 0 {
                let (received, op) = self.tasks.attempt(receive).await;
                (received, op.into_inner())
            } else {
                let receive = Deadline::after(receive, PATIENCE);
                let (received, op) = self.tasks.attempt(receive).await;
                (received, op.into_inner().into_inner())
            };
            match received {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::TimedOut => continue,
                Err(e) => return Err(e),
            }
            let wrong = pattern.first_wrong(came, &buffer);
            ensure!(
                wrong.is_none(),
                "{}: the server received a wrong byte at {came} + {wrong:?}",
                life.id
            );
            came += buffer.len();
            self.shared
                .counts
                .bytes
                .fetch_add(buffer.len() as u64, Ordering::Relaxed);
            buffer = self.send(socket, buffer).await?;
        }
        Ok(came)
    }

    async fn send(&self, socket: Fd, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let whole = Exact::new(Send::new(socket, bytes));
        let (sent, op) = self.tasks.attempt(whole).await;
        sent.map(|_| op.into_inner())
    }
}
