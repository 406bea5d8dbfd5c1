//! What an engine says about containers and images, altered, and then the whole way: look, plan, card, story.
//!
//! The input is a JSON object with merge patches (RFC 7396) over what the simulated engine says: `container` and `image`
//! over each inspect, `images` over each item of the list, `event` over each event, `facts` instead of its own, `error`
//! instead of an answer to the call of that name. Anything else is words that are put wherever an engine has words.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sternway::agent::EngineFacts;
use sternway::agent::engine::{Engine, EngineError, Heard};
use sternway::agent::login::Login;
use sternway::agent::sim::SimEngine;
use sternway::app::serve;
use sternway::chat::sim::SimChat;
use sternway::clock::Clock;
use sternway::domain::actor::Surface;
use sternway::domain::names::ProjectName;
use tokio::sync::broadcast;

use super::assert_shown;
use super::night::{AMAL, Living, Night, Ports, at_rest};

/// Inputs that one night lives through: what was said and recorded grows with each.
const INPUTS: usize = 50;

/// Bytes of one card; names of 255 characters, some dozens of them, each character spelled out.
const CARD_MAX: usize = 64 * 1024;

pub fn feed(data: &[u8]) {
    thread_local! { static NIGHT: RefCell<Option<(Night, usize)>> = const { RefCell::new(None) }; }
    let patch = match serde_json::from_slice::<Value>(data) {
        Ok(Value::Object(patch)) => patch,
        _ => places(&String::from_utf8_lossy(data), data.len() % 3),
    };
    let (mut night, used) = NIGHT.take().unwrap_or_else(|| (Night::after_a_bad_deploy(), 0));
    night.chat = SimChat::new(Surface::Console);
    live_with_engine(&night, patch, async |bot| {
        talk(bot, &["/status", "/releases api", "/rollback plan image api"]).await
    });
    all_is_shown(&night);
    if used < INPUTS {
        NIGHT.set(Some((night, used + 1)));
    }
}

/// One life of the bot over an engine whose words are altered.
pub fn live_with_engine(night: &Night, patch: Map<String, Value>, play: impl AsyncFnOnce(&Living)) {
    let engine = Arc::new(Altered { engine: Arc::clone(&night.engine), patch: patch.into() });
    let (config, clock): (_, Arc<dyn Clock>) = (night.config(), Arc::clone(&night.clock) as _);
    let hands = |own| {
        drop(own); // it holds the agent's folder
        serve::hosts(&config, engine, Arc::new(Ports(Arc::clone(&night.engine))), &clock).unwrap()
    };
    night.live_with(Arc::clone(&night.log) as _, hands, play);
}

/// Says these lines and waits until what they began stands somewhere.
pub async fn talk(bot: &Living, lines: &[&str]) {
    for line in lines {
        let told = bot.ask(AMAL, line).await;
        if told.contains("accepted") {
            let stands = |b: &Living| b.newest().is_none_or(|r| at_rest(&r) || r.open_approval().is_some());
            bot.until(line, stands).await;
        }
    }
}

/// Whatever was said so far steers nothing, and is not without end.
pub fn all_is_shown(night: &Night) {
    for said in night.chat.said() {
        let words = said.card.plain();
        assert_shown("a card", &words);
        assert!(words.len() <= CARD_MAX, "a card of {} bytes: {words:.300}", words.len());
        let lines = 1 + said.card.lines.len() + said.card.details.len() + said.card.buttons.len();
        assert_eq!(words.split('\n').count(), lines, "a forged line: {words}");
        for button in &said.card.buttons {
            assert!(button.label.len() <= 40 && button.command.starts_with('/'), "a forged button: {button:?}");
        }
    }
}

