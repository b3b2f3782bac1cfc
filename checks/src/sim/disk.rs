//! What the files and names of a host are, as far as a plain model knows.

use completeio_driver::op::Metadata;
use std::collections::BTreeMap;
use std::ops::Range;

/// How many files there are whose bytes are known, and names that come and go.
pub(super) const FILES: usize = 3;
pub(super) const NAMES: usize = 4;
pub(super) const ATTRIBUTES: usize = 2;

/// What an operation reads or writes.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) area: Area,
    pub(super) range: Range<u64>,
    pub(super) writes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    /// Of a file; those behind its end, with its size.
    Bytes(usize),
    /// Extended attributes of a file.
    Attributes(usize),
    Names,
}

/// The operations in flight on a disk. Of two that are in flight together, one of which writes what
/// the other reads or writes, nothing is known.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<usize, Claim>);

#[derive(Debug)]
struct Claim {
    regions: Vec<Region>,
    alone: bool,
}

impl Claims {
    pub(super) fn add(&mut self, id: usize, regions: Vec<Region>) {
        let mut alone = true;
        for other in self.0.values_mut() {
            if overlap(&other.regions, &regions) {
                (other.alone, alone) = (false, false);
            }
        }
        self.0.insert(id, Claim { regions, alone });
    }

    /// What it had; and whether it was alone there.
    pub(super) fn remove(&mut self, id: usize) -> (Vec<Region>, bool) {
        let claim = self.0.remove(&id).expect("added when it was accepted");
        (claim.regions, claim.alone)
    }
}

fn overlap(these: &[Region], those: &[Region]) -> bool {
    let overlap = |a: &Region, b: &Region| {
        let starts = a.range.start.max(b.range.start);
        let common = starts < a.range.end.min(b.range.end);
        a.area == b.area && common && (a.writes || b.writes)
    };
    these.iter().any(|a| those.iter().any(|b| overlap(a, b)))
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) claims: Claims,
    files: [File; FILES],
    /// `None`: not known.
    names: [Option<Named>; NAMES],
}

#[derive(Debug, Default)]
struct File {
    /// Those of its bytes that are known, and its size by how many there are, if that is.
    bytes: Option<Vec<Option<u8>>>,
    attributes: [Option<Attribute>; ATTRIBUTES],
}

/// The value of an attribute, if there is one.
type Attribute = Option<Vec<u8>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Nothing,
    File,
    Directory,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum NameCall {
    Create(usize),
    MakeDir(usize),
    Unlink(usize),
    RemoveDir(usize),
    Rename(usize, usize),
    Stat(usize),
}

impl Disk {
    /// A new one, on which each of the files is empty.
    pub(super) fn new() -> Self {
        let mut disk = Self::default();
        for file in &mut disk.files {
            file.bytes = Some(Vec::new());
            file.attributes = Default::default();
        }
        disk.names = [Some(Named::Nothing); NAMES];
        disk
    }

