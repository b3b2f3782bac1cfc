//! Connections that come and go.

use super::text;
use crate::child::{Args, Outcome};
use crate::peer::{Listener, Peer};
use crate::server::{Listening, listen};
use std::io;

/// Accepts connections and closes them, until it is ended.
pub(super) fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let (Listening::Tcp(listener), ready) = listen(args)? else {
        return Err("it is measured on TCP".to_owned());
    };
    let accepted: io::Result<()> = P::block_on(args, async move {
        let listener = P::tcp(listener)?;
        ready.tell();
        loop {
            drop(listener.accept().await?);
        }
    })?;
    accepted.map_err(text)?;
    Ok(Outcome::new())
}
