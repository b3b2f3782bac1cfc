//! HTTP by hyper: a server, and a client.
//!
//! ```text
//! cargo run --release --features hyper --example http -- serve 127.0.0.1:8080
//! curl --data-binary @Cargo.toml http://127.0.0.1:8080/echo
//! cargo run --release --features hyper --example http -- get http://127.0.0.1:8080/
//! ```
//!
//! Shows `compat`: hyper's connections on this runtime's sockets, tasks and timers.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::compat::{HyperTimer, PollStream};
use completeio::net::{TcpListener, TcpStream};
use completeio::task::{block_on, spawn};
use completeio::time::{Duration, sleep};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri, client, header, server};
use std::convert::Infallible;
use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

const HELP: &str = "\
usage: http serve [--exit-after N] ADDRESS
       http get URL
Serves HTTP/1.1, or gets what a server has and writes it to the standard output.
  GET /             a greeting
  POST /echo        the body again
  --exit-after N    end when so many connections were closed
ADDRESS is one like 127.0.0.1:8080; port 0 takes a free one.
URL is one like http://127.0.0.1:8080/.";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut args = Args::new(HELP);
    let exit_after = args.value("--exit-after");
    let names: Vec<_> = args.names().into_iter().map(|n| n.into_string()).collect();
    let names: Vec<_> = names.iter().flatten().map(String::as_str).collect();
    let result = match names[..] {
        ["serve", address] => match address.parse() {
            Ok(address) => block_on(serve(address, exit_after)),
            Err(_) => common::wrong(format_args!("{address:?} is no address to listen on")),
        },
        ["get", url] => match url.parse() {
            Ok(url) => block_on(get(url)),
            Err(error) => common::wrong(format_args!("{url:?}: {error}")),
        },
        _ => common::wrong("http needs `serve` and an address, or `get` and a URL"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("http: {error}");
            ExitCode::FAILURE
        }
    }
}

// The server.

/// Accepts connections, and gives each to a task; waits for the tasks if there is an end.
async fn serve(address: SocketAddr, exit_after: Option<usize>) -> Result<()> {
    let listener = common::listen(address)?;
    println!("listening on {}", listener.local_addr()?);
    let listener = TcpListener::try_from(listener)?;
    let mut builder = server::conn::http1::Builder::new();
    builder.timer(HyperTimer);
    let mut tasks = Vec::new();
    while exit_after.is_none_or(|n| tasks.len() < n) {
        let (stream, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                // Too many open files, for instance: some are closed meanwhile.
                eprintln!("http: accept: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = builder.serve_connection(PollStream::from(stream), service_fn(answer));
        let task = spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("http: {peer}: {error}");
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

type Answer = Response<Either<Full<Bytes>, Incoming>>;

async fn answer(request: Request<Incoming>) -> std::result::Result<Answer, Infallible> {
    let text = |text| Response::new(Either::Left(Full::new(Bytes::from_static(text))));
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => text(b"hello from completeio\n"),
        // As it comes, whatever its size.
        (&Method::POST, "/echo") => Response::new(Either::Right(request.into_body())),
        _ => {
            let mut answer = text(b"there is no such thing here\n");
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer
        }
    })
}

// The client.

/// Writes what is at the URL to the standard output.
async fn get(url: Uri) -> Result<()> {
    let (Some("http"), Some(host)) = (url.scheme_str(), url.host()) else {
        return Err(format!("{url}: the URL is to begin with http:// and a host").into());
    };
    let authority = url.authority().expect("it has a host").to_string();
    let host = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80)))
        .await
        .map_err(|error| common::named(&authority, error))?;
    let (mut requests, connection) =
        client::conn::http1::handshake(PollStream::from(stream)).await?;
    let connection = spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .body(Empty::<Bytes>::new())?;
    let mut response = requests.send_request(request).await?;
    let mut out = io::stdout().lock();
    while let Some(frame) = response.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            out.write_all(&bytes)?;
        }
    }
    out.flush()?;
    if !response.status().is_success() {
        return Err(format!("{url}: {}", response.status()).into());
    }
    drop(requests);
    connection.await??;
    Ok(())
}
