//! Sockets.

mod tcp;

pub use self::tcp::{TcpListener, TcpStream};

use crate::address::Address;
use std::io;
use std::net::SocketAddr;

/// The address of an IP socket.
fn ip_address(address: &Address) -> io::Result<SocketAddr> {
    address
        .as_socket_addr()
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
