//! placeholder until the pin file is there
use super::engine::Engine;
use super::host::HostAgent;
use super::swap::{is_of, uncertain};
use super::{ActError, Observed, Order, PinFacts, raw};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::StepOutput;

impl<E: Engine> HostAgent<E> {
    pub(super) fn pin_facts(&self, _project: &ProjectName, _file: &str, _key: &str) -> PinFacts {
        PinFacts { value: None, obstacle: None }
    }
    pub(super) fn write_pin(
        &self,
        _order: &Order,
        _file: &str,
        _key: &str,
        _value: &str,
        _old: Option<&str>,
    ) -> Result<StepOutput, ActError> {
        Err(ActError::Refused(String::new()))
    }
    pub(super) fn restore_pin(
        &self,
        _order: &Order,
        _file: &str,
        _key: &str,
        _old: Option<&str>,
    ) -> Result<StepOutput, ActError> {
        Err(ActError::Refused(String::new()))
    }
    pub(super) fn look_at_pin(&self, _order: &Order, _file: &str, _key: &str, _wanted: Option<&str>) -> Observed {
        Observed::NotSo(String::new())
    }
}
