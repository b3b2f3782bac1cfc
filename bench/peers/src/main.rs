//! Other runtimes and drivers, on the work that `bench` measures. It starts this program by itself.

mod a10;
mod compio;
mod completeio;
mod glommio;
mod monoio;
mod tokio;
mod tokio_uring;

use bench::child::{self, Args, Outcome, TUNED};
use bench::work;
use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.split_first() {
        Some((command, args)) if command == child::COMMAND => work::main(args, by_peer),
        _ => {
            eprintln!("`cargo run --release -p bench` starts this program");
            ExitCode::FAILURE
        }
    }
}

fn by_peer(args: &Args) -> Result<Outcome, String> {
    let run = match args.peer.trim_end_matches(TUNED) {
        "a10" => work::run::<a10::A10>,
        "completeio-0.1" => work::run::<completeio::Completeio>,
        "compio-0.19" => work::run::<compio::v0_19::Compio>,
        "compio-0.20" => work::run::<compio::v0_20::Compio>,
        "glommio" => work::run::<glommio::Glommio>,
        "monoio" => work::run::<monoio::Monoio>,
        "tokio" => work::run::<tokio::Tokio>,
        "tokio-uring" => work::run::<tokio_uring::TokioUring>,
        unknown => return Err(format!("no peer {unknown:?}")),
    };
    run(args)
}
