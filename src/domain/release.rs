//! Which images a service has run, and which of them to go back to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::ids::{Position, ReleaseId, RunId};
use super::names::{Fingerprint, HostName, ServiceName, StackName, Target};
use super::plan::SpecRef;

/// An image's identity and the handles by which one host finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handles {
    /// What it is.
    pub fingerprint: Fingerprint,
    /// Local id in that host's image store (`sha256:…`).
    pub image: String,
    /// The reference its container was made from, such as `shop/api:1.4`.
    pub reference: String,
    /// `repository@sha256:…` as the engine lists them; no proof that a registry has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<String>,
}

/// Who or what brought a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Origin {
    /// One of our runs.
    Run {
        /// Which.
        run: RunId,
    },
    /// Somebody's compose, outside Sternway.
    Compose,
}

/// One image a service has run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its id.
    pub id: ReleaseId,
    /// Identity and handles.
    pub handles: Handles,
    /// The settings recorded when it last ran.
    pub spec: SpecRef,
    /// Who or what brought it first.
    pub origin: Origin,
    /// When its container was first started.
    pub since: Timestamp,
    /// When it was found running again after another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub back: Vec<Timestamp>,
    /// When it was proven healthy, if ever.
    #[serde(default)]
    pub proven: Option<Timestamp>,
    /// The run that left it; cleared when it is deployed anew or somebody went back to it all the same.
    #[serde(default)]
    pub left_by: Option<RunId>,
}

/// The releases of one service on one host, oldest first, and the one that runs now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// Oldest first.
    pub releases: Vec<Release>,
    /// The one that was seen running last.
    #[serde(default)]
    pub current: Option<ReleaseId>,
}

impl Release {
    /// When it was started last, as far as is known.
    pub fn ran_last(&self) -> Timestamp {
        self.back.iter().copied().max().map_or(self.since, |back| back.max(self.since))
    }
}

/// How a person named a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Not at all: the previous good one.
    Previous,
    /// By release id.
    Release(ReleaseId),
    /// By (the beginning of) an image id or fingerprint, `sha256:` optional.
    Digest(String),
    /// By tag, or by reference with tag.
    Tag(String),
    /// What ran at that moment.
    At(Timestamp),
}

/// Why no target could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Only one image is on record.
    #[error("nothing to go back to")]
    NothingBefore,
    /// There are earlier ones, but none that was proven healthy and not left by a rollback.
    #[error("no earlier release is both proven healthy and not already left by a rollback")]
    NoneGood(Vec<ReleaseId>),
    /// Nothing on record fits.
    #[error("nothing on record fits")]
    Unknown,
    /// More than one fits.
    #[error("more than one release fits")]
    Ambiguous(Vec<ReleaseId>),
    /// It runs already.
    #[error("{0} runs already")]
    AlreadyThere(ReleaseId),
}

/// A word of so many hex digits that is nobody's tag is the beginning of a digest, as cards show it.
const SHORT_DIGEST: usize = 12;

/// Name of the subject that the records of one service's releases belong to.
pub fn subject_key(target: &Target, service: &ServiceName) -> String {
    format!("{target}/{service}")
}

/// Reads [`subject_key`].
pub fn of_subject(key: &str) -> Option<(Target, ServiceName)> {
    let (target, service) = key.split_once('/')?;
    let (stack, host) = target.split_once('@')?;
    let target = Target { stack: StackName::parse(stack).ok()?, host: HostName::parse(host).ok()? };
    Some((target, ServiceName::parse(service).ok()?))
}

impl History {
    /// Takes one record into account; what is not about releases changes nothing.
    /// Idempotent for records seen before, as ids are positions.
    #[must_use]
    pub fn fold(mut self, position: Position, at: Timestamp, event: &Event) -> Self {
        match event {
            Event::ReleaseSeen { handles, spec, origin, since, .. } => {
                let id = ReleaseId(position);
                if self.get(id).is_none() {
                    self.releases.push(Release {
                        id,
                        handles: handles.clone(),
                        spec: spec.clone(),
                        origin: origin.clone(),
                        since: *since,
                        back: Vec::new(),
                        proven: None,
                        left_by: None,
                    });
                    self.current = Some(id);
                }
            }
            Event::ReleaseProven { release, .. } => {
                if let Some(found) = self.get_mut(*release) {
                    found.proven.get_or_insert(at);
                }
            }
            Event::ReleaseLeft { release, run, .. } => {
                if let Some(found) = self.get_mut(*release) {
                    found.left_by = Some(*run);
                }
            }
            Event::ReleaseBack { release, spec, .. } => {
                self.current = Some(*release);
                if let Some(found) = self.get_mut(*release) {
                    found.spec = spec.clone();
                    // By itself a rollback never goes to a release that one left, so somebody wanted it back.
                    found.left_by = None;
                    found.back.push(at);
                }
            }
            _ => {}
        }
        self
    }

    /// The release with this id.
    pub fn get(&self, id: ReleaseId) -> Option<&Release> {
        self.releases.iter().find(|r| r.id == id)
    }

