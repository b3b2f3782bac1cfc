//! What a sequence is made of, and how it is drawn.
//!
//! A step names descriptors by what they are and a number, never by their own numbers: the three
//! ways have different ones, and a step that is left over by shrinking still finds some.

use proptest::prelude::*;
use proptest::sample::select;
use std::fmt;

/// A descriptor among those that were made so far.
#[derive(Clone, Copy)]
pub(crate) struct Pick {
    pub(crate) class: Class,
    pub(crate) n: u8,
}

impl fmt::Debug for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.class, self.n)
    }
}

/// Which ones a pick counts; all of them, if there is none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Root,
    File,
    Pipe,
    Socket,
    Any,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) truncate: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) custom: i32,
    pub(crate) mode: u32,
}

/// By which operation bytes are moved.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Door {
    At { offset: u64, flags: i32 },
    Stream,
    Socket { flags: i32 },
}

/// How many bytes, in how many buffers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    Whole(usize),
    /// Their lengths run through `0..=each`, beginning with `each`.
    Parts {
        count: usize,
        each: usize,
    },
}

impl Extent {
    /// The length of each buffer.
    pub(crate) fn lens(self) -> Vec<usize> {
        match self {
            Self::Whole(len) => vec![len],
            Self::Parts { count, each } => (0..count).map(|n| (n + each) % (each + 1)).collect(),
        }
    }
}

/// A read or a write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    pub(crate) fd: Pick,
    pub(crate) write: bool,
    pub(crate) door: Door,
    pub(crate) extent: Extent,
    pub(crate) exact: bool,
    /// What the bytes of a write are made of.
    pub(crate) seed: u8,
}

impl Move {
    pub(crate) fn len(&self) -> usize {
        self.extent.lens().iter().sum()
    }

    /// The memory: the bytes of a write, or a room with something in it.
    pub(crate) fn room(&self) -> Vec<u8> {
        let seed = usize::from(self.seed);
        let byte = |n: usize| (seed + n + (n >> 8)).to_le_bytes()[0];
        (0..self.len())
            .map(|n| if self.write { byte(n) } else { 0xa5 })
            .collect()
    }

    /// Whether it waits where it would block. What has no position does, unless it is told not to.
    pub(crate) fn may_wait(&self) -> bool {
        match self.door {
            Door::At { .. } => false,
            Door::Stream => true,
            Door::Socket { flags } => flags & libc::MSG_DONTWAIT == 0,
        }
    }
}

/// Two connected sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    Unix,
    Datagrams,
    Packets,
    Tcp,
}

/// A file with attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    Fd(Pick),
    Path(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Open {
        dir: Pick,
        path: &'static str,
        how: How,
    },
    Pipe {
        packets: bool,
    },
    Pair(Pair),
    Close {
        fd: Pick,
    },
    Move(Move),
    Truncate {
        fd: Pick,
        len: u64,
    },
    Allocate {
        fd: Pick,
        space: Space,
        keep_size: bool,
        offset: u64,
        len: u64,
    },
    Advise {
        fd: Pick,
        offset: u64,
        len: u64,
    },
    Sync {
        fd: Pick,
        data: bool,
    },
    SyncRange {
        fd: Pick,
        offset: u64,
        len: u32,
        flags: u32,
    },
    Stat {
        fd: Pick,
    },
    StatAt {
        dir: Pick,
        path: &'static str,
        follow: bool,
    },
    Unlink {
        dir: Pick,
        path: &'static str,
        directory: bool,
    },
    Rename {
        dirs: [Pick; 2],
        from: &'static str,
        to: &'static str,
        no_replace: bool,
        exchange: bool,
        whiteout: bool,
    },
    MakeDir {
        dir: Pick,
        path: &'static str,
        mode: u32,
    },
    Symlink {
        text: &'static str,
        dir: Pick,
        path: &'static str,
    },
    HardLink {
        dirs: [Pick; 2],
        from: &'static str,
        to: &'static str,
        follow: bool,
        empty_path: bool,
    },
    GetXattr {
        of: Owner,
        name: &'static str,
        room: usize,
    },
    SetXattr {
        of: Owner,
        name: &'static str,
        len: usize,
        create_only: bool,
        replace_only: bool,
    },
    Splice {
        ends: [Pick; 2],
        offsets: [Option<u64>; 2],
        len: usize,
    },
    Tee {
        ends: [Pick; 2],
        len: usize,
    },
    Shutdown {
        fd: Pick,
        how: std::net::Shutdown,
    },
}

/// What becomes of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Reserve,
    PunchHole,
    Zero,
}

/// Longer than a name may be.
pub(crate) const LONG: &str = match std::str::from_utf8(&[b'x'; 256]) {
    Ok(name) => name,
    Err(_) => "",
};

