//! What sockets have in common, of all kinds or of some.

use crate::driver::OwnedFd;
use crate::op::Accept;
use crate::task::Pending;
use std::rc::Rc;

/// Accepts one connection after the other: see [`TcpListener::incoming`](super::TcpListener::incoming).
#[derive(Debug)]
pub struct Incoming<'a, L> {
    pub(super) listener: &'a L,
    pub(super) accept: Option<Pending<Accept<Rc<OwnedFd>>>>,
}

/// What every socket has: its options, and to wait until it is ready.
macro_rules! socket {
    ($Socket:ident $(from $Std:ty)?) => {
        impl $Socket {
            /// What an option is set to.
            ///
            /// # Errors
            /// As [`GetSockOpt`](crate::op::GetSockOpt).
            pub async fn option<T: crate::op::OptionValue + 'static>(
                &self,
                option: crate::op::SockOpt<T>,
            ) -> std::io::Result<T> {
                let op = crate::op::GetSockOpt::new(self.fd.hold(), option);
                crate::task::submit(op).await.0
            }

            /// Sets an option.
            ///
            /// # Errors
            /// As [`SetSockOpt`](crate::op::SetSockOpt).
            pub async fn set_option<T: crate::op::OptionValue + 'static>(
                &self,
                option: crate::op::SockOpt<T>,
                value: T,
            ) -> std::io::Result<()> {
                let op = crate::op::SetSockOpt::new(self.fd.hold(), option, value);
                crate::task::submit(op).await.0
            }

            /// Waits until it is ready for some of `events`, and tells for which.
            ///
            /// # Errors
            /// As [`Poll`](crate::op::Poll).
            pub async fn ready(
                &self,
                events: crate::op::PollEvents,
            ) -> std::io::Result<crate::op::PollEvents> {
                let op = crate::op::Poll::new(self.fd.hold(), events);
                crate::task::submit(op).await.0
            }

            /// Waits until there is something to read, or to accept, or an end or an error to be told.
            ///
            /// It takes nothing, so that nothing is lost when it is dropped; whoever else reads may be
            /// faster then.
            ///
            /// # Errors
            /// As [`Poll`](crate::op::Poll).
            pub async fn readable(&self) -> std::io::Result<()> {
                self.ready(crate::op::PollEvents::READABLE).await.map(drop)
            }

            /// Waits until there is room to write, or an end or an error to be told.
            ///
            /// # Errors
            /// As [`Poll`](crate::op::Poll).
            pub async fn writable(&self) -> std::io::Result<()> {
                self.ready(crate::op::PollEvents::WRITABLE).await.map(drop)
            }
        }

        $(impl TryFrom<$Std> for $Socket {
            type Error = std::io::Error;

            /// Takes it over; fails as [`attach`](crate::driver::CompleteIo::attach) does.
            ///
            /// # Panics
            /// Outside of a runtime.
            fn try_from(socket: $Std) -> std::io::Result<Self> {
                crate::fd::SharedFd::new(socket).map(|fd| Self { fd })
            }
        })?

        impl std::os::fd::AsFd for $Socket {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.fd.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $Socket {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.fd.as_raw_fd()
            }
        }
    };
}

/// What listeners have beside it; `$connection` makes a connection of what was accepted.
macro_rules! listener {
    ($Listener:ident gives $Stream:ident, $Address:ty, by $connection:path) => {
        impl $Listener {
            /// Takes the next connection.
            ///
            /// A future of it that is dropped leaves no connection behind: one that has come meanwhile
            /// is closed. [`incoming`](Self::incoming) keeps it.
            ///
            /// # Errors
            /// As [`Accept`](crate::op::Accept). After `EMFILE` it fails at once until a descriptor is
            /// closed: wait for that, or for a while.
            pub async fn accept(&self) -> std::io::Result<($Stream, $Address)> {
                self.incoming().next().await
            }

            /// Accepts one connection after the other, and loses none.
            pub fn incoming(&self) -> crate::net::Incoming<'_, Self> {
                crate::net::Incoming {
                    listener: self,
                    accept: None,
                }
            }
        }

        impl crate::net::Incoming<'_, $Listener> {
            /// Takes the next connection.
            ///
            /// Dropping the future loses nothing: the accept goes on, and the next call has what came.
            /// It ends with the `Incoming`, and a connection that has come by then is closed.
            ///
            /// # Errors
            #[doc = concat!("As [`", stringify!($Listener), "::accept`].")]
            pub async fn next(&mut self) -> std::io::Result<($Stream, $Address)> {
                let begin = || {
                    let op = crate::op::Accept::new(self.listener.fd.hold());
                    crate::task::submit(op)
                };
                let (accepted, _) = self.accept.get_or_insert_with(begin).await;
                self.accept = None;
                $connection(accepted?)
            }
        }
    };
}

