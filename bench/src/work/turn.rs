//! A server's turn alone, its requests ready.

use super::text;
use crate::child::{Args, Outcome};
use crate::peer::{Listener, Peer, Stream};
use crate::server::{TURN_ROOM, Turns};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Serves the requests of its own clients.
pub(super) fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let (mut turns, listener) = Turns::new(args)?;
    let turns: io::Result<Turns> = P::block_on(args, async move {
        let listener = P::tcp(listener)?;
        let answers = Rc::new(Answers::default());
        let mut tasks = Vec::with_capacity(turns.requests());
        for _ in 0..turns.requests() {
            let stream = listener.accept().await?;
            tasks.push(P::spawn(echo::<P>(stream, answers.clone())));
        }
        while turns.begin()? {
            answers.wait(turns.requests()).await;
            turns.end()?;
        }
        Ok(turns)
    })?;
    turns.map_err(text)?.outcome()
}

async fn echo<P>(mut stream: impl Stream<P>, answers: Rc<Answers>) {
    let mut buffer = Vec::with_capacity(TURN_ROOM);
    loop {
        let (read, back) = stream.read(buffer).await;
        if !matches!(read, Ok(1..)) {
            return;
        }
        let (written, back) = stream.write_all(back).await;
        if written.is_err() {
            return;
        }
        answers.one_more();
        buffer = back;
    }
}

/// Counts the answers of a turn.
#[derive(Default)]
struct Answers {
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Answers {
    async fn wait(&self, answers: usize) {
        self.left.set(answers);
        poll_fn(|context| match self.left.get() {
            0 => Poll::Ready(()),
            _ => {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await;
    }

    fn one_more(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}
