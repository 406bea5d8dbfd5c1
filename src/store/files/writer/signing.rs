//! The writer's checkpoints: behind a group that is written anyway, or alone when records have stood without one for
//! too long and nobody writes.
//!
//! Must never: sign while the disk is full or failing (what room there is belongs to the records), or spin when
//! signing fails.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::super::ReadError;
use super::super::super::admit::Front;
use super::super::super::checkpoint::Signer;
use super::super::super::signing::{Signing, sign_if_due};
use super::{Failure, Health, Writer};

/// What signs, and since when something waits for it.
pub(super) struct Signatures {
    signer: Option<Signer>,
    age: Duration,
    /// Since when records stand without a checkpoint. From the start on that is believed: it costs one look.
    waits_since: Option<Instant>,
    /// Whatever stands without one gets it now: the log is being closed.
    pub(super) seal: bool,
}

impl Signatures {
    pub(super) fn new(signer: Option<Signer>, age: Duration) -> Self {
        let waits_since = signer.is_some().then(Instant::now);
        Self { signer, age, waits_since, seal: false }
    }

    /// When the next one is due, if nothing else is written until then.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waits_since.map(|since| since + self.age)
    }

    /// What a write came to.
    pub(super) fn written(&mut self, signing: Signing) {
        self.waits_since = match signing {
            Signing::Signed(_) | Signing::Covered => None,
            Signing::Waits => self.signer.is_some().then(|| self.waits_since.unwrap_or_else(Instant::now)),
        };
    }
}

impl Writer {
    /// Puts a checkpoint behind the group, if one is due.
    pub(super) fn sign_behind(&self, front: &mut Front<'_>) -> Result<Signing, ReadError> {
        let Some(signer) = self.signatures.signer.as_ref().filter(|_| self.health == Health::Well) else {
            return Ok(Signing::Waits);
        };
        let old = self.signatures.due().is_some_and(|due| Instant::now() >= due);
        sign_if_due(front, signer, self.options.clock.now(), old || self.signatures.seal)
    }

    /// Writes a checkpoint alone.
    pub(super) fn sign(&mut self) {
        *self.shared.busy_since() = Some(Instant::now());
        match self.write(&[]) {
            Ok(_) => {}
            Err(Failure::Disk(error)) => self.failed(Vec::new(), &error),
            Err(Failure::Index(error)) => self.mend_index(&error.0),
        }
        *self.shared.busy_since() = None;
        if let Some(why) = self.index_fault.take() {
            self.mend_index(&why);
        }
        // Whatever came of it: the next attempt is not before the age has passed again.
        if self.signatures.waits_since.is_some() {
            self.signatures.waits_since = Some(Instant::now());
        }
    }

    /// The last words before the log is closed.
    pub(super) fn seal(&mut self) {
        self.signatures.seal = self.shared.sealed.load(Ordering::Acquire);
        if self.signatures.seal && self.is_well() {
            self.sign();
        }
    }
}
