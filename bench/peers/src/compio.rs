//! compio, on io_uring: the newest release, and what comes after it.

macro_rules! compio {
    ($version:ident, $compio:ident, $driver:ident) => {
        pub mod $version {
            use bench::child::Args;
            use bench::meter::Meter;
            use bench::peer::{Datagrams, File, Listener, Moved, Peer, Stream};
            use io_uring_0_7::opcode;
            use std::future::Future;
            use std::net::SocketAddr;
            use std::os::unix::net as unix;
            use std::rc::Rc;
            use std::time::Duration;
            use std::{io, net};
            use $compio::BufResult;
            use $compio::driver::ProactorBuilder;
            use $compio::fs;
            use $compio::io::{AsyncRead, AsyncReadAt, AsyncWriteAt, AsyncWriteExt};
            use $compio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
            use $compio::runtime::{self, RuntimeBuilder};
            use $driver::{OpCode, OpEntry, Proactor, PushEntry};

            pub struct Compio;

            fn proactor(args: &Args) -> ProactorBuilder {
                let mut proactor = ProactorBuilder::new();
                if args.is_tuned() {
                    proactor.single_issuer(true).defer_taskrun(true);
                }
                proactor
            }

            impl Peer for Compio {
                type Tcp = TcpListener;
                type Unix = UnixListener;
                type Udp = UdpSocket;
                type File = fs::File;

                fn block_on<T: 'static>(
                    args: &Args,
                    future: impl Future<Output = T> + 'static,
                ) -> Result<T, String> {
                    let runtime = RuntimeBuilder::new().with_proactor(proactor(args)).build();
                    Ok(runtime.map_err(|e| e.to_string())?.block_on(future))
                }

                fn spawn<T: 'static>(
                    future: impl Future<Output = T> + 'static,
                ) -> impl Future<Output = T> + 'static {
                    let task = runtime::spawn(future);
                    async { task.await.unwrap_or_else(|_| panic!("no task panics")) }
                }

                fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
                    $compio::time::sleep(duration)
                }

                fn tcp(listener: net::TcpListener) -> io::Result<TcpListener> {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)
                }

                fn unix(listener: unix::UnixListener) -> io::Result<UnixListener> {
                    listener.set_nonblocking(true)?;
                    UnixListener::from_std(listener)
                }

                fn udp(socket: net::UdpSocket) -> io::Result<UdpSocket> {
                    socket.set_nonblocking(true)?;
                    UdpSocket::from_std(socket)
                }

                async fn file(
                    _file: std::fs::File,
                    path: &str,
                    direct: bool,
                ) -> io::Result<fs::File> {
                    let flags = if direct { libc::O_DIRECT } else { 0 };
                    let mut options = fs::OpenOptions::new();
                    options.read(true).write(true).custom_flags(flags);
                    options.open(path).await
                }

                fn nops(args: &Args, batch: usize, meter: Rc<Meter>) -> Result<(), String> {
                    let mut proactor = proactor(args).build().map_err(|e| e.to_string())?;
                    let mut keys = Vec::with_capacity(batch);
                    loop {
                        for _ in 0..batch {
                            match proactor.push(Nop) {
                                PushEntry::Pending(key) => keys.push(key),
                                PushEntry::Ready(_) => {
                                    unreachable!("a ring's NOP is not done here")
                                }
                            }
                        }
                        while let Some(key) = keys.pop() {
                            finish(&mut proactor, key).map_err(|e| e.to_string())?;
                        }
                        if !meter.step(batch as u64) {
                            return Ok(());
                        }
                    }
                }
            }

            struct Nop;

            // SAFETY: a NOP points nowhere.
            unsafe impl OpCode for Nop {
                type Control = ();

                fn create_entry(&mut self, (): &mut ()) -> OpEntry {
                    opcode::Nop::new().build().into()
                }
            }

            fn finish(proactor: &mut Proactor, key: $driver::Key<Nop>) -> io::Result<()> {
                let mut pending = key;
                loop {
                    match proactor.pop(pending) {
                        PushEntry::Ready(BufResult(done, _)) => return done.map(drop),
                        PushEntry::Pending(key) => pending = key,
                    }
                    proactor.poll(None)?;
                }
            }

            macro_rules! streams {
                ($listener:ident, $stream:ident) => {
                    impl Listener<Compio> for $listener {
                        type Stream = $stream;

                        async fn accept(&self) -> io::Result<$stream> {
                            Ok($listener::accept(self).await?.0)
                        }
                    }

                    impl Stream<Compio> for $stream {
                        async fn read(&mut self, mut buffer: Vec<u8>) -> Moved<usize> {
                            buffer.clear();
                            let BufResult(read, buffer) = AsyncRead::read(self, buffer).await;
                            (read, buffer)
                        }

                        async fn write_all(&mut self, buffer: Vec<u8>) -> Moved<()> {
                            let BufResult(written, buffer) =
                                AsyncWriteExt::write_all(self, buffer).await;
                            (written, buffer)
                        }
                    }
                };
            }
            streams!(TcpListener, TcpStream);
            streams!(UnixListener, UnixStream);

            impl Datagrams<Compio> for UdpSocket {
                async fn receive(&self, mut buffer: Vec<u8>) -> Moved<SocketAddr> {
                    buffer.clear();
                    let BufResult(received, buffer) = self.recv_from(buffer).await;
                    (received.map(|(_, from)| from), buffer)
                }

                async fn send(&self, buffer: Vec<u8>, to: SocketAddr) -> Moved<usize> {
                    let BufResult(sent, buffer) = self.send_to(buffer, to).await;
                    (sent, buffer)
                }
            }

            impl File<Compio> for fs::File {
                async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
                    let BufResult(read, buffer) = AsyncReadAt::read_at(self, buffer, offset).await;
                    (read, buffer)
                }

                async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> Moved<usize> {
                    let mut file = self;
                    let BufResult(written, buffer) =
                        AsyncWriteAt::write_at(&mut file, buffer, offset).await;
                    (written, buffer)
                }
            }
        }
    };
}
compio!(v0_19, compio_0_19, compio_driver_0_12);
compio!(v0_20, compio_0_20, compio_driver_0_13);
