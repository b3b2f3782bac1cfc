//! Flags where no flag is taken: the numbers are of no system.

pub(crate) mod rw_flags {
    pub(crate) const HIPRI: i32 = 0x1;
    pub(crate) const DSYNC: i32 = 0x2;
    pub(crate) const SYNC: i32 = 0x4;
    pub(crate) const NOWAIT: i32 = 0x8;
    pub(crate) const APPEND: i32 = 0x10;
    pub(crate) const ATOMIC: i32 = 0x40;
    pub(crate) const DONT_CACHE: i32 = 0x80;
}

pub(crate) mod sync_flags {
    pub(crate) const WAIT_BEFORE: u32 = 1;
    pub(crate) const WRITE: u32 = 2;
    pub(crate) const WAIT_AFTER: u32 = 4;
}
