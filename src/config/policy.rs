//! The hash of what governs rights and plans: the `policy` of every plan (decision 11).
//!
//! Its form is its own, apart from the config's types, so that a new key or another order of lines does not void
//! approvals that are under way. A key that is added later is left out of the form where it has its default.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Config;
use super::approvals::ApprovalRule;
use super::channels::{Allowed, CommandName};
use super::duration::millis;
use super::health::Health;
use super::people::PersonConfig;
use super::service::{Service, SwapOrder};
use super::stack::Stack;
use crate::domain::canonical;
use crate::domain::names::{HostName, PersonId, ProjectName, RoleName, ServiceName, StackName};

/// Keeps this hash apart from others; a change of the form that is not an addition gets a new number.
const DOMAIN: &str = "sternway-policy-v1";

#[derive(Serialize)]
struct Policy<'a> {
    people: BTreeMap<&'a PersonId, PersonForm<'a>>,
    stacks: BTreeMap<&'a StackName, StackForm<'a>>,
    approvals: BTreeMap<&'a str, ApprovalForm<'a>>,
    channels: BTreeMap<String, ChannelForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    docker: Option<String>,
}

#[derive(Serialize)]
struct PersonForm<'a> {
    roles: Vec<&'a RoleName>,
    accounts: Vec<String>,
}

#[derive(Serialize)]
struct StackForm<'a> {
    host: &'a HostName,
    project: &'a ProjectName,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<String>,
    services: BTreeMap<&'a ServiceName, ServiceForm<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    start_order: &'a [Vec<ServiceName>],
}

#[derive(Serialize)]
struct ServiceForm<'a> {
    health: Option<String>,
    count: u32,
    interval_ms: u64,
    deadline_ms: u64,
    grace_s: u32,
    repositories: Vec<&'a str>,
    proxies: Vec<(&'a ServiceName, &'a str)>,
    pin: Option<(&'a str, &'a str)>,
    order: &'static str,
}

#[derive(Serialize)]
struct ApprovalForm<'a> {
    count: Option<u32>,
    from: Option<&'a RoleName>,
    waive: Option<&'static str>,
    expires_ms: Option<u64>,
}

#[derive(Serialize)]
struct ChannelForm {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
}

/// 64 lower-case hex digits over everything that governs rights and plans: people with roles and accounts, stacks,
/// approvals, what channels narrow, the engine. Not: folders, logging, zones, limits, what channels are bound to.
pub(crate) fn hash(config: &Config) -> String {
    let policy = Policy {
        people: config.people.iter().map(|p| (&p.person.id, person(p))).collect(),
        stacks: config.stacks.iter().map(|s| (&s.name, stack(s))).collect(),
        approvals: config.approvals.iter().map(|(name, rule)| (name.as_str(), approval(rule))).collect(),
        channels: config.channels.iter().map(|n| (n.channel.to_string(), channel(&n.only))).collect(),
        docker: config.sternway.docker.as_ref().map(ToString::to_string),
    };
    canonical::sha256(DOMAIN, &policy).expect("every number in a policy is bounded far below 2^53 by its reader")
}

fn person(config: &PersonConfig) -> PersonForm<'_> {
    let accounts = config.person.accounts.iter();
    let mut accounts: Vec<String> = accounts.map(|(surface, id)| format!("{}:{id}", surface.as_str())).collect();
    accounts.sort();
    PersonForm { roles: config.person.roles.iter().collect(), accounts }
}

fn stack(stack: &Stack) -> StackForm<'_> {
    StackForm {
        host: &stack.host,
        project: &stack.project,
        dir: stack.dir.as_ref().map(|d| d.display().to_string()),
        services: stack.services.iter().map(|(name, s)| (name, service(s))).collect(),
        start_order: &stack.start_order,
    }
}

fn service(service: &Service) -> ServiceForm<'_> {
    let mut repositories: Vec<&str> = service.repositories.iter().map(|r| r.as_str()).collect();
    repositories.sort_unstable();
    ServiceForm {
        health: service.health.as_ref().map(|health| match health {
            Health::Url(url) => format!("url {url}"),
            Health::Port(port) => format!("port {port}"),
            Health::Exec => "exec".to_owned(),
            Health::Nothing => "none".to_owned(),
        }),
        count: service.count,
        interval_ms: millis(service.interval),
        deadline_ms: millis(service.deadline),
        grace_s: service.grace_s(),
        repositories,
        proxies: service.proxies.iter().map(|p| (&p.service, p.signal.as_deref().unwrap_or("none"))).collect(),
        pin: service.pin.as_ref().map(|p| (p.file.as_str(), p.key.as_str())),
        order: match service.order {
            SwapOrder::StopFirst => "stop-first",
            SwapOrder::StartFirst => "start-first",
        },
    }
}

fn approval(rule: &ApprovalRule) -> ApprovalForm<'_> {
    ApprovalForm {
        count: rule.count,
        from: rule.from.as_ref(),
        waive: rule.waive.map(|w| w.as_str()),
        expires_ms: rule.expires.map(millis),
    }
}

fn channel(only: &Allowed) -> ChannelForm {
    let sorted = |names: &[CommandName]| -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(|n| n.as_str().to_owned()).collect();
        names.sort();
        names
    };
    match only {
        Allowed::These(names) => ChannelForm { allow: Some(sorted(names)), deny: None },
        Allowed::AllBut(names) => ChannelForm { allow: None, deny: Some(sorted(names)) },
    }
}