/// What connections have beside it: to be read and written, shared or in halves.
macro_rules! stream {
    ($Stream:ident) => {
        impl $Stream {
            /// Two halves, for two futures of one task.
            pub fn split(
                &mut self,
            ) -> (
                crate::net::ReadHalf<'_, Self>,
                crate::net::WriteHalf<'_, Self>,
            ) {
                (crate::net::ReadHalf(self), crate::net::WriteHalf(self))
            }

            /// Two halves, for two tasks.
            pub fn into_split(
                self,
            ) -> (
                crate::net::OwnedReadHalf<Self>,
                crate::net::OwnedWriteHalf<Self>,
            ) {
                crate::net::split::into_halves(self)
            }

            /// Reads once, as [`read`](AsyncRead::read) does, and leaves the bytes where they are.
            ///
            /// # Errors
            /// As [`Recv`](crate::op::Recv).
            pub async fn peek<B: IoBufMut + 'static>(&self, buffer: B) -> BufResult<usize, B> {
                let op = crate::op::Recv::new(self.fd.hold(), buffer);
                let peek = crate::op::MsgFlags::PEEK;
                let (read, op) = crate::task::submit(op.flags(peek)).await;
                (read, op.into_inner())
            }
        }

        impl AsyncRead for &$Stream {
            async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                let op = crate::op::Recv::new(self.fd.hold(), buffer);
                let (read, op) = crate::task::submit(op).await;
                (read, op.into_inner())
            }

            async fn read_vectored<V: IoBufsMut + 'static>(
                &mut self,
                buffers: V,
            ) -> BufResult<usize, V> {
                let op = crate::op::RecvVectored::new(self.fd.hold(), buffers);
                let (read, op) = crate::task::submit(op).await;
                (read, op.into_inner())
            }
        }

        impl AsyncWrite for &$Stream {
            async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                let op = crate::op::Send::new(self.fd.hold(), buffer);
                let (written, op) = crate::task::submit(op).await;
                (written, op.into_inner())
            }

            async fn write_vectored<V: IoBufs + 'static>(
                &mut self,
                buffers: V,
            ) -> BufResult<usize, V> {
                let op = crate::op::SendVectored::new(self.fd.hold(), buffers);
                let (written, op) = crate::task::submit(op).await;
                (written, op.into_inner())
            }

            async fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }

            async fn shutdown(&mut self) -> std::io::Result<()> {
                let op = crate::op::Shutdown::new(self.fd.hold(), std::net::Shutdown::Write);
                crate::task::submit(op).await.0
            }
        }

        impl AsyncRead for $Stream {
            async fn read<B: IoBufMut + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                (&*self).read(buffer).await
            }

            async fn read_vectored<V: IoBufsMut + 'static>(
                &mut self,
                buffers: V,
            ) -> BufResult<usize, V> {
                (&*self).read_vectored(buffers).await
            }
        }

        impl AsyncWrite for $Stream {
            async fn write<B: IoBuf + 'static>(&mut self, buffer: B) -> BufResult<usize, B> {
                (&*self).write(buffer).await
            }

            async fn write_vectored<V: IoBufs + 'static>(
                &mut self,
                buffers: V,
            ) -> BufResult<usize, V> {
                (&*self).write_vectored(buffers).await
            }

            async fn flush(&mut self) -> std::io::Result<()> {
                (&*self).flush().await
            }

            async fn shutdown(&mut self) -> std::io::Result<()> {
                (&*self).shutdown().await
            }
        }
    };
}

pub(super) use {listener, socket, stream};
