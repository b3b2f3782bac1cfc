//! What sockets have in common, of all kinds or of some.

use super::split::split;
use super::tcp::{TcpListener, TcpSocket, TcpStream};
use super::udp::UdpSocket;
use super::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use crate::address::Address;
use crate::ancillary::{ToFill, ToSend};
use crate::buf::Limit;
use crate::driver::{AsFd, AsRawFd, BorrowedFd, Holds, OwnedFd, RawFd};
use crate::fd::SharedFd;
use crate::io::{
    AsyncRead, AsyncWrite, BufResult, IOV_MAX, IntoInner, IoBuf, IoBufMut, IoBufs, IoBufsMut,
    has_room,
};
use crate::op::{
    Accept, GetSockOpt, MsgFlags, OptionValue, Poll, PollEvents, Received, Recv, RecvFrom,
    RecvFromVectored, RecvMsg, RecvVectored, Send, SendMsg, SendTo, SendToVectored, SendVectored,
    SetSockOpt, Shutdown, SockOpt,
};
use crate::task::{Pending, submit, transfer};
use socket2::{SockAddr, SockRef};
use std::io;
use std::net::{self, SocketAddr};
use std::rc::Rc;

/// How a kind of sockets has addresses.
trait Name: Sized {
    fn of(address: &Address) -> io::Result<Self>;
    fn found(address: &SockAddr) -> io::Result<Self>;
}

impl Name for SocketAddr {
    fn of(address: &Address) -> io::Result<Self> {
        address
            .as_socket_addr()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn found(address: &SockAddr) -> io::Result<Self> {
        address
            .as_socket()
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// What every socket has: its address, its options, and to wait until it is ready.
macro_rules! socket {
    ($($Socket:ident at $Address:ident $(from $Std:ty)?),*) => {$(
        impl $Socket {
            /// Its own address.
            ///
            /// # Errors
            /// As [`std::net::TcpStream::local_addr`].
            pub fn local_addr(&self) -> io::Result<$Address> {
                Name::found(&SockRef::from(&self.fd).local_addr()?)
            }

            /// What an option is set to.
            ///
            /// # Errors
            /// As [`GetSockOpt`].
            pub async fn option<T>(&self, option: SockOpt<T>) -> io::Result<T>
            where
                T: OptionValue + 'static,
            {
                submit(GetSockOpt::new(self.fd.hold(), option)).await.0
            }

            /// Sets an option.
            ///
            /// # Errors
            /// As [`SetSockOpt`].
            pub async fn set_option<T>(&self, option: SockOpt<T>, value: T) -> io::Result<()>
            where
                T: OptionValue + 'static,
            {
                submit(SetSockOpt::new(self.fd.hold(), option, value)).await.0
            }

            /// Waits until there is something to receive or to accept, or an end or an error to be
            /// told.
            ///
            /// It takes nothing, so that nothing is lost when it is dropped; whoever else reads may
            /// be faster then.
            ///
            /// # Errors
            /// As [`Poll`].
            pub async fn readable(&self) -> io::Result<()> {
                let op = Poll::new(self.fd.hold(), PollEvents::READABLE);
                submit(op).await.0.map(drop)
            }

            /// Waits until there is room to send, or an end or an error to be told.
            ///
            /// # Errors
            /// As [`Poll`].
            pub async fn writable(&self) -> io::Result<()> {
                let op = Poll::new(self.fd.hold(), PollEvents::WRITABLE);
                submit(op).await.0.map(drop)
            }
        }

        $(impl TryFrom<$Std> for $Socket {
            type Error = io::Error;

            /// Takes it over; fails as [`attach`](crate::driver::CompleteIo::attach) does.
            ///
            /// # Panics
            /// Outside of a runtime.
            fn try_from(socket: $Std) -> io::Result<Self> {
                SharedFd::new(socket).map(|fd| Self { fd })
            }
        })?

        impl AsFd for $Socket {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.fd.as_fd()
            }
        }

        impl AsRawFd for $Socket {
            fn as_raw_fd(&self) -> RawFd {
                self.fd.as_raw_fd()
            }
        }
    )*};
}
socket!(
    TcpSocket at SocketAddr,
    TcpListener at SocketAddr from net::TcpListener,
    TcpStream at SocketAddr from net::TcpStream,
    UdpSocket at SocketAddr from net::UdpSocket
);

/// Accepts one connection after the other: see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a, L> {
    listener: &'a L,
    accept: Option<Pending<Accept<Rc<OwnedFd>>>>,
}

macro_rules! listener {
    ($($Listener:ident gives $Stream:ident at $Address:ident),*) => {$(
        impl $Listener {
            /// Takes the next connection.
            ///
            /// A future of it that is dropped leaves no connection behind: one that has come
            /// meanwhile is closed. [`incoming`](Self::incoming) keeps it.
            ///
            /// # Errors
            /// As [`Accept`]. After `EMFILE` it fails at once until a descriptor is closed: wait
            /// for that, or for a while.
            pub async fn accept(&self) -> io::Result<($Stream, $Address)> {
                self.incoming().next().await
            }

            /// Accepts one connection after the other, and loses none.
            pub fn incoming(&self) -> Incoming<'_, Self> {
                Incoming {
                    listener: self,
                    accept: None,
                }
            }
        }

        impl Incoming<'_, $Listener> {
            /// Takes the next connection.
            ///
            /// Dropping the future loses nothing: the accept goes on, and the next call has what
            /// came. It ends with the `Incoming`, and a connection that has come by then is closed.
            ///
            /// # Errors
            #[doc = concat!("As [`", stringify!($Listener), "::accept`].")]
            pub async fn next(&mut self) -> io::Result<($Stream, $Address)> {
                let begin = || submit(Accept::new(self.listener.fd.hold()));
                let (accepted, _) = self.accept.get_or_insert_with(begin).await;
                self.accept = None;
                let accepted = accepted?;
                let fd = SharedFd::new(accepted.fd)?;
                Ok(($Stream { fd }, Name::of(&accepted.addr)?))
            }
        }
    )*};
}
listener!(TcpListener gives TcpStream at SocketAddr);

