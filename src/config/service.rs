//! `[stack.service.NAME]`: how one service is proven, stopped, pinned, and who must hear of its new address.

use std::time::Duration;

use super::duration;
use super::health::Health;
use super::reader::{FromToml, Node, Section};
use super::repository::{Repository, repository_of};
use super::secret::is_variable;
use super::sternway::word;
use crate::domain::names::ServiceName;

/// How one service is handled. What the config does not say has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How health is asked; `None` means that the first of published port and the image's own check is used.
    pub health: Option<Health>,
    /// Good answers in a row that make a proof.
    pub count: u32,
    /// Time between two questions.
    pub interval: Duration,
    /// Time after which an unproven service counts as unhealthy.
    pub deadline: Duration,
    /// Whole seconds the old container gets to stop by itself before it is killed.
    pub grace: Duration,
    /// Repositories whose images may be run besides the releases on record (decision 20).
    pub repositories: Vec<Repository>,
    /// Services that hold this one's address and must be signalled after a swap (decision 25).
    pub proxies: Vec<Proxy>,
    /// Where the image reference is written so that the next plain `up` keeps it (decision 23).
    pub pin: Option<Pin>,
    /// In which order old and new container change places.
    pub order: SwapOrder,
    /// Start-first: time between the word to the proxies and the old container's stop.
    pub drain: Duration,
}

/// A proxy in front of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its service in the same project.
    pub service: ServiceName,
    /// The signal that makes it look for the service's address again, without `SIG`; `None` when it does so by itself.
    pub signal: Option<String>,
}

/// One key of one env file beneath the project folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// Path beneath the project folder, such as `.env`.
    pub file: String,
    /// The key, such as `API_IMAGE`.
    pub key: String,
}

/// In which order old and new container change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapOrder {
    /// The old one is stopped, then the new one is started: works with published ports.
    StopFirst,
    /// The new one is started and proven beside the old one, and takes over before the old one is stopped: needs a proxy.
    StartFirst,
}

/// Docker's own default: how long `docker stop` waits.
const GRACE: Duration = Duration::from_secs(10);

/// Until caches of names ran out: Docker's own answers live no longer where a proxy is set up for this (`valid=1s`).
const DRAIN: Duration = Duration::from_secs(1);

static UNNAMED: Service = Service {
    health: None,
    count: 3,
    interval: Duration::from_secs(1),
    deadline: Duration::from_secs(60),
    grace: GRACE,
    repositories: Vec::new(),
    proxies: Vec::new(),
    pin: None,
    order: SwapOrder::StopFirst,
    drain: DRAIN,
};

impl Default for Service {
    fn default() -> Self {
        UNNAMED.clone()
    }
}

impl Service {
    /// How a service is handled that the config does not name.
    pub fn unnamed() -> &'static Service {
        &UNNAMED
    }

    /// Whether the config allows images of this reference's repository.
    pub fn allows(&self, reference: &str) -> bool {
        self.repositories.iter().any(|r| r.as_str() == repository_of(reference))
    }

    /// Whole seconds of grace, as plans hold it.
    pub fn grace_s(&self) -> u32 {
        u32::try_from(self.grace.as_secs()).unwrap_or(u32::MAX)
    }

    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let deadline_node = section.node("deadline");
        let second = Duration::from_secs(1);
        let service = Self {
            health: section.optional("health"),
            count: section.bounded("count", default.count, 1..=100, u32::to_string),
            interval: section.bounded(
                "interval",
                default.interval,
                Duration::from_millis(50)..=60 * second,
                duration::show,
            ),
            deadline: section.bounded("deadline", default.deadline, second..=1800 * second, duration::show),
            grace: section.bounded("grace", default.grace, Duration::ZERO..=600 * second, duration::show),
            repositories: section.optional("repositories").unwrap_or_default(),
            proxies: section.optional("proxies").unwrap_or_default(),
            pin: section.optional("pin"),
            order: section.optional("order").unwrap_or(default.order),
            drain: section.bounded("drain", default.drain, Duration::ZERO..=60 * second, duration::show),
        };
        if service.order == SwapOrder::StartFirst
            && service.proxies.is_empty()
            && let Some(node) = section.node("order")
        {
            let hint = "add proxies = [{ service = \"nginx\", signal = \"HUP\" }], or leave `order` out".to_owned();
            node.note("start-first needs a proxy: without one requests go to the old container's own port", hint);
        }
        if service.order == SwapOrder::StopFirst
            && service.drain != default.drain
            && let Some(node) = section.node("drain")
        {
            node.note("`drain` says something only with order = \"start-first\"", None);
        }
        if let Some(node) = section.node("grace").filter(|_| service.grace.subsec_nanos() != 0) {
            node.note("`grace` is a number of whole seconds: Docker counts no smaller", None);
        }
        // The first question is asked at once, so `count` answers take one interval less.
        let shortest = service.interval * (service.count - 1);
        if service.deadline <= shortest {
            let message = format!(
                "{} good answers {} apart take {}: with a deadline of {} no image could ever be proven",
                service.count,
                duration::show(&service.interval),
                duration::show(&shortest),
                duration::show(&service.deadline)
            );
            let hint = "raise `deadline`, or lower `count` or `interval`".to_owned();
            match deadline_node {
                Some(node) => node.note(message, hint),
                None => section.refuse(message, hint),
            }
        }
        section.finish();
        service
    }
}

impl FromToml for SwapOrder {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        word(&node, &[("stop-first", SwapOrder::StopFirst), ("start-first", SwapOrder::StartFirst)])
    }
}

impl FromToml for Proxy {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        let mut section = node.section("{ service = \"nginx\", signal = \"HUP\" }")?;
        let service = section.required("service", "\"nginx\"");
        // Signals by which the known proxies reload; nothing that ends a process.
        let words = ["HUP", "USR1", "USR2", "WINCH"].map(|s| (s, Some(s)));
        let words: Vec<_> = words.into_iter().chain([("none", None)]).collect();
        let signal = match section.node("signal") {
            Some(node) => word(&node, &words),
            None => Some(Some("HUP")),
        };
        section.finish();
        Some(Proxy { service: service?, signal: signal?.map(str::to_owned) })
    }
}

impl FromToml for Pin {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        let mut section = node.section("{ file = \".env\", key = \"API_IMAGE\" }")?;
        let (file_node, key_node) = (section.node("file"), section.node("key"));
        let file: Option<String> = section.required("file", "\".env\"");
        let key: Option<String> = section.required("key", "\"API_IMAGE\"");
        section.finish();
        let (file, key) = (file?, key?);
        let steps = || file.split('/');
        let outside =
            steps().any(|s| matches!(s, "" | "." | "..")) || file.chars().any(|c| c.is_control() || c == '\\');
        if outside {
            let hint = "write it as .env or deploy/.env: no leading /, no . or .. on the way".to_owned();
            return file_node?.refuse("a pin file is named by its path beneath the project folder", hint);
        }
        let yaml =
            file.rsplit_once('.').is_some_and(|(_, end)| ["yml", "yaml"].iter().any(|e| end.eq_ignore_ascii_case(e)));
        if yaml {
            let hint =
                "write image: ${API_IMAGE} in the Compose file, the reference into .env, and pin .env".to_owned();
            return file_node?.refuse("a Compose file cannot be a pin: only KEY=value files are changed", hint);
        }
        if !is_variable(&key) {
            let hint = "it is the name in the compose file's image: ${API_IMAGE}".to_owned();
            return key_node?.refuse(format!("“{key}” cannot be a key: letters, digits and `_`"), hint);
        }
        Some(Pin { file, key })
    }
}
