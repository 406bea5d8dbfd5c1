//! What moved between two plans for the same request, in sentences that approvers read.

use crate::domain::plan::{Plan, StepAction};
use crate::domain::text::visible;

/// A sentence for each thing that differs; empty when both are the same plan.
pub fn differences(agreed: &Plan, now: &Plan) -> Vec<String> {
    let mut out = Vec::new();
    let mut say = |differs: bool, sentence: String| {
        if differs && !out.contains(&sentence) {
            out.push(sentence);
        }
    };
    say(agreed.target != now.target, format!("it would now happen on {} instead of {}", now.target, agreed.target));
    say(agreed.catalogue != now.catalogue, "the command files were changed".to_owned());
    say(agreed.policy != now.policy, "the config was changed".to_owned());
    let copies = |plan: &Plan| plan.steps.iter().filter(|s| matches!(s.action, StepAction::SwapService(_))).count();
    say(
        copies(agreed) != copies(now),
        format!("{} containers would now be swapped instead of {}", copies(now), copies(agreed)),
    );
    say(
        agreed.steps.len() != now.steps.len(),
        format!("it now has {} steps instead of {}", now.steps.len(), agreed.steps.len()),
    );
    for (a, n) in agreed.steps.iter().zip(&now.steps) {
        if a == n {
            continue;
        }
        match (&a.action, &n.action) {
            (StepAction::SwapService(a), StepAction::SwapService(n))
                if a.service == n.service && a.number == n.number =>
            {
                let service = &a.service;
                say(a.missing && !n.missing, format!("{service} has a container again"));
                say(!a.missing && n.missing, format!("{service} has no container any more"));
                let images = a.from.fingerprint != n.from.fingerprint;
                say(
                    images,
                    format!(
                        "{service} now runs {} ({}) instead of {} ({})",
                        visible(&n.from.reference),
                        n.from.fingerprint.short(),
                        visible(&a.from.reference),
                        a.from.fingerprint.short()
                    ),
                );
                say(
                    a.replaces != n.replaces && !images && a.missing == n.missing,
                    format!("{service}'s container was replaced by another one"),
                );
                say(
                    a.to != n.to,
                    format!("the image to go to is now {} ({})", visible(&n.to.reference), n.to.fingerprint.short()),
                );
                say(a.spec != n.spec && a.replaces == n.replaces, format!("{service}'s settings were changed"));
                say(a.health != n.health, format!("{service}'s health rule was changed"));
                say(a.start_first != n.start_first, format!("{service}'s order of swapping was changed"));
                say(a.grace_s != n.grace_s, format!("{service}'s time to stop was changed"));
            }
            (StepAction::RestartService(a), StepAction::RestartService(n)) if a.service == n.service => {
                let service = &a.service;
                say(a.container != n.container, format!("{service}'s container was replaced by another one"));
                say(a.health != n.health, format!("{service}'s health rule was changed"));
                say(a.grace_s != n.grace_s, format!("{service}'s time to stop was changed"));
            }
            (StepAction::WritePin { old: a, file, key, .. }, StepAction::WritePin { old: n, .. }) if a != n => {
                say(true, format!("{key} in {file} was changed"));
            }
            (StepAction::WritePin { value: a, file, key, .. }, StepAction::WritePin { value: n, .. }) if a != n => {
                say(true, format!("another value would be written to {key} in {file}"));
            }
            (StepAction::ResolveRun { head: a, run, .. }, StepAction::ResolveRun { head: n, .. }) if a != n => {
                say(true, format!("{run} has moved on"));
            }
            _ => {}
        }
    }
    if out.is_empty() && agreed != now {
        let at = agreed.steps.iter().zip(&now.steps).position(|(a, n)| a != n);
        out.push(match at {
            Some(i) => format!("step {} is no longer the same", i + 1),
            None => "the request is no longer understood the same way".to_owned(),
        });
    }
    out
}
