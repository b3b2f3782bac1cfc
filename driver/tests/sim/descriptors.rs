//! Numbers: of this host, of others, of nobody.

use crate::kit::{both, create, done, errno};
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Driver, Entry};
use completeio_driver::op::{Close, Op, OpObject, ReadAt, Recv, Send, WriteAt};
use completeio_driver::sim::{Faults, World};
use std::cell::RefCell;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;
use std::time::Duration;

/// What became of operations of the raw layer, all submitted at once, by their user data.
fn complete<'a, O: Op + 'a>(driver: &mut Driver<'a>, mut ops: Vec<O>) -> Vec<Result<usize, i32>> {
    let n = ops.len();
    for (i, op) in ops.iter_mut().enumerate() {
        // SAFETY: it outlives its last entry, which this function waits for.
        let op = unsafe { OpObject::from_ptr(NonNull::from(op), i) };
        driver.try_push_dyn(op).unwrap();
    }
    let mut results = vec![Err(0); n];
    let mut left = n;
    while left > 0 {
        let mut entries: Vec<Entry> = Vec::with_capacity(n);
        // SAFETY: as above.
        unsafe { driver.submit(None, &mut entries) }.unwrap();
        for entry in entries {
            left -= 1;
            results[entry.user_data()] = entry.raw_os_error().map_or(Ok(0), Err);
        }
    }
    results
}

/// A place that is closed twice at once is closed once, and so is what it was.
#[test]
fn a_fixed_descriptor_is_closed_once() {
    both(|world| {
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder().file_slots(4)).unwrap();
        let file = done(&mut driver, create(c"f"));
        let fixed = driver.register_fd(file.as_raw_fd(), 1).unwrap();
        let results = complete(&mut driver, vec![Close::new(fixed), Close::new(fixed)]);
        let closed = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(closed, 1, "{results:?}");
        assert!(results.contains(&Err(libc::EBADF)), "{results:?}");
        assert_eq!(world.open_descriptors(), 1);
        assert_eq!(done(&mut driver, WriteAt::new(file.as_fd(), 0, [1; 1])), 1);
        drop(file);
        assert_eq!(world.open_descriptors(), 0);
    });
}

/// A number that two closes name is closed by one of them; it may be anyone's by then.
#[test]
fn a_number_is_closed_once() {
    both(|world| {
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder()).unwrap();
        let file = done(&mut driver, create(c"f"));
        let fd = driver.attach(file.into_raw_fd()).unwrap();
        let results = complete(&mut driver, vec![Close::new(fd), Close::new(fd)]);
        let closed = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(closed, 1, "{results:?}");
        assert_eq!(world.open_descriptors(), 0);
    });
}

/// Neither a number of the real system nor one of another host is closed, or used.
#[test]
fn foreign_numbers_are_refused() {
    both(|world| {
        let [a, b] = ["a", "b"].map(|name| world.host(name));
        let mut driver = a.driver(Driver::builder().file_slots(2)).unwrap();
        let mut other = b.driver(Driver::builder()).unwrap();
        let (real, _end) = UnixStream::pair().unwrap();
        let foreign = done(&mut other, create(c"f"));
        for fd in [real.as_fd(), foreign.as_fd()] {
            assert_eq!(errno(&mut driver, ReadAt::new(fd, 0, [0; 1])), libc::EBADF);
            assert_eq!(errno(&mut driver, Recv::new(fd, [0; 1])), libc::EBADF);
            assert!(driver.register_fd(fd.as_raw_fd(), 0).is_err());
            assert!(driver.attach(fd.as_raw_fd()).is_err());
        }
        let taken = foreign.try_clone().unwrap();
        let number = taken.as_raw_fd();
        assert_eq!(errno(&mut driver, Close::new(taken)), libc::EBADF);
        // SAFETY: it is open, and nobody else has it: the operation gave it up.
        let taken = unsafe { OwnedFd::from_raw_fd(number) };
        assert!(taken.try_clone().is_ok(), "nobody has closed it");
        assert_eq!(
            done(&mut other, WriteAt::new(foreign.as_fd(), 0, [1; 1])),
            1
        );
    });
}

/// Some of several descriptors are wrong: none is registered, none is kept.
#[test]
fn a_registration_is_whole_or_not_at_all() {
    both(|world| {
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder().file_slots(4)).unwrap();
        let file = done(&mut driver, create(c"f"));
        let (real, _end) = UnixStream::pair().unwrap();
        let numbers = [file.as_raw_fd(), real.as_raw_fd()];
        assert!(driver.register_fds(&numbers, 0).is_err());
        assert!(driver.register_fds(&numbers[..1], 4).is_err());
        assert!(driver.register_fds(&numbers[..1], u32::MAX).is_err());
        assert!(driver.register_fds(&[file.as_raw_fd(); 5], 0).is_err());
        driver.register_fds(&[], 0).unwrap();
        driver.register_fds(&[file.as_raw_fd(); 4], 0).unwrap();
        drop(file);
        assert_eq!(world.open_descriptors(), 1, "the table keeps it");
        drop(driver);
        assert_eq!(world.open_descriptors(), 0);
    });
}

