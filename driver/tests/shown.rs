//! What values show of themselves, what errors advise, and what is given back from operations that
//! were never pushed.
#![allow(clippy::unwrap_used, reason = "tests")]

use completeio_driver::buf::{Aligned, AlignedError, IntoInner};
use completeio_driver::driver::{
    Backend, Choice, CompleteIo, Cwd, Driver, Entry, FixedFd, Full, Refusal, SetupError,
};
use completeio_driver::op::{
    Deadline, Exact, GetPathXattr, GetSockOpt, GetXattr, MakeDir, Nop, Poll, PollEvents, Recv,
    Rename, SetSockOpt, SockOpt, Stat, StatAt, Symlink, Unlink,
};
use completeio_driver::scope::{Event, ScopeError};
use completeio_driver::sink;
use std::error::Error;
use std::ffi::CString;
use std::fmt::Debug;
use std::io;

fn fixed() -> FixedFd {
    FixedFd::from_id(3)
}

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}

/// What an error advises, and what becomes of it as an `io::Error`.
#[test]
fn errors_of_the_set_up() {
    const DENIED: i32 = if cfg!(windows) { 5 } else { 1 };
    let os = || io::Error::from_raw_os_error(DENIED);
    let limit = SetupError::Limit {
        option: "entries",
        value: 0,
        min: 1,
        max: 9,
    };
    let call = SetupError::Os {
        call: "socketpair",
        source: os(),
    };
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    let expected = [
        (
            limit,
            "`entries` is 0; it must lie between 1 and 9",
            InvalidInput,
        ),
        (
            SetupError::UnknownBackend("kqeue".into()),
            "no backend `kqeue`",
            InvalidInput,
        ),
        (SetupError::NotCompiled(None), "has no backend", Unsupported),
        (
            SetupError::NotCompiled(Some(Backend::IoUring)),
            "`io_uring` is not in",
            Unsupported,
        ),
        (
            SetupError::KernelTooOld(os()),
            "needs Linux 6.1",
            Unsupported,
        ),
        (
            SetupError::DisabledBySysctl(os()),
            "io_uring_disabled",
            PermissionDenied,
        ),
        (
            SetupError::DeniedBySeccomp(os()),
            "allow io_uring_setup",
            PermissionDenied,
        ),
        (
            SetupError::LockedMemory(os()),
            "`ulimit -l`",
            PermissionDenied,
        ),
        (SetupError::OpenFiles(os()), "`ulimit -n`", PermissionDenied),
        (call, "socketpair failed: ", PermissionDenied),
    ];
    for (n, (error, advice, kind)) in expected.into_iter().enumerate() {
        let text = error.to_string();
        assert!(text.contains(advice), "{text}");
        assert_eq!(error.is_restricted(), (4..8).contains(&n), "{text}");
        let source = error.source().map(ToString::to_string);
        assert_eq!(source, (n >= 4).then(|| os().to_string()), "{text}");
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (kind, text));
    }
}

#[test]
fn errors_of_the_queue_and_of_arguments() {
    let advice = [
        (Refusal::Offset, "i64::MAX"),
        (Refusal::UserData, "61 bits"),
        (Refusal::FixedDescriptor, "a plain descriptor"),
        (Refusal::Unsupported, "no such operation"),
        (Refusal::Flags, "no such flag"),
        (Refusal::Closed, "pushed before"),
    ];
    for (refusal, advice) in advice {
        assert!(refusal.to_string().contains(advice), "{refusal}");
    }
    let mut driver = Driver::builder().entries(1).build().unwrap();
    let (mut first, mut second) = (Nop::new(), Nop::new());
    driver.try_push(&mut first, 0).unwrap();
    let full: Full<&mut Nop> = driver.try_push(&mut second, 0).unwrap_err();
    assert!(full.to_string().contains("the queue is full"), "{full}");
    assert_eq!(shown(&full), "Full(..)");

    let refused = driver.scope(|_| ()).unwrap_err();
    assert_eq!(refused, ScopeError::RawInFlight(1));
    assert!(
        refused.to_string().starts_with("1 raw operations"),
        "{refused}"
    );
    assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::ResourceBusy);
    let child = ScopeError::ForkedChild;
    assert!(child.to_string().contains("has forked"), "{child}");
    assert_eq!(io::Error::from(child).kind(), io::ErrorKind::Unsupported);
}

