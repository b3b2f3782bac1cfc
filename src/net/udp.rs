//! UDP.

use super::address::{ToSocketAddrs, first};
use super::{bind, connect, open};
use crate::fd::SharedFd;
use crate::op::Socket;
use std::io;

/// A socket of datagrams.
///
/// On Windows a receive may fail with [`ConnectionReset`](io::ErrorKind::ConnectionReset) after a
/// datagram was sent to where nobody takes it, also when the socket is not connected: the next
/// receive goes on.
///
/// ```
/// use completeio::net::UdpSocket;
///
/// completeio::task::block_on(async {
///     let server = UdpSocket::bind("127.0.0.1:0").await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.send_to("hello", server.local_addr()?).await.0?;
///     let (received, text) = server.recv_from(Vec::with_capacity(2048)).await;
///     let (_len, from) = received?;
///     assert_eq!(text, b"hello");
///     assert_eq!(from, client.local_addr()?);
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// With the traffic class (ECN) that it was sent with, and the address that it was sent to:
///
/// ```
/// use completeio::ancillary::{ControlMessage, Incoming, Outgoing, space};
/// use completeio::net::UdpSocket;
/// use completeio::op::SockOpt;
///
/// completeio::task::block_on(async {
///     let server = UdpSocket::bind("0.0.0.0:0").await?;
///     server.set_option(SockOpt::RECV_TRAFFIC_CLASS_V4, true).await?;
///     server.set_option(SockOpt::RECV_PACKET_INFO_V4, true).await?;
///     let client = UdpSocket::bind("127.0.0.1:0").await?;
///     client.connect(("127.0.0.1", server.local_addr()?.port())).await?;
///
///     let mut control = Outgoing::<{ space(4) }>::new();
///     control.traffic_class_v4(0b10).expect("there is room");
///     client.send_msg(["he", "llo"], control).await.0?;
///
///     let control = Incoming::<{ space(4) + space(12) }>::new();
///     let (received, (_text, mut control)) = server.recv_msg([[0; 16]], control).await;
///     let received = received?;
///     assert_eq!((received.len, received.truncated), (5, false));
///     for message in control.messages() {
///         match message {
///             ControlMessage::TrafficClass(class) => assert_eq!(class, 0b10),
///             ControlMessage::PacketInfo(info) => assert!(info.destination.is_loopback()),
///             other => panic!("{other:?}"),
///         }
///     }
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    pub(super) fd: SharedFd,
}

impl UdpSocket {
    /// A socket with the first of the addresses that it can have.
    ///
    /// # Errors
    /// As [`Socket`] and [`Bind`](crate::op::Bind).
    pub async fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(addresses, async |address| {
            let fd = open(Socket::datagram(&address.into())).await?;
            bind(&fd, address).await?;
            Ok(Self { fd })
        })
        .await
    }

    /// Sends to the first of these addresses that it can, unless it is said otherwise, and receives
    /// from there only.
    ///
    /// # Errors
    /// As [`Connect`](crate::op::Connect).
    pub async fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<()> {
        first(addresses, async |address| connect(&self.fd, address).await).await
    }
}
