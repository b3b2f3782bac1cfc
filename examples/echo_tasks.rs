//! A TCP echo server: a task for each connection.
//!
//! ```text
//! cargo run --release --example echo_tasks -- --listen 127.0.0.1:7777
//! ```
//!
//! Shows the runtime: a listener, tasks, and reads and writes that own their buffer and give it
//! back.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use completeio::net::{TcpListener, TcpStream};
use completeio::task::{block_on, spawn};
use completeio::time::{Duration, sleep};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

const HELP: &str = "\
usage: echo_tasks --listen ADDRESS [--exit-after N]
Echoes what TCP clients send, all of them at the same time.
  --listen ADDRESS  port 0 takes a free one
  --exit-after N    end when so many connections were closed";

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let address = args.value("--listen");
    let exit_after = args.value("--exit-after");
    args.end();
    let Some(address) = address else {
        common::wrong("echo_tasks needs --listen ADDRESS");
    };
    match block_on(serve(address, exit_after)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_tasks: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Accepts connections, and gives each to a task; waits for the tasks if there is an end.
async fn serve(address: SocketAddr, exit_after: Option<usize>) -> io::Result<()> {
    let listener = common::listen(address)?;
    println!("listening on {}", listener.local_addr()?);
    let listener = TcpListener::try_from(listener)?;
    let mut tasks = Vec::new();
    while exit_after.is_none_or(|n| tasks.len() < n) {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, for instance: some are closed meanwhile.
                eprintln!("echo_tasks: accept: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let task = spawn(echo(stream));
        if exit_after.is_some() {
            tasks.push(task);
        }
    }
    let (closed, mut failed) = (tasks.len(), 0);
    for task in tasks {
        if let Err(error) = task.await? {
            eprintln!("echo_tasks: a connection failed: {error}");
            failed += 1;
        }
    }
    println!("{closed} connections closed, {failed} failed");
    Ok(())
}

/// Sends back what it receives, until the client ends.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let (read, back) = stream.read(buffer).await;
        buffer = back;
        if read? == 0 {
            return stream.shutdown().await;
        }
        let (written, back) = stream.write_all(buffer).await;
        buffer = back;
        written?;
        buffer.clear();
    }
}
