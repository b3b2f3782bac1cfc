//! What many programs run on where io_uring is not: tokio on one thread, a task for each connection.

use crate::echo::{BUFFER_BYTES, Gauge, Served};
use std::io;
use std::net;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

/// Sends back what comes on each socket, until all are closed by their peers.
pub(crate) fn echo(sockets: &[OwnedFd], gauge: &Gauge) -> io::Result<Served> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut tasks = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let socket = net::TcpStream::from(socket.try_clone()?);
            socket.set_nonblocking(true)?;
            let socket = TcpStream::from_std(socket)?;
            tasks.push(tokio::spawn(serve(socket, gauge.clone())));
        }
        let mut requests = 0;
        for task in tasks {
            requests += task.await.map_err(io::Error::other)??;
        }
        Ok(Served {
            requests,
            enters: None,
        })
    })
}

/// Serves one connection; returns the number of its requests.
async fn serve(mut socket: TcpStream, gauge: Gauge) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut requests = 0;
    loop {
        let received = match socket.read(&mut buffer).await {
            Ok(0) => return Ok(requests),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(requests),
            received => received?,
        };
        socket.write_all(&buffer[..received]).await?;
        requests += 1;
        gauge.show_one_more();
    }
}
