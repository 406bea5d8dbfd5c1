//! In which of the engine's two image stores things were last seen. Whoever switches an engine to the other store sees
//! neither containers nor images of the former one, and all of them again after switching back (docker-facts section
//! 3): what is not seen then is hidden, and saying that it is gone would be wrong.

use std::sync::PoisonError;

use super::engine::{Engine, EngineError};
use super::folder::Room;
use super::host::HostAgent;
use super::{StoreKind, StoreSwitched};
use crate::domain::names::{Fingerprint, ProjectName};

impl<E: Engine> HostAgent<E> {
    /// The engine's store, asked once in each look at a project.
    pub(super) fn store_is(&self, kind: StoreKind) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
    }

    async fn store_now(&self) -> Result<StoreKind, EngineError> {
        let known = *self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some(kind) => Ok(kind),
            None => self.engine.facts().await.map(|facts| facts.store),
        }
    }

    /// Notes where a project is seen, or tells that it was last seen in the other store.
    pub(super) fn project_in(&self, project: &ProjectName, seen: bool, now: StoreKind) -> Option<StoreSwitched> {
        self.seen_in(&format!("project~{project}"), seen, now)
    }

    /// The same for an image.
    pub(super) fn image_in(&self, image: &Fingerprint, seen: bool, now: StoreKind) -> Option<StoreSwitched> {
        self.seen_in(&format!("image~{}", image.as_str()), seen, now)
    }

    /// Notes that an image is here, in the store that the engine has now.
    pub(super) async fn note_image(&self, image: &Fingerprint) -> Result<(), EngineError> {
        let now = self.store_now().await?;
        self.image_in(image, true, now);
        Ok(())
    }

    fn seen_in(&self, what: &str, seen: bool, now: StoreKind) -> Option<StoreSwitched> {
        let folder = self.ledger.folder();
        let was: Option<StoreKind> = folder.read(Room::Stores, what).unwrap_or_else(|e| {
            tracing::warn!(error = %e, "a note about the image store cannot be used");
            None
        });
        match was {
            Some(was) if was != now && !seen => Some(StoreSwitched { was, is: now }),
            Some(was) if was == now => None,
            _ if !seen => None,
            _ => {
                if let Err(e) = folder.write(Room::Stores, what, &now) {
                    tracing::warn!(error = %e, "in which image store something is cannot be noted");
                }
                None
            }
        }
    }
}
