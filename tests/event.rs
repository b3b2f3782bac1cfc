//! Events of the small runtime.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bounded, poll_once};
use completeio::event::Event;
use completeio::task::{block_on, spawn, yield_now};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;

#[test]
fn one_and_all_are_told() {
    block_on(async {
        let event = Event::new();
        event.notify_all();
        let mut listeners = [event.listen(), event.listen(), event.listen()];
        for listener in &mut listeners {
            assert!(
                poll_once(listener).await.is_pending(),
                "nothing is remembered"
            );
        }
        event.notify_one();
        event.notify_one();
        let mut told = [false; 3];
        for (listener, told) in listeners.iter_mut().zip(&mut told) {
            *told = poll_once(listener).await.is_ready();
        }
        assert_eq!(told, [true, true, false], "two, the first of them");
        let mut more = [event.listen(), event.listen()];
        event.notify_all();
        assert!(poll_once(&mut listeners[2]).await.is_ready());
        for listener in &mut more {
            assert!(poll_once(listener).await.is_ready());
        }
    });
}

#[test]
fn what_was_told_in_vain_goes_to_another() {
    block_on(async {
        let event = Event::default();
        let (dropped, mut other) = (event.listen(), event.listen());
        event.notify_one();
        assert!(poll_once(&mut other).await.is_pending());
        drop(dropped);
        assert_eq!(poll_once(&mut other).await, Poll::Ready(()));
    });
}

/// A lock of tasks: whoever has it yields, and tells one when it is free.
#[test]
fn tasks_of_one_thread() {
    bounded(|| {
        block_on(async {
            let shared = Rc::new((Cell::new(false), Event::new(), Cell::new(0)));
            let tasks: Vec<_> = (0..100)
                .map(|_| {
                    let shared = shared.clone();
                    spawn(async move {
                        let (taken, free, count) = &*shared;
                        free.wait_until(|| (!taken.replace(true)).then_some(()))
                            .await;
                        let before = count.get();
                        yield_now().await;
                        count.set(before + 1);
                        taken.set(false);
                        free.notify_one();
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(shared.2.get(), 100);
        });
    });
}

/// I14: threads and a runtime hand a number to each other: a notification that is lost is the last.
#[test]
fn threads_and_tasks() {
    const ROUNDS: usize = 20_000;
    bounded(|| {
        let shared = Arc::new((AtomicUsize::new(0), Event::new()));
        let odd = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (number, changed) = &*shared;
                for round in 0..ROUNDS {
                    while number.load(Ordering::Acquire) != 2 * round + 1 {
                        let listener = changed.listen();
                        if number.load(Ordering::Acquire) != 2 * round + 1 {
                            listener.wait();
                        }
                    }
                    number.store(2 * round + 2, Ordering::Release);
                    changed.notify_all();
                }
            })
        };
        block_on(async {
            let (number, changed) = &*shared;
            for round in 0..ROUNDS {
                let mine = || (number.load(Ordering::Acquire) == 2 * round).then_some(());
                changed.wait_until(mine).await;
                number.store(2 * round + 1, Ordering::Release);
                changed.notify_all();
            }
        });
        odd.join().unwrap();
    });
}
