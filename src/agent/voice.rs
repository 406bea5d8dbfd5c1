//! Short words about what a step is doing, for whoever listens. Never waits: a listener that is slow misses some.

use super::Progress;

/// Where progress goes, if anywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice<'a>(Option<&'a Progress>);

impl<'a> Voice<'a> {
    pub(super) fn to(progress: &'a Progress) -> Self {
        Self(Some(progress))
    }

    pub(super) fn silent() -> Self {
        Self(None)
    }

    pub(super) fn say(&self, words: impl Into<String>) {
        if let Some(progress) = self.0 {
            // Full or closed: the newest words replace the ones before anyway.
            let _ = progress.try_send(words.into());
        }
    }
}
