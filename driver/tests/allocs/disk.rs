//! What is done to a file beside reads and writes.

use crate::counting::Marks;
use crate::kit::{Bytes, CLOSED, Fixed, Lent, Number, PLACE, Rig, TEXT, room};
use crate::system::IS_LINUX;
use completeio_driver::driver::Refusal;
use completeio_driver::op::{
    Advice, Advise, Allocate, ReadAt, RwFlags, Stat, StatAt, Sync, SyncRange, Truncate, WriteAt,
};
use std::ffi::CStr;

/// What is done to a file beside reads and writes: to one that is open, and to one that is not.
pub(crate) struct Disk {
    pub(crate) flagged: [Lent<WriteAt<Number, &'static [u8]>>; 2],
    pub(crate) polled: Lent<ReadAt<Number, Bytes>>,
    pub(crate) sync: [Lent<Sync<Number>>; 2],
    pub(crate) sync_range: [Lent<SyncRange<Number>>; 2],
    pub(crate) truncate: [Lent<Truncate<Number>>; 3],
    pub(crate) allocate: [Lent<Allocate<Number>>; 2],
    pub(crate) advise: [Lent<Advise<Number>>; 2],
    pub(crate) stat: [Lent<Stat<Number>>; 2],
    pub(crate) fixed_stat: Lent<Stat<Fixed>>,
    pub(crate) stat_at: [Lent<StatAt<Number, &'static CStr>>; 2],
}

impl Disk {
    pub(crate) fn new(file: Number) -> Self {
        let both = [file, Number(CLOSED)];
        let len = TEXT.len() as u64;
        let flagged = |fd| WriteAt::new(fd, 0, TEXT).flags(RwFlags::DSYNC);
        Self {
            flagged: both.map(|fd| Lent::new(flagged(fd))),
            polled: Lent::new(ReadAt::new(file, 0, room()).flags(RwFlags::from_bits(1))),
            sync: both.map(|fd| Lent::new(Sync::data(fd))),
            sync_range: both.map(|fd| Lent::new(SyncRange::new(fd, 0, 0))),
            truncate: [(file, len), (Number(CLOSED), len), (file, u64::MAX)]
                .map(|(fd, len)| Lent::new(Truncate::new(fd, len))),
            allocate: both.map(|fd| Lent::new(Allocate::new(fd, 0, len))),
            advise: both.map(|fd| Lent::new(Advise::new(fd, Advice::WillNeed))),
            stat: both.map(|fd| Lent::new(Stat::new(fd))),
            fixed_stat: Lent::new(Stat::new(Fixed(PLACE))),
            stat_at: [c"/", c"none"].map(|path| Lent::new(StatAt::new(Number(CLOSED), path))),
        }
    }
}

/// Each succeeds, fails, and is refused.
pub(crate) fn reach_the_disk(rig: &mut Rig<'_>, disk: &mut Disk, marks: &mut Marks) {
    macro_rules! both {
        ($name:literal, $ops:expr) => {
            rig.run(&mut $ops[0], 1).unwrap();
            assert_eq!(rig.fail(&mut $ops[1], 2), libc::EBADF);
            marks.step($name);
        };
    }
    // No flags and no ranges elsewhere.
    if IS_LINUX {
        both!("WriteAt with flags", disk.flagged);
        both!("SyncRange", disk.sync_range);
    } else {
        assert_eq!(rig.fail(&mut disk.flagged[0], 1), libc::EOPNOTSUPP);
        marks.step("WriteAt with flags");
        let refusal = rig.refuse(&mut disk.sync_range[0], 1);
        assert_eq!(refusal, Refusal::Unsupported);
        marks.step("SyncRange");
    }
    both!("Sync", disk.sync);
    both!("Allocate", disk.allocate);
    both!("Advise", disk.advise);
    both!("Stat", disk.stat);
    both!("StatAt", disk.stat_at);
    rig.push(&disk.truncate[0], 1);
    let truncated = rig.wait(1);
    assert!(truncated.result().is_ok() || truncated.refusal() == Some(Refusal::Unsupported));
    rig.push(&disk.truncate[1], 2);
    assert!(rig.wait(2).result().is_err());
    marks.step("Truncate");
    assert_eq!(rig.refuse(&mut disk.truncate[2], 3), Refusal::Offset);
    assert_eq!(
        rig.refuse(&mut disk.fixed_stat, 4),
        Refusal::FixedDescriptor
    );
    assert_eq!(rig.refuse(&mut disk.polled, 5), Refusal::Flags);
    marks.step("a wrong length, a fixed Stat, a flag that polls");
}
