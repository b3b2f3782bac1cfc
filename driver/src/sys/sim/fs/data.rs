//! The bytes of a file, in pages of which most may be missing, and what of them is on the disk.

use crate::sys::sim::random::Random;
use std::collections::BTreeMap;

/// The unit of space, in bytes.
pub(super) const PAGE: usize = 4096;

/// What a disk writes as a whole, or tears, in bytes.
pub(super) const SECTOR: usize = 512;

/// The largest size of a file in bytes, as ext4 has it.
pub(super) const FILE_MAX: u64 = (1 << 44) - PAGE as u64;

type Page = [u8; PAGE];

const ZEROES: &Page = &[0; PAGE];

/// Invariant: what lies beyond the size is zero.
#[derive(Debug, Default)]
pub(super) struct Data {
    size: u64,
    /// By their numbers, those that take space. `None` takes space and reads as zeroes.
    pages: BTreeMap<u64, Option<Box<Page>>>,
    synced: Synced,
}

/// What there was at the last `sync`.
#[derive(Debug, Default)]
struct Synced {
    size: u64,
    /// The least size that there has been since.
    least: u64,
    /// The pages that were changed since, as they were. `None` reads as zeroes.
    pages: BTreeMap<u64, Option<Box<Page>>>,
}

impl Data {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How many pages it takes.
    pub(super) fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// How many pages a range, which is not empty, would take in addition.
    pub(super) fn missing(&self, start: u64, end: u64) -> u64 {
        let (first, behind) = (page_of(start), page_of(end - 1) + 1);
        let there = self.pages.range(first..behind).count();
        behind - first - there as u64
    }

    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(len as u64));
        let mut bytes = Vec::new();
        for part in parts(offset, end) {
            let page = self.pages.get(&part.page).and_then(Option::as_deref);
            bytes.extend_from_slice(&page.unwrap_or(ZEROES)[part.start..part.end]);
        }
        bytes
    }

    /// Writes as much as `room` pages in addition have place for; gives how many bytes.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], mut room: u64) -> usize {
        let mut rest = bytes;
        for part in parts(offset, offset + bytes.len() as u64) {
            if !self.pages.contains_key(&part.page) {
                if room == 0 {
                    break;
                }
                room -= 1;
            }
            let (now, later) = rest.split_at(part.end - part.start);
            self.page(part.page)[part.start..part.end].copy_from_slice(now);
            rest = later;
        }
        let count = bytes.len() - rest.len();
        if count > 0 {
            self.size = self.size.max(offset + count as u64);
        }
        count
    }

    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.punch(size, u64::MAX);
            self.synced.least = self.synced.least.min(size);
        }
        self.size = size;
    }

    /// Takes space for a range.
    pub(super) fn reserve(&mut self, start: u64, end: u64) {
        for part in parts(start, end) {
            self.pages.entry(part.page).or_insert(None);
        }
    }

    /// Makes a range zeroes, and gives back the space of its whole pages.
    pub(super) fn punch(&mut self, start: u64, end: u64) {
        let touched = self.pages.range(page_of(start)..=page_of(end - 1));
        let touched: Vec<u64> = touched.map(|(page, _)| *page).collect();
        for number in touched {
            let part = Part::of(number, start, end);
            if part.end - part.start == PAGE {
                self.save(number);
                self.pages.remove(&number);
            } else if self.pages[&number].is_some() {
                self.page(number)[part.start..part.end].fill(0);
            }
        }
    }

    /// Nothing of what is there can be lost any more.
    pub(super) fn sync(&mut self) {
        self.synced = Synced {
            size: self.size,
            least: self.size,
            pages: BTreeMap::new(),
        };
    }

    /// What is there after a crash is drawn: see `Fs::crash`.
    pub(super) fn crash(&mut self, random: &mut Random, torn: bool) {
        let size = self.surviving_size(random, torn);
        // How much of the file was written back, in quarters: nothing and all of it come often.
        let quarters = random.below(5);
        for (number, old) in std::mem::take(&mut self.synced.pages) {
            let mut page = *ZEROES;
            let sectors = page.chunks_exact_mut(SECTOR).enumerate();
            for (sector, to) in sectors {
                let start = sector * SECTOR;
                let mut source = || self.survivor(number, start, old.as_deref(), quarters, random);
                let (first, second) = (source(), source());
                let cut = if torn {
                    usize::try_from(random.below(SECTOR as u64 + 1)).expect("up to a sector")
                } else {
                    SECTOR
                };
                to[..cut].copy_from_slice(&first[..cut]);
                to[cut..].copy_from_slice(&second[cut..]);
            }
            page[Part::of(number, size, u64::MAX).start..].fill(0);
            if page != *ZEROES {
                self.pages.insert(number, Some(Box::new(page)));
            } else if let Some(now) = self.pages.get_mut(&number) {
                *now = None;
            }
        }
        self.resize(size);
        self.sync();
    }

    /// What there is of a sector after a crash.
    fn survivor<'a>(
        &'a self,
        page: u64,
        start: usize,
        old: Option<&'a Page>,
        quarters: u64,
        random: &mut Random,
    ) -> &'a [u8] {
        let offset = page * PAGE as u64 + start as u64;
        let page = if offset >= self.size {
            // That it was cut off is lost, if it is there.
            old
        } else if random.below(4) < quarters {
            self.pages.get(&page).and_then(Option::as_deref)
        } else if offset >= self.synced.least && random.below(2) == 0 {
            None
        } else {
            old
        };
        &page.unwrap_or(ZEROES)[start..start + SECTOR]
    }

    fn surviving_size(&self, random: &mut Random, torn: bool) -> u64 {
        let least = self.synced.least;
        match random.below(4) {
            0 => self.synced.size,
            1 => self.size,
            2 => least,
            _ => {
                let size = least + random.below(self.size - least + 1);
                if torn {
                    size
                } else {
                    least.max(size - size % SECTOR as u64)
                }
            }
        }
    }

    /// A page that is to be written to.
    fn page(&mut self, number: u64) -> &mut Page {
        self.save(number);
        let page = self.pages.entry(number).or_default();
        page.get_or_insert_with(|| Box::new(*ZEROES))
    }

    /// Remembers a page that is about to change, as it was synced.
    fn save(&mut self, number: u64) {
        let as_it_was = || self.pages.get(&number).cloned().flatten();
        self.synced.pages.entry(number).or_insert_with(as_it_was);
    }
}

/// Of one page, some bytes.
struct Part {
    page: u64,
    start: usize,
    end: usize,
}

impl Part {
    /// What a page, which has some of it, has of a range of a file.
    fn of(page: u64, start: u64, end: u64) -> Self {
        let first = page * PAGE as u64;
        let within = |offset: u64| {
            let offset = offset.saturating_sub(first).min(PAGE as u64);
            usize::try_from(offset).expect("up to a page")
        };
        Self {
            page,
            start: within(start),
            end: within(end),
        }
    }
}

/// The parts of a range of a file, one for each page.
fn parts(start: u64, end: u64) -> impl Iterator<Item = Part> {
    let pages = page_of(start)..end.div_ceil(PAGE as u64);
    let parts = pages.map(move |page| Part::of(page, start, end));
    parts.filter(|part| part.start < part.end)
}

fn page_of(offset: u64) -> u64 {
    offset / PAGE as u64
}
