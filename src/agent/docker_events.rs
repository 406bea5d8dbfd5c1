//! Listens to the engine's event stream and passes on which project moved. Events are hints: lost, doubled or
//! reordered ones do no harm, because whoever gets a hint looks. After each (re)connect every known project is
//! hinted, since anything may have happened meanwhile. Never acts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response};
use serde_json::json;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::docker_json::JsonLines;
use super::docker_raw::{Endpoint, asking, causes, query_encoded};
use super::engine::EngineError;
use crate::domain::names::ProjectName;

/// Compose's label with the project's name.
pub(super) const PROJECT_LABEL: &str = "com.docker.compose.project";
/// Hints kept for a slow receiver; one that falls further behind is told so and looks at everything.
const HINTS_KEPT: usize = 256;
/// Projects remembered for a hint after reconnect; more than one host runs. Beyond it only watched ones are.
const PROJECTS_MAX: usize = 1024;
/// Wait after the first lost connection; doubled up to [`PAUSE_MAX`] while the engine stays away.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest wait between two tries: how late a returned engine is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A subscription is renewed after this long, in case its connection died without a word.
const RENEW_AFTER: Duration = Duration::from_secs(300);
/// The engine must answer within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// What is worth a look. Without this list every health check would hint twice (`exec_create`, `exec_start`).
const ACTIONS: [&str; 7] = ["create", "start", "die", "destroy", "rename", "pause", "unpause"];

/// The listener; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    hints: broadcast::Sender<ProjectName>,
    known: Mutex<BTreeSet<ProjectName>>,
    nudge: Notify,
}

impl Listener {
    /// Starts listening on `runtime`.
    pub(super) fn start(endpoint: Endpoint, runtime: &tokio::runtime::Handle) -> Self {
        let (hints, _) = broadcast::channel(HINTS_KEPT);
        let shared = Arc::new(Shared { endpoint, hints, known: Mutex::default(), nudge: Notify::new() });
        let task = AbortOnDropHandle::new(runtime.spawn(follow(Arc::clone(&shared))));
        Self { shared, _task: task }
    }

    /// Hints from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<ProjectName> {
        self.shared.hints.subscribe()
    }

    /// Hints for these follow every reconnect, and one comes now.
    pub(super) fn watch(&self, projects: impl IntoIterator<Item = ProjectName>) {
        self.shared.known().extend(projects);
        self.shared.nudge.notify_one();
    }
}

/// Rounds without end: each one a subscription, with a bounded pause after those that failed.
async fn follow(shared: Arc<Shared>) {
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        match shared.listen().await {
            Ok(()) => pause = PAUSE_MIN,
            Err(why) => {
                if began.elapsed() > PAUSE_MAX {
                    pause = PAUSE_MIN;
                }
                tracing::debug!(endpoint = %shared.endpoint, %why, "event stream lost, listening again");
                let again = Instant::now() + pause;
                // A nudge is no reason to hurry: the engine is away. It must not be lost either, but the next
                // round hints at every known project anyway.
                while timeout_at(again, shared.nudge.notified()).await.is_ok() {}
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

impl Shared {
    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<ProjectName>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One subscription, until it fails or is due for renewal.
    async fn listen(&self) -> Result<(), EngineError> {
        // The engine's own clock before the look, so that nothing falls between the look and the subscription.
        let info = self.endpoint.send(Method::GET, "/info", None, ANSWER_LIMIT).await?.json()?;
        let filters = json!({"type": ["container"], "label": [PROJECT_LABEL], "event": ACTIONS}).to_string();
        let mut path = format!("/events?filters={}", query_encoded(&filters));
        if let Some(since) = info["SystemTime"].as_str().and_then(since) {
            path.push_str(&format!("&since={since}"));
        }
        let request = asking(Method::GET, &path)?;
        self.endpoint.talk(request, async |response| self.hear(response).await).await
    }

    /// The events of one subscription.
    async fn hear(&self, response: Response<Incoming>) -> Result<(), EngineError> {
        if !response.status().is_success() {
            return Err(EngineError::NoAnswer(format!("to /events: {}", response.status())));
        }
        self.hint_all();
        let (mut body, mut lines) = (response.into_body(), JsonLines::default());
        let until = Instant::now() + RENEW_AFTER;
        loop {
            tokio::select! {
                frame = timeout_at(until, body.frame()) => match frame {
                    Err(_) => return Ok(()),
                    Ok(None) => return Err(EngineError::NoAnswer("the event stream ended".to_owned())),
                    Ok(Some(Err(why))) => return Err(EngineError::NoAnswer(causes(&why))),
                    Ok(Some(Ok(frame))) => {
                        for event in lines.take(frame.data_ref().map_or(&[][..], |data| data))? {
                            // A name that compose could not have given is nobody's project.
                            let name = event["Actor"]["Attributes"][PROJECT_LABEL].as_str();
                            if let Some(project) = name.and_then(|p| ProjectName::parse(p).ok()) {
                                self.hint(project);
                            }
                        }
                    }
                },
                () = self.nudge.notified() => self.hint_all(),
            }
        }
    }

    fn hint(&self, project: ProjectName) {
        {
            let mut known = self.known();
            if known.len() < PROJECTS_MAX {
                known.insert(project.clone());
            }
        }
        // Nobody listening is fine.
        let _ = self.hints.send(project);
    }

    fn hint_all(&self) {
        let known = self.known().clone();
        for project in known {
            let _ = self.hints.send(project);
        }
    }
}

/// `2026-01-02T03:04:05.000000006Z` as the `seconds.nanoseconds` that the events call takes.
fn since(system_time: &str) -> Option<String> {
    let time: jiff::Timestamp = system_time.parse().ok()?;
    Some(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_engines_time_becomes_a_since() {
        assert_eq!(super::since("1970-01-01T00:01:01.000000006Z").as_deref(), Some("61.000000006"));
        assert_eq!(super::since("1970-01-01T02:01:01.5+02:00").as_deref(), Some("61.500000000"));
        assert_eq!(super::since("yesterday"), None);
    }
}
