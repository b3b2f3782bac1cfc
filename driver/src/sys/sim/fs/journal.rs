//! The changes of names that are not durable yet, in one order for the whole disk.

use super::{Fs, Inode, Kind};
use crate::sys::sim::random::Random;
use std::collections::VecDeque;
use std::time::Duration;

/// What a name is to lead to, if to anything.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) dir: Inode,
    pub(super) name: Box<[u8]>,
    pub(super) to: Option<Inode>,
}

/// Each step is what takes back the changes of one call, which are of different names. What a step
/// would bring back is held.
#[derive(Debug, Default)]
pub(super) struct Journal(VecDeque<Vec<Change>>);

/// So many steps are kept: when there are more, the first is durable, as a kernel in time writes
/// everything to the disk.
const STEPS_MAX: usize = 4096;

impl Journal {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many steps there are up to the last one that is about a name in `dir`.
    pub(super) fn up_to(&self, dir: Inode) -> usize {
        let is_in_dir = |step: &Vec<Change>| step.iter().any(|change| change.dir == dir);
        self.0.iter().rposition(is_in_dir).map_or(0, |at| at + 1)
    }
}

impl Fs {
    /// Makes changes that only together are there after a crash, or not.
    pub(super) fn record(&mut self, changes: Vec<Change>, now: Duration) {
        let mut step = Vec::with_capacity(changes.len());
        for Change { dir, name, to } in changes {
            let was = self.bind(dir, &name, to);
            for inode in was.iter().chain(&to) {
                self.node_mut(*inode).attributes.times.changed = now;
            }
            let times = &mut self.node_mut(dir).attributes.times;
            (times.modified, times.changed) = (now, now);
            if let Some(was) = was {
                self.retain(was);
            }
            step.push(Change { dir, name, to: was });
        }
        self.journal.0.push_back(step);
        if self.journal.len() > STEPS_MAX {
            self.commit(1);
        }
    }

    /// Makes the first steps durable.
    pub(super) fn commit(&mut self, steps: usize) {
        let durable: Vec<_> = self.journal.0.drain(..steps).flatten().collect();
        for was in durable.iter().filter_map(|change| change.to) {
            self.release(was);
        }
    }

    /// Takes back all steps but the first ones, as many as are drawn.
    pub(super) fn undo(&mut self, random: &mut Random) {
        let kept = random.below(self.journal.len() as u64 + 1);
        let lost = self.journal.len() - usize::try_from(kept).expect("up to a length");
        for step in std::mem::take(&mut self.journal.0)
            .into_iter()
            .rev()
            .take(lost)
        {
            for change in step {
                self.bind(change.dir, &change.name, change.to);
            }
        }
    }

    /// Lets a name lead to something, or to nothing; gives what it led to before.
    fn bind(&mut self, dir: Inode, name: &[u8], to: Option<Inode>) -> Option<Inode> {
        if let Some(to) = to {
            let node = self.node_mut(to);
            node.links += 1;
            if let Kind::Directory(directory) = &mut node.kind {
                directory.parent = dir;
            }
        }
        let Kind::Directory(directory) = &mut self.node_mut(dir).kind else {
            unreachable!("names are in directories only");
        };
        let was = match to {
            Some(to) => directory.entries.insert(name.into(), to),
            None => directory.entries.remove(name),
        };
        if let Some(was) = was {
            self.node_mut(was).links -= 1;
        }
        was
    }
}
