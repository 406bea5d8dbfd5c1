//! The plan of `/releases prune`: which releases are older than those that are kept, what holds their images, and what
//! letting go of them would free. Only looks.

use std::collections::BTreeSet;

use super::planner::{Ask, cannot_look};
use crate::agent::{Holdings, Inspect};
use crate::command::StepKind;
use crate::domain::names::Fingerprint;
use crate::domain::plan::{ImageChoice, Plan, PlanNotes, PlannedStep, StepAction, Undo};
use crate::domain::release::{History, Release};
use crate::domain::text::{size, visible};
use crate::domain::trouble::{Trouble, TroubleKind};

/// Seconds for letting go: an engine deletes a large image in a few, and nothing of the team's waits for it.
const RELEASE_S: u64 = 300;

/// Looks and plans; `keep` releases stay.
///
/// # Errors
/// Nothing to let go, or the host cannot be looked at.
pub async fn prepare(
    ask: &Ask,
    inspect: &dyn Inspect,
    history: &History,
    keep: usize,
) -> Result<(Plan, PlanNotes), Trouble> {
    let service = &ask.service;
    let facts = inspect.stack(&ask.project).await.map_err(|e| cannot_look(&e))?;
    if let Some(switched) = facts.switched {
        return Err(Trouble::new(TroubleKind::Unavailable, format!("Alarm: {switched}."))
            .say("Nothing is let go while what is kept cannot be seen.")
            .try_this("/status"));
    }
    let runs: BTreeSet<&Fingerprint> =
        facts.services.values().flat_map(|s| &s.containers).map(|c| &c.image.fingerprint).collect();
    let mut staying = BTreeSet::new();
    for release in history.kept(keep) {
        let held = inspect.holdings(&ask.project, service, &release.handles).await.map_err(|e| cannot_look(&e))?;
        staying.extend(held.into_iter().flat_map(|h| h.layers));
    }
    let mut going = Vec::new();
    for release in history.beyond(keep).into_iter().rev().filter(|r| !runs.contains(&r.handles.fingerprint)) {
        let held = inspect.holdings(&ask.project, service, &release.handles).await.map_err(|e| cannot_look(&e))?;
        going.extend(held.filter(|h| h.pinned).map(|h| (release, h)));
    }
    if going.is_empty() {
        return Err(Trouble::new(
            TroubleKind::NotFound,
            format!(
                "{service} has nothing to let go: its newest {keep} releases are kept, and nothing older is held here."
            ),
        )
        .try_this(format!("/releases {service}")));
    }
    Ok(assemble(ask, &going, &staying))
}

fn assemble(ask: &Ask, going: &[(&Release, Holdings)], staying: &BTreeSet<String>) -> (Plan, PlanNotes) {
    let images: Vec<ImageChoice> = going
        .iter()
        .map(|(release, _)| ImageChoice {
            fingerprint: release.handles.fingerprint.clone(),
            image: release.handles.image.clone(),
            reference: release.handles.reference.clone(),
        })
        .collect();
    let steps = ask.steps.iter().filter(|kind| **kind == StepKind::ReleasePins).map(|_| PlannedStep {
        action: StepAction::ReleasePins { service: ask.service.clone(), images: images.clone() },
        // True as long as the image is there: then it is kept again. Else the run says that it is stuck, and why.
        undo: Undo::Action(Box::new(StepAction::KeepPins { service: ask.service.clone(), images: images.clone() })),
        limit_s: RELEASE_S,
    });
    let mut notes =
        PlanNotes { frees: going.iter().map(|(r, h)| frees(r, h, staying)).collect(), ..Default::default() };
    if going.iter().any(|(_, held)| held.other_tags.is_empty()) {
        notes
            .warnings
            .push("CANNOT BE UNDONE once an image is freed: it comes back from a registry or not at all".to_owned());
    }
    (ask.plan_of(steps.collect()), notes)
}

/// What letting go of one release frees, in a sentence.
fn frees(release: &Release, held: &Holdings, staying: &BTreeSet<String>) -> String {
    let what = format!("{} {}", release.id, visible(&release.handles.reference));
    if !held.other_tags.is_empty() {
        let tags = visible(&held.other_tags.join(", "));
        return format!("{what}: frees nothing, as {tags} names it too; the next image prune -a may take it");
    }
    let shared = held.layers.iter().filter(|l| staying.contains(*l)).count();
    let back = if release.handles.digests.is_empty() { "; no registry is known to have it" } else { "" };
    match (shared, held.layers.len()) {
        (0, _) => format!("{what}: up to {}{back}", size(held.bytes)),
        (shared, all) if shared == all => format!("{what}: next to nothing, all its layers stay with others{back}"),
        (shared, all) => {
            format!("{what}: less than {}, as {shared} of its {all} layers stay with others{back}", size(held.bytes))
        }
    }
}
