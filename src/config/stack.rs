//! `[[stack]]`: the Compose projects that may be touched; there are no others (decision 1).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::channels::Channel;
use super::reader::{Node, Section};
use super::service::{Pin, Service};
use crate::domain::names::{HostName, ProjectName, ServiceName, StackName, Target};

/// The name of the host in a config that names none.
pub const HOST_DEFAULT: &str = "local";

/// One stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name, as people say it: `api@shop`.
    pub name: StackName,
    /// The Docker host it is placed on.
    pub host: HostName,
    /// Its Compose project there.
    pub project: ProjectName,
    /// The project's folder on that host; needed for pins.
    pub dir: Option<PathBuf>,
    /// Places where this stack is meant when none is named.
    pub channels: Vec<Channel>,
    /// Whether it is meant in places that are bound to no stack.
    pub default: bool,
    /// Services that the config says something about. A project may have more.
    pub services: BTreeMap<ServiceName, Service>,
    /// Order in which services are started, first wave first; stopping goes backwards. Empty = not said.
    pub start_order: Vec<Vec<ServiceName>>,
}

impl Stack {
    /// What locks, approvals, runs and releases of this stack belong to.
    pub fn target(&self) -> Target {
        Target { stack: self.name.clone(), host: self.host.clone() }
    }

    /// How a service is handled; the defaults when the config does not name it.
    pub fn service(&self, name: &ServiceName) -> &Service {
        self.services.get(name).unwrap_or_else(|| Service::unnamed())
    }

    /// Other services whose image is read from the same pin: the card says so before anyone approves.
    pub fn shares_pin(&self, name: &ServiceName) -> Vec<&ServiceName> {
        let Some(pin) = self.services.get(name).and_then(|s| s.pin.as_ref()) else { return Vec::new() };
        self.services.iter().filter(|(n, s)| *n != name && s.pin.as_ref() == Some(pin)).map(|(n, _)| n).collect()
    }

    /// Every pin of the stack.
    pub fn pins(&self) -> impl Iterator<Item = (&ServiceName, &Pin)> {
        self.services.iter().filter_map(|(name, service)| Some((name, service.pin.as_ref()?)))
    }
}

/// Reads every `[[stack]]` and refuses what two of them cannot both have.
pub(crate) fn read(sections: Vec<Section<'_>>) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    let mut bound: BTreeMap<Channel, StackName> = BTreeMap::new();
    for mut section in sections {
        let nodes = Nodes {
            name: section.node("name"),
            host: section.node("host"),
            project: section.node("project"),
            default: section.node("default"),
        };
        let Some(stack) = read_one(section, &mut bound) else { continue };
        refuse_clashes(&stack, &stacks, nodes);
        stacks.push(stack);
    }
    stacks
}

struct Nodes<'a> {
    name: Option<Node<'a>>,
    host: Option<Node<'a>>,
    project: Option<Node<'a>>,
    default: Option<Node<'a>>,
}

fn refuse_clashes(stack: &Stack, others: &[Stack], nodes: Nodes<'_>) {
    let refuse = |node: Option<Node<'_>>, message: String, hint: &str| {
        if let Some(node) = node {
            node.note(message, hint.to_owned());
        }
    };
    if let Some(first) = others.first().filter(|o| o.host != stack.host) {
        let message = format!("one host is all there can be yet: {} is on {}", first.name, first.host);
        refuse(
            nodes.host.or(nodes.name.clone()),
            message,
            "other hosts need an agent of their own, which is not available yet",
        );
    }
    if others.iter().any(|o| o.name == stack.name) {
        refuse(nodes.name.clone(), format!("the stack {} is there already", stack.name), "give it another name");
    }
    if let Some(other) = others.iter().find(|o| o.project == stack.project && o.name != stack.name) {
        let message = format!("project {} is the stack {} already", stack.project, other.name);
        refuse(nodes.project.or(nodes.name), message, "one project, one stack: else two runs could hold it at once");
    }
    if let Some(other) = others.iter().find(|o| o.default && stack.default) {
        refuse(nodes.default, format!("{} is the default already", other.name), "only one stack can be the default");
    }
}

