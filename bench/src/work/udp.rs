//! Echo of datagrams: one socket, one at a time.

use super::text;
use crate::child::{Args, Outcome};
use crate::peer::{Datagrams, Peer};
use crate::server;
use std::io;

/// Serves until it is ended.
pub(super) fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let room = args.need("buffer")?;
    let (socket, ready) = server::udp()?;
    let served: io::Result<()> = P::block_on(args, async move {
        let socket = P::udp(socket)?;
        ready.tell();
        let mut buffer = Vec::with_capacity(room);
        loop {
            let (from, back) = socket.receive(buffer).await;
            let (sent, back) = socket.send(back, from?).await;
            sent?;
            buffer = back;
        }
    })?;
    served.map_err(text)?;
    Ok(Outcome::new())
}
