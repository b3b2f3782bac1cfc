//! Names in the file system, and attributes.

use crate::counting::Marks;
use crate::kit::{Bytes, CLOSED, Files, Fixed, Lent, Number, PLACE, Rig, TEXT, room};
use completeio_driver::driver::{AsRawFd, CompleteIo, Cwd, Refusal};
use completeio_driver::op::{
    GetPathXattr, GetXattr, HardLink, MakeDir, Rename, SetPathXattr, SetXattr, Symlink, Unlink,
};
use std::ffi::CString;

/// Operations on names and attributes, in the order in which they succeed.
pub(crate) struct Names {
    pub(crate) make: Lent<MakeDir<Cwd>>,
    pub(crate) symlink: Lent<Symlink<Cwd>>,
    pub(crate) rename: Lent<Rename<Number>>,
    pub(crate) link: Lent<HardLink<Number, Cwd>>,
    pub(crate) unlink: Lent<Unlink<Cwd>>,
    pub(crate) remove: Lent<Unlink<Cwd>>,
    pub(crate) set: Lent<SetXattr<Number, &'static [u8]>>,
    pub(crate) get: Lent<GetXattr<Number, Bytes>>,
    pub(crate) set_path: Lent<SetPathXattr<&'static [u8]>>,
    pub(crate) get_path: Lent<GetPathXattr<Bytes>>,
    pub(crate) closed: Lent<Rename<Number>>,
    pub(crate) fixed: Lent<Rename<Number, Fixed>>,
}

impl Names {
    pub(crate) fn new(files: &Files) -> Self {
        let path = |name: &str| CString::new(files.dir.join(name).to_str().unwrap()).unwrap();
        let name = |name: &str| CString::new(name).unwrap();
        let dir = Number(files.directory.as_raw_fd());
        let file = Number(files.file.as_raw_fd());
        let attribute = || name("user.completeio");
        let link = HardLink::new(dir, name("renamed"), Cwd, path("linked"));
        let closed = Rename::new(Number(CLOSED), name("file"), dir, name("never"));
        let fixed = Rename::new(dir, name("file"), Fixed(PLACE), name("never"));
        Self {
            make: Lent::new(MakeDir::new(Cwd, path("made"), 0o700)),
            symlink: Lent::new(Symlink::new(name("text"), Cwd, path("symbolic"))),
            rename: Lent::new(Rename::new(dir, name("symbolic"), dir, name("renamed"))),
            link: Lent::new(link),
            unlink: Lent::new(Unlink::file(Cwd, path("linked"))),
            remove: Lent::new(Unlink::directory(Cwd, path("made"))),
            set: Lent::new(SetXattr::new(file, attribute(), TEXT)),
            get: Lent::new(GetXattr::new(file, attribute(), room())),
            set_path: Lent::new(SetPathXattr::new(path("file"), attribute(), TEXT)),
            get_path: Lent::new(GetPathXattr::new(path("file"), attribute(), room())),
            closed: Lent::new(closed),
            fixed: Lent::new(fixed),
        }
    }
}

/// Names and attributes: each kind succeeds, fails, and is refused.
pub(crate) fn names(rig: &mut Rig<'_>, ops: &mut Names, marks: &mut Marks) {
    rig.run(&mut ops.make, 1).unwrap();
    assert_eq!(rig.fail(&mut ops.make, 1), libc::EEXIST);
    marks.step("MakeDir");
    rig.run(&mut ops.symlink, 2).unwrap();
    assert_eq!(rig.fail(&mut ops.symlink, 2), libc::EEXIST);
    marks.step("Symlink");
    rig.run(&mut ops.rename, 3).unwrap();
    assert_eq!(rig.fail(&mut ops.rename, 3), libc::ENOENT);
    assert_eq!(rig.fail(&mut ops.closed, 3), libc::EBADF);
    assert_eq!(rig.refuse(&mut ops.fixed, 3), Refusal::FixedDescriptor);
    marks.step("Rename");
    rig.run(&mut ops.link, 4).unwrap();
    assert_eq!(rig.fail(&mut ops.link, 4), libc::EEXIST);
    marks.step("HardLink");
    rig.run(&mut ops.unlink, 5).unwrap();
    assert_eq!(rig.fail(&mut ops.unlink, 5), libc::ENOENT);
    rig.run(&mut ops.remove, 5).unwrap();
    assert_eq!(rig.fail(&mut ops.remove, 5), libc::ENOENT);
    marks.step("Unlink");

    // Where the file system has no attributes, all of them fail: that takes no memory either.
    let has = rig.run(&mut ops.set, 6).is_ok();
    assert_eq!(rig.run(&mut ops.set_path, 6).is_ok(), has);
    marks.step("SetXattr");
    assert_eq!(rig.run(&mut ops.get, 7).is_ok(), has);
    assert_eq!(rig.run(&mut ops.get_path, 7).is_ok(), has);
    assert!(!has || ops.get.op().buf().starts_with(TEXT));
    marks.step("GetXattr");
    rig.push(&ops.set, 8);
    rig.push(&ops.rename, 9);
    rig.driver.try_cancel(8).unwrap();
    rig.driver.try_cancel(9).unwrap();
    rig.wait(8);
    assert!(rig.wait(9).result().is_err());
    marks.step("names cancelled");
}
