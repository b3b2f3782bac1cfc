//! What is done by a file's name.

use super::{Metadata, OpenOptions, blocking};
use crate::buf::{BufResult, IoBuf};
use crate::driver::Cwd;
use crate::op::{HardLink, MakeDir, Rename, StatAt, Symlink, Unlink};
use crate::task::submit;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

/// A path as operations take it: its bytes, on Windows in UTF-8.
pub(super) fn c_path(path: impl AsRef<Path>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_encoded_bytes())?)
}

/// Reads a whole file.
///
/// # Errors
/// As [`OpenOptions::open`] and [`File::read_at`](super::File::read_at).
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).open(path).await?;
    let size = file.metadata().await?.size();
    // One byte more than it has, for the read that finds its end.
    let room = usize::try_from(size).map_or(usize::MAX, |size| size.saturating_add(1));
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(room)?;
    let (read, bytes) = file.read_to_end_at(bytes, 0).await;
    read.map(|_| bytes)
}

/// Reads a whole file of text.
///
/// # Errors
/// As [`read`], and [`InvalidData`](io::ErrorKind::InvalidData) for what is not UTF-8.
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let text = String::from_utf8(read(path).await?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a whole file: makes it, or replaces what was in it. If the future is dropped it may hold
/// a part.
///
/// # Errors
/// As [`OpenOptions::open`] and [`File::write_all_at`](super::File::write_all_at).
pub async fn write<B: IoBuf + 'static>(path: impl AsRef<Path>, buffer: B) -> BufResult<(), B> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    match options.open(path).await {
        Ok(file) => {
            let (written, buffer) = file.write_all_at(buffer, 0).await;
            (written.map_err(io::Error::from), buffer)
        }
        Err(error) => (Err(error), buffer),
    }
}

/// Copies the bytes of a file to another one, which is made, or replaced, and gives their number.
/// Takes 128 KiB of memory whatever their size. If the future is dropped the other file may hold a
/// part.
///
/// Unlike [`std::fs::copy`], a file that is there keeps its permissions. A new one gets those of
/// the first, less the umask.
///
/// # Errors
/// As [`OpenOptions::open`], [`File::read_at`](super::File::read_at) and
/// [`File::write_all_at`](super::File::write_all_at); [`InvalidInput`](io::ErrorKind::InvalidInput)
/// if `from` is no regular file, or both are the same one.
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    const AT_ONCE: usize = 128 << 10;
    const PERMISSIONS: u32 = 0o777;
    let from = OpenOptions::new().read(true).open(from).await?;
    let source = from.metadata().await?;
    if !source.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let same = |other: Metadata| (other.dev(), other.ino()) == (source.dev(), source.ino());
    if metadata(&to).await.is_ok_and(same) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let to = options.mode(source.mode() & PERMISSIONS).open(to).await?;
    let mut buffer = Vec::with_capacity(AT_ONCE);
    let mut done = 0;
    loop {
        let (read, full) = from.read_at(buffer, done).await;
        let read = read?;
        if read == 0 {
            return Ok(done);
        }
        let (written, full) = to.write_all_at(full, done).await;
        written?;
        done += read as u64;
        buffer = full;
        buffer.clear();
    }
}

/// Gives a file or a directory another name; what had that name is replaced: see [`Rename`].
///
/// # Errors
/// As [renameat2(2)](https://man7.org/linux/man-pages/man2/rename.2.html).
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    submit(Rename::new(Cwd, c_path(from)?, Cwd, c_path(to)?))
        .await
        .0
}

/// Removes the name of what is no directory: see [`Unlink::file`].
///
/// # Errors
/// As [unlinkat(2)](https://man7.org/linux/man-pages/man2/unlinkat.2.html).
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    submit(Unlink::file(Cwd, c_path(path)?)).await.0
}

/// Removes an empty directory: see [`Unlink::directory`].
///
/// # Errors
/// As [unlinkat(2)](https://man7.org/linux/man-pages/man2/unlinkat.2.html).
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    submit(Unlink::directory(Cwd, c_path(path)?)).await.0
}

/// Removes a directory and all that is in it, on the pool. Once begun it is not cancelled.
///
/// # Errors
/// As [`std::fs::remove_dir_all`].
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_owned();
    blocking(move || std::fs::remove_dir_all(path)).await
}

/// Makes a directory, of the mode 0o777 less the umask: see [`MakeDir`].
///
/// # Errors
/// As [mkdirat(2)](https://man7.org/linux/man-pages/man2/mkdirat.2.html).
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    submit(MakeDir::new(Cwd, c_path(path)?, 0o777)).await.0
}

/// Makes a directory, and before it those above it that are missing. One that is there is no error.
///
/// # Errors
/// As [`create_dir`]. Those above may have been made.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let mut next = Some(path.as_ref());
    let mut missing = Vec::new();
    while let Some(path) = next.filter(|path| !path.as_os_str().is_empty()) {
        match create_dir_if_missing(path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(path),
            done => {
                done?;
                break;
            }
        }
        next = path.parent();
    }
    while let Some(path) = missing.pop() {
        create_dir_if_missing(path).await?;
    }
    Ok(())
}

async fn create_dir_if_missing(path: &Path) -> io::Result<()> {
    let made = create_dir(path).await;
    if made.is_err() && metadata(path).await.is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    made
}

/// Makes a symbolic link that leads to `original`: see [`Symlink`].
///
/// # Errors
/// As [symlinkat(2)](https://man7.org/linux/man-pages/man2/symlinkat.2.html).
pub async fn symlink(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    submit(Symlink::new(c_path(original)?, Cwd, c_path(link)?))
        .await
        .0
}

/// Gives a file one more name; of a symbolic link, the link gets it: see [`HardLink`].
///
/// # Errors
/// As [linkat(2)](https://man7.org/linux/man-pages/man2/linkat.2.html).
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    submit(HardLink::new(Cwd, c_path(original)?, Cwd, c_path(link)?))
        .await
        .0
}

/// What is known of the file that a path leads to: see [`StatAt`].
///
/// # Errors
/// As [statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html).
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    submit(StatAt::new(Cwd, c_path(path)?)).await.0
}

/// The same; of a symbolic link, what is known of the link.
///
/// # Errors
/// As [`metadata`].
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    submit(StatAt::new(Cwd, c_path(path)?).follow(false))
        .await
        .0
}

/// Whether a path leads to something.
///
/// # Errors
/// As [`metadata`], but for [`NotFound`](io::ErrorKind::NotFound), which is `false`: that it cannot
/// be told is not that there is nothing.
pub async fn try_exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The text of a symbolic link, read on the pool.
///
/// # Errors
/// As [`std::fs::read_link`].
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref().to_owned();
    blocking(move || std::fs::read_link(path)).await
}

/// The absolute path without links that leads to the same, found on the pool.
///
/// # Errors
/// As [`std::fs::canonicalize`].
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref().to_owned();
    blocking(move || std::fs::canonicalize(path)).await
}
