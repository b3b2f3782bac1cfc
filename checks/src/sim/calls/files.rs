//! Operations on files, on names, and on places of the driver's table.

use super::{Asker, Made, bytes, halves, limited, name, room, rooms};
use crate::lent::Lent;
use crate::sim::calls::{OpenFile, file_name, for_all};
use crate::sim::disk::{ATTRIBUTES, Area, FILES, NAMES, NameCall, Named, Region};
use crate::sim::expect::{Expect, Fault, Settled};
use crate::sim::plan::{Outcome, Raw};
use crate::sim::script::{Call, Kind};
use completeio_driver::driver::{AsRawFd, CompleteIo, Cwd, FixedFd};
use completeio_driver::op::{
    Close, Exact, GetXattr, MakeDir, OpenAt, ReadAt, ReadVectoredAt, Rename, SetXattr, Stat,
    StatAt, Sync, Truncate, Unlink, WriteAt, WriteVectoredAt,
};
use std::ffi::CString;
use std::rc::Rc;

const FIXED: &[i32] = &[libc::EBADF];
const ON_NAMES: &[i32] = &[libc::ENOENT, libc::EEXIST, libc::ENOTDIR, libc::EISDIR];

impl Asker<'_> {
    pub(super) fn on_file(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let (host, len, offset) = (self.host, call.len, call.offset);
        let expect = Expect {
            fault: Fault::Disk,
            ..Expect::new(call.kind, &[])
        };
        if call.kind == Kind::Open {
            let file = call.pick % FILES;
            let op = OpenAt::new(Cwd, file_name(file), for_all());
            let expect = Expect {
                fault: Fault::Open,
                ..expect
            };
            let expect = expect.done(move |model, outcome| {
                let Outcome::Fd(fd) = outcome else {
                    unreachable!("of an open")
                };
                model.files[host].push(OpenFile {
                    file,
                    fd: Rc::new(fd),
                });
            });
            return Some(limited(op, call, expect));
        }
        let at = call.pick.checked_rem(self.model.files[host].len())?;
        let OpenFile { file, fd } = &self.model.files[host][at];
        let (file, fd) = (*file, fd.clone());
        let disk = &self.model.disks[host];
        let is_exact = matches!(call.kind, Kind::ReadExactAt | Kind::WriteAllAt);
        // What moves no bytes has no use for the most.
        let expect = Expect {
            most: len,
            is_exact,
            ..expect
        };
        let reads = |expect: Expect| {
            let region = disk.transfer(file, offset, len, false);
            expect.on_disk(host, vec![region], move |disk, outcome| {
                let Outcome::Bytes(read) = outcome else {
                    unreachable!("of a read")
                };
                disk.check_read(file, offset, len, &read);
            })
        };
        let writes = |expect: Expect| {
            let region = disk.transfer(file, offset, len, true);
            let data = bytes(call);
            let expect = Expect {
                fault: Fault::Space,
                ..expect
            };
            expect.on_disk(host, vec![region], move |disk, outcome| {
                let Outcome::Count(n) = outcome else {
                    unreachable!("of a write")
                };
                disk.wrote(file, offset, &data[..n]);
            })
        };
        let attribute = call.pick / 8 % ATTRIBUTES;
        let attribute_name = CString::new(format!("user.{attribute}")).unwrap();
        let uses_attribute = |writes| {
            let start = attribute as u64;
            vec![Region {
                area: Area::Attributes(file),
                range: start..start + 1,
                writes,
            }]
        };
        Some(match call.kind {
            Kind::ReadAt => limited(ReadAt::new(fd, offset, room(len)), call, reads(expect)),
            Kind::ReadExactAt => {
                let op = Exact::new(ReadAt::new(fd, offset, room(len)));
                limited(op, call, reads(expect))
            }
            Kind::ReadVectoredAt => {
                let op = ReadVectoredAt::new(fd, offset, rooms(len));
                limited(op, call, reads(expect))
            }
            Kind::ReadAttached => {
                let fd = self.raw.as_mut()?.driver.attach(fd.as_raw_fd()).unwrap();
                let op = Box::new(ReadAt::new(fd, offset, room(len)));
                (Made::Raw(Lent::boxed(op)), reads(expect))
            }
            Kind::WriteAt => limited(WriteAt::new(fd, offset, bytes(call)), call, writes(expect)),
            Kind::WriteAllAt => {
                let op = Exact::new(WriteAt::new(fd, offset, bytes(call)));
                limited(op, call, writes(expect))
            }
            Kind::WriteVectoredAt => {
                let op = WriteVectoredAt::new(fd, offset, halves(&bytes(call)));
                limited(op, call, writes(expect))
            }
            Kind::Sync => limited(Sync::new(fd), call, expect),
            Kind::Truncate => {
                let region = disk.resize(file, offset, true);
                let expect = expect.on_disk(host, vec![region], move |disk, _| {
                    disk.truncated(file, usize::try_from(offset).unwrap());
                });
                limited(Truncate::new(fd, offset), call, expect)
            }
            Kind::Stat => {
                let region = disk.resize(file, u64::MAX, false);
                let expect = expect.on_disk(host, vec![region], move |disk, outcome| {
                    let Outcome::Metadata(metadata) = outcome else {
                        unreachable!("of a stat")
                    };
                    disk.check_size(file, &metadata);
                });
                limited(Stat::new(fd), call, expect)
            }
            Kind::GetXattr => {
                let most = 1 << 13;
                let expect = Expect {
                    errnos: &[libc::ENODATA],
                    most,
                    ..expect
                };
                let op = GetXattr::new(fd, attribute_name, room(most));
                let regions = uses_attribute(false);
                let expect = expect.with(move |model, settled, alone| {
                    let value = match settled {
                        Settled::Done(Outcome::Bytes(value)) if alone => Some(value),
                        Settled::Failed(libc::ENODATA) if alone => None,
                        _ => return,
                    };
                    let known = model.disks[host].attribute(file, attribute);
                    let known = known.get_or_insert(value.clone());
                    assert_eq!(*known, value, "the attribute {attribute} of file {file}");
                });
                limited(op, call, Expect { regions, ..expect })
            }
            Kind::SetXattr => {
                let value = bytes(call);
                let op = SetXattr::new(fd, attribute_name, value.clone());
                let expect = expect.on_disk(host, uses_attribute(true), move |disk, _| {
                    *disk.attribute(file, attribute) = Some(Some(value));
                });
                limited(op, call, expect)
            }
            _ => unreachable!("seen to before"),
        })
    }

    pub(super) fn on_names(&mut self, call: &Call) -> (Made, Expect) {
        let host = self.host;
        let (from, to) = (call.pick % NAMES, call.pick / 8 % NAMES);
        let mut expect = Expect {
            fault: Fault::Disk,
            ..Expect::new(call.kind, ON_NAMES)
        };
        let (made, what) = match call.kind {
            Kind::Create => {
                expect.fault = Fault::Open;
                let op = OpenAt::new(Cwd, name(from), for_all());
                (limited(op, call, expect), NameCall::Create(from))
            }
            Kind::MakeDir => {
                let op = MakeDir::new(Cwd, name(from), 0o755);
                (limited(op, call, expect), NameCall::MakeDir(from))
            }
            Kind::Unlink => {
                let op = Unlink::file(Cwd, name(from));
                (limited(op, call, expect), NameCall::Unlink(from))
            }
            Kind::RemoveDir => {
                let op = Unlink::directory(Cwd, name(from));
                (limited(op, call, expect), NameCall::RemoveDir(from))
            }
            Kind::Rename => {
                let op = Rename::new(Cwd, name(from), Cwd, name(to));
                (limited(op, call, expect), NameCall::Rename(from, to))
            }
            _ => (
                limited(StatAt::new(Cwd, name(from)), call, expect),
                NameCall::Stat(from),
            ),
        };
        let writes = call.kind != Kind::StatAt;
        let used = [Some(from), (call.kind == Kind::Rename).then_some(to)];
        let region = |at: usize| {
            let start = at as u64;
            Region {
                area: Area::Names,
                range: start..start + 1,
                writes,
            }
        };
        let regions: Vec<Region> = used.into_iter().flatten().map(region).collect();
        let blurred = regions.clone();
        let (op, expect) = made;
        let expect = expect.with(move |model, settled, alone| {
            let disk = &mut model.disks[host];
            match settled {
                Settled::Done(outcome) if alone => {
                    let found = match &outcome {
                        Outcome::Metadata(metadata) if metadata.is_dir() => Named::Directory,
                        _ => Named::File,
                    };
                    disk.named(what, 0, Some(found));
                }
                Settled::Failed(errno) if alone && ON_NAMES.contains(&errno) => {
                    disk.named(what, errno, None);
                }
                Settled::Done(_) | Settled::Lost => disk.blur(&blurred),
                Settled::Failed(_) | Settled::Never => {}
            }
        });
        (op, Expect { regions, ..expect })
    }

    pub(super) fn on_fixed(&mut self, call: &Call) -> Option<(Made, Expect)> {
        let (host, len, offset) = (self.host, call.len, call.offset);
        let raw = self.raw.as_ref()?;
        let place = call.pick % raw.fixed.len();
        let fd = FixedFd::from_id(u32::try_from(place).unwrap());
        let expect = Expect::new(call.kind, FIXED);
        if call.kind == Kind::CloseFixed {
            return Some((Made::Raw(Lent::boxed(Box::new(Close::new(fd)))), expect));
        }
        let Some(file) = raw.fixed[place] else {
            let expect = Expect {
                fault: Fault::Disk,
                ..expect
            };
            let expect = expect.done(move |_, _| panic!("there is nothing at {place}"));
            return Some((
                Made::Raw(Lent::boxed(Box::new(ReadAt::new(fd, offset, room(len))))),
                expect,
            ));
        };
        let writes = call.kind == Kind::WriteFixed;
        let region = self.model.disks[host].transfer(file, offset, len, writes);
        let fault = if writes { Fault::Space } else { Fault::Disk };
        let expect = Expect {
            fault,
            most: len,
            ..expect
        };
        let data = bytes(call);
        let op = if writes {
            Lent::boxed(Box::new(WriteAt::new(fd, offset, data.clone())) as Box<dyn Raw>)
        } else {
            Lent::boxed(Box::new(ReadAt::new(fd, offset, room(len))) as Box<dyn Raw>)
        };
        let expect = expect.on_disk(host, vec![region], move |disk, outcome| match outcome {
            Outcome::Bytes(read) => disk.check_read(file, offset, len, &read),
            Outcome::Count(n) => disk.wrote(file, offset, &data[..n]),
            outcome => unreachable!("{outcome:?} of a transfer"),
        });
        Some((Made::Raw(op), expect))
    }
}
