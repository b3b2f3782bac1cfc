//! How a file is opened.

use super::File;
use super::names::c_path;
use crate::driver::Cwd;
use crate::op::{self, OpenAt};
use crate::task::submit;
use std::io;
use std::path::Path;

/// How a file is opened: the options of [`std::fs::OpenOptions`] and of its extension for Unix.
///
/// ```
/// use completeio::{fs::OpenOptions, task::block_on};
///
/// # let path = std::env::temp_dir().join(format!("completeio-options-{}", std::process::id()));
/// block_on(async {
///     let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).await?;
///     file.write_all_at("text", 0).await.0?;
///     file.close().await
/// })?;
/// assert_eq!(std::fs::read_to_string(&path)?, "text");
/// # std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OpenOptions(op::OpenOptions);

macro_rules! setters {
    ($($(#[$doc:meta])* $option:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $option(&mut self, $option: $type) -> &mut Self {
            self.0 = self.0.$option($option);
            self
        }
    )*};
}

impl OpenOptions {
    /// Nothing is set; a new file's mode is 0o666, less the umask.
    #[must_use]
    pub fn new() -> Self {
        Self(op::OpenOptions::new())
    }

    setters! {
        /// For reading.
        read: bool;
        /// For writing.
        write: bool;
        /// For writing at the end, whatever the offset of a write says.
        append: bool;
        /// Empties the file.
        truncate: bool;
        /// Makes the file if there is none.
        create: bool;
        /// Makes the file, and fails with [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there
        /// is one.
        create_new: bool;
        /// Past the page cache: see [`op::OpenOptions::direct`].
        direct: bool;
        /// More flags of [open(2)](https://man7.org/linux/man-pages/man2/open.2.html), such as
        /// `O_DIRECTORY`.
        custom_flags: i32;
        /// The mode of a new file, less the umask.
        mode: u32;
    }

    /// Opens the file by an operation: see [`OpenAt`]. It is close-on-exec.
    ///
    /// A FIFO may wait for its other end. On readiness that cannot be cancelled, and the runtime
    /// does not end before: `O_NONBLOCK` does not wait.
    ///
    /// # Errors
    /// As [openat(2)](https://man7.org/linux/man-pages/man2/openat.2.html);
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for options that contradict each other, as for
    /// [`std::fs::OpenOptions::open`], and for a path with a zero in it.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        if !self.agree() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let open = OpenAt::new(Cwd, c_path(path)?, self.0);
        submit(open).await.0.map(File::from)
    }

    /// Whether they do not contradict each other. The kernel would empty a file that is open for
    /// reading.
    fn agree(&self) -> bool {
        type Options = op::OpenOptions;
        let is_set = |set: fn(Options, bool) -> Options| set(self.0, true) == self.0;
        let truncate = is_set(Options::truncate);
        let create_new = is_set(Options::create_new);
        match (is_set(Options::write), is_set(Options::append)) {
            (true, false) => true,
            (false, false) => {
                is_set(Options::read) && !truncate && !create_new && !is_set(Options::create)
            }
            (_, true) => !truncate || create_new,
        }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}
