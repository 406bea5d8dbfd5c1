use super::*;
use rustix::fs::Mode;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn project(env: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), env).unwrap();
    folder
}

fn text(folder: &tempfile::TempDir) -> String {
    std::fs::read_to_string(folder.path().join(".env")).unwrap()
}

const KEY: &str = "API_IMAGE";

#[test]
fn a_pin_is_written_and_put_back_byte_for_byte() {
    let env = "# shop\r\nSECRET='x y'\r\nexport API_IMAGE=\"shop/api:1.5\" # bump\r\nLAST=1";
    let folder = project(env);
    let dir = folder.path();
    assert_eq!(checkable(dir, ".env", KEY), Ok(()));
    assert_eq!(read(dir, ".env", KEY).unwrap().as_deref(), Some("shop/api:1.5"));
    assert_eq!(write(dir, ".env", KEY, Some("shop/api:1.4")).unwrap().as_deref(), Some("shop/api:1.5"));
    assert_eq!(text(&folder), env.replace("1.5", "1.4"));
    assert_eq!(write(dir, ".env", KEY, Some("shop/api:1.5")).unwrap().as_deref(), Some("shop/api:1.4"));
    assert_eq!(text(&folder), env);
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1, "no unfinished file is left");
}

#[test]
fn a_missing_key_is_told_beforehand_but_can_be_added_and_taken_away() {
    let folder = project("A=1");
    let told = checkable(folder.path(), ".env", KEY).unwrap_err();
    assert!(told.contains("has no line API_IMAGE="), "{told}");
    assert_eq!(read(folder.path(), ".env", KEY).unwrap(), None);
    assert_eq!(write(folder.path(), ".env", KEY, Some("a:1")).unwrap(), None);
    assert_eq!(text(&folder), "A=1\nAPI_IMAGE=a:1");
    assert_eq!(write(folder.path(), ".env", KEY, None).unwrap().as_deref(), Some("a:1"));
    assert_eq!(text(&folder), "A=1");
}

#[test]
fn the_same_value_again_writes_nothing() {
    let folder = project("API_IMAGE=a:1\n");
    let before = std::fs::metadata(folder.path().join(".env")).unwrap().ino();
    write(folder.path(), ".env", KEY, Some("a:1")).unwrap();
    assert_eq!(std::fs::metadata(folder.path().join(".env")).unwrap().ino(), before);
}

#[test]
fn mode_and_owner_are_kept_and_a_crashed_attempt_is_swept() {
    let folder = project("API_IMAGE=a:1\n");
    let path = folder.path().join(".env");
    std::fs::write(folder.path().join("..env.sternway"), "half").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    }
    write(folder.path(), ".env", KEY, Some("a:2")).unwrap();
    let now = std::fs::metadata(&path).unwrap();
    assert_eq!(now.permissions().mode() & 0o7777, 0o640);
    if root {
        assert_eq!((now.uid(), now.gid()), (1234, 2345));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn attributes_are_kept() {
    let folder = project("API_IMAGE=a:1\n");
    let path = folder.path().join(".env");
    let set = rustix::fs::setxattr(&path, "user.sternway-test", b"x", rustix::fs::XattrFlags::empty());
    if set == Err(rustix::io::Errno::NOTSUP) {
        eprintln!("SKIPPED, NOT TESTED: this file system has no extended attributes");
        return;
    }
    write(folder.path(), ".env", KEY, Some("a:2")).unwrap();
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(&path, "user.sternway-test", value.as_mut_slice()).unwrap();
    assert_eq!(&value[..length], b"x");
}

#[test]
fn no_link_is_followed_and_nothing_outside_the_folder_is_reached() {
    let outside = project("API_IMAGE=secret:1\n");
    let folder = project("API_IMAGE=a:1\n");
    let dir = folder.path();
    symlink(outside.path().join(".env"), dir.join("link.env")).unwrap();
    symlink(outside.path(), dir.join("linked")).unwrap();
    symlink(".env", dir.join("inner.env")).unwrap();
    let up = format!("../{}/.env", outside.path().file_name().unwrap().to_str().unwrap());
    let absolute = outside.path().join(".env");
    for bad in ["link.env", "linked/.env", "inner.env", up.as_str(), absolute.to_str().unwrap(), "..", ""] {
        let refused = write(dir, bad, KEY, Some("b:2"));
        assert!(matches!(refused, Err(PinError::Outside { .. })), "{bad}: {refused:?}");
        assert!(checkable(dir, bad, KEY).unwrap_err().contains("over a link or out of"), "{bad}");
    }
    assert_eq!(text(&outside), "API_IMAGE=secret:1\n");
    std::fs::create_dir(dir.join("deploy")).unwrap();
    std::fs::write(dir.join("deploy/.env"), "API_IMAGE=a:1\n").unwrap();
    assert_eq!(read(dir, "deploy/.env", KEY).unwrap().as_deref(), Some("a:1"), "a folder beneath is fine");
}

#[test]
fn what_is_not_a_file_of_its_own_is_refused() {
    let folder = project("API_IMAGE=a:1\n");
    let dir = folder.path();
    assert!(matches!(read(dir, "gone", KEY), Err(PinError::NoFile { .. })));
    assert!(matches!(read(&dir.join("gone"), ".env", KEY), Err(PinError::NoFolder(_))));
    std::fs::create_dir(dir.join("folder")).unwrap();
    assert!(matches!(read(dir, "folder", KEY), Err(PinError::Unfit { .. })));
    let pipe = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("pipe"), rustix::fs::FileType::Fifo, pipe, 0).unwrap();
    assert!(matches!(read(dir, "pipe", KEY), Err(PinError::Unfit { .. })), "and it does not hang");
    std::fs::hard_link(dir.join(".env"), dir.join("second")).unwrap();
    assert!(matches!(write(dir, ".env", KEY, Some("b")), Err(PinError::Unfit { .. })));
    std::fs::write(dir.join("big"), vec![b'#'; 1 + FILE_MAX as usize]).unwrap();
    assert!(matches!(read(dir, "big", KEY), Err(PinError::Unfit { .. })));
}

#[test]
fn only_plain_references_are_written_and_refusals_do_not_repeat_them() {
    let folder = project("API_IMAGE=a:1\n");
    for bad in ["a\nB=2", "a b", "$X", "'a'", "\"a\"", "a`id`", "a#b", "a\\b", "a;b", "é", &"x".repeat(600)] {
        let refused = write(folder.path(), ".env", KEY, Some(bad)).unwrap_err();
        assert!(matches!(refused, PinError::BadValue { .. }), "{bad}");
        assert!(!refused.to_string().contains(bad), "{refused}");
    }
    for bad in ["", "A=B", "A B", "1A", "A\n"] {
        assert!(matches!(write(folder.path(), ".env", bad, Some("a")), Err(PinError::BadKey(_))), "{bad:?}");
    }
    assert_eq!(text(&folder), "API_IMAGE=a:1\n");
}

#[test]
fn a_file_that_changed_after_it_was_read_is_not_overwritten() {
    let folder = project("API_IMAGE=a:1\n");
    let open = disk::Open::file(folder.path(), ".env").unwrap();
    std::fs::write(folder.path().join(".env"), "API_IMAGE=theirs:2\nNEW=1\n").unwrap();
    assert!(matches!(open.replace(b"ours"), Err(PinError::Changed { .. })));
    assert_eq!(text(&folder), "API_IMAGE=theirs:2\nNEW=1\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
