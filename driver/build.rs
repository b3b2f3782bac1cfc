//! Names the backends of this build: the cfgs `io_uring`, `readiness`, `iocp` and `sim`; and the
//! selector of `readiness`: `epoll` or `kqueue`.
//!
//! They are made here and nowhere else; the code asks for them, never for a target. The cfg
//! `libkqueue`, given by hand, puts a library in the place of epoll on Linux, to test what stands
//! on kqueue: it is looked for in `LIBKQUEUE_DIR` too.

use std::env::{var, var_os};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBKQUEUE_DIR");
    println!("cargo::rustc-check-cfg=cfg(io_uring, readiness, iocp, sim, epoll, kqueue)");
    let os = var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let feature = |name: &str| var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let has_kqueue = matches!(
        os.as_str(),
        "macos" | "ios" | "freebsd" | "netbsd" | "openbsd" | "dragonfly"
    );
    let stands_in = var_os("CARGO_CFG_LIBKQUEUE").is_some();
    let linux = os == "linux";
    if linux && !stands_in && feature("IO_URING") {
        println!("cargo::rustc-cfg=io_uring");
    }
    if linux && !stands_in && feature("SIM") {
        println!("cargo::rustc-cfg=sim");
    }
    if os == "windows" {
        println!("cargo::rustc-cfg=iocp");
    }
    if !feature("READINESS") {
        return;
    }
    if has_kqueue || stands_in {
        println!("cargo::rustc-cfg=readiness");
        println!("cargo::rustc-cfg=kqueue");
    } else if linux {
        println!("cargo::rustc-cfg=readiness");
        println!("cargo::rustc-cfg=epoll");
    }
    if stands_in {
        println!("cargo::rustc-link-lib=dylib=kqueue");
        if let Ok(dir) = var("LIBKQUEUE_DIR") {
            println!("cargo::rustc-link-search=native={dir}");
        }
    }
}
