//! Connections that come and go.

use super::text;
use bench::child::{Args, Outcome};
use bench::server::{Listening, listen};
use completeio_driver::driver::{AsFd, Builder};
use completeio_driver::op::Accept;
use completeio_driver::scope::Event;

/// One accept after the other in a scope, until it is ended; what was accepted is closed.
pub(super) fn run(builder: Builder, args: &Args) -> Result<Outcome, String> {
    let (Listening::Tcp(listener), ready) = listen(args)? else {
        return Err("it is measured on TCP".to_owned());
    };
    let mut op = Accept::new(listener.as_fd());
    let mut driver = builder.build().map_err(text)?;
    ready.tell();
    let ended = driver.scope(|s| {
        let mut op = &mut op;
        loop {
            let Ok(ticket) = s.try_lend(op, 0) else {
                unreachable!("there is one only")
            };
            let mut event = None;
            if let Err(error) = s.submit(None, &mut event) {
                return error;
            }
            let done = event
                .and_then(Event::done)
                .expect("it waits, and completes once");
            let Ok((accepted, back)) = ticket.redeem(done) else {
                unreachable!("there is one only")
            };
            match accepted {
                Ok(accepted) => drop(accepted),
                Err(error) => return error,
            }
            op = back;
        }
    });
    Err(ended.map_err(text)?.to_string())
}