    /// What it is after a crash.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn size(&self, file: usize) -> Option<u64> {
        self.files[file]
            .bytes
            .as_ref()
            .map(|bytes| bytes.len() as u64)
    }

    /// What a transfer uses: with the end of the file all behind it.
    pub(super) fn transfer(&self, file: usize, offset: u64, len: usize, writes: bool) -> Region {
        let end = offset + len as u64;
        let range = match self.size(file) {
            Some(size) if end <= size => offset..end,
            Some(size) => offset.min(size)..u64::MAX,
            None => 0..u64::MAX,
        };
        Region {
            area: Area::Bytes(file),
            range,
            writes,
        }
    }

    /// What sets or tells a size uses.
    pub(super) fn resize(&self, file: usize, len: u64, writes: bool) -> Region {
        let start = self.size(file).map_or(0, |size| size.min(len));
        Region {
            area: Area::Bytes(file),
            range: start..u64::MAX,
            writes,
        }
    }

    /// Nothing is known of what an operation may have written.
    pub(super) fn blur(&mut self, regions: &[Region]) {
        for Region {
            area,
            range,
            writes,
        } in regions
        {
            if !writes {
                continue;
            }
            let range_of = |len: usize| {
                let end = usize::try_from(range.end).map_or(len, |end| end.min(len));
                usize::try_from(range.start).map_or(end, |start| start.min(end))..end
            };
            match *area {
                Area::Bytes(file) if range.end == u64::MAX => self.files[file].bytes = None,
                Area::Bytes(file) => {
                    if let Some(bytes) = &mut self.files[file].bytes {
                        let range = range_of(bytes.len());
                        bytes[range].fill(None);
                    }
                }
                Area::Attributes(file) => {
                    self.files[file].attributes[range_of(ATTRIBUTES)].fill(None);
                }
                Area::Names => self.names[range_of(NAMES)].fill(None),
            }
        }
    }

    pub(super) fn wrote(&mut self, file: usize, offset: u64, data: &[u8]) {
        let Some(bytes) = &mut self.files[file].bytes else {
            return;
        };
        if data.is_empty() {
            return;
        }
        let start = usize::try_from(offset).unwrap();
        let end = start + data.len();
        if bytes.len() < end {
            bytes.resize(end, Some(0));
        }
        for (known, byte) in bytes[start..end].iter_mut().zip(data) {
            *known = Some(*byte);
        }
    }

    pub(super) fn check_read(&self, file: usize, offset: u64, len: usize, read: &[u8]) {
        let Some(bytes) = &self.files[file].bytes else {
            return;
        };
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let there = (bytes.len() - start).min(len);
        assert!(
            read.len() <= there && (there == 0 || !read.is_empty()),
            "{} bytes read of {there} that are there",
            read.len()
        );
        for (at, (known, byte)) in bytes[start..].iter().zip(read).enumerate() {
            let is_right = known.is_none_or(|known| known == *byte);
            assert!(
                is_right,
                "file {file} has {known:?} at {}, and {byte} was read",
                start + at
            );
        }
    }

    pub(super) fn truncated(&mut self, file: usize, len: usize) {
        match &mut self.files[file].bytes {
            Some(bytes) => bytes.resize(len, Some(0)),
            unknown => *unknown = Some(vec![None; len]),
        }
    }

    pub(super) fn check_size(&mut self, file: usize, metadata: &Metadata) {
        assert!(metadata.is_file(), "{metadata:?}");
        let size = usize::try_from(metadata.size()).unwrap();
        let bytes = self.files[file]
            .bytes
            .get_or_insert_with(|| vec![None; size]);
        assert_eq!(size, bytes.len(), "the size of file {file}");
    }

    pub(super) fn attribute(&mut self, file: usize, at: usize) -> &mut Option<Attribute> {
        &mut self.files[file].attributes[at]
    }

    /// What an operation on names has come to, which was alone: 0, or an error; and what was found.
    pub(super) fn named(&mut self, call: NameCall, errno: i32, found: Option<Named>) {
        let (names, is_known) = match call {
            NameCall::Rename(from, to) => ([from, to], self.names[to].is_some()),
            NameCall::Create(at)
            | NameCall::MakeDir(at)
            | NameCall::Unlink(at)
            | NameCall::RemoveDir(at)
            | NameCall::Stat(at) => ([at, at], true),
        };
        let [from, to] = names;
        if let (true, Some(old), Some(new)) = (is_known, self.names[from], self.names[to]) {
            let expected = expected(call, old, new);
            assert_eq!(errno, expected, "{call:?} where there are {old:?}, {new:?}");
        }
        let mut set = |at: usize, to| self.names[at] = Some(to);
        match call {
            NameCall::Stat(at) if errno == libc::ENOENT => set(at, Named::Nothing),
            NameCall::Stat(at) => {
                let found = found.expect("it tells");
                let known = self.names[at].replace(found);
                assert!(
                    known.is_none_or(|known| known == found),
                    "{known:?} is {found:?}"
                );
            }
            _ if errno != 0 => {}
            NameCall::Create(at) => set(at, Named::File),
            NameCall::MakeDir(at) => set(at, Named::Directory),
            NameCall::Unlink(at) | NameCall::RemoveDir(at) => set(at, Named::Nothing),
            NameCall::Rename(from, to) if from == to => {}
            NameCall::Rename(from, to) => {
                self.names[to] = self.names[from];
                self.names[from] = Some(Named::Nothing);
            }
        }
    }
}

/// What the manual pages say of a call on names where there are `old` and, for a rename, `new`.
fn expected(call: NameCall, old: Named, new: Named) -> i32 {
    use Named::{Directory, File, Nothing};
    match (call, old, new) {
        (NameCall::Create(_), Directory, _) => libc::EISDIR,
        (NameCall::Create(_), ..) => 0,
        (NameCall::MakeDir(_), Nothing, _) => 0,
        (NameCall::MakeDir(_), ..) => libc::EEXIST,
        (_, Nothing, _) => libc::ENOENT,
        (NameCall::Unlink(_), Directory, _) => libc::EISDIR,
        (NameCall::RemoveDir(_), File, _) => libc::ENOTDIR,
        (NameCall::Rename(..), File, Directory) => libc::EISDIR,
        (NameCall::Rename(..), Directory, File) => libc::ENOTDIR,
        (NameCall::Unlink(_) | NameCall::RemoveDir(_) | NameCall::Rename(..), ..) => 0,
        (NameCall::Stat(_), ..) => 0,
    }
}
