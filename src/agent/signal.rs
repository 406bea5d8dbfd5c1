//! Telling a proxy to resolve its targets' addresses anew (docker-facts section 4): nginx does so once only.

use super::copies::is_of;
use super::engine::{Engine, EngineError};
use super::host::{HostAgent, before_acting};
use super::swap::uncertain;
use super::{ActError, ContainerState, raw};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::StepOutput;

/// The only signals sent: those by which proxies reload. None of them ends a well-behaved proxy.
const SIGNALS: [&str; 4] = ["HUP", "USR1", "USR2", "WINCH"];

impl<E: Engine> HostAgent<E> {
    /// Sends it to every running container of the proxy's service. One that does not run holds no address: it resolves
    /// anew when it is started, so a proxy that went down with the engine keeps nobody from going forward or back.
    pub(super) async fn signal(
        &self,
        project: &ProjectName,
        proxy: &ServiceName,
        signal: &str,
    ) -> Result<StepOutput, ActError> {
        let name = signal.strip_prefix("SIG").unwrap_or(signal);
        if !SIGNALS.contains(&name) {
            let allowed = SIGNALS.join(", ");
            return Err(ActError::Refused(format!(
                "{signal} is not a signal to reload by ({allowed}); nothing was sent"
            )));
        }
        let all = self.containers(project).await.map_err(before_acting)?;
        if !all.iter().any(|c| is_of(c, proxy)) {
            return Err(ActError::Failed(format!("{proxy} has no container, so there was nobody to send {name} to")));
        }
        for container in all.iter().filter(|c| is_of(c, proxy) && raw::state(c) == ContainerState::Running) {
            match self.engine.kill(raw::id(container), name).await {
                // It stopped or went since we looked: it holds no address either.
                Ok(()) | Err(EngineError::Conflict(_) | EngineError::NotFound(_)) => {}
                // Sent again it does no harm; a lost answer is no failure (durability R6).
                Err(e @ (EngineError::NoAnswer(_) | EngineError::Unreachable(_))) => return Err(uncertain(e)),
                Err(e) => {
                    let proxy = raw::name(container);
                    let why = format!("{proxy} could not be sent {name}: {e}; it may still use old addresses");
                    return Err(ActError::Failed(why));
                }
            }
        }
        Ok(StepOutput::Nothing)
    }
}
