//! What the safe layer must allow, and what it must refuse.
//!
//! A refusal by lifetimes has no error number, so that a typing error would pass for it. Such a
//! program stands beside its twin, which differs in that one thing and compiles.
//!
//! # Scopes
//! What is declared outside of the closure can be lent inside, also on a driver that lives for ever
//! and of whose operations it cannot be one:
//!
//! ```
//! # #![forbid(unsafe_code)]
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::Nop;
//!
//! let driver: &'static mut Driver<'static> = Box::leak(Box::new(Driver::new().unwrap()));
//! let mut op = Nop::new();
//! driver
//!     .scope(|s| {
//!         let (prepared, _ticket) = s.lend(&mut op, 0);
//!         s.try_push(prepared).unwrap();
//!     })
//!     .unwrap();
//! drop(op);
//! ```
//!
//! An operation or a buffer that is declared inside is gone before the scope has ended:
//!
//! ```compile_fail,E0597
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::Nop;
//!
//! let mut driver = Driver::new().unwrap();
//! driver
//!     .scope(|s| {
//!         let mut op = Nop::new();
//!         let (prepared, _ticket) = s.lend(&mut op, 0);
//!         s.try_push(prepared).unwrap();
//!     })
//!     .unwrap();
//! ```
//! ```compile_fail,E0597
//! use completeio_driver::driver::{Cwd, Driver};
//! use completeio_driver::op::ReadAt;
//!
//! let mut driver = Driver::new().unwrap();
//! driver
//!     .scope(|s| {
//!         let mut buffer = [0; 8];
//!         let _key = s.try_push_owned(ReadAt::new(Cwd, 0, &mut buffer[..]), 0).unwrap();
//!     })
//!     .unwrap();
//! ```
//!
//! So is a descriptor, which is borrowed too:
//!
//! ```compile_fail,E0597
//! use completeio_driver::driver::{AsFd, Driver};
//! use completeio_driver::op::ReadAt;
//! use std::fs::File;
//!
//! let mut buffer = [0; 8];
//! let mut driver = Driver::new().unwrap();
//! driver
//!     .scope(|s| {
//!         let file = File::open("Cargo.toml").unwrap();
//!         let op = ReadAt::new(file.as_fd(), 0, &mut buffer[..]);
//!         let _key = s.try_push_owned(op, 0).unwrap();
//!     })
//!     .unwrap();
//! ```
//!
//! What is lent is not touched, inside of the scope, whether or not it was pushed, until its ticket
//! gives it back:
//!
//! ```compile_fail,E0502
//! use completeio_driver::driver::{Cwd, Driver};
//! use completeio_driver::op::ReadAt;
//!
//! let mut op = ReadAt::new(Cwd, 0, [0; 8]);
//! let mut driver = Driver::new().unwrap();
//! driver
//!     .scope(|s| {
//!         let (prepared, _ticket) = s.lend(&mut op, 0);
//!         s.try_push(prepared).unwrap();
//!         println!("{:?}", op.buf());
//!     })
//!     .unwrap();
//! ```
//! ```compile_fail,E0499
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::Nop;
//!
//! let mut op = Nop::new();
//! let mut driver = Driver::new().unwrap();
//! driver
//!     .scope(|s| {
//!         let (_prepared, _ticket) = s.lend(&mut op, 0);
//!         let (_prepared, _ticket) = s.lend(&mut op, 1);
//!     })
//!     .unwrap();
//! ```
//!
//! The buffer of a lent operation neither:
//!
//! ```compile_fail,E0502
//! use completeio_driver::driver::{Cwd, Driver};
//! use completeio_driver::op::ReadAt;
//!
//! let mut buffer = [0; 8];
//! let mut op = ReadAt::new(Cwd, 0, &mut buffer[..]);
//! let mut driver = Driver::new().unwrap();
//! driver
//!     .scope(|s| {
//!         let (prepared, _ticket) = s.lend(&mut op, 0);
//!         s.try_push(prepared).unwrap();
//!         println!("{buffer:?}");
//!     })
//!     .unwrap();
//! ```
//!
//! A number that is no loan of a file cannot be lent:
//!
//! ```compile_fail,E0277
//! use completeio_driver::driver::{AsRawFd, CompleteIo, Driver};
//! use completeio_driver::op::ReadAt;
//! use std::fs::File;
//!
//! let mut driver = Driver::new().unwrap();
//! let file = File::open("Cargo.toml").unwrap();
//! let fd = driver.attach(file.as_raw_fd()).unwrap();
//! let mut op = ReadAt::new(fd, 0, [0; 8]);
//! driver.scope(|s| drop(s.lend(&mut op, 0))).unwrap();
//! ```
//!
//! The driver is the scope's while there is one:
//!
//! ```compile_fail,E0499
//! use completeio_driver::driver::Driver;
//!
//! let mut driver = Driver::new().unwrap();
//! driver.scope(|_| driver.scope(|_| ())).unwrap().unwrap();
//! ```
//!
//! # Tickets
//! A ticket is redeemed once, and so is a last completion:
//!
//! ```compile_fail,E0382
//! use completeio_driver::op::Nop;
//! use completeio_driver::scope::{Done, Ticket};
//!
//! fn twice<'s>(ticket: Ticket<'s, '_, Nop>, first: Done<'s>, second: Done<'s>) {
//!     let _ = ticket.redeem(first);
//!     let _ = ticket.redeem(second);
//! }
//! ```
//! ```compile_fail,E0382
//! use completeio_driver::op::Nop;
//! use completeio_driver::scope::{Done, Ticket};
//!
//! fn twice<'s>(a: Ticket<'s, '_, Nop>, b: Ticket<'s, '_, Nop>, done: Done<'s>) {
//!     let _ = a.redeem(done);
//!     let _ = b.redeem(done);
//! }
//! ```
//!
//! Neither is copied:
//!
//! ```compile_fail,E0599
//! fn twice(done: completeio_driver::scope::Done<'_>) {
//!     let _ = done.clone();
//! }
//! ```
//! ```compile_fail,E0599
//! use completeio_driver::{op::Nop, scope::Ticket};
//! fn twice(ticket: Ticket<'_, '_, Nop>) {
//!     let _ = ticket.clone();
//! }
//! ```
//! ```compile_fail,E0599
//! fn twice(prepared: completeio_driver::scope::Prepared<'_, '_>) {
//!     let _ = prepared.clone();
//! }
//! ```
//!
//! A completion that is not the last redeems nothing, nor does what was pushed:
//!
//! ```compile_fail,E0308
//! use completeio_driver::op::Nop;
//! use completeio_driver::scope::{More, Ticket};
//!
//! fn too_early<'s>(ticket: Ticket<'s, '_, Nop>, more: More) {
//!     let _ = ticket.redeem(more);
//! }
//! ```
//! ```compile_fail,E0382
//! use completeio_driver::op::Nop;
//! use completeio_driver::scope::{Prepared, Scope, Ticket};
//!
//! fn too_late<'s, 'env>(
//!     s: &mut Scope<'s, 'env>,
//!     prepared: Prepared<'s, 'env>,
//!     ticket: Ticket<'s, 'env, Nop>,
//! ) {
//!     let _ = s.try_push(prepared);
//!     let _ = ticket.take_back(prepared);
//! }
//! ```
//!
//! # What belongs to one scope
//! Two scopes at a time, of two drivers, each with what is its own:
//!
//! ```
//! # #![forbid(unsafe_code)]
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::Nop;
//!
//! let (mut one, mut other) = (Driver::new().unwrap(), Driver::new().unwrap());
//! let (mut a, mut b) = (Nop::new(), Nop::new());
//! one.scope(|s| {
//!     other.scope(|t| {
//!         let (of_s, _ticket) = s.lend(&mut a, 0);
//!         let (of_t, _ticket) = t.lend(&mut b, 0);
//!         s.try_push(of_s).unwrap();
//!         t.try_push(of_t).unwrap();
//!     })
//! })
//! .unwrap()
//! .unwrap();
//! ```
//!
//! Not what is the other's: a `Prepared`,
//!
//! ```compile_fail,E0521
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::Nop;
//!
//! let (mut one, mut other) = (Driver::new().unwrap(), Driver::new().unwrap());
//! let (mut a, mut b) = (Nop::new(), Nop::new());
//! one.scope(|s| {
//!     other.scope(|t| {
//!         let (of_s, _ticket) = s.lend(&mut a, 0);
//!         let (of_t, _ticket) = t.lend(&mut b, 0);
//!         s.try_push(of_t).unwrap();
//!         t.try_push(of_s).unwrap();
//!     })
//! })
//! .unwrap()
//! .unwrap();
//! ```
//!
//! a `Done`,
//!
//! ```
//! use completeio_driver::op::Nop;
//! use completeio_driver::scope::{Done, Ticket};
//!
//! fn its_own<'s, 't>(ticket: Ticket<'s, '_, Nop>, done: Done<'s>, _other: Done<'t>) {
//!     let _ = ticket.redeem(done);
//! }
//! ```
//! ```compile_fail
//! use completeio_driver::op::Nop;
//! use completeio_driver::scope::{Done, Ticket};
//!
//! fn its_own<'s, 't>(ticket: Ticket<'s, '_, Nop>, done: Done<'s>, _other: Done<'t>) {
//!     let _ = ticket.redeem(_other);
//! }
//! ```
//!
//! or the scope itself, also where one of the two lives longer:
//!
//! ```
//! use completeio_driver::scope::Scope;
//!
//! fn swapped<'s, 'env>(s: &mut Scope<'s, 'env>, t: &mut Scope<'s, 'env>) {
//!     std::mem::swap(s, t);
//! }
//! ```
//! ```compile_fail
//! use completeio_driver::scope::Scope;
//!
//! fn swapped<'s: 't, 't, 'env>(s: &mut Scope<'s, 'env>, t: &mut Scope<'t, 'env>) {
//!     std::mem::swap(s, t);
//! }
//! ```
//! ```compile_fail
//! use completeio_driver::scope::Scope;
//!
//! fn swapped<'s, 'env: 'other, 'other>(s: &mut Scope<'s, 'env>, t: &mut Scope<'s, 'other>) {
//!     std::mem::swap(s, t);
//! }
//! ```
//! ```compile_fail,E0521
//! use completeio_driver::driver::Driver;
//!
//! let (mut one, mut other) = (Driver::new().unwrap(), Driver::new().unwrap());
//! one.scope(|s| other.scope(|t| std::mem::swap(s, t))).unwrap().unwrap();
//! ```
//!
//! # What leaves a scope
//! The outputs may, and the operations:
//!
//! ```
//! # #![forbid(unsafe_code)]
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::Nop;
//! use completeio_driver::scope::Event;
//!
//! let mut op = Nop::new();
//! let mut driver = Driver::new().unwrap();
//! let (output, op): (_, &mut Nop) = driver
//!     .scope(|s| {
//!         let (prepared, ticket) = s.lend(&mut op, 0);
//!         s.try_push(prepared).unwrap();
//!         let mut event = None;
//!         s.submit(None, &mut event).unwrap();
//!         ticket.redeem(event.and_then(Event::done).unwrap()).unwrap()
//!     })
//!     .unwrap();
//! output.unwrap();
//! drop((driver, op));
//! ```
//!
//! A ticket, a `Prepared`, a key, a completion may not:
//!
//! ```compile_fail
//! # use completeio_driver::{driver::Driver, op::Nop, scope::Event};
//! # let mut op = Nop::new();
//! # let mut driver = Driver::new().unwrap();
//! let _ = driver.scope(|s| s.lend(&mut op, 0).1);
//! ```
//! ```compile_fail
//! # use completeio_driver::{driver::Driver, op::Nop, scope::Event};
//! # let mut op = Nop::new();
//! # let mut driver = Driver::new().unwrap();
//! let _ = driver.scope(|s| s.lend(&mut op, 0).0);
//! ```
//! ```compile_fail
//! # use completeio_driver::{driver::Driver, op::Nop, scope::Event};
//! # let mut driver = Driver::new().unwrap();
//! let _ = driver.scope(|s| s.try_push_owned(Nop::new(), 0).unwrap());
//! ```
//! ```compile_fail,E0521
//! # use completeio_driver::{driver::Driver, op::Nop, scope::Event};
//! # let mut driver = Driver::new().unwrap();
//! let mut event: Option<Event<'_>> = None;
//! driver.scope(|s| s.submit(None, &mut event)).unwrap();
//! ```
//!
//! Nor the scope, also not inside of a future, which somebody may forget:
//!
//! ```
//! # #![forbid(unsafe_code)]
//! use completeio_driver::driver::Driver;
//!
//! async fn within(driver: &mut Driver<'_>) -> usize {
//!     driver.scope(|s| s.in_flight()).unwrap()
//! }
//! ```
//! ```compile_fail
//! use completeio_driver::driver::Driver;
//!
//! async fn within(driver: &mut Driver<'_>) -> usize {
//!     driver.scope(|s| s).unwrap().in_flight()
//! }
//! ```
//! ```compile_fail
//! use completeio_driver::driver::Driver;
//!
//! async fn within(driver: &mut Driver<'_>) -> usize {
//!     driver.scope(|s| async { s.in_flight() }).unwrap().await
//! }
//! ```
//!
//! # Threads
//! All of a scope, and a key, stay on the driver's thread:
//!
//! ```compile_fail,E0277
//! # fn is_send<T: Send>() {}
//! is_send::<completeio_driver::scope::Scope<'_, '_>>();
//! ```
//! ```compile_fail,E0277
//! # fn is_send<T: Send>() {}
//! is_send::<completeio_driver::scope::Prepared<'_, '_>>();
//! ```
//! ```compile_fail,E0277
//! # fn is_send<T: Send>() {}
//! is_send::<completeio_driver::scope::Ticket<'_, '_, completeio_driver::op::Nop>>();
//! ```
//! ```compile_fail,E0277
//! # fn is_send<T: Send>() {}
//! is_send::<completeio_driver::scope::Done<'_>>();
//! ```
//! ```compile_fail,E0277
//! # fn is_send<T: Send>() {}
//! is_send::<completeio_driver::slots::Key<'_, completeio_driver::op::Nop>>();
//! ```
//! ```compile_fail,E0277
//! # fn is_sync<T: Sync>() {}
//! is_sync::<completeio_driver::scope::Scope<'_, '_>>();
//! ```
//! ```compile_fail,E0277
//! # fn is_sync<T: Sync>() {}
//! is_sync::<completeio_driver::scope::Ticket<'_, '_, completeio_driver::op::Nop>>();
//! ```
//! ```compile_fail,E0277
//! # fn is_sync<T: Sync>() {}
//! is_sync::<completeio_driver::slots::Key<'_, completeio_driver::op::Nop>>();
//! ```
//! ```compile_fail,E0277
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::Nop;
//!
//! let mut op = Nop::new();
//! let mut driver = Driver::new().unwrap();
//! driver
//!     .scope(|s| {
//!         let (_prepared, ticket) = s.lend(&mut op, 0);
//!         std::thread::scope(|threads| drop(threads.spawn(move || drop(ticket))));
//!     })
//!     .unwrap();
//! ```
//!
//! A `Remote` and its claims may change threads, if the operation may:
//!
//! ```
//! use completeio_driver::driver::OwnedFd;
//! use completeio_driver::op::Recv;
//! use completeio_driver::remote::{Pending, Remote};
//!
//! fn is_send_and_sync<T: Send + Sync>() {}
//! fn is_send<T: Send>() {}
//! is_send_and_sync::<Remote>();
//! is_send::<Pending<Recv<OwnedFd, Vec<u8>>>>();
//! ```
//! ```compile_fail,E0277
//! use completeio_driver::driver::OwnedFd;
//! use completeio_driver::op::Recv;
//! use completeio_driver::remote::Remote;
//! use std::rc::Rc;
//!
//! fn not_send(remote: &Remote, fd: Rc<OwnedFd>) {
//!     drop(remote.try_push(Recv::new(fd, [0; 8])));
//! }
//! ```
//! ```compile_fail,E0521
//! use completeio_driver::driver::OwnedFd;
//! use completeio_driver::op::Recv;
//! use completeio_driver::remote::Remote;
//!
//! fn borrowed(remote: &Remote, fd: OwnedFd, buffer: &mut [u8]) {
//!     drop(remote.try_push(Recv::new(fd, buffer)));
//! }
//! ```
//!
//! # Slots
//! An operation of the driver's own borrows nothing:
//!
//! ```compile_fail,E0597
//! use completeio_driver::driver::{Cwd, Driver};
//! use completeio_driver::op::ReadAt;
//!
//! let mut driver = Driver::new().unwrap();
//! let mut buffer = [0; 8];
//! let _key = driver.try_push_owned(ReadAt::new(Cwd, 0, &mut buffer[..]), 0).unwrap();
//! ```
//!
//! A key gives its operation up when it is redeemed, and is not copied:
//!
//! ```compile_fail,E0382
//! use completeio_driver::{op::Nop, slots::Key};
//! fn twice(key: Key<'_, Nop>) {
//!     let _ = key.redeem();
//!     let _ = key.redeem();
//! }
//! ```
//! ```compile_fail,E0599
//! use completeio_driver::{op::Nop, slots::Key};
//! fn twice(key: Key<'_, Nop>) {
//!     let _ = key.clone();
//! }
//! ```
//!
//! Of two directories, each is kept open: a bare number is refused in either place.
//!
//! ```
//! use completeio_driver::driver::{Cwd, Driver, OwnedFd};
//! use completeio_driver::op::Rename;
//!
//! fn owned(driver: &mut Driver<'_>, dir: OwnedFd) {
//!     let _ = driver.try_push_owned(Rename::new(Cwd, c"a", dir, c"b"), 0);
//! }
//! ```
//! ```compile_fail,E0277
//! use completeio_driver::driver::{Cwd, Driver, Fd};
//! use completeio_driver::op::Rename;
//!
//! fn owned(driver: &mut Driver<'_>, dir: Fd) {
//!     let _ = driver.try_push_owned(Rename::new(Cwd, c"a", dir, c"b"), 0);
//! }
//! ```
//! ```compile_fail,E0277
//! use completeio_driver::driver::{Cwd, Driver, Fd};
//! use completeio_driver::op::HardLink;
//!
//! fn owned(driver: &mut Driver<'_>, dir: Fd) {
//!     let _ = driver.try_push_owned(HardLink::new(dir, c"a", Cwd, c"b"), 0);
//! }
//! ```
//!
//! Nor are descriptors sent along that nobody keeps open:
//!
//! ```
//! use completeio_driver::ancillary::Outgoing;
//! use completeio_driver::driver::{Driver, OwnedFd};
//! use completeio_driver::op::SendMsg;
//!
//! fn owned(driver: &mut Driver<'_>, socket: OwnedFd, fd: OwnedFd) {
//!     let control = Outgoing::<24, _>::with_rights([fd]).unwrap();
//!     let _ = driver.try_push_owned(SendMsg::new(socket, ["x"], control), 0);
//! }
//! ```
//! ```compile_fail,E0277
//! use completeio_driver::ancillary::Outgoing;
//! use completeio_driver::driver::{Driver, Fd, OwnedFd};
//! use completeio_driver::op::SendMsg;
//!
//! fn owned(driver: &mut Driver<'_>, socket: OwnedFd, fd: Fd) {
//!     let control = Outgoing::<24, _>::with_rights([fd]).unwrap();
//!     let _ = driver.try_push_owned(SendMsg::new(socket, ["x"], control), 0);
//! }
//! ```
//!
//! What has an address that the kernel follows is none of a user's own: values of options, and
//! room for control data.
//!
//! ```compile_fail,E0277
//! #[derive(Clone, Copy)]
//! struct Value(*const u8);
//! impl completeio_driver::op::OptionValue for Value {}
//! ```
//! ```compile_fail,E0277
//! struct Room([u8; 64]);
//! impl completeio_driver::ancillary::ToFill for Room {}
//! ```
//!
//! One that is larger than a slot is refused while compiling, by a sentence that names both sizes:
//!
//! ```
//! use completeio_driver::driver::{Driver, OwnedFd};
//! use completeio_driver::op::Recv;
//!
//! fn fits(driver: &mut Driver<'_>, fd: OwnedFd) {
//!     let _ = driver.try_push_owned(Recv::new(fd, [0; 256]), 0);
//! }
//! fits as fn(&mut Driver<'_>, OwnedFd);
//! ```
//! ```compile_fail,E0080
//! use completeio_driver::driver::{Driver, OwnedFd};
//! use completeio_driver::op::Recv;
//!
//! fn fits(driver: &mut Driver<'_>, fd: OwnedFd) {
//!     let _ = driver.try_push_owned(Recv::new(fd, [0; 512]), 0);
//! }
//! fits as fn(&mut Driver<'_>, OwnedFd);
//! ```
//!
//! An operation comes back as the type that was pushed, no other that its own could pass for:
//!
//! ```
//! use completeio_driver::driver::BorrowedFd;
//! use completeio_driver::{op::Recv, remote::Pending, slots::Key};
//!
//! type Receive<'fd> = Recv<BorrowedFd<'fd>, Vec<u8>>;
//! fn key<'fd>(key: Key<'static, Receive<'fd>>) -> Key<'static, Receive<'fd>> {
//!     key
//! }
//! ```
//! ```compile_fail
//! use completeio_driver::driver::BorrowedFd;
//! use completeio_driver::{op::Recv, remote::Pending, slots::Key};
//!
//! type Receive<'fd> = Recv<BorrowedFd<'fd>, Vec<u8>>;
//! fn key<'fd>(key: Key<'static, Receive<'static>>) -> Key<'static, Receive<'fd>> {
//!     key
//! }
//! ```
//! ```compile_fail
//! use completeio_driver::driver::OwnedFd;
//! use completeio_driver::{op::Recv, remote::Pending};
//!
//! type Any = Pending<Recv<OwnedFd, Box<for<'a> fn(&'a u8)>>>;
//! type One = Pending<Recv<OwnedFd, Box<fn(&'static u8)>>>;
//! fn pending(pending: Any) -> One {
//!     pending
//! }
//! ```