/// What those have that are, or may be, connected.
macro_rules! connected {
    ($($Socket:ident at $Address:ident),*) => {$(
        impl $Socket {
            /// The address of its peer.
            ///
            /// # Errors
            /// As [`std::net::TcpStream::peer_addr`]: also when the peer has reset the connection.
            pub fn peer_addr(&self) -> io::Result<$Address> {
                Name::found(&SockRef::from(&self.fd).peer_addr()?)
            }

            /// Receives once, and leaves what it received where it is.
            ///
            /// # Errors
            /// As [`Recv`].
            pub async fn peek<B: IoBufMut + 'static>(&self, buffer: B) -> BufResult<usize, B> {
                transfer(Recv::new(self.fd.hold(), buffer).flags(MsgFlags::PEEK)).await
            }
        }
    )*};
}
connected!(TcpStream at SocketAddr, UdpSocket at SocketAddr);

/// The bytes of as many buffers as one call takes. More are an error of a send, for it does not cut
/// messages; a stream is sent in parts anyway.
fn one_call(buffers: &impl IoBufs) -> usize {
    let (mut left, mut bytes) = (IOV_MAX, 0_usize);
    buffers.each_part(|_, len| {
        if len > 0 && left > 0 {
            left -= 1;
            bytes = bytes.saturating_add(len);
        }
    });
    bytes
}

macro_rules! stream {
    ($($Stream:ident),*) => {$(
        impl $Stream {
            /// Two halves, for two futures of one task.
            pub fn split(&mut self) -> (ReadHalf<'_, Self>, WriteHalf<'_, Self>) {
                (ReadHalf(self), WriteHalf(self))
            }

            /// Two halves, for two tasks.
            pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
                split(self)
            }
        }

        #[cfg(any(feature = "futures-io", feature = "hyper"))]
        impl From<$Stream> for crate::compat::PollStream {
            fn from(stream: $Stream) -> Self {
                Self::on(stream.fd)
            }
        }

        reads_and_writes!($Stream, &$Stream);
    )*};
}

