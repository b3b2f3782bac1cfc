//! Cancellation that gives the buffers back.

use super::runtime::Inner;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::{fmt, future};

/// Cancels operations without dropping their futures, so that their buffers, and the bytes that
/// they have moved, are not lost.
///
/// Operations that are awaited inside of [`run`](Self::run) complete once it is cancelled: with
/// their own result if that was there first, else with `ECANCELED`. Those that begin after it are
/// not begun.
///
/// ```
/// use completeio::io::AsyncRead;
/// use completeio::net::{TcpListener, TcpStream};
/// use completeio::task::{CancelToken, block_on, spawn};
///
/// block_on(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let _client = TcpStream::connect(listener.local_addr()?).await?;
///     let (mut silent, _) = listener.accept().await?;
///     let token = CancelToken::new();
///     let reader = spawn({
///         let token = token.clone();
///         async move { token.run(silent.read([7; 16])).await }
///     });
///     token.cancel();
///     let (read, buffer) = reader.await?;
///     assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
///     assert_eq!(buffer, [7; 16]);
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CancelToken(Rc<State>);

#[derive(Default)]
struct State {
    cancelled: Cell<bool>,
    /// Of the operations that wait.
    wakers: RefCell<Slab<Waker>>,
}

impl CancelToken {
    /// One that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels what waits, and whatever begins.
    pub fn cancel(&self) {
        self.0.cancelled.set(true);
        let wakers = mem::take(&mut *self.0.wakers.borrow_mut());
        wake_all(&mut wakers.into_iter().map(|(_, waker)| waker));
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.get()
    }

    /// Awaits `future`, whose operations this token cancels. Of tokens inside of each other an
    /// operation obeys the innermost; tasks that the future spawns, and sleeps, obey none.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        future::poll_fn(|context| {
            let _entered = Entered::new(self.clone());
            future.as_mut().poll(context)
        })
        .await
    }
}

/// Wakes the others also when one panics, which is the user's code.
fn wake_all(wakers: &mut dyn Iterator<Item = Waker>) {
    struct Others<'w>(&'w mut dyn Iterator<Item = Waker>);

    impl Drop for Others<'_> {
        fn drop(&mut self) {
            self.0.for_each(Waker::wake);
        }
    }

    let others = Others(wakers);
    others.0.for_each(Waker::wake);
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// A token as the current one of its runtime, while a future is polled.
struct Entered {
    runtime: Rc<Inner>,
    before: Option<CancelToken>,
}

impl Entered {
    fn new(token: CancelToken) -> Self {
        let runtime = Inner::current();
        let before = runtime.token.replace(Some(token));
        Self { runtime, before }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.runtime.token.replace(self.before.take());
    }
}

/// The place of an operation among those that its token cancels.
#[derive(Default)]
pub(super) struct Listed(Option<(CancelToken, usize)>);

impl Listed {
    /// Whether the operation is to end; if it is not, whom to wake for that.
    #[inline]
    pub(super) fn poll(&mut self, runtime: &Inner, context: &mut Context<'_>) -> Poll<()> {
        if self.0.is_none() && runtime.token.borrow().is_none() {
            return Poll::Pending;
        }
        self.poll_token(runtime, context)
    }

    fn poll_token(&mut self, runtime: &Inner, context: &mut Context<'_>) -> Poll<()> {
        // The user may come back here from a waker: nothing is borrowed around one.
        let token = runtime.token.borrow().clone();
        let Some(token) = token else {
            self.leave();
            return Poll::Pending;
        };
        if token.is_cancelled() {
            self.leave();
            return Poll::Ready(());
        }
        let waker = context.waker();
        match &self.0 {
            Some((own, key)) if Rc::ptr_eq(&own.0, &token.0) => {
                let known = own
                    .0
                    .wakers
                    .borrow()
                    .get(*key)
                    .is_some_and(|w| w.will_wake(waker));
                if !known {
                    let waker = waker.clone();
                    let before = own
                        .0
                        .wakers
                        .borrow_mut()
                        .get_mut(*key)
                        .map(|w| mem::replace(w, waker));
                    drop(before);
                }
            }
            _ => {
                self.leave();
                let waker = waker.clone();
                let key = token.0.wakers.borrow_mut().insert(waker);
                self.0 = Some((token, key));
            }
        }
        if self
            .0
            .as_ref()
            .is_some_and(|(token, _)| token.is_cancelled())
        {
            self.leave(); // By the waker's clone.
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn leave(&mut self) {
        if let Some((token, key)) = self.0.take() {
            let waker = token.0.wakers.borrow_mut().try_remove(key);
            drop(waker);
        }
    }
}

impl Drop for Listed {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.leave();
        }
    }
}
