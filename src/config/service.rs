//! `[stack.service.NAME]`: how one service is proven, stopped, pinned, and who must hear of its new address.

use std::net::IpAddr;
use std::time::Duration;

use super::duration;
use super::reader::{FromToml, Node, Section, from_text};
use super::secret::is_variable;
use super::sternway::word;
use crate::domain::names::ServiceName;
use crate::domain::plan::{HealthCheck, HealthRule};

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
}

/// How health is asked, as the config says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// GET this URL from the Docker host.
    Url(String),
    /// Connect to this port on 127.0.0.1.
    Port(u16),
    /// Run the container's own check inside it.
    Exec,
    /// Ask nothing: it runs and does not restart. Cards say `weak proof`.
    Nothing,
}

/// A proxy that resolved the service's address when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its service in the same project.
    pub service: ServiceName,
    /// The signal that makes it look again, without `SIG`.
    pub signal: String,
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
}

/// An image repository without tag or digest, such as `ghcr.io/shop/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository(String);

impl Repository {
    /// Checks and takes the text; Docker Hub's long forms become the short ones.
    ///
    /// # Errors
    /// A sentence saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let short = short_form(text);
        if short.contains('@') || repository_of(text) != short {
            return Err(format!(
                "“{text}” has a tag or digest: the repository alone is wanted, such as ghcr.io/shop/api"
            ));
        }
        let part = |p: &str| {
            p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        };
        let registry = |p: &str| {
            p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.chars().all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c))
        };
        let mut parts = short.split('/');
        let first = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        let well = (part(first) || (!rest.is_empty() && registry(first))) && rest.iter().all(|p| part(p));
        if well {
            Ok(Self(short.to_owned()))
        } else {
            Err(format!("“{text}” is no image repository, such as ghcr.io/shop/api"))
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn short_form(text: &str) -> &str {
    let text = text.strip_prefix("docker.io/").unwrap_or(text);
    text.strip_prefix("library/").unwrap_or(text)
}

/// The repository of an image reference: what is left without digest and tag, in Docker Hub's short form.
pub fn repository_of(reference: &str) -> &str {
    let named = reference.split('@').next().unwrap_or_default();
    let slash = named.rfind('/').map_or(0, |i| i + 1);
    let repository = named[slash..].find(':').map_or(named, |colon| &named[..slash + colon]);
    short_form(repository)
}

/// Docker's own default: how long `docker stop` waits.
const GRACE: Duration = Duration::from_secs(10);

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
        };
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

/// Which rule proves a service (decision 25): what the config says; else the lowest published TCP port; else the
/// container's own check; else nothing but that it runs, which cards call `weak proof`.
///
/// `published` is (host port, container port/protocol) as the agent tells it; `has_check` says whether the container
/// has a check of its own. A configured `exec` without such a check is weak too: the card has to say so.
pub fn health_rule(service: &Service, published: &[(u16, String)], has_check: bool) -> HealthRule {
    let port = published.iter().filter(|(_, inside)| !inside.ends_with("/udp") && !inside.ends_with("/sctp"));
    let lowest = port.map(|(host, _)| *host).filter(|p| *p != 0).min();
    let own = if has_check { HealthCheck::Exec } else { HealthCheck::Weak };
    let check = match (&service.health, lowest) {
        (Some(Health::Url(url)), _) => HealthCheck::Http { url: url.clone() },
        (Some(Health::Port(port)), _) => HealthCheck::Tcp { port: *port },
        (Some(Health::Exec), _) | (None, None) => own,
        (Some(Health::Nothing), _) => HealthCheck::Weak,
        (None, Some(port)) => HealthCheck::Tcp { port },
    };
    HealthRule {
        check,
        count: service.count,
        interval_ms: duration::millis(service.interval),
        deadline_s: service.deadline.as_secs(),
    }
}

from_text! {
    Repository, Repository::parse, "an image repository such as \"ghcr.io/shop/api\"";
}

impl FromToml for SwapOrder {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        if node.value.get_ref().as_str() == Some("start-first") {
            let hint = "write \"stop-first\" or leave it out; the old container is stopped before the new one starts";
            return node.refuse("start-first is not available yet", hint.to_owned());
        }
        word(&node, &[("stop-first", SwapOrder::StopFirst)])
    }
}

impl FromToml for Health {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        const HOW: &str = "write one of { url = \"http://127.0.0.1:3000/health\" }, { port = 3000 }, \
                           { exec = true } or { none = true }";
        if node.value.get_ref().as_table().is_none() {
            return node.refuse("health is a table that says how to ask", HOW.to_owned());
        }
        let mut section = node.section("a table")?;
        let url = section.node("url");
        let port = section.bounded_option("port", 1..=u32::from(u16::MAX), u32::to_string);
        let exec: Option<bool> = section.optional("exec");
        let nothing: Option<bool> = section.optional("none");
        let port_given = section.node("port").is_some();
        section.finish();
        match (url, port_given, exec, nothing) {
            (Some(url), false, None, None) => {
                let text = url.text("a URL")?;
                match check_url(text) {
                    Ok(()) => Some(Health::Url(text.to_owned())),
                    Err((message, hint)) => url.refuse(message, hint),
                }
            }
            (None, true, None, None) => u16::try_from(port?).ok().map(Health::Port),
            (None, false, Some(true), None) => Some(Health::Exec),
            (None, false, None, Some(true)) => Some(Health::Nothing),
            _ => node.refuse("health is asked in exactly one way", HOW.to_owned()),
        }
    }
}

