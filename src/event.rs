//! Events: tasks and threads wait until something has happened that others tell them of.
//!
//! What has happened is in a variable of yours, and an [`Event`] tells that it has changed. It is
//! what locks, channels, semaphores and shutdown flags between tasks are made of, on one thread or
//! on several.
//!
//! ```
//! use completeio::{event::Event, task::block_on};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//!
//! let shared = Arc::new((AtomicBool::new(false), Event::new()));
//! let other = shared.clone();
//! let thread = std::thread::spawn(move || {
//!     other.0.store(true, Ordering::Release);
//!     other.1.notify_all();
//! });
//! let (stop, event) = &*shared;
//! block_on(event.wait_until(|| stop.load(Ordering::Acquire).then_some(())));
//! # thread.join().unwrap();
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Tells those who wait for it that something has changed, from any thread.
///
/// It remembers nothing: only those who [`listen`](Self::listen) already are told. So whoever waits
/// begins to listen, looks, and then waits; [`wait_until`](Self::wait_until) does it in that order.
/// A thing that was changed before a notification is seen changed by who was told.
///
/// Nobody who waits costs nobody who tells more than a fence. Who waits takes one allocation.
#[derive(Debug, Default)]
pub struct Event(event_listener::Event);

impl Event {
    /// Nobody listens.
    pub const fn new() -> Self {
        Self(event_listener::Event::new())
    }

    /// Listens from now on.
    pub fn listen(&self) -> EventListener {
        EventListener(self.0.listen())
    }

    /// Tells one of those who listen and were not told yet, the first of them.
    pub fn notify_one(&self) {
        self.0.notify_additional(1);
    }

    /// Tells all who listen now.
    pub fn notify_all(&self) {
        self.0.notify(usize::MAX);
    }

    /// Waits until `look` finds something: it looks at once, and whenever it is told.
    pub async fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            let listener = self.listen();
            if let Some(found) = look() {
                return found;
            }
            listener.await;
        }
    }
}

/// Ready when it was told: see [`Event::listen`].
///
/// If it is dropped when it was told by [`notify_one`](Event::notify_one), and nobody has seen it,
/// another one is told in its place.
#[derive(Debug)]
#[must_use = "it listens as long as it lives"]
pub struct EventListener(event_listener::EventListener);

impl EventListener {
    /// Blocks the thread until it was told: for threads without a runtime.
    pub fn wait(self) {
        event_listener::Listener::wait(self.0);
    }
}

impl Future for EventListener {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}
