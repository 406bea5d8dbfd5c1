//! An engine whose changing calls can be made to fail, to lose their answer, or never to return, at any place.
//!
//! Wraps any [`Engine`], simulated or real. Crash tests stop the world before and after each call with it; what
//! the engine did stays done. Calls that only look are not counted and pass, until the caller has "died".

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::EngineFacts;
use super::engine::{Engine, EngineError, Heard};
use super::login::Login;
use crate::domain::names::ProjectName;

/// Before or after a call reached the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// The call has not been made.
    Before,
    /// The call has been made and its answer is known here, but not to the caller.
    After,
}

/// A place where the hook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallPoint {
    /// Which changing call it is, counted from 0 over the wrapper's life.
    pub index: u64,
    /// Its name in [`Engine`], such as `set_restart`.
    pub name: &'static str,
    /// Before or after it.
    pub when: When,
}

/// What shall happen at a [`CallPoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing special.
    Go,
    /// The caller gets this error: before the call it is not made, after it what was done stays done.
    Refuse(EngineError),
    /// The caller gets [`EngineError::NoAnswer`]: before, the request was lost; after, the answer was.
    LoseAnswer,
    /// The caller has died here: this call and every later one through this wrapper never return.
    Hang,
}

type Hook = Arc<dyn Fn(CallPoint) -> Verdict + Send + Sync>;

/// Wraps an engine and asks a hook before and after each changing call.
pub struct FaultyEngine<E: ?Sized> {
    hook: Hook,
    calls: AtomicU64,
    made: Mutex<Vec<&'static str>>,
    hung: watch::Sender<Option<CallPoint>>,
    inner: Arc<E>,
}

impl<E: Engine + ?Sized> FaultyEngine<E> {
    /// Asks `hook` at every place.
    pub fn new(inner: Arc<E>, hook: impl Fn(CallPoint) -> Verdict + Send + Sync + 'static) -> Self {
        Self {
            hook: Arc::new(hook),
            calls: AtomicU64::new(0),
            made: Mutex::default(),
            hung: watch::channel(None).0,
            inner,
        }
    }

    /// Counts only.
    pub fn counting(inner: Arc<E>) -> Self {
        Self::new(inner, |_| Verdict::Go)
    }

    /// Gives `verdict` at exactly one place, else goes on.
    pub fn at(inner: Arc<E>, index: u64, when: When, verdict: Verdict) -> Self {
        Self::new(
            inner,
            move |point| {
                if point.index == index && point.when == when { verdict.clone() } else { Verdict::Go }
            },
        )
    }

    /// The engine inside, which is still well.
    pub fn inner(&self) -> &Arc<E> {
        &self.inner
    }

    /// Changing calls begun so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Names of the changing calls begun so far, in order; equal to [`Self::calls`] in number.
    pub fn names(&self) -> Vec<&'static str> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns once a [`Verdict::Hang`] was given, with its place: the moment to drop the one that "died".
    pub async fn hung(&self) -> CallPoint {
        let mut seen = self.hung.subscribe();
        loop {
            if let Some(point) = *seen.borrow_and_update() {
                return point;
            }
            if seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The dead make no calls.
    async fn alive(&self) {
        if self.hung.borrow().is_some() {
            std::future::pending::<()>().await;
        }
    }

    async fn asked(&self, point: CallPoint) -> Result<(), EngineError> {
        match (self.hook)(point) {
            Verdict::Go => Ok(()),
            Verdict::Refuse(error) => Err(error),
            Verdict::LoseAnswer => Err(EngineError::NoAnswer(format!("lost around call {}", point.index))),
            Verdict::Hang => {
                self.hung.send_replace(Some(point));
                std::future::pending().await
            }
        }
    }

    async fn around<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        self.alive().await;
        let index = {
            // One lock for both, so that index and order of names agree.
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push(name);
            self.calls.fetch_add(1, Ordering::SeqCst)
        };
        self.asked(CallPoint { index, name, when: When::Before }).await?;
        let answer = call.await;
        self.alive().await;
        self.asked(CallPoint { index, name, when: When::After }).await?;
        answer
    }
}

#[async_trait::async_trait]
impl<E: Engine + ?Sized> Engine for FaultyEngine<E> {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        self.alive().await;
        self.inner.facts().await
    }
    async fn free_bytes(&self) -> Option<u64> {
        self.alive().await;
        self.inner.free_bytes().await
    }
    async fn project_containers(&self, project: &ProjectName) -> Result<Vec<String>, EngineError> {
        self.alive().await;
        self.inner.project_containers(project).await
    }
    async fn labelled(&self, key: &str, value: &str) -> Result<Vec<String>, EngineError> {
        self.alive().await;
        self.inner.labelled(key, value).await
    }
    async fn inspect(&self, id_or_name: &str) -> Result<Option<Value>, EngineError> {
        self.alive().await;
        self.inner.inspect(id_or_name).await
    }
    async fn filesystem_changes(&self, id: &str) -> Result<Value, EngineError> {
        self.alive().await;
        self.inner.filesystem_changes(id).await
    }
    async fn image(&self, handle: &str) -> Result<Option<Value>, EngineError> {
        self.alive().await;
        self.inner.image(handle).await
    }
    async fn images(&self) -> Result<Vec<Value>, EngineError> {
        self.alive().await;
        self.inner.images().await
    }
    async fn past_starts(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        self.alive().await;
        self.inner.past_starts(project, since).await
    }
    async fn past_names(&self, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        self.alive().await;
        self.inner.past_names(since).await
    }
    async fn distribution(
        &self,
        reference: &str,
        login: Option<&Login>,
        limit: Duration,
    ) -> Result<Value, EngineError> {
        self.alive().await;
        self.inner.distribution(reference, login, limit).await
    }
    async fn exec(&self, id: &str, command: &[String], limit_ms: u64) -> Result<i64, EngineError> {
        self.alive().await;
        self.inner.exec(id, command, limit_ms).await
    }

