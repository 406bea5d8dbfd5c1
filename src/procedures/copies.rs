//! The containers of the service that a plan is about: which there are, how each is proven, and a swap for each.
//! Pure, like everything that plans.

use crate::agent::{ContainerFacts, ContainerState, Meddling, StackFacts};
use crate::domain::names::ServiceName;
use crate::domain::plan::{HealthCheck, HealthRule, ImageChoice, Settings, StepAction, Swap};
use crate::domain::release::History;
use crate::domain::text::visible;
use crate::domain::trouble::{Trouble, TroubleKind};

use super::planner::{Ask, Chosen, ServiceRules};

/// The containers of the service, by number, or why there is nothing to work on.
pub(super) fn the_containers<'f>(
    ask: &Ask,
    facts: &'f StackFacts,
    history: &History,
) -> Result<&'f [ContainerFacts], Trouble> {
    let Some(service) = facts.services.get(&ask.service) else { return Err(no_container(ask, facts, history)) };
    // The second container of a swap that is under way is no copy.
    if let Some(run) = service.containers.iter().find_map(|c| c.unfinished) {
        return Err(Trouble::new(TroubleKind::Busy, format!("{run} has unfinished work on {}.", ask.service))
            .try_this(format!("/runs show {run}")));
    }
    let mut obstacles: Vec<&String> = Vec::new();
    for obstacle in service.containers.iter().flat_map(|c| &c.obstacles) {
        if !obstacles.contains(&obstacle) {
            obstacles.push(obstacle);
        }
    }
    if let Some(first) = obstacles.first() {
        let why = format!("{} cannot be recreated faithfully: {first}", ask.service);
        let mut trouble = Trouble::new(TroubleKind::Unavailable, why);
        for more in obstacles.iter().skip(1) {
            trouble = trouble.say(more.as_str());
        }
        return Err(trouble.say("Nothing was touched.").try_this("/status"));
    }
    Ok(&service.containers)
}

/// There is no container of that service.
pub(super) fn no_container(ask: &Ask, facts: &StackFacts, history: &History) -> Trouble {
    if let Some(last) = history.current.and_then(|id| history.get(id)) {
        let (service, reference) = (&ask.service, visible(&last.handles.reference));
        let why =
            format!("{service} has no container any more: somebody removed it. It ran {} ({reference}).", last.id);
        return Trouble::new(TroubleKind::Unavailable, why)
            .say(format!("Bring it back with `docker compose up -d {service}`, then ask again. Nothing was touched."))
            .try_this(format!("/releases {service}"));
    }
    let known: Vec<&str> = facts.services.keys().map(ServiceName::as_str).collect();
    let near = known.iter().max_by(|a, b| {
        let near = |name: &str| strsim::jaro_winkler(name, ask.service.as_str());
        near(a).total_cmp(&near(b))
    });
    let trouble = Trouble::new(TroubleKind::NotFound, format!("{} has no service {}.", ask.target, ask.service));
    if known.is_empty() {
        return trouble.say(format!("Project {} has no containers on this host at all.", ask.project));
    }
    let trouble = trouble.say(format!("It has: {}.", known.join(", ")));
    match near {
        Some(name) => trouble.try_this(format!("/rollback image {name}")),
        None => trouble,
    }
}

/// The container whose image counts as what the service runs: where they differ, the release that was seen last.
pub fn representative<'c>(copies: &'c [ContainerFacts], history: &History) -> Option<&'c ContainerFacts> {
    let current = history.current.and_then(|id| history.get(id)).map(|r| &r.handles.fingerprint);
    let of_current = |c: &&ContainerFacts| Some(&c.image.fingerprint) == current;
    copies.iter().find(of_current).or_else(|| copies.iter().max_by_key(|c| c.started))
}

