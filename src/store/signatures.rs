//! Proves the signatures of checkpoints beside the reading of the log, on a thread of its own: one costs as much as
//! twenty lines.
//!
//! Must never: let a later bad signature hide an earlier one, or hold more than [`WAITING`] notes.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::note::Verifier;
use super::verify::Damage;

/// Notes that may wait; then the reading waits too.
const WAITING: usize = 256;

/// Where a note stands.
struct Job {
    file: PathBuf,
    line: u64,
    note: String,
}

/// The proving. `finish` says how it went.
#[derive(Default)]
pub(crate) struct Signatures {
    at_work: Option<(SyncSender<Job>, JoinHandle<Option<Damage>>)>,
    /// Found without a thread, if there can be none.
    found: Option<Damage>,
}

impl Signatures {
    /// Proves a note some time before the end.
    pub(crate) fn check(&mut self, verifier: &Verifier, file: &Path, line: u64, note: &str) {
        let job = Job { file: file.to_owned(), line, note: note.to_owned() };
        if self.at_work.is_none() {
            let (give, jobs) = sync_channel(WAITING);
            let theirs = verifier.clone();
            let thread = thread::Builder::new().name("signatures".to_owned()).spawn(move || first_bad(&theirs, &jobs));
            self.at_work = thread.ok().map(|thread| (give, thread));
        }
        match &self.at_work {
            // Nobody listens any more once a bad one was found; those after it do not matter.
            Some((give, _)) => drop(give.send(job)),
            None if self.found.is_none() => self.found = proven(verifier, job),
            None => {}
        }
    }

    /// The first that is bad, if any is.
    pub(crate) fn finish(mut self) -> Option<Damage> {
        let Some((give, thread)) = self.at_work.take() else { return self.found };
        drop(give);
        let unproven = |_| Some(Damage::of_file(Path::new("log"), "the signatures in it could not be proven"));
        thread.join().unwrap_or_else(unproven)
    }
}

fn first_bad(verifier: &Verifier, jobs: &Receiver<Job>) -> Option<Damage> {
    jobs.iter().find_map(|job| proven(verifier, job))
}

fn proven(verifier: &Verifier, job: Job) -> Option<Damage> {
    let error = verifier.open(&job.note).err()?;
    Some(Damage { file: job.file, line: job.line, what: format!("its checkpoint is not to be trusted: {error}") })
}