/// A pipe has no address.
#[test]
fn addresses_of_what_has_none() {
    let world = World::new(1, Faults::none());
    let mut driver = world.host("a").driver(Driver::builder()).unwrap();
    let (reader, _writer) = done(&mut driver, completeio_driver::op::Pipe::new());
    let file = done(&mut driver, create(c"f"));
    for fd in [&reader, &file] {
        for result in [world.local_address(fd), world.peer_address(fd)] {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
        }
    }
}

/// Whatever is dropped first.
#[test]
fn any_order_of_drops() {
    for order in 0..24 {
        let world = World::new(1, Faults::default());
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder()).unwrap();
        let file: OwnedFd = done(&mut driver, create(c"f"));
        let mut things: Vec<Option<Box<dyn std::any::Any>>> = vec![
            Some(Box::new(world)),
            Some(Box::new(host)),
            Some(Box::new(driver)),
            Some(Box::new(file)),
        ];
        let mut n = order;
        for left in (1..=4).rev() {
            let mut rest: Vec<usize> = (0..4).filter(|i| things[*i].is_some()).collect();
            let at = rest.remove(n % left);
            n /= left;
            things[at] = None;
        }
    }
    drop(World::new(1, Faults::none()));
}

/// A descriptor of an earlier world is nobody's in the next.
#[test]
fn descriptors_of_an_earlier_world() {
    let world = World::new(1, Faults::none());
    let old = done(
        &mut world.host("a").driver(Driver::builder()).unwrap(),
        create(c"f"),
    );
    drop(world);
    let world = World::new(1, Faults::none());
    let mut driver = world.host("a").driver(Driver::builder()).unwrap();
    let _new = done(&mut driver, create(c"f"));
    assert_eq!(
        errno(&mut driver, ReadAt::new(old.as_fd(), 0, [0; 1])),
        libc::EBADF
    );
    assert_eq!(
        world.local_address(&old).unwrap_err().raw_os_error(),
        Some(libc::EBADF)
    );
}

/// What is closed while it is in use lives until that is over; its number may be another's by then.
#[test]
fn a_number_that_is_reused_in_flight() {
    both(|world| {
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder()).unwrap();
        let (a, b) = host.socket_pair().unwrap();
        let mut recv = Recv::new(driver.attach(a.as_raw_fd()).unwrap(), [0; 4]);
        let mut entry: Option<Entry> = None;
        let mut receiver = host.driver(Driver::builder()).unwrap();
        receiver.try_push(&mut recv, 1).unwrap();
        // SAFETY: `recv` outlives the driver, and nobody touches it.
        unsafe { receiver.submit(Some(Duration::ZERO), &mut entry) }.unwrap();
        drop(a);
        let _others = host.socket_pair().unwrap();
        done(&mut driver, Send::new(b.as_fd(), [7; 4]));
        while entry.is_none() {
            // SAFETY: as above.
            unsafe { receiver.submit(None, &mut entry) }.unwrap();
        }
        assert!(entry.unwrap().into_result().unwrap() > 0);
    });
}

/// What is left to a thread's end.
#[test]
fn a_world_in_a_thread_local() {
    type Kept = (Driver<'static>, OwnedFd, World);
    thread_local! {
        static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
    }
    let thread = std::thread::spawn(|| {
        KEPT.with_borrow_mut(|_| {}); // Its destructor runs after those of what comes now.
        let world = World::new(1, Faults::default());
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        let file = done(&mut driver, create(c"f"));
        KEPT.set(Some((driver, file, world)));
    });
    thread.join().unwrap();
}

/// As the module's documentation has it.
#[test]
fn a_duplicate_is_not_known() {
    let world = World::new(1, Faults::none());
    let mut driver = world.host("a").driver(Driver::builder()).unwrap();
    let file = done(&mut driver, create(c"f"));
    let duplicate = file.try_clone().unwrap();
    assert_eq!(
        errno(&mut driver, ReadAt::new(duplicate.as_fd(), 0, [0; 1])),
        libc::EBADF
    );
    drop(file);
    assert_eq!(world.open_descriptors(), 1);
    drop(duplicate);
    assert_eq!(world.open_descriptors(), 0);
}
