//! Addresses, and the names that stand for some.

use crate::task::spawn_blocking;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What an address is, or stands for several.
///
/// `(IpAddr, u16)` and its like, and a text that is an address, are one at once; a name is looked
/// up on the pool of [`spawn_blocking`].
///
/// ```
/// use completeio::net::{TcpListener, TcpStream};
///
/// completeio::task::block_on(async {
///     let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
///     let port = listener.local_addr()?.port();
///     TcpStream::connect(("localhost", port)).await?;
///     TcpStream::connect(format!("127.0.0.1:{port}")).await
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToSocketAddrs {
    /// The addresses, in the order in which they are tried.
    ///
    /// # Errors
    /// As [`std::net::ToSocketAddrs`]: the text is no address and no name with a port, or the name
    /// is not known.
    fn to_socket_addrs(&self)
    -> impl Future<Output = io::Result<impl Iterator<Item = SocketAddr>>>;
}

/// The addresses of a name: see [`ToSocketAddrs`].
///
/// ```
/// let addresses = completeio::task::block_on(completeio::net::lookup_host("127.0.0.1:80"))?;
/// assert_eq!(addresses.collect::<Vec<_>>(), ["127.0.0.1:80".parse().unwrap()]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`ToSocketAddrs::to_socket_addrs`].
pub async fn lookup_host(host: impl ToSocketAddrs) -> io::Result<impl Iterator<Item = SocketAddr>> {
    let found: Vec<_> = host.to_socket_addrs().await?.collect();
    Ok(found.into_iter())
}

/// What is done with the first address with which it can be done, or the last error.
pub(super) async fn first<T>(
    addresses: impl ToSocketAddrs,
    attempt: impl AsyncFn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut error = io::Error::new(io::ErrorKind::InvalidInput, "no address to try");
    for address in addresses.to_socket_addrs().await? {
        match attempt(address).await {
            Ok(done) => return Ok(done),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// An address that is known, or those of a name.
async fn look_up<N>(
    known: Option<SocketAddr>,
    name: impl FnOnce() -> N,
) -> io::Result<impl Iterator<Item = SocketAddr>>
where
    N: std::net::ToSocketAddrs + Send + 'static,
{
    let mut found = Vec::new();
    if known.is_none() {
        let name = name();
        let look_up = move || name.to_socket_addrs().map(Iterator::collect);
        found = spawn_blocking(look_up).await??;
    }
    Ok(known.into_iter().chain(found))
}

macro_rules! addresses {
    ($($one:ty),*) => {$(
        impl ToSocketAddrs for $one {
            async fn to_socket_addrs(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
                Ok(Some(SocketAddr::from(*self)).into_iter())
            }
        }
    )*};
}
addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToSocketAddrs for [SocketAddr] {
    async fn to_socket_addrs(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        Ok(self.iter().copied())
    }
}

impl ToSocketAddrs for str {
    async fn to_socket_addrs(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        look_up(self.parse().ok(), || self.to_owned()).await
    }
}

impl ToSocketAddrs for String {
    async fn to_socket_addrs(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        look_up(self.parse().ok(), || self.clone()).await
    }
}

impl ToSocketAddrs for (&str, u16) {
    async fn to_socket_addrs(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        let (host, port) = *self;
        let known = host.parse().ok().map(|ip: IpAddr| (ip, port).into());
        look_up(known, move || (host.to_owned(), port)).await
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    async fn to_socket_addrs(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        (**self).to_socket_addrs().await
    }
}
