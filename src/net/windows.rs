//! Sockets as std and `socket2` take them on Windows.

use super::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use crate::driver::AsFd;
use crate::fd::SharedFd;
use std::os::windows::io::{AsSocket, BorrowedSocket};

macro_rules! sockets {
    ($($Socket:ty),*) => {$(
        impl AsSocket for $Socket {
            fn as_socket(&self) -> BorrowedSocket<'_> {
                self.as_fd().as_socket().expect("it was made of a socket")
            }
        }
    )*};
}
sockets!(SharedFd, TcpSocket, TcpListener, TcpStream, UdpSocket);