/// What a URL must be to stand in plans and in the log, and to be reached from the Docker host.
fn check_url(text: &str) -> Result<(), (String, Option<String>)> {
    let refuse = |message: &str, hint: &str| Err((message.to_owned(), Some(hint.to_owned())));
    let Some(rest) = text.strip_prefix("http://") else {
        return refuse(
            "a health URL begins with http://",
            "it is asked from the Docker host itself: write http://127.0.0.1:PORT/path with the published port",
        );
    };
    if text.contains(['?', '#', '@']) || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse(
            "a health URL has no user, query or fragment",
            "it stands in every plan and in the log, where a secret must never be: use a path that needs none",
        );
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').unwrap_or((v6, "")),
        None => authority.find(':').map_or((authority, ""), |i| authority.split_at(i)),
    };
    let port_well = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    if host.is_empty() || !port_well {
        return refuse("this is no URL", "write http://127.0.0.1:PORT/path");
    }
    match host.parse::<IpAddr>() {
        // 172.16.0.0/12 is where Docker takes the addresses of its bridges from.
        Ok(IpAddr::V4(ip)) if ip.octets()[0] == 172 && (16..32).contains(&ip.octets()[1]) => refuse(
            "this is an address on a Docker bridge: it is dealt anew whenever a container is replaced",
            "publish the port and write http://127.0.0.1:PORT/path",
        ),
        Ok(_) => Ok(()),
        Err(_) if host == "localhost" || host.contains('.') => Ok(()),
        Err(_) => refuse(
            "a service's name means something only inside the project's network",
            "publish the port and write http://127.0.0.1:PORT/path, or use { exec = true }",
        ),
    }
}

impl FromToml for Proxy {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        let mut section = node.section("{ service = \"nginx\", signal = \"HUP\" }")?;
        let service = section.required("service", "\"nginx\"");
        // Signals by which the known proxies reload; nothing that ends a process.
        let reloads = ["HUP", "USR1", "USR2", "WINCH"].map(|s| (s, s));
        let signal = match section.node("signal") {
            Some(node) => word(&node, &reloads),
            None => Some("HUP"),
        };
        section.finish();
        Some(Proxy { service: service?, signal: signal?.to_owned() })
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
        if !is_variable(&key) {
            let hint = "it is the name in the compose file's image: ${API_IMAGE}".to_owned();
            return key_node?.refuse(format!("“{key}” cannot be a key: letters, digits and `_`"), hint);
        }
        Some(Pin { file, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(port: u16) -> HealthCheck {
        HealthCheck::Tcp { port }
    }

    #[test]
    fn health_is_what_the_config_says_else_port_else_own_check_else_weak() {
        let ports = [(8443, "443/tcp".to_owned()), (8080, "80/tcp".to_owned()), (53, "53/udp".to_owned())];
        let url = || Health::Url("http://127.0.0.1:3000/health".to_owned());
        let cases: [(Option<Health>, &[(u16, String)], bool, HealthCheck); 10] = [
            (Some(url()), &ports, true, HealthCheck::Http { url: "http://127.0.0.1:3000/health".to_owned() }),
            (Some(Health::Port(9)), &ports, true, tcp(9)),
            (Some(Health::Exec), &ports, true, HealthCheck::Exec),
            (Some(Health::Exec), &ports, false, HealthCheck::Weak),
            (Some(Health::Nothing), &ports, true, HealthCheck::Weak),
            (None, &ports, true, tcp(8080)),
            (None, &ports[2..], true, HealthCheck::Exec),
            (None, &ports[2..], false, HealthCheck::Weak),
            (None, &[], true, HealthCheck::Exec),
            (None, &[], false, HealthCheck::Weak),
        ];
        for (health, published, has_check, want) in cases {
            let told = format!("{health:?} {published:?} own check: {has_check}");
            let service = Service { health, ..Service::default() };
            assert_eq!(health_rule(&service, published, has_check).check, want, "{told}");
        }
    }

    #[test]
    fn the_rule_carries_count_interval_and_deadline_in_the_plans_units() {
        let service = Service { interval: Duration::from_millis(250), count: 4, ..Service::default() };
        let rule = health_rule(&service, &[], false);
        assert_eq!((rule.count, rule.interval_ms, rule.deadline_s), (4, 250, 60));
    }

    #[test]
    fn a_repository_is_compared_without_tag_digest_and_docker_hubs_long_forms() {
        for (reference, repository) in [
            ("ghcr.io/shop/api:1.4", "ghcr.io/shop/api"),
            ("localhost:5000/api", "localhost:5000/api"),
            ("localhost:5000/api:1@sha256:00", "localhost:5000/api"),
            ("nginx:1.27", "nginx"),
            ("docker.io/library/nginx", "nginx"),
            ("docker.io/shop/api:1", "shop/api"),
        ] {
            assert_eq!(repository_of(reference), repository, "{reference}");
        }
        let service =
            Service { repositories: vec![Repository::parse("ghcr.io/shop/api").unwrap()], ..Service::default() };
        assert!(service.allows("ghcr.io/shop/api:2"));
        for other in ["ghcr.io/shop/api2:2", "evil.io/shop/api", "ghcr.io/shop/api/x", "api", ""] {
            assert!(!service.allows(other), "{other}");
        }
        for bad in ["", "a:1", "a@sha256:00", "A", "a//b", "-a", "a b", "http://a/b", "../a", "a/B"] {
            assert!(Repository::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_health_url_is_reached_from_the_host_and_holds_no_secret() {
        for good in
            ["http://127.0.0.1:3000/api/health", "http://localhost/health", "http://[::1]:80/", "http://10.0.0.4:80/"]
        {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "https://127.0.0.1/",
            "127.0.0.1:3000",
            "http://",
            "http://u:p@127.0.0.1/",
            "http://127.0.0.1/?token=x",
            "http://127.0.0.1/#x",
            "http://api:3000/health",
            "http://172.18.0.3:3000/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1/a b",
            "http://:80/",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
