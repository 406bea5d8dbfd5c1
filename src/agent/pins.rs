//! The project's pin file, through the agent: only files and keys that the config names, the former value kept in
//! the agent's folder until the run is over, changed and put back with the run (decision 23).
//!
//! Must never: take the file or key from a label, tell a value to anyone (only its HMAC leaves), or write over a
//! value that nobody planned with.

use std::path::Path;

use super::engine::Engine;
use super::host::HostAgent;
use super::ledger::OldPin;
use super::pinfile::{self, PinError};
use super::{ActError, Observed, Order, PinFacts};
use crate::domain::names::ProjectName;
use crate::domain::plan::StepOutput;

impl<E: Engine> HostAgent<E> {
    /// What stands at a pin, its value as an HMAC.
    pub(super) fn pin_facts(&self, project: &ProjectName, file: &str, key: &str) -> PinFacts {
        let folder = match self.pin_folder(project, file, key) {
            Ok(folder) => folder,
            Err(why) => return PinFacts { value: None, obstacle: Some(why), word: false },
        };
        match pinfile::read(folder, file, key) {
            Ok(value) => PinFacts {
                word: value.as_deref().is_some_and(|v| !v.is_empty() && !v.contains(['/', ':', '@'])),
                value: value.map(|v| self.mac_of(&v)),
                obstacle: pinfile::checkable(folder, file, key).err(),
            },
            Err(e) => PinFacts { value: None, obstacle: Some(told(&e)), word: false },
        }
    }

    /// Writes the new value, after the former one is kept.
    pub(super) fn write_pin(
        &self,
        order: &Order,
        file: &str,
        key: &str,
        value: &str,
        planned: Option<&str>,
    ) -> Result<StepOutput, ActError> {
        let folder = self.pin_folder(&order.project, file, key).map_err(refused)?;
        let old = pinfile::read(folder, file, key).map_err(|e| refused(told(&e)))?;
        if old.as_deref() == Some(value) {
            return Ok(StepOutput::Nothing);
        }
        if old.as_deref().map(|v| self.mac_of(v)).as_deref() != planned {
            return Err(refused(format!(
                "{key} in {file} is not what it was when this was planned: somebody changed it"
            )));
        }
        let keep = OldPin { value: old, written: Some(value.to_owned()) };
        self.ledger.keep_pin(order.run, &order.project, &place(file, key), &keep).map_err(refused)?;
        pinfile::write(folder, file, key, Some(value)).map_err(|e| ActError::Failed(told(&e)))?;
        Ok(StepOutput::Nothing)
    }

    /// Puts back what this run's `write_pin` replaced.
    pub(super) fn restore_pin(
        &self,
        order: &Order,
        file: &str,
        key: &str,
        wanted: Option<&str>,
    ) -> Result<StepOutput, ActError> {
        let folder = self.pin_folder(&order.project, file, key).map_err(refused)?;
        let now = pinfile::read(folder, file, key).map_err(|e| refused(told(&e)))?;
        if now.as_deref().map(|v| self.mac_of(v)).as_deref() == wanted {
            return Ok(StepOutput::Nothing);
        }
        let kept = self.ledger.old_pin(order.run, &order.project, &place(file, key)).map_err(refused)?;
        let Some(kept) = kept else {
            return Err(refused(format!(
                "{key} in {file} is not what {} found there, and it did not change it: somebody else did. Look at it, \
                 then type `/runs accept {0}`",
                order.run
            )));
        };
        if kept.value.as_deref().map(|v| self.mac_of(v)).as_deref() != wanted {
            return Err(refused(format!("what {} kept of {key} in {file} is not what shall be put back", order.run)));
        }
        if kept.written.is_some() && now != kept.written {
            return Err(refused(format!(
                "{key} in {file} is neither what {} wrote nor what stood there before: somebody changed it since. Look at \
                 it, then type `/runs accept {0}`",
                order.run
            )));
        }
        pinfile::write(folder, file, key, kept.value.as_deref()).map_err(|e| ActError::Failed(told(&e)))?;
        Ok(StepOutput::Nothing)
    }

    /// Whether the pin holds a value of this HMAC (`None`: whether the key is absent).
    pub(super) fn look_at_pin(&self, order: &Order, file: &str, key: &str, wanted: Option<&str>) -> Observed {
        let folder = match self.pin_folder(&order.project, file, key) {
            Ok(folder) => folder,
            Err(why) => return Observed::NotSo(why),
        };
        match pinfile::read(folder, file, key) {
            Ok(now) if now.as_deref().map(|v| self.mac_of(v)).as_deref() == wanted => Observed::So(StepOutput::Nothing),
            Ok(_) => Observed::NotSo(format!("{key} in {file} holds another value")),
            Err(e) => Observed::NotSo(told(&e)),
        }
    }

    /// The project's folder, if the config names this file and key for it.
    fn pin_folder(&self, project: &ProjectName, file: &str, key: &str) -> Result<&Path, String> {
        let allowed = self.allowed(project).map_err(|e| e.to_string())?;
        if !allowed.pins.contains(&(file.to_owned(), key.to_owned())) {
            return Err(format!("the config names no pin {key} in {file} for project {project}"));
        }
        allowed.folder.as_deref().ok_or_else(|| format!("the config names no folder for project {project}"))
    }
}

fn place(file: &str, key: &str) -> String {
    format!("{file}\0{key}")
}

fn refused(why: impl std::fmt::Display) -> ActError {
    ActError::Refused(format!("{why}; nothing was written"))
}

/// With its cause, which the error keeps as source.
fn told(error: &PinError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