const PATHS: &[&str] = &[
    "a",
    "a",
    "b",
    "b",
    "c",
    "d",
    "d/a",
    "d/b",
    "e",
    "e/a",
    "missing/a",
    "a/",
    "d/",
    ".",
    "",
    LONG,
];
/// None of them leads out of a way's directory.
const TEXTS: &[&str] = &["a", "b", "c", "d", "e", "missing", "d/a", ""];
const ATTRIBUTES: &[&str] = &["user.a", "user.a", "user.b", "user.", "none", "", LONG];
const LENS: &[usize] = &[
    0, 1, 2, 5, 100, 4095, 4096, 4097, 8192, 65_536, 65_537, 100_000,
];
const PARTS: &[usize] = &[0, 1, 3, 1024, 1025];
const OFFSETS: &[u64] = &[0, 0, 1, 100, 4095, 4096, 4097, 65_536, 1 << 32];
const EDGES: &[u64] = &[
    i64::MAX as u64 - 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX,
];

/// An offset or a length: mostly one that can be.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![9 => select(OFFSETS), 1 => select(EDGES)]
}

fn pick(class: Class) -> impl Strategy<Value = Pick> {
    let classes = prop_oneof![12 => Just(class), 1 => Just(Class::Any)];
    (classes, 0_u8..12).prop_map(|(class, n)| Pick { class, n })
}

fn dir() -> impl Strategy<Value = Pick> {
    let root = Pick {
        class: Class::Root,
        n: 0,
    };
    prop_oneof![9 => Just(root), 1 => pick(Class::File)]
}

fn path() -> impl Strategy<Value = &'static str> {
    select(PATHS)
}

fn how() -> impl Strategy<Value = How> {
    const CUSTOM: &[i32] = &[
        0,
        0,
        0,
        0,
        libc::O_DIRECTORY,
        libc::O_NOFOLLOW,
        libc::O_PATH,
        libc::O_SYNC,
        libc::O_TMPFILE,
    ];
    let bits = any::<(bool, bool, bool)>();
    let rare = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (
        bits,
        rare,
        any::<bool>(),
        select(CUSTOM),
        select(&[0o666, 0o600, 0][..]),
    )
        .prop_map(
            |((read, write, create), (append, create_new), truncate, custom, mode)| How {
                read,
                write,
                append,
                truncate: truncate && write,
                create,
                create_new,
                custom,
                mode,
            },
        )
}

fn extent() -> impl Strategy<Value = Extent> {
    prop_oneof![
        3 => select(LENS).prop_map(Extent::Whole),
        1 => (select(PARTS), select(&[0_usize, 1, 3, 90][..]))
            .prop_map(|(count, each)| Extent::Parts { count, each }),
    ]
}

fn at() -> impl Strategy<Value = (Pick, Door)> {
    const FLAGS: &[i32] = &[
        libc::RWF_DSYNC,
        libc::RWF_SYNC,
        libc::RWF_APPEND,
        libc::RWF_APPEND | libc::RWF_DSYNC,
        libc::RWF_NOWAIT,
        libc::RWF_HIPRI,
        libc::RWF_ATOMIC,
        libc::RWF_DONTCACHE,
        1 << 30,
    ];
    let flags = prop_oneof![3 => Just(0), 2 => select(FLAGS)];
    (pick(Class::File), number(), flags)
        .prop_map(|(fd, offset, flags)| (fd, Door::At { offset, flags }))
}

fn stream() -> impl Strategy<Value = (Pick, Door)> {
    let fd = prop_oneof![pick(Class::Pipe), pick(Class::File), pick(Class::Socket)];
    fd.prop_map(|fd| (fd, Door::Stream))
}

fn socket() -> impl Strategy<Value = (Pick, Door)> {
    const FLAGS: &[i32] = &[
        libc::MSG_PEEK,
        libc::MSG_WAITALL,
        libc::MSG_PEEK | libc::MSG_WAITALL,
        libc::MSG_DONTWAIT,
        libc::MSG_DONTWAIT | libc::MSG_PEEK,
        libc::MSG_NOSIGNAL,
        libc::MSG_DONTROUTE,
        libc::MSG_EOR,
        libc::MSG_TRUNC,
        libc::MSG_ZEROCOPY,
    ];
    let flags = prop_oneof![Just(0), select(FLAGS)];
    (pick(Class::Socket), flags).prop_map(|(fd, flags)| (fd, Door::Socket { flags }))
}

fn transfer() -> impl Strategy<Value = Step> {
    let door = prop_oneof![3 => at(), 3 => stream(), 2 => socket()];
    let rest = (
        any::<bool>(),
        extent(),
        prop::bool::weighted(0.3),
        any::<u8>(),
    );
    (door, rest).prop_map(|((fd, door), (write, extent, exact, seed))| {
        Step::Move(Move {
            fd,
            write,
            door,
            extent,
            exact,
            seed,
        })
    })
}

