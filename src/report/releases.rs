//! `/releases`: what a service has run, what of it is still there, and what that takes on the disk.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::agent::{Holdings, StoreSwitched};
use crate::domain::card::{Card, Tone, code, strong, text};
use crate::domain::ids::ReleaseId;
use crate::domain::names::{ServiceName, Target};
use crate::domain::release::{History, Origin, Release, Wanted};
use crate::domain::text::{size, visible};
use crate::story::en::duration;

/// Where a release's image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnDisk {
    /// On the host.
    Here(Holdings),
    /// Not any more.
    Gone,
    /// Not seen, as the engine has another image store now.
    Hidden(StoreSwitched),
}

/// What the host's disk says about a service's releases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Of each release that could be looked for.
    pub seen: BTreeMap<ReleaseId, OnDisk>,
    /// How many releases the config keeps.
    pub keep: usize,
    /// Whether the service has no container any more.
    pub none_there: bool,
}

impl Disk {
    fn held(&self, release: &Release) -> Option<&Holdings> {
        match self.seen.get(&release.id) {
            Some(OnDisk::Here(held)) => Some(held),
            Some(OnDisk::Gone | OnDisk::Hidden(_)) | None => None,
        }
    }
}

/// `/releases api`.
pub fn releases(target: &Target, service: &ServiceName, history: &History, disk: &Disk, now: Timestamp) -> Card {
    let mut card =
        Card::new(Tone::Plain, vec![text("Releases of "), strong(service.as_str()), text(" on "), code(target)]);
    let old: Vec<ReleaseId> = history.beyond(disk.keep).iter().map(|r| r.id).collect();
    for release in history.releases.iter().rev() {
        let current = history.current == Some(release.id);
        let mut line = vec![
            text(if current { "▶ " } else { "  " }),
            code(release.id),
            text(" "),
            code(visible(&release.handles.reference)),
        ];
        line.push(text(format!(" {}", release.handles.fingerprint.short())));
        let words = words(release, disk, old.contains(&release.id), now);
        line.push(text(format!(" {}", words.join(", "))));
        card = card.line(line);
    }
    let last = history.current.filter(|_| disk.none_there);
    if let Some(last) = last {
        card.tone = Tone::Warn;
        card = card.line(vec![
            strong(format!("{service} has no container now: ")),
            code(last),
            text(" is what ran last, and can be brought back"),
        ]);
        card = card.button("Bring back", format!("/rollback image {service} {last}"));
    }
    let here: BTreeMap<&str, &Holdings> =
        history.releases.iter().filter_map(|r| Some((r.handles.fingerprint.as_str(), disk.held(r)?))).collect();
    if here.len() > 1 {
        let all = here.values().map(|held| held.bytes).sum();
        card = card.line(vec![text(format!(
            "{} images, together at most {}: layers that they share are counted in each",
            here.len(),
            size(all)
        ))]);
    }
    let hidden = disk.seen.values().find_map(|seen| match seen {
        OnDisk::Hidden(switched) => Some(*switched),
        OnDisk::Here(_) | OnDisk::Gone => None,
    });
    card = with_alarm(card, hidden);
    let running = history.current.and_then(|id| history.get(id)).map(|r| &r.handles.fingerprint);
    if let Some(Ok(_)) = running.map(|running| history.choose(&Wanted::Previous, running)) {
        card = card.button("Roll back", format!("/rollback image {service}"));
    }
    if history.beyond(disk.keep).into_iter().any(|r| disk.held(r).is_some_and(|held| held.pinned)) {
        card = card.button("Free space", format!("/releases plan prune {service}"));
    }
    card
}

fn words(release: &Release, disk: &Disk, old: bool, now: Timestamp) -> Vec<String> {
    let mut words = vec![if release.proven.is_some() { "proven".to_owned() } else { "unproven".to_owned() }];
    if let Some(run) = release.left_by {
        words.push(format!("left by {run}"));
    }
    match disk.seen.get(&release.id) {
        Some(OnDisk::Here(held)) => {
            words.push(size(held.bytes));
            if old && held.pinned {
                words.push(format!("older than the {} kept", disk.keep));
            }
        }
        Some(OnDisk::Gone) if release.handles.digests.is_empty() => words.push("gone from this host".to_owned()),
        Some(OnDisk::Gone) => words.push("gone from this host, its registry may have it".to_owned()),
        Some(OnDisk::Hidden(switched)) => {
            words.push(format!("hidden in the {} image store", switched.was.as_str()));
        }
        None => {}
    }
    words.push(match &release.origin {
        Origin::Run { run } => format!("brought by {run}"),
        Origin::Compose => "brought by compose".to_owned(),
    });
    words.push(format!("{} ago", duration(release.since, now)));
    words
}

/// The card with the alarm that the engine's image store was switched, if it was.
pub fn with_alarm(mut card: Card, switched: Option<StoreSwitched>) -> Card {
    let Some(switched) = switched else { return card };
    card.tone = Tone::Bad;
    card.line(vec![strong("ALARM: "), text(switched.to_string())])
}