#[test]
fn the_choice_of_a_backend() {
    let driver = Driver::new().unwrap();
    let report = driver.capabilities().to_string();
    assert!(
        report.starts_with(&format!("backend: {} (", driver.backend())),
        "{report}"
    );
    assert!(report.contains("\n  Nop: "), "{report}");
    let why = match driver.capabilities().choice {
        Choice::Default => "(the first choice of this platform)",
        Choice::Environment => "(asked for by COMPLETEIO_BACKEND)",
        Choice::Fallback(_) => "(the first choice is not to be had: ",
        ref other => panic!("{other:?}"),
    };
    assert!(report.contains(why), "{report}");
    assert!(shown(&driver).starts_with("Driver"), "{driver:?}");
}

#[test]
fn what_is_lent_and_owned() {
    let mut driver = Driver::builder().entries(4).slots(1).build().unwrap();
    let mut op = Nop::new();
    assert_eq!(shown(&op), "Nop { head: OpHead { .. } }");
    let key = driver.try_push_owned(Nop::new(), 5).unwrap();
    assert_eq!(shown(&key), "Key { index: 0, generation: 0, .. }");
    driver
        .scope(|scope| {
            let (prepared, ticket) = scope.lend(&mut op, 7);
            assert_eq!(shown(&prepared), "Prepared { token: 7, .. }");
            assert!(shown(&ticket).starts_with("Ticket { op: 0x"), "{ticket:?}");
            scope.try_push(prepared).unwrap();
            assert_eq!(shown(&scope), "Scope { in_flight: 2, .. }");
            let mut event = None;
            while event.is_none() {
                scope.submit(None, &mut event).unwrap();
            }
            let event = event.unwrap();
            assert_eq!(event.token(), 7);
            let Event::Done(done) = event else {
                panic!("{event:?}")
            };
            let entry = "Entry { user_data: 7, result: Ok(0), more: false, buffer: None }";
            assert_eq!(shown(&done), format!("Done {{ entry: {entry} }}"));
            ticket.redeem(done).unwrap().0.unwrap();
        })
        .unwrap();
    let mut sink = sink::bounded(3, |_: Entry| ());
    assert_eq!(shown(&sink), "Bounded { room: 3, .. }");
    while !key.is_done() {
        // SAFETY: nothing of the raw layer is pushed.
        unsafe { driver.submit(None, &mut sink) }.unwrap();
    }
    key.redeem().unwrap().0.unwrap();
}

#[test]
fn events_of_a_poll() {
    let both = PollEvents::READABLE | PollEvents::HANG_UP;
    assert_eq!(shown(both), "PollEvents(READABLE | HANG_UP)");
    assert_eq!(shown(PollEvents::NONE), "PollEvents(0x0)");
    let mut odd = PollEvents::from_bits(0x4000);
    assert_eq!(shown(odd), "PollEvents(0x4000)");
    odd |= PollEvents::WRITABLE;
    assert_eq!(shown(odd), "PollEvents(WRITABLE | 0x4000)");
    assert!(both.intersects(PollEvents::HANG_UP | PollEvents::ERROR));
    assert!(!both.intersects(odd));
    assert_eq!(Poll::new(fixed(), both).into_inner(), fixed());
}

// Elsewhere fewer kinds are known.
#[cfg(target_os = "linux")]
#[test]
fn control_data() {
    use completeio_driver::ancillary::{Credentials, Incoming, NoRoom, Outgoing, space};
    use completeio_driver::op::RecvMsg;
    const ROOM: usize = space(12);
    let mut incoming = Incoming::<ROOM>::default();
    assert_eq!(shown(&incoming), format!("Incoming {{ room: {ROOM} }}"));
    assert_eq!(
        shown(incoming.messages()),
        format!("Messages {{ bytes: {:?} }}", [0; ROOM])
    );
    let mut outgoing = Outgoing::<ROOM>::default();
    assert_eq!(
        shown(&outgoing),
        format!("Outgoing {{ room: {ROOM}, len: 0, .. }}")
    );
    let who = Credentials {
        pid: 1,
        uid: 2,
        gid: 3,
    };
    outgoing.credentials(who).unwrap();
    let full: NoRoom = outgoing.segment_size(9).unwrap_err();
    assert!(full.to_string().contains("`space` says"), "{full}");
    let sent = Outgoing::<{ space(8) }, _>::with_rights([Cwd, Cwd]).unwrap();
    assert_eq!(sent.rights().len(), 2);
    let op = RecvMsg::new(Cwd, [[0; 3]], Box::new(incoming));
    assert_eq!(op.fd().to_owned(), Cwd);
    assert_eq!(shown(op.control()), format!("Incoming {{ room: {ROOM} }}"));
    assert_eq!(op.into_inner(), [[0; 3]]);
}

