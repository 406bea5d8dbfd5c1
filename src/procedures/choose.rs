//! Which image is meant: a release on record, or a local image of a repository that the config allows (decision 20).
//! Pure.

use super::planner::{Ask, Chosen, ServiceRules};
use crate::agent::{ContainerFacts, ContainerState};
use crate::domain::ids::ReleaseId;
use crate::domain::release::{Handles, History, NoTarget, Release, Wanted};
use crate::domain::text::visible;
use crate::domain::trouble::{Trouble, TroubleKind};

/// Chooses the image: a release on record, or a local image of an allowed repository (decision 20).
///
/// # Errors
/// Nothing to go back to, ambiguous, already there, left by a rollback, not allowed.
pub(super) fn choose(
    ask: &Ask,
    container: &ContainerFacts,
    history: &History,
    rules: &ServiceRules,
    local: &[Handles],
) -> Result<Chosen, Trouble> {
    let running = &container.image.fingerprint;
    let from_release = history.of(running).map(|r| r.id);
    let service = &ask.service;
    let image = |word: &dyn std::fmt::Display| format!("/rollback image {service} {word}");
    let releases = format!("/releases {service}");
    let recorded = |release: &Release| Chosen {
        container: container.clone(),
        copies: vec![container.clone()],
        to: release.handles.clone(),
        release: Some(release.id),
        from_release,
        proven: release.proven.is_some(),
        target_spec: Some(release.spec.clone()),
        pull: None,
        missing: None,
    };
    let is_gone = container.state == ContainerState::Missing;
    let no_target = match history.choose(&ask.wanted, running) {
        Ok(release) => return Ok(recorded(release)),
        // It should run and does not: to go there is to bring it back.
        Err(NoTarget::AlreadyThere(id)) if is_gone => match history.get(id) {
            Some(release) => return Ok(recorded(release)),
            None => NoTarget::Unknown,
        },
        Err(no_target) => no_target,
    };
    let bring_back = |trouble: Trouble| match from_release.filter(|_| is_gone) {
        Some(id) => trouble
            .say(format!("{service} has no container now; {id} is what it ran, and can be brought back."))
            .try_this(image(&id)),
        None => trouble,
    };
    let unrecorded = || {
        let mut seen: Vec<&Handles> = Vec::new();
        for one in local.iter().filter(|h| h.fingerprint != *running) {
            if !seen.iter().any(|s| s.fingerprint == one.fingerprint) {
                seen.push(one);
            }
        }
        seen
    };
    match no_target {
        NoTarget::AlreadyThere(id) => {
            Err(Trouble::new(TroubleKind::NotFound, format!("{service} runs {id} already.")).try_this(releases))
        }
        NoTarget::Ambiguous(ids) => {
            let mut trouble = Trouble::usage(format!("{} releases of {service} fit; say which.", ids.len()));
            for id in ids.iter().rev() {
                trouble = trouble.try_this(image(id));
            }
            Err(trouble.try_this(releases))
        }
        NoTarget::NoneGood(ids) => {
            let mut trouble = bring_back(Trouble::new(
                TroubleKind::NotFound,
                format!("{service} has no earlier release that is proven healthy and not left by a rollback."),
            ))
            .say("Name one if you want it all the same.");
            for id in ids.iter().rev().take(3) {
                trouble = trouble.try_this(image(id));
            }
            Err(trouble.try_this(releases))
        }
        NoTarget::NothingBefore => {
            let mut trouble = bring_back(Trouble::new(
                TroubleKind::NotFound,
                format!("{service} has nothing to go back to: only one image is on record."),
            ));
            for one in unrecorded().into_iter().take(3) {
                trouble = trouble
                    .say(format!("{} is here, unproven.", visible(&one.reference)))
                    .try_this(image(&visible(&one.reference)));
            }
            Err(trouble.try_this(releases))
        }
        NoTarget::Unknown => from_local(ask, container, history, rules, local, from_release).ok_or_else(|| {
            let mut trouble = Trouble::new(TroubleKind::NotFound, format!("No release of {service} fits that."))
                .say("It has to be a release on record, or a local image of a repository that the config allows.");
            for release in history.releases.iter().rev().filter(|r| r.handles.fingerprint != *running).take(3) {
                trouble = trouble.try_this(image(&release.id));
            }
            trouble.try_this(releases)
        }),
    }
}

/// An image that is not on record, named by tag or digest, of a repository that is allowed.
fn from_local(
    ask: &Ask,
    container: &ContainerFacts,
    history: &History,
    rules: &ServiceRules,
    local: &[Handles],
    from_release: Option<ReleaseId>,
) -> Option<Chosen> {
    // On the first day, with nothing on record to go back to, the repository that runs will do; from then on what is not
    // on record needs the config's word (decision 20).
    let first_day = history.releases.iter().all(|r| r.handles.fingerprint == container.image.fingerprint);
    let allowed = if first_day { repositories(rules, container) } else { rules.repositories.clone() };
    let fits = |h: &&Handles| {
        let of_allowed = repository_of(&h.reference).is_some_and(|own| allowed.iter().any(|r| r == own));
        of_allowed
            && match &ask.wanted {
                Wanted::Tag(tag) => {
                    h.reference == *tag || h.reference.rsplit_once(':').is_some_and(|(_, own)| own == tag)
                }
                Wanted::Digest(text) => {
                    let hex = text.strip_prefix("sha256:").unwrap_or(text);
                    h.image.strip_prefix("sha256:").unwrap_or(&h.image).starts_with(hex)
                }
                Wanted::Previous | Wanted::Release(_) | Wanted::At(_) => false,
            }
    };
    let mut fitting = local.iter().filter(fits);
    let first = fitting.next()?;
    let only = fitting.all(|other| other.fingerprint == first.fingerprint);
    (only && first.fingerprint != container.image.fingerprint).then(|| Chosen {
        container: container.clone(),
        copies: vec![container.clone()],
        to: first.clone(),
        release: None,
        from_release,
        proven: false,
        target_spec: None,
        pull: None,
        missing: None,
    })
}

/// The repositories whose local images are looked at: those of the config, and the one that runs.
pub(super) fn repositories(rules: &ServiceRules, container: &ContainerFacts) -> Vec<String> {
    let mut out = rules.repositories.clone();
    if let Some(own) = repository_of(&container.image.reference).filter(|own| !out.iter().any(|r| r == own)) {
        out.push(own.to_owned());
    }
    out
}

/// The repository of a reference; `None` for a bare image id.
pub(super) fn repository_of(reference: &str) -> Option<&str> {
    let name = reference.split('@').next()?;
    let name = match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    };
    (!name.is_empty() && !name.starts_with("sha256")).then_some(name)
}