/// The containers that do not run the image yet, each with its swap and what takes it back, in order.
///
/// One that is gone is made, and taken back by its removal.
pub(super) fn swaps(
    ask: &Ask,
    rules: &ServiceRules,
    facts: &StackFacts,
    chosen: &Chosen,
    to: &ImageChoice,
) -> Result<Vec<(Swap, StepAction)>, Trouble> {
    let service = &ask.service;
    let scaled = chosen.copies.len() > 1;
    let refuse = |why: String| Trouble::new(TroubleKind::Unavailable, why).say("Nothing was touched.");
    if scaled && ask.settings == Settings::Recorded {
        let why = format!("{service} has {} containers; the recorded settings are of one.", chosen.copies.len());
        return Err(refuse(why)
            .say("Go there with today's settings instead.")
            .try_this(format!("/rollback image {service}")));
    }
    if let Some(start_first) = &rules.start_first {
        let mut alone: Vec<&str> = chosen.copies.iter().flat_map(|c| &c.alone).map(String::as_str).collect();
        alone.dedup();
        if !alone.is_empty() {
            return Err(refuse(format!("No second {service} can run beside the first: {}.", alone.join("; ")))
                .say("Take `order = \"start-first\"` out of its config, or take that away in the compose file.")
                .try_this("/status"));
        }
        if let Some(proxy) = start_first.proxies.iter().find(|p| !facts.services.contains_key(&p.service)) {
            let why = format!("The config names {} as proxy of {service}, and it has no container.", proxy.service);
            return Err(refuse(why).try_this("/status"));
        }
    }
    let is_gone = |c: &ContainerFacts| c.state == ContainerState::Missing;
    let todo = chosen.copies.iter().filter(|c| c.image.fingerprint != to.fingerprint || is_gone(c));
    Ok(todo
        .map(|container| {
            let from = ImageChoice {
                fingerprint: container.image.fingerprint.clone(),
                image: container.image.image.clone(),
                reference: container.image.reference.clone(),
            };
            let swap = Swap {
                service: service.clone(),
                replaces: Some(container.id.clone()).filter(|_| !is_gone(container)),
                from: from.clone(),
                to: to.clone(),
                settings: ask.settings,
                spec: match (&ask.settings, &chosen.target_spec) {
                    (Settings::Recorded, Some(spec)) => spec.clone(),
                    _ => container.spec.clone(),
                },
                target_spec: chosen.target_spec.clone(),
                health: each(rules, container, &chosen.copies),
                grace_s: rules.grace_s,
                number: scaled.then_some(container.number),
                start_first: rules.start_first.clone(),
                follows: None,
                missing: is_gone(container),
            };
            if swap.missing {
                let (service, number, grace_s) = (service.clone(), swap.number, swap.grace_s);
                return (swap, StepAction::RemoveMade { service, number, grace_s });
            }
            // Going back means as it was, and it may not have been well: what is proven then is that the very image runs
            // and does not restart. Asking a bad release for its health would leave the run stuck half-way instead.
            let as_it_was = HealthRule { check: HealthCheck::Weak, ..rules.health.clone() };
            let swap_back = Swap {
                replaces: None,
                health: as_it_was,
                from: to.clone(),
                to: from,
                settings: Settings::Recorded,
                spec: container.spec.clone(),
                target_spec: None,
                ..swap.clone()
            };
            (swap, StepAction::SwapService(Box::new(swap_back)))
        })
        .collect())
}

/// What has to be known of containers that should be there, or were.
fn out_of_missing(chosen: &Chosen, facts: &StackFacts, service: &ServiceName, say: &mut impl FnMut(String)) {
    let Some(gone) = facts.gone.get(service) else { return };
    let names: Vec<String> = gone.iter().map(|name| visible(name)).collect();
    let (names, several) = (names.join(" and "), gone.len() > 1);
    say(match &chosen.missing {
        Some(missing) => format!(
            "no container now: {} made from the settings recorded with {} at {}",
            if several { format!("{} are", chosen.copies.len()) } else { "one is".to_owned() },
            missing.release,
            missing.recorded.strftime("%Y-%m-%d %H:%M UTC")
        ),
        None => format!(
            "{names} {} gone, scaled away or removed, which look the same, and {} not made again. If {} should be there: \
             docker compose up -d --no-deps --no-recreate --scale {service}={} {service}",
            if several { "are" } else { "is" },
            if several { "are" } else { "is" },
            if several { "they" } else { "it" },
            chosen.copies.len() + gone.len()
        ),
    });
}

