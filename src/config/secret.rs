//! Secrets: where they come from, and a type that never shows what it holds.
//!
//! A secret never stands in the config itself, so the config can be shown, hashed and kept in a repository.
//! The environment is not read here: whoever may read it (`app`) passes a look-up in.

use std::fmt;
use std::hint::black_box;
use std::path::PathBuf;

use super::file::read_secret_file;
use super::reader::{FromToml, Node};

/// A secret. Prints as `***` in every form, cannot be serialised, and is overwritten when dropped.
/// (Copies that a caller makes of what [`Secret::expose`] gives are the caller's.)
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Keeps the compiler from dropping writes that nobody reads.
        black_box(&bytes);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is found: `{ env = "NAME" }` or `{ file = "/path" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file that only its owner may open; one line break at its end does not count.
    File(PathBuf),
}

/// Why there is no secret. Never holds anything of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSecret {
    /// The variable is not set.
    #[error("the environment variable {0} is not set: set it where Sternway is started, or use {{ file = \"/path\" }}")]
    Unset(String),
    /// It is there but empty.
    #[error("{0} is empty: put the secret there and start again")]
    Empty(String),
    /// The file cannot be read, or others may read it.
    #[error("{0}")]
    File(String),
}

impl SecretSource {
    /// Fetches the secret; `env` looks an environment variable up.
    ///
    /// # Errors
    /// [`NoSecret`] when it is not set, empty, unreadable, or readable by others than the file's owner.
    pub fn load(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Secret, NoSecret> {
        let secret = match self {
            SecretSource::Env(name) => Secret::new(env(name).ok_or_else(|| NoSecret::Unset(name.clone()))?),
            SecretSource::File(path) => {
                let whole = Secret::new(read_secret_file(path).map_err(NoSecret::File)?);
                let line = whole.expose().strip_suffix('\n').unwrap_or(whole.expose());
                Secret::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
        };
        if secret.expose().trim().is_empty() { Err(NoSecret::Empty(self.to_string())) } else { Ok(secret) }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::Env(name) => write!(f, "the environment variable {name}"),
            SecretSource::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromToml for SecretSource {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        const HOW: &str = "write { env = \"NAME\" } or { file = \"/path\" }";
        if node.value.get_ref().is_str() {
            // Not repeated: it may be the secret itself.
            return node.refuse("a secret never stands in the config itself", HOW.to_owned());
        }
        let mut section = node.section("{ env = … } or { file = … }")?;
        let env: Option<String> = section.optional("env");
        let file: Option<PathBuf> = section.optional("file");
        section.finish();
        match (env, file) {
            (Some(name), None) if is_variable(&name) => Some(SecretSource::Env(name)),
            (Some(_), None) => {
                node.refuse("an environment variable's name has letters, digits and `_`", HOW.to_owned())
            }
            (None, Some(path)) => Some(SecretSource::File(path)),
            _ => node.refuse("a secret comes from exactly one place", HOW.to_owned()),
        }
    }
}

/// Whether a text can be the name of an environment variable.
pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Section, Source};
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use toml::de::DeTable;

    const CANARY: &str = "xoxb-canary-7313";

    fn read(text: &str) -> Result<SecretSource, String> {
        let source = Source::new("s.toml", text);
        let table = DeTable::parse(text).unwrap();
        let found = Section::new(&source, "".into(), 0..0, table.get_ref()).required("token", "…");
        let problems = source.into_problems();
        match found {
            Some(found) if problems.is_empty() => Ok(found),
            _ => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn no_way_of_printing_shows_a_secret() {
        let secret = Secret::new(CANARY.to_owned());
        for shown in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret))] {
            assert!(!shown.contains("canary") && shown.contains("***"), "{shown}");
        }
    }

    #[test]
    fn it_comes_from_the_environment_that_was_passed_in() {
        let source = read("token = { env = \"BOT_TOKEN\" }").unwrap();
        let secret = source.load(&|name| (name == "BOT_TOKEN").then(|| CANARY.to_owned())).unwrap();
        assert_eq!(secret.expose(), CANARY);
        assert_eq!(source.load(&|_| None).unwrap_err(), NoSecret::Unset("BOT_TOKEN".to_owned()));
        assert!(matches!(source.load(&|_| Some(" \n".to_owned())), Err(NoSecret::Empty(_))));
    }

    #[test]
    fn a_secret_file_that_others_may_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, format!("{CANARY}\n")).unwrap();
        let source = read(&format!("token = {{ file = {path:?} }}")).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let why = source.load(&|_| None).unwrap_err().to_string();
            assert!(why.contains("chmod go= ") && !why.contains("canary"), "{mode:o}: {why}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(source.load(&|_| None).unwrap().expose(), CANARY);
    }

    #[test]
    fn a_secret_in_the_config_itself_is_refused_and_not_repeated() {
        for text in [
            format!("token = '{CANARY}'"),
            format!("token = {{ value = '{CANARY}' }}"),
            format!("token = {{ env = '{CANARY}' }}"),
            "token = {}".to_owned(),
            "token = { env = 'A', file = '/b' }".to_owned(),
            "token = 7".to_owned(),
        ] {
            let why = read(&text).expect_err("refused");
            assert!(!why.contains("canary"), "{why}");
        }
    }
}