#[test]
fn aligned_memory() {
    let mut memory = Aligned::new(10, 8);
    memory.set_len(3);
    memory[1] = 7;
    assert_eq!(*memory, [0, 7, 0]);
    assert_eq!(
        shown(&memory),
        "Aligned { len: 3, capacity: 10, align: 8, .. }"
    );
    memory.clear();
    assert!(memory.is_empty());
    assert_eq!(memory.capacity(), 10);
    let odd = Aligned::try_new(1, 3).unwrap_err();
    assert!(odd.to_string().ends_with("no power of two"), "{odd}");
    let large = Aligned::try_new(usize::MAX, 8).unwrap_err();
    assert!(large.to_string().ends_with("too large"), "{large}");
    let missing = AlignedError::OutOfMemory {
        capacity: 1,
        align: 2,
    };
    assert_eq!(
        missing.to_string(),
        "no memory of 1 bytes at a multiple of 2"
    );
    let refused = std::panic::catch_unwind(|| Aligned::new(1, 3)).unwrap_err();
    assert_eq!(refused.downcast_ref::<String>(), Some(&odd.to_string()));
}

#[test]
fn what_was_never_pushed_comes_back() {
    let name = |text: &str| CString::new(text).unwrap();
    let (a, b) = (name("a"), name("b"));
    assert_eq!(Stat::new(fixed()).into_inner(), fixed());
    assert_eq!(StatAt::new(Cwd, a.clone()).into_inner(), (Cwd, a.clone()));
    assert_eq!(
        MakeDir::new(Cwd, a.clone(), 0).into_inner(),
        (Cwd, a.clone())
    );
    assert_eq!(Unlink::file(Cwd, a.clone()).into_inner(), (Cwd, a.clone()));
    let rename = Rename::new(Cwd, a.clone(), fixed(), b.clone());
    assert_eq!(rename.into_inner(), (Cwd, a.clone(), fixed(), b.clone()));
    let link = Symlink::new(a.clone(), Cwd, b.clone());
    assert_eq!(link.into_inner(), (a.clone(), Cwd, b.clone()));
    let get = GetXattr::new(fixed(), a.clone(), vec![1]);
    assert_eq!(get.into_inner(), (fixed(), a.clone(), vec![1]));
    let get = GetPathXattr::new(a.clone(), b.clone(), vec![1]);
    assert_eq!(get.into_inner(), (a, b, vec![1]));
    let limited = Deadline::after(
        Exact::new(Recv::new(fixed(), [1; 4])),
        std::time::Duration::MAX,
    );
    assert_eq!(limited.into_inner().into_inner(), [1; 4]);

    let option = SockOpt::REUSE_ADDR;
    #[cfg(unix)]
    assert_eq!(
        (option.level(), option.name()),
        (libc::SOL_SOCKET, libc::SO_REUSEADDR)
    );
    let text = format!(
        "SockOpt {{ level: {}, name: {} }}",
        option.level(),
        option.name()
    );
    assert_eq!(shown(option), text);
    let set = SetSockOpt::new(Cwd, option, true);
    assert_eq!(
        shown(&set),
        format!("SetSockOpt {{ fd: Cwd, option: {text}, .. }}")
    );
    assert_eq!(set.into_inner(), Cwd);
    let get = GetSockOpt::new(Cwd, option);
    assert_eq!(
        shown(&get),
        format!("GetSockOpt {{ fd: Cwd, option: {text}, .. }}")
    );
    assert_eq!(get.into_inner(), Cwd);
}
