//! Finding images by what they are: id, digest, reference, and at last every local image, the fingerprint
//! compared each time (docker-facts section 3).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::fingerprint;
use super::host::HostAgent;
use crate::domain::names::Fingerprint;
use crate::domain::release::Handles;

/// Ids remembered before the memory is emptied and filled anew.
const CACHE_MAX: usize = 4096;

/// Fingerprints by image id: an id never gets another content.
#[derive(Debug, Default)]
pub(super) struct FingerprintCache(Mutex<HashMap<String, Fingerprint>>);

impl FingerprintCache {
    fn get(&self, id: &str) -> Option<Fingerprint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn put(&self, id: &str, print: &Fingerprint) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHE_MAX {
            known.clear();
        }
        known.insert(id.to_owned(), print.clone());
    }
}

/// An image that is here.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) inspect: Value,
    pub(super) handles: Handles,
}

impl<E: Engine> HostAgent<E> {
    /// An image's inspect by id: the engine's, else the one recorded while it was there (a container can outlive
    /// its image object).
    pub(super) async fn image_inspect(&self, id: &str) -> Result<Option<Value>, EngineError> {
        if let Some(inspect) = self.engine.image(id).await? {
            return Ok(Some(inspect));
        }
        Ok(self.recorded_image(id))
    }

    /// An image's inspect as it was recorded while it was here.
    pub(super) fn recorded_image(&self, id: &str) -> Option<Value> {
        self.ledger.image(id).unwrap_or_else(|e| {
            tracing::warn!(error = %e, "a recorded image cannot be used");
            None
        })
    }

    /// The fingerprint of an image by id; `None` when nobody knows the image any more.
    pub(super) async fn fingerprint_of(&self, id: &str) -> Result<Option<Fingerprint>, EngineError> {
        if let Some(known) = self.prints.get(id) {
            return Ok(Some(known));
        }
        let print = self.image_inspect(id).await?.as_ref().and_then(fingerprint::fingerprint);
        if let Some(print) = &print {
            self.prints.put(id, print);
        }
        Ok(print)
    }

    /// The image with this fingerprint, by whatever handle finds it.
    pub(super) async fn find(&self, wanted: &Handles) -> Result<Option<Image>, EngineError> {
        let by_name = [&wanted.image].into_iter().chain(&wanted.digests).chain([&wanted.reference]);
        for handle in by_name.filter(|h| !h.is_empty()) {
            if let Some(found) = self.is_it(handle, wanted).await? {
                return Ok(Some(found));
            }
        }
        for item in self.engine.images().await? {
            let Some(id) = item.get("Id").and_then(Value::as_str) else { continue };
            if self.prints.get(id).is_some_and(|p| p != wanted.fingerprint) {
                continue;
            }
            if let Some(found) = self.is_it(id, wanted).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn is_it(&self, handle: &str, wanted: &Handles) -> Result<Option<Image>, EngineError> {
        let inspect = match self.engine.image(handle).await {
            Ok(Some(inspect)) => inspect,
            // A handle of the other image store may be malformed for this one.
            Ok(None) | Err(EngineError::Refused { .. } | EngineError::NotFound(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let Some(handles) = fingerprint::handles(&inspect, &wanted.reference) else { return Ok(None) };
        self.prints.put(&handles.image, &handles.fingerprint);
        Ok((handles.fingerprint == wanted.fingerprint).then_some(Image { inspect, handles }))
    }
}

/// What platform an image is for, when it is not this engine's: `linux/arm64`.
pub(super) fn foreign_platform(image: &Value, os: &str, arch: &str) -> Option<String> {
    let field = |key: &str| image.get(key).and_then(Value::as_str).unwrap_or_default();
    let (image_os, image_arch) = (field("Os"), field("Architecture"));
    let differs = |image: &str, engine: &str| !image.is_empty() && !engine.is_empty() && image != engine;
    (differs(image_os, os) || differs(image_arch, arch)).then(|| format!("{image_os}/{image_arch}"))
}
