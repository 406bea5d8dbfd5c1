//! Cases about checkpoints: when they are written, and that none is taken that says something else.

use sternway::domain::event::{Event, Outcome};
use sternway::domain::ids::Position;
use sternway::store::checkpoint::{self, Checkpoint, Signer};
use sternway::store::line::LogId;
use sternway::store::merkle::Tree;
use sternway::store::{About, AppendError, SharedLog};

use super::{Verdict, begin, go_on, told};
use crate::samples::*;

pub(super) async fn the_end_of_a_run_is_followed_by_a_checkpoint_about_everything_before_it(log: SharedLog) -> Verdict {
    let refused = ended(Outcome::Refused { kind: "denied".to_owned(), why: "no".to_owned() });
    let unplanned = begin(&log, "e0", "shop").await?;
    go_on(&log, unplanned, vec![refused]).await?;
    let run = begin(&log, "e1", "shop").await?;
    go_on(&log, run, up_to_claim("shop")).await?;
    let written = go_on(&log, run, to_the_end("shop")).await?;
    ensure!(written.iter().all(|r| !is_checkpoint(&r.event)), "somebody was given a record that is not theirs");
    begin(&log, "e2", "shop").await?;

    let mut tree = Tree::default();
    let mut found = Vec::new();
    for record in told(log.read(Position(0), 1000))? {
        if let Event::Checkpoint { note, ended } = &record.event {
            let (_, says) = checkpoint::read(note).map_err(|e| e.to_string())?;
            ensure!(says == Checkpoint::of(&tree), "{says:?} at {}", record.position);
            found.push((record.position, ended.clone()));
        }
        tree.push(&record.hash.0);
    }
    let last = written.last().ok_or("nothing was written")?.position;
    ensure!(found == [(Position(last.0 + 1), vec![run])], "{found:?}");
    Ok(())
}

fn is_checkpoint(event: &Event) -> bool {
    matches!(event, Event::Checkpoint { .. })
}

pub(super) async fn a_checkpoint_that_says_something_else_is_refused(log: SharedLog) -> Verdict {
    let mut tree = Tree::default();
    for record in told(log.read(Position(0), 10))? {
        tree.push(&record.hash.0);
    }
    let mut longer = tree.clone();
    longer.push(b"one more");
    let mut other = Tree::default();
    other.push(b"another");
    let id = LogId::parse(&log.log_id()).ok_or("it has no id")?;
    let signer = Signer::new(id, ed25519_dalek::SigningKey::from_bytes(&[9; 32]));
    for wrong in [Tree::default(), longer, other] {
        let note = signer.sign(&wrong).ok_or("a name")?;
        let event = Event::Checkpoint { note, ended: Vec::new() };
        let answer = log.append(None, vec![draft(About::Log, 0, event)]).await;
        ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "{} records: {answer:?}", wrong.size());
    }
    let event = Event::Checkpoint { note: "anything".to_owned(), ended: Vec::new() };
    let answer = log.append(None, vec![draft(About::Log, 0, event)]).await;
    ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "no note at all: {answer:?}");
    Ok(())
}