    fn get_mut(&mut self, id: ReleaseId) -> Option<&mut Release> {
        self.releases.iter_mut().find(|r| r.id == id)
    }

    /// The release of this image, the newest if it was recorded more than once.
    pub fn of(&self, fingerprint: &Fingerprint) -> Option<&Release> {
        self.releases.iter().rev().find(|r| r.handles.fingerprint == *fingerprint)
    }

    /// The releases that are kept from being pruned: what runs, what a rollback without a target would go to, and the
    /// `newest` ones by when they ran last. Newest first, one for each image.
    pub fn kept(&self, newest: usize) -> Vec<&Release> {
        let mut all = self.newest_first();
        let current = self.current.and_then(|id| self.get(id));
        let previous = current.and_then(|c| self.choose(&Wanted::Previous, &c.handles.fingerprint).ok());
        let always = |r: &Release| {
            [current, previous].into_iter().flatten().any(|a| a.handles.fingerprint == r.handles.fingerprint)
        };
        let mut rank = 0;
        all.retain(|r| {
            rank += 1;
            rank <= newest || always(r)
        });
        all
    }

    /// The others: what [`Self::kept`] leaves out, newest first, one for each image.
    pub fn beyond(&self, newest: usize) -> Vec<&Release> {
        let kept = self.kept(newest);
        let mut all = self.newest_first();
        all.retain(|r| !kept.iter().any(|k| k.handles.fingerprint == r.handles.fingerprint));
        all
    }

    /// One release for each image, by when it ran last; what runs now stands first.
    fn newest_first(&self) -> Vec<&Release> {
        let mut all: Vec<&Release> = Vec::new();
        for release in self.releases.iter().rev() {
            if !all.iter().any(|seen| seen.handles.fingerprint == release.handles.fingerprint) {
                all.push(release);
            }
        }
        all.sort_by_key(|r| std::cmp::Reverse((self.current == Some(r.id), r.ran_last(), r.id)));
        all
    }

    /// Chooses what to go back to, given what runs now (decisions 20 and 21).
    ///
    /// # Errors
    /// [`NoTarget`] says what stands in the way, with the ids to offer instead.
    pub fn choose(&self, wanted: &Wanted, running: &Fingerprint) -> Result<&Release, NoTarget> {
        let others = || self.releases.iter().filter(|r| r.handles.fingerprint != *running);
        let fitting: Vec<&Release> = match wanted {
            Wanted::Previous => {
                let earlier: Vec<ReleaseId> = others().map(|r| r.id).collect();
                if earlier.is_empty() {
                    return Err(NoTarget::NothingBefore);
                }
                return others()
                    .rev()
                    .find(|r| r.proven.is_some() && r.left_by.is_none())
                    .ok_or(NoTarget::NoneGood(earlier));
            }
            Wanted::Release(id) => self.releases.iter().filter(|r| r.id == *id).collect(),
            Wanted::Digest(text) => {
                let hex = text.strip_prefix("sha256:").unwrap_or(text);
                let begins = |full: &str| full.strip_prefix("sha256:").unwrap_or(full).starts_with(hex);
                self.releases
                    .iter()
                    .filter(|r| {
                        begins(&r.handles.image)
                            || begins(r.handles.fingerprint.as_str())
                            || r.handles.digests.iter().any(|d| d.split('@').nth(1).is_some_and(begins))
                    })
                    .collect()
            }
            Wanted::Tag(tag) => {
                let tagged: Vec<&Release> =
                    self.releases.iter().filter(|r| has_tag(&r.handles.reference, tag)).collect();
                if tagged.is_empty() && tag.len() >= SHORT_DIGEST && tag.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return self.choose(&Wanted::Digest(tag.to_ascii_lowercase()), running);
                }
                tagged
            }
            Wanted::At(moment) => {
                let starts = |r: &'_ Release| r.back.iter().chain([&r.since]).filter(|t| *t <= moment).max().copied();
                let running = self.releases.iter().filter_map(|r| Some((starts(r)?, r))).max_by_key(|(at, _)| *at);
                running.map(|(_, r)| r).into_iter().collect()
            }
        };
        let mut distinct: Vec<&Release> = Vec::new();
        for release in fitting {
            match distinct.iter_mut().find(|d| d.handles.fingerprint == release.handles.fingerprint) {
                Some(newer) => *newer = release,
                None => distinct.push(release),
            }
        }
        match distinct.as_slice() {
            [] => Err(NoTarget::Unknown),
            [one] if one.handles.fingerprint == *running => Err(NoTarget::AlreadyThere(one.id)),
            [one] => Ok(one),
            many => Err(NoTarget::Ambiguous(many.iter().map(|r| r.id).collect())),
        }
    }
}

/// `tag` is the whole reference or what stands behind its last colon.
fn has_tag(reference: &str, tag: &str) -> bool {
    reference == tag || reference.rsplit_once(':').is_some_and(|(_, t)| t == tag && !t.contains('/'))
}
