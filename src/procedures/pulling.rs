//! Whether an image that is gone from the host can be brought back by its registry: asked while planning, so that what
//! will not work is refused before anybody agrees and before anything is stopped. Only looks.

use super::planner::{Ask, cannot_look};
use crate::agent::{ImageFound, Inspect};
use crate::command::StepKind;
use crate::domain::plan::{ImageChoice, PlannedStep, StepAction, Undo};
use crate::domain::release::Handles;
use crate::domain::text::visible;
use crate::domain::trouble::{Trouble, TroubleKind};

/// Digests asked for before it is given up; an image has one for each repository it was in.
const ASKED_MAX: usize = 3;

/// Seconds for a pull: the agent's own limit for all its tries, and some.
const PULL_S: u64 = 21 * 60;

/// The digest to pull, when the image is not here, its procedure pulls, and a registry has it. `None` leaves it to the
/// planner to say that the image is gone.
///
/// # Errors
/// Why no registry gives it.
pub(super) async fn bring(
    ask: &Ask,
    inspect: &dyn Inspect,
    wanted: &Handles,
    found: &ImageFound,
) -> Result<Option<String>, Trouble> {
    let here = matches!(found, ImageFound::Here { .. });
    // Only digests that the engine listed: `repository@<image id>` is never made up.
    if here || wanted.digests.is_empty() || !ask.steps.contains(&StepKind::PullImage) {
        return Ok(None);
    }
    let mut why = Vec::new();
    for digest in wanted.digests.iter().take(ASKED_MAX) {
        match inspect.pullable(digest).await.map_err(|e| cannot_look(&e))? {
            Ok(()) => return Ok(Some(digest.clone())),
            Err(no) => why.push(no),
        }
    }
    why.dedup();
    let gone = match found {
        ImageFound::OtherStore(_) => "is hidden in the engine's other image store",
        ImageFound::Here { .. } | ImageFound::Gone => "is gone from this host",
    };
    let mut trouble = Trouble::new(
        TroubleKind::Unavailable,
        format!("The image of {} {gone} and cannot be pulled: {}.", visible(&wanted.reference), why.join("; ")),
    )
    .say("Nothing was touched.");
    if let ImageFound::OtherStore(switched) = found {
        trouble = trouble.say(format!("Alarm: {switched}."));
    }
    Err(trouble.try_this(format!("/releases {}", ask.service)))
}

/// The step that pulls; there is nothing to take back, as it only adds.
pub(super) fn step(ask: &Ask, image: &ImageChoice, from: &str) -> PlannedStep {
    PlannedStep {
        action: StepAction::PullImage { service: ask.service.clone(), image: image.clone(), from: from.to_owned() },
        undo: Undo::Nothing,
        limit_s: PULL_S,
    }
}
