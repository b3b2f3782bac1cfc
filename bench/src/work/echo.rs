//! Echo: a task for each connection, which has one buffer.

use super::text;
use crate::alloc::allocations;
use crate::child::{Args, Outcome};
use crate::peer::{Listener, Peer, Stream};
use crate::server::{Listening, listen};
use std::io;

/// Serves `connections=N`, with buffers of `buffer=BYTES`, until they are closed.
pub(super) fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let (connections, room) = (args.need("connections")?, args.need("buffer")?);
    let (listening, ready) = listen(args)?;
    let served = P::block_on(args, async move {
        match listening {
            Listening::Tcp(listener) => {
                let listener = P::tcp(listener)?;
                ready.tell();
                serve::<P, _>(listener, connections, room).await
            }
            Listening::Unix(listener) => {
                let listener = P::unix(listener)?;
                ready.tell();
                serve::<P, _>(listener, connections, room).await
            }
        }
    });
    served?.map_err(text)?;
    Ok([("allocations".to_owned(), allocations() as f64)].into())
}

async fn serve<P: Peer, L: Listener<P>>(
    listener: L,
    connections: usize,
    room: usize,
) -> io::Result<()> {
    let mut tasks = Vec::with_capacity(connections);
    for _ in 0..connections {
        tasks.push(P::spawn(echo::<P>(listener.accept().await?, room)));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

async fn echo<P>(mut stream: impl Stream<P>, room: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(room);
    loop {
        let (read, back) = stream.read(buffer).await;
        match read {
            Ok(0) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            read => read?,
        };
        let (written, back) = stream.write_all(back).await;
        written?;
        buffer = back;
    }
}
