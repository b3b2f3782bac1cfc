//! Files that the driver holds open itself, and counts who uses them.

use super::fd::{AsRawFd, OwnedFd, RawFd};
use crate::list::{Linked, Links, List};

/// Files that the driver holds open under numbers of its own, for as long as they are attached or
/// registered, and until no job uses them.
pub(super) struct Files<K> {
    files: Box<[File<K>]>,
    free: List<Unused>,
}

struct File<K> {
    held: Option<(OwnedFd, K)>,
    users: u32,
    links: Links,
}

/// The role of a file's links: free, or on its way into the table.
pub(super) struct Unused;

impl<K> Linked<Unused> for File<K> {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<K: Copy> Files<K> {
    pub(super) fn with_capacity(capacity: u32) -> Self {
        let file = |_| File {
            held: None,
            users: 0,
            links: Links::UNLINKED,
        };
        let mut files: Box<[File<K>]> = (0..capacity).map(file).collect();
        let mut free = List::new();
        (0..capacity).for_each(|index| free.push_back(&mut files, index));
        Self { files, free }
    }

    /// Takes a descriptor of this kind, for one user.
    pub(super) fn hold(&mut self, fd: OwnedFd, kind: K) -> u32 {
        let index = self
            .free
            .pop_front(&mut self.files)
            .expect("a place for every slot and job");
        let file = &mut self.files[index as usize];
        assert!(
            file.held.is_none() && file.users == 0,
            "a free place holds nothing"
        );
        (file.held, file.users) = (Some((fd, kind)), 1);
        index
    }

    /// Counts one more user.
    pub(super) fn share(&mut self, index: u32) {
        let file = &mut self.files[index as usize];
        assert!(file.users > 0, "I11: file {index} is not held");
        file.users += 1;
    }

    /// Counts one user less, and closes the file after the last.
    pub(super) fn release(&mut self, index: u32) {
        let file = &mut self.files[index as usize];
        assert!(file.users > 0, "I11: file {index} is not held");
        file.users -= 1;
        if file.users == 0 {
            drop(file.held.take());
            self.free.push_front(&mut self.files, index);
        }
    }

    pub(super) fn fd(&self, index: u32) -> RawFd {
        self.held_at(index).0.as_raw_fd()
    }

    pub(super) fn kind(&self, index: u32) -> K {
        self.held_at(index).1
    }

    fn held_at(&self, index: u32) -> &(OwnedFd, K) {
        let held = self.files[index as usize].held.as_ref();
        held.expect("I11: a file is held while it has users")
    }

    /// Appends a file that is in no slot yet.
    pub(super) fn stage(&mut self, staged: &mut List<Unused>, index: u32) {
        staged.push_back(&mut self.files, index);
    }

    /// Takes the first of those.
    pub(super) fn unstage(&mut self, staged: &mut List<Unused>) -> Option<u32> {
        staged.pop_front(&mut self.files)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.files.iter().filter(|file| file.users > 0).count()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sys::check_open;

    fn some_file() -> OwnedFd {
        let program = std::env::current_exe().unwrap();
        std::fs::File::open(program).unwrap().into()
    }

    #[test]
    fn a_file_is_closed_after_its_last_user() {
        let mut files = Files::with_capacity(2);
        let index = files.hold(some_file(), ());
        let fd = files.fd(index);
        files.share(index);
        files.release(index);
        assert!(check_open(fd).is_ok());
        files.release(index);
        assert_eq!(files.held(), 0);
        let [a, b] = [(), ()].map(|()| files.hold(some_file(), ()));
        assert_ne!(a, b);
    }

    #[test]
    fn staged_files_keep_their_order() {
        let mut files = Files::with_capacity(3);
        let mut staged = List::new();
        let held = [(), (), ()].map(|()| files.hold(some_file(), ()));
        for index in held {
            files.stage(&mut staged, index);
        }
        assert_eq!(
            [(), (), ()].map(|()| files.unstage(&mut staged)),
            held.map(Some)
        );
        assert_eq!(files.unstage(&mut staged), None);
    }

    #[test]
    #[should_panic(expected = "I11: file 0 is not held")]
    fn nobody_releases_twice() {
        let mut files = Files::with_capacity(1);
        let index = files.hold(some_file(), ());
        files.release(index);
        files.release(index);
    }
}
