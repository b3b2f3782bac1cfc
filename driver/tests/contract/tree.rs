//! A directory of a test's own.

use crate::kit;
use std::ffi::CString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A directory of a test's own, which is removed with what is in it.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    pub(crate) fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kit::unique());
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn c_string(&self, name: &str) -> CString {
        CString::new(self.at(name).to_str().unwrap()).unwrap()
    }

    /// A file that holds its own name.
    pub(crate) fn file(&self, name: &str) {
        fs::write(self.at(name), name).unwrap();
    }

    pub(crate) fn open(&self) -> File {
        kit::open_directory(&self.0)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