macro_rules! reads_and_writes {
    ($($Stream:ty),*) => {$(
        impl AsyncRead for $Stream {
            async fn read<B: IoBufMut + 'static>(&mut self, mut buffer: B) -> BufResult<usize, B> {
                if !has_room(&mut [&mut buffer]) {
                    return (Ok(0), buffer);
                }
                transfer(Recv::new(self.fd.hold(), buffer)).await
            }

            async fn read_vectored<V>(&mut self, mut buffers: V) -> BufResult<usize, V>
            where
                V: IoBufsMut + 'static,
            {
                if !has_room(&mut buffers) {
                    return (Ok(0), buffers);
                }
                transfer(RecvVectored::new(self.fd.hold(), buffers)).await
            }
        }

        impl AsyncWrite for $Stream {
            async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                transfer(Send::new(self.fd.hold(), buffer)).await
            }

            async fn write_vectored<V>(&mut self, buffers: V) -> BufResult<usize, V>
            where
                V: IoBufs + 'static,
            {
                let max = one_call(&buffers);
                let part = Limit::new(buffers, max);
                let (sent, part) = transfer(SendVectored::new(self.fd.hold(), part)).await;
                (sent, part.into_inner())
            }

            async fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }

            async fn shutdown(&mut self) -> io::Result<()> {
                let op = Shutdown::new(self.fd.hold(), net::Shutdown::Write);
                submit(op).await.0
            }
        }
    )*};
}
stream!(TcpStream);

/// Messages with control data.
macro_rules! messages {
    ($($Socket:ident),*) => {$(
        impl $Socket {
            /// Sends a message of several buffers with [control messages](crate::ancillary). A
            /// stream may send a part of the bytes; the control messages go with the first.
            ///
            /// # Errors
            /// As [`SendMsg`].
            pub async fn send_msg<V, C>(&self, buffers: V, control: C) -> BufResult<usize, (V, C)>
            where
                V: IoBufs + 'static,
                C: ToSend<Rights: Holds> + 'static,
            {
                let (sent, op) = submit(SendMsg::new(self.fd.hold(), buffers, control)).await;
                let (_fd, buffers, control) = op.into_parts();
                (sent, (buffers, control))
            }

            /// Receives a message into several buffers, with [control messages](crate::ancillary),
            /// and tells what came beside it.
            ///
            /// # Errors
            /// As [`RecvMsg`].
            pub async fn recv_msg<V, C>(&self, buffers: V, control: C) -> BufResult<Received, (V, C)>
            where
                V: IoBufsMut + 'static,
                C: ToFill + 'static,
            {
                let (received, op) = submit(RecvMsg::new(self.fd.hold(), buffers, control)).await;
                let (_fd, buffers, control) = op.into_parts();
                (received, (buffers, control))
            }
        }
    )*};
}
messages!(UdpSocket);

/// Who sent it, beside how much it was.
fn sender<N: Name>(received: &Received) -> io::Result<(usize, N)> {
    Ok((received.len, N::of(&received.addr)?))
}

