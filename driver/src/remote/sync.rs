//! What loom replaces.

#[cfg(loom)]
pub(super) use loom::{
    sync::{Mutex, MutexGuard},
    thread::{Thread, current, park},
};
#[cfg(not(loom))]
pub(super) use std::{
    sync::{Mutex, MutexGuard},
    thread::{Thread, current, park, park_timeout},
};

use std::sync::PoisonError;

/// Locks; for sections that leave everything whole, so that a panic in one is no reason to stop.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loom has no time.
#[cfg(loom)]
pub(super) fn park_timeout(_: std::time::Duration) {
    park();
}