/// What proves this very container. An address that several share, or that the old one answers at while the new one is
/// tried, says nothing about one of them: then it is asked by a port of its own, else by its own check, else it only has
/// to run.
pub(super) fn each(rules: &ServiceRules, container: &ContainerFacts, copies: &[ContainerFacts]) -> HealthRule {
    if copies.len() == 1 && rules.start_first.is_none() {
        return rules.health.clone();
    }
    let own_check = if container.has_check { HealthCheck::Exec } else { HealthCheck::Weak };
    // The container's own port behind a port of the host, if it has that one too.
    let behind = |port: u16| {
        let inside =
            copies.iter().flat_map(|c| &c.published).find(|(host, _)| *host == port).map(|(_, inside)| inside)?;
        container.published.iter().any(|(_, own)| own == inside).then(|| inside.clone())
    };
    let tcp = || container.published.iter().map(|(_, inside)| inside).find(|inside| inside.ends_with("/tcp"));
    let or_own = |port: Option<u16>, path: Option<String>| match port.and_then(behind) {
        Some(inside) => HealthCheck::OwnPort { inside, path },
        None if container.has_check => HealthCheck::Exec,
        None => tcp().map_or(HealthCheck::Weak, |inside| HealthCheck::OwnPort { inside: inside.clone(), path: None }),
    };
    let check = match &rules.health.check {
        HealthCheck::Http { url } => {
            let (authority, path) = split(url);
            or_own(authority.rsplit(':').next().and_then(|port| port.parse().ok()).or(Some(80)), Some(path))
        }
        HealthCheck::Tcp { port } => or_own(Some(*port), None),
        HealthCheck::Exec => own_check,
        other @ (HealthCheck::OwnPort { .. } | HealthCheck::Weak) => other.clone(),
    };
    HealthRule { check, ..rules.health.clone() }
}

/// `127.0.0.1:3000` and `/health` of a URL.
fn split(url: &str) -> (&str, String) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.find('/') {
        Some(at) => (&rest[..at], rest[at..].to_owned()),
        None => (rest, "/".to_owned()),
    }
}

/// What proves the service once all is done: each copy by a port of its own where it has one, else all together.
pub(super) fn together(rules: &ServiceRules, copies: &[ContainerFacts]) -> HealthRule {
    match copies {
        [first, _, ..] => match each(rules, first, copies) {
            own @ HealthRule { check: HealthCheck::OwnPort { .. }, .. } => own,
            _ => rules.health.clone(),
        },
        _ => rules.health.clone(),
    }
}

/// Mounts and ports that are named before the rest is counted: a card has few lines.
const SHOWN: usize = 2;

/// The first few of them, and how many more there are.
fn shortened(all: &[String], between: &str) -> String {
    let shown = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(between);
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The sentence for code that lies on the host rather than in the image.
fn stays_on_the_host<'m>(mounts: impl Iterator<Item = &'m (String, String)>) -> Option<String> {
    let mut all: Vec<String> = mounts.map(|(from, to)| format!("{} → {}", visible(from), visible(to))).collect();
    all.sort();
    all.dedup();
    let (stay, they) = if all.len() > 1 { ("stay", "they are") } else { ("stays", "it is") };
    let named = shortened(&all, ", ");
    (!all.is_empty()).then(|| format!("{named} {stay} as {they} on the host: only the image goes back"))
}

/// The sentence for a port that is asked though another may be the one that counts.
fn guessed(port: u16, among: &[u16]) -> Option<String> {
    let others: Vec<String> = among.iter().filter(|p| **p != port).map(u16::to_string).collect();
    let named = shortened(&others, " or ");
    (!others.is_empty()).then(|| {
        format!("port {port} is asked, the lowest; if {named} is what counts: health = {{ port = … }} in the config")
    })
}

