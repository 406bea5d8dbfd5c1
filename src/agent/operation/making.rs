//! The same for a container that is made where there was none. Its way back is to be removed again, so no end of it is
//! a person's business: whoever else makes a container of that name meanwhile keeps it, and ours goes.

use super::{End, Life, Move, Operation, Phase, Seen, Taken, Which, go_back, same_policy, try_new};

/// Names the next move of an operation that began with nothing.
pub(super) fn next(op: &Operation, seen: &Seen, taken: &Taken) -> Move {
    let going_back = matches!(op.phase, Phase::Back { .. });
    let Some(new) = &seen.new else {
        return match op.phase {
            Phase::Back { .. } => Move::Done(End::Old),
            Phase::Preparing => interrupted(),
            Phase::Cutting | Phase::Proven { .. } => go_back("the new container was removed by somebody"),
        };
    };
    if seen.stranger.is_some() && !going_back {
        let why =
            format!("somebody made another container with the name {} meanwhile: that one was not touched", op.name);
        return go_back(why);
    }
    match &op.phase {
        Phase::Preparing => interrupted(),
        Phase::Cutting => try_new(new, taken),
        Phase::Proven { .. } => match new.life {
            Life::Up if taken.new_started && taken.settling && !taken.new_proven => Move::Prove(Which::New),
            // The name comes last: who has it is finished, whatever becomes of the ledger.
            Life::Up if !same_policy(&new.policy, &op.new_policy) => Move::Policy(Which::New, op.new_policy.clone()),
            Life::Up if new.name != op.name => Move::Rename(Which::New, op.name.clone()),
            Life::Up => Move::Done(End::New),
            Life::Created | Life::Ended(_) if !taken.new_started && taken.settling => Move::Start(Which::New),
            Life::Created | Life::Ended(_) | Life::Paused => {
                go_back("the new container was proven, but it does not run any more")
            }
        },
        Phase::Back { .. } => match new.life {
            Life::Up | Life::Paused => Move::Stop(Which::New),
            Life::Created | Life::Ended(_) => Move::Remove(Which::New),
        },
    }
}

fn interrupted() -> Move {
    Move::Decide(Phase::Back { why: "it was interrupted before the new container was started".to_owned(), cut: false })
}
