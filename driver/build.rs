//! Names the backends of this build: the cfgs `io_uring`, `readiness` and `sim`.
//!
//! They are made here and nowhere else; the code asks for them, never for a target.

use std::env::{var, var_os};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(io_uring, readiness, sim)");
    let linux = var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    let feature = |name: &str| var_os(format!("CARGO_FEATURE_{name}")).is_some();
    if linux && feature("IO_URING") {
        println!("cargo::rustc-cfg=io_uring");
    }
    if linux && feature("READINESS") {
        println!("cargo::rustc-cfg=readiness");
    }
    if linux && feature("SIM") {
        println!("cargo::rustc-cfg=sim");
    }
}
