//! `health = { … }` of a service: how it is asked whether it is well, from the config to the rule in a plan.

use std::net::IpAddr;

use super::duration;
use super::reader::{FromToml, Node};
use super::service::Service;
use crate::domain::plan::{HealthCheck, HealthRule};

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

/// Which rule proves a service (decision 25): what the config says; else the lowest published TCP port; else the
/// container's own check; else nothing but that it runs, which cards call `weak proof`.
///
/// `published` is (host port, container port/protocol) as the agent tells it; `has_check` says whether the container
/// has a check of its own. A configured `exec` without such a check is weak too: the card has to say so.
pub fn health_rule(service: &Service, published: &[(u16, String)], has_check: bool) -> HealthRule {
    let lowest = tcp_ports(published).into_iter().min();
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

fn tcp_ports(published: &[(u16, String)]) -> Vec<u16> {
    let tcp = published.iter().filter(|(_, inside)| !inside.ends_with("/udp") && !inside.ends_with("/sctp"));
    let mut ports: Vec<u16> = tcp.map(|(host, _)| *host).filter(|p| *p != 0).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The ports of which [`health_rule`] takes the lowest although another may be the one that counts (the lowest may be a
/// debugger's, that even a good release never opens): cards say so. Empty when there is nothing to choose.
///
/// Which of them answer now says nothing about the target, and would change with each restart of a container that is
/// ill, and the plan with it: so none is tried.
pub fn guessed_among(service: &Service, published: &[(u16, String)]) -> Vec<u16> {
    // The same port of the container on several addresses or host ports is one door.
    let mut doors: Vec<&str> = published.iter().map(|(_, inside)| inside.as_str()).collect();
    doors.retain(|inside| !inside.ends_with("/udp") && !inside.ends_with("/sctp"));
    doors.sort_unstable();
    doors.dedup();
    if service.health.is_none() && doors.len() > 1 { tcp_ports(published) } else { Vec::new() }
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
        Ok(ip) if ip.is_loopback() => Ok(()),
        Ok(_) => refuse(
            "only this machine's loopback is asked: another address may meanwhile be another container's",
            "publish the port and write http://127.0.0.1:PORT/path",
        ),
        Err(_) if host.eq_ignore_ascii_case("localhost") => Ok(()),
        Err(_) => refuse(
            "a service's name means something only inside the project's network",
            "publish the port and write http://127.0.0.1:PORT/path, or use { exec = true }",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tcp(port: u16) -> HealthCheck {
        HealthCheck::Tcp { port }
    }

    #[test]
    fn health_is_what_the_config_says_else_port_else_own_check_else_weak() {
        let ports = [(8443, "443/tcp".to_owned()), (8080, "80/tcp".to_owned()), (53, "53/udp".to_owned())];
        let url = || Health::Url("http://127.0.0.1:3000/health".to_owned());
        let none: &[(u16, String)] = &[];
        let cases = [
            (Some(url()), &ports[..], true, HealthCheck::Http { url: "http://127.0.0.1:3000/health".to_owned() }),
            (Some(Health::Port(9)), &ports[..], true, tcp(9)),
            (Some(Health::Exec), &ports[..], true, HealthCheck::Exec),
            (Some(Health::Exec), &ports[..], false, HealthCheck::Weak),
            (Some(Health::Nothing), &ports[..], true, HealthCheck::Weak),
            (None, &ports[..], true, tcp(8080)),
            (None, &ports[2..], true, HealthCheck::Exec),
            (None, &ports[2..], false, HealthCheck::Weak),
            (None, none, true, HealthCheck::Exec),
            (None, none, false, HealthCheck::Weak),
        ];
        for (health, published, has_check, want) in cases {
            let told = format!("{health:?} {published:?} own check: {has_check}");
            let service = Service { health, ..Service::default() };
            assert_eq!(health_rule(&service, published, has_check).check, want, "{told}");
        }
    }

    #[test]
    fn of_several_ports_the_card_can_say_which_one_is_guessed() {
        let two = [(9229, "9229/tcp".to_owned()), (3000, "3000/tcp".to_owned()), (53, "53/udp".to_owned())];
        let one = [(3000, "3000/tcp".to_owned()), (3001, "3000/tcp".to_owned()), (53, "53/udp".to_owned())];
        let unnamed = Service::unnamed();
        assert_eq!(guessed_among(unnamed, &two), [3000, 9229]);
        assert_eq!(guessed_among(unnamed, &one), Vec::<u16>::new(), "one port twice is one door");
        let named = Service { health: Some(Health::Port(3000)), ..Service::default() };
        assert_eq!(guessed_among(&named, &two), Vec::<u16>::new());
    }

    #[test]
    fn the_rule_carries_count_interval_and_deadline_in_the_plans_units() {
        let service = Service { interval: Duration::from_millis(250), count: 4, ..Service::default() };
        let rule = health_rule(&service, &[], false);
        assert_eq!((rule.count, rule.interval_ms, rule.deadline_s), (4, 250, 60));
    }

    #[test]
    fn a_health_url_is_reached_from_the_host_and_holds_no_secret() {
        for good in ["http://127.0.0.1:3000/api/health", "http://localhost/health", "http://[::1]:80/"] {
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
            "http://10.0.0.4:80/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1/a b",
            "http://:80/",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