/// What an approver has to know about these containers.
pub(super) fn warnings(ask: &Ask, rules: &ServiceRules, facts: &StackFacts, chosen: &Chosen) -> Vec<String> {
    let service = &ask.service;
    let mut out = Vec::new();
    let mut say = |words: String| {
        if !out.contains(&words) {
            out.push(words);
        }
    };
    for container in &chosen.copies {
        for label in &container.forged {
            say(format!("label {} of {service} is not ours: somebody forged it", visible(label)));
        }
        if container.state == ContainerState::Paused {
            say(format!("{} is paused: stopping ends that; if it must come back it runs", visible(&container.name)));
        }
        if container.state == ContainerState::Created {
            say(format!("{} was made and never started; if it must come back it stays so", visible(&container.name)));
        }
    }
    out_of_missing(chosen, facts, service, &mut say);
    if let Some(words) = stays_on_the_host(chosen.copies.iter().flat_map(|c| &c.from_host)) {
        say(words);
    }
    if let HealthCheck::Tcp { port } = &rules.health.check
        && let Some(words) = guessed(*port, &rules.guessed_among)
    {
        say(words);
    }
    let weak = chosen.copies.iter().any(|c| each(rules, c, &chosen.copies).check == HealthCheck::Weak);
    if rules.health.check == HealthCheck::Weak {
        say("weak proof: nothing can be asked, only that it runs".to_owned());
    } else if weak {
        say("weak proof of each: only that it runs; its address is asked at the end".to_owned());
    }
    let mut images: Vec<(&str, usize)> = Vec::new();
    for container in &chosen.copies {
        let reference = container.image.reference.as_str();
        match images.iter_mut().find(|(seen, _)| *seen == reference) {
            Some((_, count)) => *count += 1,
            None => images.push((reference, 1)),
        }
    }
    if images.len() > 1 {
        let mixed: Vec<String> = images.iter().map(|(image, count)| format!("{count} × {}", visible(image))).collect();
        say(format!("{service} runs a mixture now: {}", mixed.join(", ")));
    }
    for meddler in facts.meddlers.iter().filter(|m| !m.spares.contains(service)) {
        let name = visible(&meddler.name);
        say(match meddler.does {
            Meddling::Updates => {
                format!("{name} updates containers by itself: it may undo this; tell it to leave {service}")
            }
            Meddling::Restarts => format!("{name} restarts what is unhealthy: it may disturb the proof of {service}"),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mounts: &[(&str, &str)]) -> Option<String> {
        let mounts: Vec<_> = mounts.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        stays_on_the_host(mounts.iter())
    }

    #[test]
    fn code_on_the_host_is_told_in_one_short_sentence() {
        assert_eq!(told(&[]), None);
        let one = told(&[("./src", "/app"), ("./src", "/app")]).unwrap();
        assert_eq!(one, "./src → /app stays as it is on the host: only the image goes back");
        let many = told(&[("./a", "/a"), ("./b", "/b"), ("./c", "/c"), ("./d", "/d")]).unwrap();
        assert_eq!(many, "./a → /a, ./b → /b and 2 more stay as they are on the host: only the image goes back");
        assert!(told(&[("./\u{202e}x", "/a")]).unwrap().starts_with("./⟨"), "letters that lie are made visible");
    }

    #[test]
    fn a_guessed_port_is_told_with_how_to_name_another() {
        assert_eq!(guessed(3000, &[]), None);
        let two = guessed(3000, &[3000, 9229]).unwrap();
        assert_eq!(two, "port 3000 is asked, the lowest; if 9229 is what counts: health = { port = … } in the config");
        assert!(guessed(1, &[1, 2, 3, 4]).unwrap().contains("if 2 or 3 and 1 more is"));
    }
}