/// The words in every place of one kind: 0 where they do no harm to the plan, 1 in names, 2 as errors.
pub fn places(words: &str, kind: usize) -> Map<String, Value> {
    let patch = match kind {
        0 => json!({
            "container": {
                "Config": {
                    "Env": [format!("KEY={words}"), format!("{words}=value"), words],
                    "Labels": {words: words, "team": words, "io.sternway.op": words, "io.sternway.mac": words},
                    "Hostname": words, "WorkingDir": words, "User": words
                },
                "Mounts": [{"Type": "bind", "Source": words, "Destination": words, "Mode": words, "RW": true}],
                "State": {"Error": words, "Health": {"Status": words, "Log": [{"Output": words, "ExitCode": 1}]}}
            },
            "images": {"Labels": {words: words}},
            "image": {"Comment": words, "Author": words, "Config": {"Labels": {words: words}}}
        }),
        1 => json!({
            "container": {
                "Name": format!("/{words}"), "Image": words,
                "Config": {"Image": words, "Labels": {
                    "com.docker.compose.container-number": words, "com.docker.compose.depends_on": words,
                    "com.docker.compose.config-hash": words, "com.docker.compose.version": words
                }},
                "NetworkSettings": {"Networks": {words: {"NetworkID": words, "Aliases": [words]}}},
                "HostConfig": {"NetworkMode": format!("container:{words}"), "Binds": [format!("{words}:{words}")]}
            },
            "images": {"RepoTags": [words, format!("shop/api:{words}")], "RepoDigests": [format!("shop/api@{words}")]},
            "image": {"RepoTags": [words], "Os": words, "Architecture": words, "Created": words},
            "event": {"Actor": {"Attributes": {"name": words, "image": words}}},
            "facts": {"Version": words, "Os": words}
        }),
        _ => json!({"error": {"inspect": words, "image": words, "images": words}}),
    };
    match patch {
        Value::Object(patch) => patch,
        _ => Map::new(),
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(into) = into.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            into.remove(key);
        } else {
            merge(into.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The simulated engine with other words.
struct Altered {
    engine: Arc<SimEngine>,
    patch: Value,
}

impl Altered {
    fn altered(&self, key: &str, mut value: Value) -> Value {
        if let Some(patch) = self.patch.get(key) {
            merge(&mut value, patch);
        }
        value
    }

    fn fails(&self, call: &str) -> Result<(), EngineError> {
        match self.patch["error"][call].as_str() {
            Some(words) => Err(EngineError::Refused { status: 500, message: words.to_owned() }),
            None => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Engine for Altered {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        self.fails("facts")?;
        let mut facts = self.engine.facts().await?;
        let word = |key: &str| self.patch["facts"][key].as_str().map(str::to_owned);
        facts.version = word("Version").unwrap_or(facts.version);
        facts.os = word("Os").unwrap_or(facts.os);
        facts.arch = word("Arch").unwrap_or(facts.arch);
        Ok(facts)
    }
    async fn free_bytes(&self) -> Option<u64> {
        self.engine.free_bytes().await
    }
    async fn project_containers(&self, project: &ProjectName) -> Result<Vec<String>, EngineError> {
        self.engine.project_containers(project).await
    }
    async fn labelled(&self, key: &str, value: &str) -> Result<Vec<String>, EngineError> {
        self.engine.labelled(key, value).await
    }
    async fn inspect(&self, id_or_name: &str) -> Result<Option<Value>, EngineError> {
        self.fails("inspect")?;
        Ok(self.engine.inspect(id_or_name).await?.map(|value| self.altered("container", value)))
    }
    async fn filesystem_changes(&self, id: &str) -> Result<Value, EngineError> {
        Ok(self.altered("changes", self.engine.filesystem_changes(id).await?))
    }
    async fn image(&self, handle: &str) -> Result<Option<Value>, EngineError> {
        self.fails("image")?;
        Ok(Engine::image(&*self.engine, handle).await?.map(|value| self.altered("image", value)))
    }
    async fn images(&self) -> Result<Vec<Value>, EngineError> {
        self.fails("images")?;
        Ok(self.engine.images().await?.into_iter().map(|value| self.altered("images", value)).collect())
    }
    async fn exec(&self, id: &str, command: &[String], limit_ms: u64) -> Result<i64, EngineError> {
        self.engine.exec(id, command, limit_ms).await
    }
    async fn past_starts(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        let all = self.engine.past_starts(project, since).await?;
        Ok(all.into_iter().map(|value| self.altered("event", value)).collect())
    }
    async fn past_names(&self, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        let all = self.engine.past_names(since).await?;
        Ok(all.into_iter().map(|value| self.altered("event", value)).collect())
    }
    async fn create(&self, name: &str, body: &Value) -> Result<String, EngineError> {
        self.fails("create")?;
        self.engine.create(name, body).await
    }
    async fn connect(&self, network: &str, id: &str, endpoint: &Value) -> Result<(), EngineError> {
        self.engine.connect(network, id, endpoint).await
    }
    async fn take_file(&self, id: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        self.engine.take_file(id, path).await
    }
    async fn put_files(&self, id: &str, tar: &[u8]) -> Result<(), EngineError> {
        self.engine.put_files(id, tar).await
    }
    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.fails("start")?;
        self.engine.start(id).await
    }
    async fn stop(&self, id: &str, grace_s: u32) -> Result<(), EngineError> {
        self.fails("stop")?;
        self.engine.stop(id, grace_s).await
    }
    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.engine.rename(id, name).await
    }
    async fn set_restart(&self, id: &str, policy: &Value) -> Result<(), EngineError> {
        self.engine.set_restart(id, policy).await
    }
    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.engine.remove(id).await
    }
    async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        self.fails("kill")?;
        self.engine.kill(id, signal).await
    }
    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        self.fails("tag")?;
        self.engine.tag(image, repository, tag).await
    }
    async fn untag(&self, reference: &str) -> Result<(), EngineError> {
        self.engine.untag(reference).await
    }
    async fn distribution(
        &self,
        reference: &str,
        login: Option<&Login>,
        limit: Duration,
    ) -> Result<Value, EngineError> {
        self.fails("distribution")?;
        self.engine.distribution(reference, login, limit).await
    }
    async fn pull(&self, digest: &str, login: Option<&Login>, heard: &Heard<'_>) -> Result<(), EngineError> {
        self.fails("pull")?;
        self.engine.pull(digest, login, heard).await
    }
    fn hints(&self) -> broadcast::Receiver<ProjectName> {
        self.engine.hints()
    }
}
