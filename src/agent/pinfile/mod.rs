//! The pin: one key of a project's `.env` file that names a service's image, so that the team's next `up` wants
//! what we rolled back to (decision 23).
//!
//! File and key come from the config. The file is opened beneath the project folder, following no link on the way;
//! one key is changed and the rest stays byte for byte; a reader sees the old file or the new one, never half of it.
//! Must never: follow a link out of the folder, write anything but a plain image reference, log what else stands in
//! the file. Calls block on the disk: from async code use `spawn_blocking`.

mod disk;
mod env_text;

use std::io;
use std::path::Path;

pub use env_text::TextTrouble;

/// Longest file we take, in bytes; `.env` files have a few kilobytes.
pub const FILE_MAX: u64 = 1 << 20;

/// The pin cannot be read or written. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The folder from the config.
    #[error("the project folder cannot be opened; see `project_dir` in the config")]
    NoFolder(#[source] io::Error),
    /// No such file.
    #[error("there is no file {file} in the project folder: create it, or correct the pin in the config")]
    NoFile {
        /// As in the config.
        file: String,
    },
    /// A link, `..`, or an absolute path.
    #[error("{file} leads over a link or out of the project folder; name the real file in the config")]
    Outside {
        /// As in the config.
        file: String,
    },
    /// Not a regular file, hard-linked, mounted by itself, or too big.
    #[error("{file} {why}")]
    Unfit {
        /// As in the config.
        file: String,
        /// What it is, and what to do.
        why: &'static str,
    },
    /// The key, as it stands there.
    #[error("in {file}: {trouble}")]
    Text {
        /// As in the config.
        file: String,
        /// What, where, what to do.
        trouble: TextTrouble,
    },
    /// Not a name that a variable can have.
    #[error("“{0}” is no name of a variable; correct the pin in the config")]
    BadKey(String),
    /// Not a plain image reference. The value is not repeated.
    #[error("the new value is no plain image reference, so it is not written into {file}")]
    BadValue {
        /// As in the config.
        file: String,
    },
    /// Somebody else wrote meanwhile.
    #[error("{file} was changed by someone else at the same moment; nothing was written, try again")]
    Changed {
        /// As in the config.
        file: String,
    },
    /// This process may not.
    #[error("{file} cannot be replaced by this user ({why}); give Sternway's user the file and its folder")]
    NotWritable {
        /// As in the config.
        file: String,
        /// The system's word.
        why: io::Error,
    },
    /// Anything else.
    #[error("{file} cannot be {doing}")]
    Io {
        /// As in the config.
        file: String,
        /// `read`, `written`.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The text of a file beneath the project's folder, opened as a pin is: without following links, and not larger.
/// `None` when it cannot be read so.
pub fn text(project_dir: &Path, file: &str) -> Option<String> {
    String::from_utf8(disk::Open::file(project_dir, file).ok()?.read().ok()?).ok()
}

/// The value of the key; `None` when the file does not have it.
///
/// # Errors
/// [`PinError`], also when the value is none that could be put back after a change.
pub fn read(project_dir: &Path, file: &str, key: &str) -> Result<Option<String>, PinError> {
    let (text, found) = look(&disk::Open::file(project_dir, file)?, file, key)?;
    Ok(found.map(|found| env_text::value(&text, &found)))
}

/// Sets the key (adding it when it is not there) or, with `None`, takes its line away. Durable when it returns.
/// Owner, mode and extended attributes of the file are kept. Gives the former value: writing that one back gives
/// the former bytes. Writing what stands there already writes nothing.
///
/// # Errors
/// [`PinError`]; the file is as it was, unless the text says otherwise.
pub fn write(project_dir: &Path, file: &str, key: &str, value: Option<&str>) -> Result<Option<String>, PinError> {
    if value.is_some_and(|v| !env_text::is_plain(v.as_bytes())) {
        return Err(PinError::BadValue { file: file.to_owned() });
    }
    let open = disk::Open::file(project_dir, file)?;
    let (text, found) = look(&open, file, key)?;
    let old = found.as_ref().map(|found| env_text::value(&text, found));
    if old.as_deref() != value {
        open.replace(&env_text::change(&text, key, found.as_ref(), value))?;
    }
    Ok(old)
}

/// Whether [`write()`] would succeed for a key that is there, without writing.
///
/// # Errors
/// A sentence for the card: what stands in the way and what to do.
pub fn checkable(project_dir: &Path, file: &str, key: &str) -> Result<(), String> {
    let told = |e: PinError| match std::error::Error::source(&e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    };
    let open = disk::Open::file(project_dir, file).map_err(told)?;
    let (_, found) = look(&open, file, key).map_err(told)?;
    open.replaceable().map_err(told)?;
    found.map(|_| ()).ok_or_else(|| {
        format!("{file} has no line {key}=…: add it with the image that runs now, or correct the pin in the config")
    })
}

type Looked = (Vec<u8>, Option<env_text::Found>);

fn look(open: &disk::Open, file: &str, key: &str) -> Result<Looked, PinError> {
    if !env_text::is_key(key) {
        return Err(PinError::BadKey(key.to_owned()));
    }
    let text = open.read()?;
    let found = env_text::find(&text, key).map_err(|trouble| PinError::Text { file: file.to_owned(), trouble })?;
    Ok((text, found))
}

#[cfg(test)]
mod tests;
