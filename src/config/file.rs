//! Files that set rights: the config and the team's command files (decision 14).
//!
//! Whoever can write such a file can make themselves an approver, so one that others may write is refused,
//! and its hash is put on record at every start.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::problem::Problem;

/// Largest file we read, in bytes; a config of a hundred stacks stays below a tenth of it.
const SIZE_MAX: u64 = 1024 * 1024;

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const GROUP_OR_OTHERS_READ: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// A file that sets rights, read once: text and hash are of the very same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightsFile {
    /// Its path as given.
    pub name: String,
    /// Its content.
    pub text: String,
    /// SHA-256 of its bytes, 64 lower-case hex digits.
    pub sha256: String,
}

/// SHA-256 of a text, 64 lower-case hex digits.
pub(crate) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Reads a file that sets rights.
///
/// # Errors
/// When it cannot be read, is no plain UTF-8 file, is larger than 1 MiB, or when somebody but its owner could
/// change it: the file itself or the folder it lies in is group- or world-writable (a sticky folder such as
/// `/tmp` is fine).
pub fn read_rights_file(path: &Path) -> Result<RightsFile, Vec<Problem>> {
    let name = path.display().to_string();
    let refuse = |message: String, hint: Option<String>| Err(vec![Problem::of_file(&name, message, hint)]);
    let (text, metadata) = match read(path) {
        Ok(read) => read,
        Err(why) => return refuse(why.message, why.hint),
    };
    let others_write = |m: &Metadata| m.mode() & GROUP_OR_OTHERS_WRITE != 0;
    if others_write(&metadata) {
        return refuse(
            format!(
                "this file sets rights, but others than its owner may write it (mode {:04o})",
                metadata.mode() & 0o7777
            ),
            Some(format!("chmod go-w {}", quoted(path))),
        );
    }
    // What counts is the folder of the file itself, not of a link to it.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = real.parent()
        && let Ok(metadata) = folder.metadata()
        && others_write(&metadata)
        && metadata.mode() & STICKY == 0
    {
        return refuse(
            format!(
                "this file sets rights, but others than the owner of {} could put another in its place (mode {:04o})",
                folder.display(),
                metadata.mode() & 0o7777
            ),
            Some(format!("chmod go-w {}", quoted(folder))),
        );
    }
    let sha256 = sha256(&text);
    Ok(RightsFile { name, text, sha256 })
}

/// Reads a file that holds a secret; `Err` is a sentence that holds nothing of the content.
pub(crate) fn read_secret_file(path: &Path) -> Result<String, String> {
    let (text, metadata) = read(path).map_err(|why| format!("{}: {}", path.display(), why.message))?;
    if metadata.mode() & GROUP_OR_OTHERS_READ != 0 {
        return Err(format!(
            "{} holds a secret, but others than its owner may open it (mode {:04o}): chmod go= {}",
            path.display(),
            metadata.mode() & 0o7777,
            quoted(path)
        ));
    }
    Ok(text)
}

struct Unread {
    message: String,
    hint: Option<String>,
}

/// The content and the metadata of the very file that was opened.
fn read(path: &Path) -> Result<(String, Metadata), Unread> {
    let unread = |message: String| Unread { message, hint: None };
    // Asked before opening: opening a pipe would wait for a writer.
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => return Err(unread("this is not a plain file".to_owned())),
        Ok(_) => {}
        Err(why) if why.kind() == ErrorKind::NotFound => {
            let hint = Some("name the file with --config, or begin with a copy of config/minimal.toml".to_owned());
            return Err(Unread { message: "there is no such file".to_owned(), hint });
        }
        Err(why) => return Err(unread(format!("it cannot be read: {why}"))),
    }
    let mut file = File::open(path).map_err(|why| unread(format!("it cannot be read: {why}")))?;
    let metadata = file.metadata().map_err(|why| unread(format!("it cannot be read: {why}")))?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|why| unread(format!("it cannot be read: {why}")))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(unread(format!("it is larger than {SIZE_MAX} bytes")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|why| unread(format!("it is not UTF-8 text (byte {})", why.utf8_error().valid_up_to())))?;
    Ok((text, metadata))
}

/// A path as it can be pasted into a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    fn file_with_mode(folder: &Path, mode: u32) -> std::path::PathBuf {
        let path = folder.join("a.toml");
        std::fs::write(&path, "x = 1\n").unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_rights_file_that_others_may_write_is_refused_with_the_command_that_cures_it() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o664, 0o646, 0o666] {
            let path = file_with_mode(folder.path(), mode);
            let problem = read_rights_file(&path).expect_err("writable by others")[0].to_string();
            assert!(problem.contains("chmod go-w "), "{mode:o}: {problem}");
        }
        for mode in [0o644, 0o600, 0o444] {
            let read = read_rights_file(&file_with_mode(folder.path(), mode)).unwrap();
            assert_eq!(read.text, "x = 1\n");
            assert_eq!(read.sha256, sha256("x = 1\n"));
        }
    }

    #[test]
    fn a_folder_in_which_others_could_replace_the_file_is_refused_unless_sticky() {
        let folder = tempfile::tempdir().unwrap();
        let path = file_with_mode(folder.path(), 0o600);
        set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(read_rights_file(&path).is_err(), "0777 must be refused");
        set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(read_rights_file(&path).is_ok(), "1777 is what /tmp has");
    }

    #[test]
    fn what_is_no_plain_text_file_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.toml");
        let why = |p: &Path| read_rights_file(p).expect_err("refused")[0].to_string();
        assert!(why(&path).contains("no such file"), "{}", why(&path));
        assert!(why(folder.path()).contains("not a plain file"), "{}", why(folder.path()));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(why(&path).contains("UTF-8"), "{}", why(&path));
        std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        assert!(why(&path).contains("larger"), "{}", why(&path));
    }
}
