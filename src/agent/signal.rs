//! Telling a proxy to resolve its targets' addresses anew (docker-facts section 4): nginx does so once only.

use super::copies::is_of;
use super::engine::Engine;
use super::host::{HostAgent, before_acting};
use super::{ActError, ContainerState, raw};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::StepOutput;

/// The only signals sent: those by which proxies reload. None of them ends a well-behaved proxy.
const SIGNALS: [&str; 4] = ["HUP", "USR1", "USR2", "WINCH"];

impl<E: Engine> HostAgent<E> {
    /// Sends it to every running container of the proxy's service.
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
        let mut sent = 0;
        for container in all.iter().filter(|c| is_of(c, proxy) && raw::state(c) == ContainerState::Running) {
            self.engine.kill(raw::id(container), name).await.map_err(|e| {
                ActError::Failed(format!(
                    "{} could not be sent {name}: {e}; it may still use old addresses",
                    raw::name(container)
                ))
            })?;
            sent += 1;
        }
        if sent == 0 {
            return Err(ActError::Failed(format!("{proxy} does not run, so there was nobody to send {name} to")));
        }
        Ok(StepOutput::Nothing)
    }
}