fn names() -> impl Strategy<Value = Step> {
    let dirs = || [dir(), dir()];
    let rare = || prop::bool::weighted(0.2);
    prop_oneof![
        4 => (dir(), path(), how()).prop_map(|(dir, path, how)| Step::Open { dir, path, how }),
        1 => (dir(), path(), any::<bool>())
            .prop_map(|(dir, path, follow)| Step::StatAt { dir, path, follow }),
        2 => (dir(), path(), rare())
            .prop_map(|(dir, path, directory)| Step::Unlink { dir, path, directory }),
        2 => (dirs(), path(), path(), (rare(), rare(), rare())).prop_map(
            |(dirs, from, to, (no_replace, exchange, whiteout))| {
                Step::Rename { dirs, from, to, no_replace, exchange, whiteout }
            }
        ),
        2 => (dir(), path(), select(&[0o777, 0o700, 0o1777][..]))
            .prop_map(|(dir, path, mode)| Step::MakeDir { dir, path, mode }),
        1 => (select(TEXTS), dir(), path())
            .prop_map(|(text, dir, path)| Step::Symlink { text, dir, path }),
        1 => (dirs(), path(), path(), any::<bool>(), rare()).prop_map(
            |(dirs, from, to, follow, empty_path)| {
                Step::HardLink { dirs, from, to, follow, empty_path }
            }
        ),
    ]
}

fn attributes() -> impl Strategy<Value = Step> {
    let of = || {
        prop_oneof![
            pick(Class::File).prop_map(Owner::Fd),
            path().prop_map(Owner::Path)
        ]
    };
    let lens = select(&[0_usize, 1, 100, 3000, 65_536, 65_537][..]);
    prop_oneof![
        (of(), select(ATTRIBUTES), lens.clone()).prop_map(|(of, name, room)| Step::GetXattr {
            of,
            name,
            room
        }),
        (
            of(),
            select(ATTRIBUTES),
            lens,
            prop::bool::weighted(0.2),
            prop::bool::weighted(0.2)
        )
            .prop_map(
                |(of, name, len, create_only, replace_only)| Step::SetXattr {
                    of,
                    name,
                    len,
                    create_only,
                    replace_only,
                }
            ),
    ]
}

fn space() -> impl Strategy<Value = Step> {
    // Longer ranges would be reserved.
    let len = prop_oneof![
        9 => select(&[0_u64, 1, 4096, 65_536, 1 << 20][..]),
        1 => select(EDGES)
    ];
    let kinds = select(&[Space::Reserve, Space::PunchHole, Space::Zero][..]);
    let file = || pick(Class::File);
    prop_oneof![
        2 => (file(), number()).prop_map(|(fd, len)| Step::Truncate { fd, len }),
        2 => (file(), kinds, any::<bool>(), number(), len.clone()).prop_map(
            |(fd, space, keep_size, offset, len)| {
                Step::Allocate { fd, space, keep_size, offset, len }
            }
        ),
        1 => (file(), number(), len).prop_map(|(fd, offset, len)| Step::Advise { fd, offset, len }),
        1 => (file(), any::<bool>()).prop_map(|(fd, data)| Step::Sync { fd, data }),
        1 => (file(), number(), select(&[0, 1, 4096, u32::MAX][..]), 0_u32..16)
            .prop_map(|(fd, offset, len, flags)| Step::SyncRange { fd, offset, len, flags }),
        1 => pick(Class::Any).prop_map(|fd| Step::Stat { fd }),
    ]
}

fn between() -> impl Strategy<Value = Step> {
    let end = || prop_oneof![2 => pick(Class::Pipe), 1 => pick(Class::File)];
    let offset = || prop::option::weighted(0.3, number());
    prop_oneof![
        2 => ([end(), end()], [offset(), offset()], select(LENS))
            .prop_map(|(ends, offsets, len)| Step::Splice { ends, offsets, len }),
        1 => ([pick(Class::Pipe), pick(Class::Pipe)], select(LENS))
            .prop_map(|(ends, len)| Step::Tee { ends, len }),
    ]
}

fn ends() -> impl Strategy<Value = Step> {
    use std::net::Shutdown::{Both, Read, Write};
    let pairs = select(&[Pair::Unix, Pair::Datagrams, Pair::Packets, Pair::Tcp][..]);
    prop_oneof![
        1 => any::<bool>().prop_map(|packets| Step::Pipe { packets }),
        2 => pairs.prop_map(Step::Pair),
        2 => pick(Class::Any).prop_map(|fd| Step::Close { fd }),
        1 => (pick(Class::Socket), select(&[Read, Write, Both][..]))
            .prop_map(|(fd, how)| Step::Shutdown { fd, how }),
    ]
}

/// A sequence of steps.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => transfer(),
        6 => names(),
        2 => attributes(),
        4 => space(),
        4 => between(),
        3 => ends(),
    ];
    prop::collection::vec(step, 1..=40)
}
