//! Defects that are planted on purpose, to test the tests. `checks/src/planted.rs` lists them, with
//! what each does and which tests catch it.
//!
//! A build with `--cfg planted` has all of them, and the environment says which one is active. In
//! any other build `planted!` is `false`, and nothing is left of them.

/// Whether the defect of this name is active.
#[cfg(not(planted))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}

/// Whether the defect of this name is active.
#[cfg(planted)]
macro_rules! planted {
    ($name:literal) => {
        $crate::planted::is_active($name)
    };
}

/// Asks the environment, once.
#[cfg(planted)]
pub(crate) fn is_active(name: &str) -> bool {
    static ACTIVE: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    let active = ACTIVE.get_or_init(|| std::env::var_os("COMPLETEIO_PLANTED"));
    active.as_ref().is_some_and(|active| active == name)
}
