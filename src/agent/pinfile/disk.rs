//! Opening a file beneath a folder without following links, and replacing it in one step.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{self, Access, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::{FILE_MAX, PinError};

/// Longest list of attribute names, and longest attribute, that Linux has (`XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 65_536;

/// An open file and the folder it is in.
pub(super) struct Open {
    /// As in the config, for messages.
    shown: String,
    folder: OwnedFd,
    name: String,
    file: OwnedFd,
    stat: Stat,
}

impl Open {
    /// Opens it for reading.
    pub(super) fn file(project_dir: &Path, file: &str) -> Result<Self, PinError> {
        let outside = || PinError::Outside { file: file.to_owned() };
        // The project folder itself is the config's word and may be a link.
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = fs::open(project_dir, flags, Mode::empty()).map_err(|e| PinError::NoFolder(e.into()))?;
        let path = PathBuf::from(file);
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(outside)?.to_owned();
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = |e: Errno| match e {
            Errno::NOENT | Errno::NOTDIR => PinError::NoFile { file: file.to_owned() },
            Errno::LOOP | Errno::XDEV => outside(),
            Errno::NOSYS => PinError::Unfit {
                file: file.to_owned(),
                why: "cannot be opened safely: this kernel has no openat2 (Linux 5.6); leave the pin out of the config",
            },
            other => PinError::Io { file: file.to_owned(), doing: "read", source: other.into() },
        };
        let folder = fs::openat2(&root, parent, flags, Mode::empty(), beneath).map_err(opened)?;
        // NONBLOCK: a pipe in the file's place must not hang us.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = match fs::openat2(&folder, &name, flags, Mode::empty(), beneath | ResolveFlags::NO_XDEV) {
            Err(Errno::XDEV) => {
                return Err(PinError::Unfit {
                    file: file.to_owned(),
                    why: "is mounted by itself and so cannot be replaced; mount the folder it is in instead",
                });
            }
            other => other.map_err(opened)?,
        };
        let stat = fs::fstat(&handle).map_err(opened)?;
        let unfit = |why| PinError::Unfit { file: file.to_owned(), why };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(unfit("is not a file; correct the pin in the config"));
        }
        if stat.st_nlink > 1 {
            return Err(unfit(
                "has a second name (a hard link), which would keep the old content; copy it to a file of its own",
            ));
        }
        if u64::try_from(stat.st_size).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(unfit("has more than 1 MiB and is no .env file; correct the pin in the config"));
        }
        Ok(Self { shown: file.to_owned(), folder, name, file: handle, stat })
    }

    /// The whole content.
    pub(super) fn read(&self) -> Result<Vec<u8>, PinError> {
        let failed = |e: Errno| self.io("read", e);
        let mut text = Vec::new();
        let mut part = [0; 8192];
        loop {
            let offset = text.len() as u64;
            match rustix::io::pread(&self.file, &mut part, offset) {
                Ok(0) => return Ok(text),
                Ok(n) => text.extend_from_slice(&part[..n]),
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed(e)),
            }
            if text.len() as u64 > FILE_MAX {
                return Err(PinError::Changed { file: self.shown.clone() });
            }
        }
    }

    /// Whether [`Self::replace`] is allowed, as far as that can be told without doing it.
    pub(super) fn replaceable(&self) -> Result<(), PinError> {
        let refused = |e: Errno| PinError::NotWritable { file: self.shown.clone(), why: e.into() };
        let access = Access::WRITE_OK | Access::EXEC_OK;
        fs::accessat(&self.folder, ".", access, AtFlags::EACCESS).map_err(refused)?;
        fs::accessat(&self.folder, self.name.as_str(), Access::WRITE_OK, AtFlags::EACCESS).map_err(refused)?;
        let us = rustix::process::geteuid();
        // Only root can give the new file to another owner.
        if !us.is_root() && self.stat.st_uid != us.as_raw() {
            return Err(refused(Errno::PERM));
        }
        Ok(())
    }

    /// Puts a file with this content, and all else as it was, into the file's place.
    pub(super) fn replace(&self, content: &[u8]) -> Result<(), PinError> {
        self.replaceable()?;
        // One name for the unfinished file: what a crash left is taken away by the next attempt.
        let part = format!(".{}.sternway", self.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::unlinkat(&self.folder, part.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(self.io("written", e)),
        }
        let new = fs::openat(&self.folder, part.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.io("written", e))?;
        let done = self.fill(&new, content).map_err(|e| self.io("written", e)).and_then(|()| self.swap(&part));
        if done.is_err() {
            let _already_gone = fs::unlinkat(&self.folder, part.as_str(), AtFlags::empty());
            return done;
        }
        fs::fsync(&self.folder).map_err(|e| self.io("made durable (the new value stands there)", e))
    }

    fn fill(&self, new: &OwnedFd, mut content: &[u8]) -> Result<(), Errno> {
        while !content.is_empty() {
            match rustix::io::write(new, content) {
                Ok(n) => content = &content[n..],
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        let made = fs::fstat(new)?;
        if (made.st_uid, made.st_gid) != (self.stat.st_uid, self.stat.st_gid) {
            fs::fchown(new, Some(fs::Uid::from_raw(self.stat.st_uid)), Some(fs::Gid::from_raw(self.stat.st_gid)))?;
        }
        // Before the mode: an access list sets the group's bits too.
        copy_attributes(&self.file, new)?;
        fs::fchmod(new, Mode::from_raw_mode(self.stat.st_mode & 0o7777))?;
        fs::fsync(new)
    }

    /// The rename, unless the file is no longer the one that was read.
    fn swap(&self, part: &str) -> Result<(), PinError> {
        let now =
            fs::statat(&self.folder, self.name.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.io("read", e))?;
        let seen = |s: &Stat| (s.st_dev, s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec);
        if seen(&now) != seen(&self.stat) {
            return Err(PinError::Changed { file: self.shown.clone() });
        }
        fs::renameat_with(&self.folder, part, &self.folder, self.name.as_str(), RenameFlags::empty())
            .map_err(|e| self.io("written", e))
    }

    fn io(&self, doing: &'static str, source: Errno) -> PinError {
        let source: io::Error = source.into();
        PinError::Io { file: self.shown.clone(), doing, source }
    }
}

/// Access lists and the like. A file system without attributes has none to copy.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut names = vec![0; XATTR_MAX];
    let length = match fs::flistxattr(from, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut value = vec![0; XATTR_MAX];
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let length = fs::fgetxattr(from, name, value.as_mut_slice())?;
        match fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) => {}
            // The system gives new files a label of its own, and it is the same one in the same folder.
            Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS) if name.starts_with(b"security.") => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
