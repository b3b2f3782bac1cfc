//! What is in a directory.

use super::blocking;
use crate::task::{JoinHandle, spawn_blocking};
use std::collections::VecDeque;
use std::fs::DirEntry;
use std::io;
use std::path::Path;

/// So many names are read at once.
const BATCH: usize = 64;

/// Reads the names in a directory, on the pool: see [`ReadDir`].
///
/// # Errors
/// As [`std::fs::read_dir`].
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref().to_owned();
    let names = blocking(move || std::fs::read_dir(path)).await?;
    Ok(ReadDir {
        found: VecDeque::new(),
        more: Some(spawn_blocking(|| batch(names))),
    })
}

/// The names in a directory, but for `.` and `..`, in no order, a batch of them ahead of whoever
/// asks.
///
/// What the pool reads is in the entries: [`DirEntry::path`] and [`DirEntry::file_name`] do not
/// block, and [`DirEntry::file_type`] does not where the file system says it with the name.
///
/// ```
/// use completeio::{fs, task::block_on};
///
/// let found = block_on(async {
///     let mut names = fs::read_dir("src").await?;
///     while let Some(entry) = names.next_entry().await? {
///         if entry.file_name() == "lib.rs" {
///             return Ok(true);
///         }
///     }
///     std::io::Result::Ok(false)
/// })?;
/// assert!(found);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ReadDir {
    found: VecDeque<io::Result<DirEntry>>,
    more: Option<JoinHandle<Batch>>,
}

/// Some names, and where there are more.
type Batch = (VecDeque<io::Result<DirEntry>>, Option<std::fs::ReadDir>);

fn batch(mut names: std::fs::ReadDir) -> Batch {
    let found: VecDeque<_> = names.by_ref().take(BATCH).collect();
    let more = (found.len() == BATCH).then_some(names);
    (found, more)
}

impl ReadDir {
    /// The next one; none after the last. Nothing is lost if it is dropped.
    ///
    /// # Errors
    /// As [`std::fs::ReadDir`]'s items.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        loop {
            if let Some(entry) = self.found.pop_front() {
                return entry.map(Some);
            }
            let Some(more) = &mut self.more else {
                return Ok(None);
            };
            let read = more.await;
            self.more = None;
            let (found, names) = read?;
            self.found = found;
            self.more = names.map(|names| spawn_blocking(|| batch(names)));
        }
    }
}
