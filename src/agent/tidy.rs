//! Cleaning the agent's own folder: recorded settings that no release, no open run and no container needs, image
//! inspects that none of those settings is of, and notes of pins of runs that are over.
//!
//! Looks record while this cleans. So a file goes only when two cleanings in a row found it unneeded and nobody wrote
//! or used it in between: its time of change is the same. No clock is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::SystemTime;

use super::engine::Engine;
use super::folder::{FolderError, Room};
use super::host::HostAgent;
use super::ledger::{of_image, run_of_pin};
use crate::domain::ids::RunId;

/// Files that the last cleaning found unneeded, with their times of change.
pub(super) type Unneeded = BTreeMap<PathBuf, SystemTime>;

impl<E: Engine> HostAgent<E> {
    /// Removes what nobody needs; gives how many files went.
    pub(super) fn clean(&self, specs: &BTreeSet<String>, open: &BTreeSet<RunId>) -> Result<usize, FolderError> {
        let folder = self.ledger.folder();
        let mut unneeded: Vec<(Room, String)> = Vec::new();
        let mut images = BTreeSet::new();
        let noted = self.ledger.specs_of_copies()?;
        for name in folder.names(Room::Specs)? {
            if !specs.contains(&name) && !noted.contains(&name) {
                unneeded.push((Room::Specs, name));
            } else if let Ok(Some(spec)) = self.ledger.spec(&name) {
                images.insert(of_image(&spec.image));
            }
        }
        // Settings that go in this cleaning still held their images in the one before: those go in the next.
        let staying = unneeded.iter().filter(|(room, name)| !self.is_due(&folder.path(*room, name)));
        for (_, name) in staying {
            if let Ok(Some(spec)) = self.ledger.spec(name) {
                images.insert(of_image(&spec.image));
            }
        }
        for name in folder.names(Room::Images)? {
            if !images.contains(&name) {
                unneeded.push((Room::Images, name));
            }
        }
        for name in folder.names(Room::Pins)? {
            if run_of_pin(&name).is_some_and(|run| !open.contains(&run)) {
                unneeded.push((Room::Pins, name));
            }
        }
        let mut next = Unneeded::new();
        let mut went = 0;
        for (room, name) in unneeded {
            let path = folder.path(room, &name);
            if self.is_due(&path) {
                folder.remove(room, &name)?;
                went += 1;
            } else if let Ok(changed) = path.metadata().and_then(|m| m.modified()) {
                next.insert(path, changed);
            }
        }
        *self.unneeded.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(went)
    }

    /// Found unneeded by the last cleaning, and not touched since.
    fn is_due(&self, path: &PathBuf) -> bool {
        let known = self.unneeded.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        known.is_some() && known == path.metadata().and_then(|m| m.modified()).ok()
    }
}
