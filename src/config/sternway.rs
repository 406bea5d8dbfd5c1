//! `[sternway]`: where the bot lives and how it speaks to its host.

use std::fmt;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::reader::{FromToml, Node, Section, did_you_mean, from_text};

/// Releases kept per service unless the config says otherwise (`docker-facts`: kamal keeps as many).
pub const KEEP_RELEASES_DEFAULT: u32 = 5;

/// The `[sternway]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Sternway {
    /// Folder of the log and its index.
    pub store: PathBuf,
    /// Folder of the agent: its ledger, recorded specs, keys. Never the store's, nor inside it.
    pub agent: PathBuf,
    /// Socket on which the console is reached.
    pub socket: PathBuf,
    /// How log lines look.
    pub log: LogFormat,
    /// How much of Sternway's own doings is logged.
    pub level: LogLevel,
    /// Zone in which `@02:10` is understood for people who have none of their own.
    pub zone: TimeZone,
    /// Folder of the team's own command files; each replaces ours of the same name whole (decision 29).
    pub commands: Option<PathBuf>,
    /// The Docker engine; `None` is the usual socket of this host.
    pub docker: Option<DockerHost>,
    /// Docker's own config file, read for the logins of registries when an image has to be pulled; `None` pulls without.
    pub docker_config: Option<PathBuf>,
    /// Releases of each service that are protected from pruning.
    pub keep_releases: u32,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What needs a person.
    Error,
    /// What may need one.
    Warn,
    /// What happened.
    Info,
    /// How it happened.
    Debug,
    /// Everything.
    Trace,
}

/// How the Docker engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerHost {
    /// A socket on this host.
    Unix(PathBuf),
    /// Plain HTTP, for a socket proxy in a closed network: `host:port`.
    Tcp(String),
}

impl fmt::Display for DockerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DockerHost::Unix(path) => write!(f, "unix://{}", path.display()),
            DockerHost::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

fn docker_host(text: &str) -> Result<DockerHost, String> {
    if let Some(path) = text.strip_prefix("unix://") {
        return if path.starts_with('/') {
            Ok(DockerHost::Unix(path.into()))
        } else {
            Err(format!("“{text}” names no absolute path: write unix:///var/run/docker.sock"))
        };
    }
    if let Some(address) = text.strip_prefix("tcp://") {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@']));
        return match port.map(|(_, port)| port.parse::<u16>()) {
            Some(Ok(port)) if port > 0 => Ok(DockerHost::Tcp(address.to_owned())),
            _ => Err(format!("“{text}” is not tcp://host:port")),
        };
    }
    Err("an engine is reached by unix:///path or tcp://host:port; \
         an engine on another machine will be reached through an agent there, not over ssh or TLS"
        .to_owned())
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| format!("“{text}” is no zone of the IANA list, such as Europe/Berlin or UTC"))
}

from_text! {
    DockerHost, docker_host, "an address such as \"unix:///var/run/docker.sock\"";
    TimeZone, zone, "a zone such as \"Europe/Berlin\"";
}

/// One of a few words.
pub(crate) fn word<T: Copy>(node: &Node<'_>, words: &[(&str, T)]) -> Option<T> {
    let known: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
    let text = node.text(&format!("one of {}", known.join(", ")))?;
    match words.iter().find(|(w, _)| *w == text) {
        Some((_, value)) => Some(*value),
        None => node.refuse(format!("“{text}” is not known here"), did_you_mean(text, &known)),
    }
}

impl FromToml for LogFormat {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        word(&node, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    }
}

impl FromToml for LogLevel {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        let levels = [
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ];
        word(&node, &levels)
    }
}

impl Default for Sternway {
    fn default() -> Self {
        Self {
            store: "/var/lib/sternway/store".into(),
            agent: "/var/lib/sternway/agent".into(),
            socket: "/run/sternway/sternway.sock".into(),
            log: LogFormat::Text,
            level: LogLevel::Info,
            zone: TimeZone::UTC,
            commands: None,
            docker: None,
            docker_config: None,
            keep_releases: KEEP_RELEASES_DEFAULT,
        }
    }
}

impl Sternway {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let agent_node = section.node("agent");
        let sternway = Self {
            store: section.optional("store").unwrap_or(default.store),
            agent: section.optional("agent").unwrap_or(default.agent),
            socket: section.optional("socket").unwrap_or(default.socket),
            log: section.optional("log").unwrap_or(default.log),
            level: section.optional("level").unwrap_or(default.level),
            zone: section.optional("zone").unwrap_or(default.zone),
            commands: section.optional("commands"),
            docker: section.optional("docker"),
            docker_config: section.optional("docker_config"),
            // Two is the present one and the one to go back to.
            keep_releases: section.bounded("keep_releases", default.keep_releases, 2..=50, u32::to_string),
        };
        if sternway.store.starts_with(&sternway.agent) || sternway.agent.starts_with(&sternway.store) {
            let message = "the agent's folder and the store's must lie beside each other, neither inside the other";
            let hint = "the agent keeps settings with passwords in its own; the store's is exported".to_owned();
            match agent_node {
                Some(node) => node.note(message, hint),
                None => section.refuse(message, hint),
            }
        }
        section.finish();
        sternway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_a_socket_or_an_address_and_nothing_that_needs_more() {
        for good in
            ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "tcp://socket-proxy:2375", "tcp://[::1]:2375"]
        {
            assert_eq!(docker_host(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "/var/run/docker.sock",
            "unix://docker.sock",
            "tcp://a",
            "tcp://:1",
            "tcp://u:p@h:1",
            "ssh://h",
            "https://h:1",
            "tcp://h:0",
        ] {
            assert!(docker_host(bad).is_err(), "{bad}");
        }
    }
}
