//! Tells what the log says: follows it from where each surface was told last, and hands the messages to the outboxes.
//!
//! Everything said about a run is derived from its records, so nothing is lost when a chat or the bot is down: after a
//! restart the narrator goes on at the cursor, and a message that is made twice has the same key twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Core;
use crate::chat::MessageKey;
use crate::chat::outbox::{Delivery, InThread, Message, Outbox};
use crate::clock::closed;
use crate::domain::actor::Surface;
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{Position, RunId};
use crate::domain::run::{RunState, fold};
use crate::store::{Record, checkpoint};
use crate::story::{self, How, Told};

/// Records read at a time.
const PAGE: usize = 256;

/// Tells one surface everything, until the bot shuts down.
pub async fn narrate(core: Arc<Core>, surface: Surface, outbox: Arc<Outbox>) {
    let mut told = match core.log.outbox_cursor(surface.as_str()) {
        Ok(position) => position,
        Err(error) => {
            tracing::error!(%error, "the outbox cursor cannot be read; telling from here on");
            core.log.head().position
        }
    };
    let mut marked = told;
    let mut runs: HashMap<RunId, RunState> = HashMap::new();
    let mut moved = core.log.watch();
    let mut board = core.progress.subscribe();
    let mut delivered = outbox.delivered();
    let mut closing = core.closing.clone();
    loop {
        match core.log.read(Position(told.0 + 1), PAGE) {
            Ok(page) if !page.is_empty() => {
                for record in page {
                    if !tell(&core, surface, &outbox, &mut runs, &record).await {
                        return;
                    }
                    told = record.position;
                }
                // What gives rise to no message moves no cursor: without this a surface that is seldom spoken to
                // would have years of records read again at each start.
                if told.0 >= marked.0 + PAGE as u64 {
                    outbox.passed(told);
                    marked = told;
                }
                continue;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the log cannot be read; nothing is told for now"),
        }
        tokio::select! {
            _ = moved.changed() => {}
            _ = board.changed() => {
                let words = board.borrow_and_update().clone();
                tell_progress(&core, surface, &outbox, &runs, &words).await;
            }
            _ = delivered.changed() => {
                let position = *delivered.borrow_and_update();
                if let Err(error) = core.log.set_outbox_cursor(surface.as_str(), position) {
                    tracing::warn!(%error, "the outbox cursor cannot be written; some messages may come twice after a restart");
                }
            }
            () = closed(&mut closing) => return,
        }
    }
}

/// False when the doors are closing; the record is told again after the next start.
async fn tell(
    core: &Core,
    surface: Surface,
    outbox: &Outbox,
    runs: &mut HashMap<RunId, RunState>,
    record: &Record,
) -> bool {
    if let Event::IndexRebuilt { why } = &record.event {
        let card = story::en::index_rebuilt(why);
        let key = format!("index/{}", record.position.0);
        return hand_in(core, outbox, core.notices(surface, record.position, &key, &card)).await;
    }
    if let Event::Checkpoint { note, ended } = &record.event {
        return hand_in(core, outbox, witness(core, surface, record.position, note, ended)).await;
    }
    let Some(Subject::Run(id)) = &record.subject else { return true };
    let Some(run) = state_at(core, runs, *id, record) else { return true };
    if run.place.surface == surface {
        let all = story::tell(&run, record.position, record.at, &record.event);
        let deliveries = all.into_iter().map(|told| delivery(&run, record.position, told)).collect();
        if !hand_in(core, outbox, deliveries).await {
            return false;
        }
    }
    if run.ended() {
        runs.remove(id);
    } else {
        runs.insert(*id, run);
    }
    true
}

/// The threads of runs that have ended end with what the record was then: so the history of the chat, which is not on
/// this host, knows it too.
fn witness(core: &Core, surface: Surface, position: Position, note: &str, ended: &[RunId]) -> Vec<Delivery> {
    let Ok((_, says)) = checkpoint::read(note) else { return Vec::new() };
    let card = story::en::witness(says.size, &says.short_root());
    let told = |run: RunState| {
        let told = Told { how: How::Reply, key: format!("{}/{position}", run.id), card: card.clone() };
        delivery(&run, position, told)
    };
    let runs = ended.iter().filter_map(|id| core.log.run(*id).ok().flatten());
    runs.filter(|run| run.place.surface == surface).map(told).collect()
}

/// False when the doors are closing; it is told again after the next start.
async fn hand_in(core: &Core, outbox: &Outbox, deliveries: Vec<Delivery>) -> bool {
    let mut closing = core.closing.clone();
    tokio::select! {
        handed_in = outbox.send_all(deliveries) => handed_in.is_ok(),
        () = closed(&mut closing) => false,
    }
}

/// The run as it was right after this record: folded on from what is known, or from its whole thread.
fn state_at(core: &Core, runs: &HashMap<RunId, RunState>, id: RunId, record: &Record) -> Option<RunState> {
    if let Some(known) = runs.get(&id) {
        return fold(Some(known.clone()), record.position, record.at, &record.event).ok();
    }
    let thread = core.log.thread(&Subject::Run(id)).ok()?;
    thread
        .iter()
        .take_while(|r| r.position <= record.position)
        .try_fold(None, |state, r| fold(state, r.position, r.at, &r.event).map(Some))
        .ok()
        .flatten()
}

async fn tell_progress(
    core: &Core,
    surface: Surface,
    outbox: &Outbox,
    runs: &HashMap<RunId, RunState>,
    words: &BTreeMap<RunId, String>,
) {
    for (id, words) in words {
        let Some(run) = runs.get(id).filter(|r| r.place.surface == surface) else { continue };
        let card = story::en::run_card(run, core.clock.now(), Some(words));
        let told = Told { how: How::Edit, key: story::card_key(run), card };
        // Position 0: progress is on no record, so it moves no cursor.
        let _ = outbox.send(delivery(run, Position(0), told)).await;
    }
}

fn delivery(run: &RunState, position: Position, told: Told) -> Delivery {
    let message = InThread { place: run.place.clone(), run: run.id, key: MessageKey(told.key), card: told.card };
    let message = match told.how {
        How::Post => Message::Post(message),
        How::Edit => Message::Edit(message),
        How::Reply => Message::Reply(message),
        How::Ask => Message::Ask(message),
    };
    Delivery { position, message }
}
