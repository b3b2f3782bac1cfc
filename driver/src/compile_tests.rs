//! What must compile, and what must not: held by the compiler's verdict on these programs.
//!
//! # The shape that everything else stands on
//! A driver that was declared before an operation may still be there when the operation is moved
//! out: `Driver` has no destructor that mentions `'arena`. The element type of the queue is
//! inferred through `push_queue`, the pair's through the only `From` of a pair.
//!
//! ```
//! use completeio_driver::buf::IntoInner;
//! use completeio_driver::driver::{CompleteIo, Cwd, Driver, Entry};
//! use completeio_driver::op::ReadAt;
//! use std::collections::VecDeque;
//!
//! let mut driver = Driver::new().unwrap();
//! let mut op = ReadAt::new(Cwd, 0, Vec::with_capacity(16));
//! let mut ops = VecDeque::from([(&mut op, 0).into()]);
//! driver.push_queue(&mut ops);
//! // SAFETY: `op` is where it was; its entry comes out before it is touched.
//! unsafe { driver.submit(None, &mut None::<Entry>).unwrap() };
//! let _buffer: Vec<u8> = op.into_inner();
//! ```
//!
//! Operations may live shorter than the driver's variable, if nothing is asked of it any more:
//!
//! ```
//! # #![forbid(unsafe_code)]
//! use completeio_driver::driver::{CompleteIo, Cwd, Driver};
//! use completeio_driver::op::ReadAt;
//! use std::collections::VecDeque;
//!
//! let mut driver = Driver::new().unwrap();
//! let mut op = ReadAt::new(Cwd, 0, vec![0; 16]);
//! let mut ops = VecDeque::from([(&mut op, 0).into()]);
//! driver.push_queue(&mut ops);
//! drop(op); // The driver's drop forgets what was pushed without touching it.
//! ```
//!
//! Buffers need not be `'static`:
//!
//! ```
//! use completeio_driver::driver::{CompleteIo, Cwd, Driver};
//! use completeio_driver::op::ReadAt;
//!
//! let mut buffer = [0; 16];
//! let mut op = ReadAt::new(Cwd, 0, &mut buffer[..]);
//! let mut driver = Driver::new().unwrap();
//! driver.try_push(&mut op, 0).unwrap();
//! ```
//!
//! # What the borrow checker refuses
//! An operation is lent for all of `'arena`, so it cannot be lent twice:
//!
//! ```compile_fail,E0499
//! use completeio_driver::driver::{CompleteIo, Driver};
//! use completeio_driver::op::Nop;
//!
//! let mut op = Nop::new();
//! let mut driver = Driver::new().unwrap();
//! driver.try_push(&mut op, 0).unwrap();
//! driver.try_push(&mut op, 1).unwrap();
//! ```
//!
//! Nor touched, nor dropped, while the driver is still used:
//!
//! ```compile_fail,E0505
//! use completeio_driver::driver::{CompleteIo, Driver, Entry};
//! use completeio_driver::op::Nop;
//!
//! let mut op = Nop::new();
//! let mut driver = Driver::new().unwrap();
//! driver.try_push(&mut op, 0).unwrap();
//! drop(op);
//! // SAFETY: none: this must not compile.
//! unsafe { driver.submit(None, &mut None::<Entry>).unwrap() };
//! ```
//!
//! A stack operation cannot be pushed to a driver of `'static` operations:
//!
//! ```compile_fail,E0597
//! use completeio_driver::driver::{CompleteIo, Driver};
//! use completeio_driver::op::Nop;
//!
//! let driver: &'static mut Driver<'static> = Box::leak(Box::new(Driver::new().unwrap()));
//! let mut op = Nop::new();
//! driver.try_push(&mut op, 0).unwrap();
//! ```
//!
//! `submit` is unsafe, and nothing else that a batch needs:
//!
//! ```compile_fail,E0133
//! use completeio_driver::driver::{CompleteIo, Driver, Entry};
//! let mut driver = Driver::new().unwrap();
//! driver.submit(None, &mut None::<Entry>).unwrap();
//! ```
//!
//! Entries have no public constructor, and a borrowed descriptor cannot be closed:
//!
//! ```compile_fail,E0451
//! use completeio_driver::driver::Entry;
//! let entry = Entry { user_data: 0, result: 0, buffer: 0, flags: 0 };
//! ```
//! ```compile_fail,E0277
//! use completeio_driver::op::Close;
//! use std::os::fd::AsFd;
//! let close = Close::new(std::io::stdin().as_fd());
//! ```

mod safe;
