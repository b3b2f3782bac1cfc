//! Passes TCP connections on: what a client sends goes to another server, and what that answers
//! comes back.
//!
//! ```text
//! cargo run --release --example forward -- 127.0.0.1:8080 example.org:80
//! curl -H 'Host: example.org' http://127.0.0.1:8080/
//! ```
//!
//! Shows tasks, a name lookup on the pool for what blocks, and `copy_bidirectional`, which passes
//! the end of one direction on and lets the other one go on.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::io::copy_bidirectional;
use completeio::net::{TcpListener, TcpStream, lookup_host};
use completeio::task::{block_on, spawn};
use completeio::time::{Duration, sleep};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

const HELP: &str = "\
usage: forward [--exit-after N] LISTEN UPSTREAM
Passes TCP connections to LISTEN on to UPSTREAM, all of them at the same time.
Both are addresses like 127.0.0.1:8080; UPSTREAM may be a name, like example.org:80,
and port 0 of LISTEN takes a free one.
  --exit-after N    end when so many connections were closed";

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let exit_after = args.value("--exit-after");
    let names: Vec<_> = args.names().into_iter().map(|n| n.into_string()).collect();
    let [Ok(listen), Ok(upstream)] = &names[..] else {
        common::wrong("forward needs two addresses, LISTEN and UPSTREAM");
    };
    let Ok(listen) = listen.parse() else {
        common::wrong(format_args!("{listen:?} is no address to listen on"));
    };
    match block_on(serve(listen, upstream.clone(), exit_after)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Accepts connections, and gives each to a task; waits for the tasks if there is an end.
async fn serve(listen: SocketAddr, upstream: String, exit_after: Option<usize>) -> io::Result<()> {
    let addresses: Vec<_> = lookup_host(&upstream)
        .await
        .map_err(|error| common::named(&upstream, error))?
        .collect();
    let upstream = Rc::new((upstream, addresses));
    let listener = common::listen(listen)?;
    println!("listening on {}", listener.local_addr()?);
    let listener = TcpListener::try_from(listener)?;
    let mut tasks = Vec::new();
    let mut accepted = 0;
    while exit_after.is_none_or(|n| accepted < n) {
        let (client, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Too many open files, for instance: some are closed meanwhile.
                eprintln!("forward: accept: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        accepted += 1;
        let upstream = upstream.clone();
        let task = spawn(async move {
            match relay(&client, &upstream).await {
                Ok((up, down)) => println!("{peer}: {up} bytes up, {down} bytes down"),
                Err(error) => eprintln!("forward: {peer}: {error}"),
            }
        });
        if exit_after.is_some() {
            tasks.push(task);
        }
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

/// Serves one client. Returns how many bytes went to the server, and to the client.
async fn relay(
    client: &TcpStream,
    (upstream, addresses): &(String, Vec<SocketAddr>),
) -> io::Result<(u64, u64)> {
    let server = TcpStream::connect(&addresses[..])
        .await
        .map_err(|error| common::named(upstream, error))?;
    copy_bidirectional(client, &server).await
}