macro_rules! datagrams {
    ($($Socket:ident at $Address:ident),*) => {$(
        impl $Socket {
            /// Sends a datagram to where it is connected.
            ///
            /// # Errors
            /// As [`Send`].
            pub async fn send<B: IoBuf + 'static>(&self, buffer: B) -> BufResult<usize, B> {
                transfer(Send::new(self.fd.hold(), buffer)).await
            }

            /// The same from several buffers.
            ///
            /// # Errors
            /// As [`SendVectored`].
            pub async fn send_vectored<V>(&self, buffers: V) -> BufResult<usize, V>
            where
                V: IoBufs + 'static,
            {
                transfer(SendVectored::new(self.fd.hold(), buffers)).await
            }

            /// Sends a datagram to an address.
            ///
            /// # Errors
            /// As [`SendTo`].
            pub async fn send_to<B>(&self, buffer: B, address: $Address) -> BufResult<usize, B>
            where
                B: IoBuf + 'static,
            {
                transfer(SendTo::new(self.fd.hold(), buffer, address)).await
            }

            /// The same from several buffers.
            ///
            /// # Errors
            /// As [`SendToVectored`].
            pub async fn send_to_vectored<V>(
                &self,
                buffers: V,
                address: $Address,
            ) -> BufResult<usize, V>
            where
                V: IoBufs + 'static,
            {
                transfer(SendToVectored::new(self.fd.hold(), buffers, address)).await
            }

            /// As [`send_msg`](Self::send_msg), to an address.
            ///
            /// # Errors
            /// As [`SendMsg`].
            pub async fn send_msg_to<V, C>(
                &self,
                buffers: V,
                control: C,
                address: $Address,
            ) -> BufResult<usize, (V, C)>
            where
                V: IoBufs + 'static,
                C: ToSend<Rights: Holds> + 'static,
            {
                let op = SendMsg::new(self.fd.hold(), buffers, control).to(address);
                let (sent, op) = submit(op).await;
                let (_fd, buffers, control) = op.into_parts();
                (sent, (buffers, control))
            }

            /// Receives a datagram. What has no room is lost, and only [`recv_msg`](Self::recv_msg)
            /// says so. An empty one is no end of anything.
            ///
            /// # Errors
            /// As [`Recv`].
            pub async fn recv<B: IoBufMut + 'static>(&self, buffer: B) -> BufResult<usize, B> {
                transfer(Recv::new(self.fd.hold(), buffer)).await
            }

            /// The same into several buffers.
            ///
            /// # Errors
            /// As [`RecvVectored`].
            pub async fn recv_vectored<V>(&self, buffers: V) -> BufResult<usize, V>
            where
                V: IoBufsMut + 'static,
            {
                transfer(RecvVectored::new(self.fd.hold(), buffers)).await
            }

            /// As [`recv`](Self::recv), and tells who sent it.
            ///
            /// # Errors
            /// As [`RecvFrom`].
            pub async fn recv_from<B>(&self, buffer: B) -> BufResult<(usize, $Address), B>
            where
                B: IoBufMut + 'static,
            {
                let (received, buffer) = transfer(RecvFrom::new(self.fd.hold(), buffer)).await;
                (received.and_then(|received| sender(&received)), buffer)
            }

            /// The same into several buffers.
            ///
            /// # Errors
            /// As [`RecvFromVectored`].
            pub async fn recv_from_vectored<V>(&self, buffers: V) -> BufResult<(usize, $Address), V>
            where
                V: IoBufsMut + 'static,
            {
                let op = RecvFromVectored::new(self.fd.hold(), buffers);
                let (received, buffers) = transfer(op).await;
                (received.and_then(|received| sender(&received)), buffers)
            }

            /// As [`recv_from`](Self::recv_from), and leaves the datagram where it is.
            ///
            /// # Errors
            /// As [`RecvFrom`].
            pub async fn peek_from<B>(&self, buffer: B) -> BufResult<(usize, $Address), B>
            where
                B: IoBufMut + 'static,
            {
                let op = RecvFrom::new(self.fd.hold(), buffer).flags(MsgFlags::PEEK);
                let (received, buffer) = transfer(op).await;
                (received.and_then(|received| sender(&received)), buffer)
            }
        }
    )*};
}
datagrams!(UdpSocket at SocketAddr);

/// Those of Unix.
#[cfg(unix)]
mod unix {
    use super::super::{UnixDatagram, UnixListener, UnixStream};
    use super::*;
    use std::os::unix;

    impl Name for Address {
        fn of(address: &Address) -> io::Result<Self> {
            Ok(*address)
        }

        fn found(address: &SockAddr) -> io::Result<Self> {
            match (address.as_pathname(), address.as_abstract_namespace()) {
                (Some(path), _) => Self::unix(path),
                (None, Some(name)) => Self::unix_abstract(name),
                (None, None) => Ok(Self::unspecified()),
            }
        }
    }

    socket!(
        UnixListener at Address from unix::net::UnixListener,
        UnixStream at Address from unix::net::UnixStream,
        UnixDatagram at Address from unix::net::UnixDatagram
    );
    listener!(UnixListener gives UnixStream at Address);
    connected!(UnixStream at Address, UnixDatagram at Address);
    stream!(UnixStream);
    messages!(UnixStream, UnixDatagram);
    datagrams!(UnixDatagram at Address);
}
