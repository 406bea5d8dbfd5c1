//! A registry behind the simulated engine: what was pushed, and the ways in which one says no, in the words that engine
//! 20.10 passes on.

use std::collections::BTreeMap;

use super::images::Image;
use super::refused;
use crate::agent::engine::EngineError;

/// How a simulated registry answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RegistryMood {
    /// As it should.
    #[default]
    Well,
    /// Nobody listens.
    Down,
    /// It accepts connections and says nothing.
    Silent,
    /// It wants another login.
    Locked,
    /// Too much was asked.
    Limited,
    /// It has the manifests and gives no layers: too much was asked.
    LimitedLate,
    /// Everything was deleted.
    Empty,
}

fn limited() -> EngineError {
    refused(500, "toomanyrequests: You have reached your pull rate limit.")
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) mood: RegistryMood,
    images: BTreeMap<String, Image>,
}

impl Registry {
    pub(super) fn keep(&mut self, digest: &str, image: Image) {
        self.images.insert(digest.to_owned(), image);
    }

    /// What a pull gets, late in its stream.
    pub(super) fn give(&self, digest: &str) -> Result<&Image, EngineError> {
        let image = self.has(digest)?;
        if self.mood == RegistryMood::LimitedLate { Err(limited()) } else { Ok(image) }
    }

    pub(super) fn has(&self, digest: &str) -> Result<&Image, EngineError> {
        match self.mood {
            RegistryMood::Well | RegistryMood::LimitedLate => {}
            RegistryMood::Down => {
                return Err(refused(500, "Get http://registry.example/v2/: dial tcp: connect: connection refused"));
            }
            RegistryMood::Silent => return Err(refused(504, "nothing came for 15 s: timed out")),
            RegistryMood::Locked => return Err(refused(401, "unauthorized: authentication required")),
            RegistryMood::Limited => return Err(limited()),
            RegistryMood::Empty => return Err(EngineError::NotFound("manifest unknown: manifest unknown".to_owned())),
        }
        self.images.get(digest).ok_or_else(|| EngineError::NotFound("manifest unknown: manifest unknown".to_owned()))
    }
}