    async fn untag(&self, reference: &str) -> Result<(), EngineError> {
        self.around("untag", self.inner.untag(reference)).await
    }
    async fn pull(&self, digest: &str, login: Option<&Login>, heard: &Heard<'_>) -> Result<(), EngineError> {
        self.around("pull", self.inner.pull(digest, login, heard)).await
    }
    async fn create(&self, name: &str, body: &Value) -> Result<String, EngineError> {
        self.around("create", self.inner.create(name, body)).await
    }
    async fn connect(&self, network: &str, id: &str, endpoint: &Value) -> Result<(), EngineError> {
        self.around("connect", self.inner.connect(network, id, endpoint)).await
    }
    async fn take_file(&self, id: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        self.alive().await;
        self.inner.take_file(id, path).await
    }
    async fn put_files(&self, id: &str, tar: &[u8]) -> Result<(), EngineError> {
        self.around("put_files", self.inner.put_files(id, tar)).await
    }
    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.around("start", self.inner.start(id)).await
    }
    async fn stop(&self, id: &str, grace_s: u32) -> Result<(), EngineError> {
        self.around("stop", self.inner.stop(id, grace_s)).await
    }
    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.around("rename", self.inner.rename(id, name)).await
    }
    async fn set_restart(&self, id: &str, policy: &Value) -> Result<(), EngineError> {
        self.around("set_restart", self.inner.set_restart(id, policy)).await
    }
    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.around("remove", self.inner.remove(id)).await
    }
    async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        self.around("kill", self.inner.kill(id, signal)).await
    }
    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        self.around("tag", self.inner.tag(image, repository, tag)).await
    }

    fn hints(&self) -> broadcast::Receiver<ProjectName> {
        self.inner.hints()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::agent::sim::{Behaviour, SimEngine};
    use crate::clock::SystemClock;

    fn sim() -> Arc<SimEngine> {
        let sim = SimEngine::new(Arc::new(SystemClock));
        sim.image("shop/api:1", Behaviour::Healthy);
        Arc::new(sim)
    }

    async fn create(engine: &impl Engine) -> Result<String, EngineError> {
        engine.create("api", &json!({"Image": "shop/api:1"})).await
    }

    #[tokio::test]
    async fn only_changing_calls_are_counted_and_named() {
        let faulty = FaultyEngine::counting(sim());
        let id = create(&faulty).await.unwrap();
        faulty.inspect(&id).await.unwrap();
        faulty.start(&id).await.unwrap();
        faulty.stop(&id, 1).await.unwrap();
        assert_eq!(faulty.names(), ["create", "start", "stop"]);
        assert_eq!(faulty.calls(), 3);
    }

    #[tokio::test]
    async fn before_is_not_done_and_after_is_done_whatever_the_caller_hears() {
        let refusal = EngineError::Refused { status: 500, message: "no".to_owned() };
        for verdict in [Verdict::Refuse(refusal.clone()), Verdict::LoseAnswer] {
            for (when, made) in [(When::Before, 0), (When::After, 1)] {
                let faulty = FaultyEngine::at(sim(), 0, when, verdict.clone());
                let heard = create(&faulty).await;
                match verdict {
                    Verdict::LoseAnswer => assert!(matches!(heard, Err(EngineError::NoAnswer(_))), "{heard:?}"),
                    _ => assert_eq!(heard, Err(refusal.clone())),
                }
                assert_eq!(faulty.inner().names().len(), made, "{verdict:?} {when:?}");
            }
        }
    }

    #[tokio::test]
    async fn after_a_hang_the_caller_is_dead_and_the_engine_is_not() {
        for (when, made) in [(When::Before, 0), (When::After, 1)] {
            let faulty = FaultyEngine::at(sim(), 0, when, Verdict::Hang);
            let point = tokio::select! {
                heard = create(&faulty) => panic!("it must not return: {heard:?}"),
                point = faulty.hung() => point,
            };
            assert_eq!(point, CallPoint { index: 0, name: "create", when });
            assert_eq!(faulty.inner().names().len(), made, "{when:?}");
            let look = tokio::time::timeout(Duration::from_millis(20), faulty.images()).await;
            assert!(look.is_err(), "the dead do not even look");
            assert_eq!(faulty.calls(), 1);
            assert!(faulty.inner().images().await.is_ok());
        }
    }
}