fn read_one(mut section: Section<'_>, bound: &mut BTreeMap<Channel, StackName>) -> Option<Stack> {
    let name: Option<StackName> = section.required("name", "\"shop\"");
    let host = section.optional("host").or_else(|| HostName::parse(HOST_DEFAULT).ok());
    let project_node = section.node("project").or_else(|| section.node("name"));
    let project: Option<ProjectName> = match section.node("project") {
        Some(_) => section.optional("project"),
        None => name.as_ref().and_then(|n| ProjectName::parse(n.as_str()).ok()),
    };
    if let (Some(project), Some(node)) = (&project, project_node)
        && project.as_str().contains(|c: char| c.is_ascii_uppercase() || c == '.')
    {
        let hint = "`docker compose ls` prints the project's name".to_owned();
        node.note(format!("Compose projects are written in lower case and without dots, not {project}"), hint);
    }
    let dir_node = section.node("dir");
    let dir: Option<PathBuf> = section.optional("dir");
    if let Some(node) = dir_node.filter(|n| n.value.get_ref().as_str().is_some_and(|d| !d.starts_with(['/', '~']))) {
        node.note("a project's folder is an absolute path on its host", "write dir = \"/opt/shop\"".to_owned());
    }
    let default = section.optional("default").unwrap_or(false);
    let channels = read_channels(section.node("channels"), name.as_ref(), bound);
    let mut services = BTreeMap::new();
    if let Some(table) = section.node("service").and_then(|n| n.section("a table of services")) {
        for entry in table.entries() {
            let service_name = match ServiceName::parse(entry.key) {
                Ok(name) => name,
                Err(why) => {
                    table.source.refuse(entry.key_span, &entry.node.path, why.to_string(), None);
                    continue;
                }
            };
            let Some(mut service) = entry.node.section("a table") else { continue };
            let (proxies, pin) = (service.node("proxies"), service.node("pin"));
            let read = Service::read(service);
            if read.proxies.iter().any(|p| p.service == service_name)
                && let Some(node) = proxies
            {
                node.note(format!("{service_name} cannot be a proxy to itself"), None);
            }
            if dir.is_none()
                && let Some(node) = pin
            {
                let hint = "add dir = \"/opt/shop\" to the [[stack]]: the folder of its compose file".to_owned();
                node.note("a pin lies beneath the project folder, and `dir` does not say where that is", hint);
            }
            services.insert(service_name, read);
        }
    }
    let start_order = read_order(section.node("start_order"));
    section.finish();
    Some(Stack { name: name?, host: host?, project: project?, dir, channels, default, services, start_order })
}

fn read_channels(
    node: Option<Node<'_>>,
    name: Option<&StackName>,
    bound: &mut BTreeMap<Channel, StackName>,
) -> Vec<Channel> {
    let mut channels = Vec::new();
    let items = node.and_then(|n| n.items("a list of channels, such as [\"console\"]")).unwrap_or_default();
    for item in items {
        let Some(channel) = <Channel as super::reader::FromToml>::from_toml(item.clone()) else { continue };
        match bound.get(&channel) {
            Some(other) => {
                let message = format!("{channel} is bound to {other} already");
                let hint = "one channel, one default stack; any stack can be named anywhere: api@shop".to_owned();
                item.note(message, hint);
            }
            None => {
                if let Some(name) = name {
                    bound.insert(channel.clone(), name.clone());
                }
                channels.push(channel);
            }
        }
    }
    channels
}

fn read_order(node: Option<Node<'_>>) -> Vec<Vec<ServiceName>> {
    const WANTED: &str = "a list of lists, such as [[\"mongo\", \"redis\"], [\"api\"]]";
    let mut seen: BTreeSet<ServiceName> = BTreeSet::new();
    let mut waves = Vec::new();
    for wave in node.and_then(|n| n.items(WANTED)).unwrap_or_default() {
        let mut names = Vec::new();
        for item in wave.items(WANTED).unwrap_or_default() {
            let Some(name) = <ServiceName as super::reader::FromToml>::from_toml(item.clone()) else { continue };
            if seen.insert(name.clone()) {
                names.push(name);
            } else {
                item.note(format!("{name} stands in the order twice"), None);
            }
        }
        waves.push(names);
    }
    waves
}
