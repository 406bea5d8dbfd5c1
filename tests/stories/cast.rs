//! Words that all stories share: usual nights, what is asked of a run, and text without what differs from night to night.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sternway::agent::engine::Engine;
use sternway::chat::sim::Said;
use sternway::domain::card::{Card, Line};
use sternway::domain::event::{Event, Outcome, Subject};
use sternway::domain::ids::{Position, RunId};
use sternway::domain::invocation::Invocation;
use sternway::domain::run::{RunState, Status};
use sternway::store::{Log, SharedLog};

use sternway::clock::Clock;

use crate::night::{AMAL, API, CARLA, Living, Night, PATIENCE, at_rest};

/// Somebody is asked even for proven releases.
pub(crate) const ASK: &str = "[approvals.\"rollback image\"]\nwaive = \"never\"\n";

/// Two persons are asked.
pub(crate) const ASK_TWO: &str = "[approvals.\"rollback image\"]\nwaive = \"never\"\ncount = 2\n";

/// A person with two accounts.
pub(crate) const DORA: &str =
    "[[person]]\nid = \"dora\"\nroles = [\"approver\"]\naccounts = { console = [\"uid:4\", \"uid:5\"] }\n";
pub(crate) const DORA_AT_WORK: &str = "uid:4";
pub(crate) const DORA_AT_HOME: &str = "uid:5";

/// The usual night with these lines in the config.
pub(crate) fn night_with(more: &str) -> Night {
    let mut night = Night::after_a_bad_deploy();
    night.more_config = more.to_owned();
    night
}

/// The usual night in a team that wants a vote for everything.
pub(crate) fn asking() -> Night {
    night_with(ASK)
}

/// The log of the night as the bot takes it.
pub(crate) fn log_of(night: &Night) -> SharedLog {
    Arc::clone(&night.log) as _
}

/// It waits for votes.
pub(crate) fn waits(run: &RunState) -> bool {
    run.open_approval().is_some()
}

/// It has ended.
pub(crate) fn over(run: &RunState) -> bool {
    run.ended()
}

/// A step with this index is ordered and under way.
pub(crate) fn at_step(step: usize) -> impl Fn(&RunState) -> bool {
    move |run| run.steps.get(step) == Some(&sternway::domain::run::StepState::Open)
}

/// The id of its question.
pub(crate) fn question(run: &RunState) -> String {
    run.approval.as_ref().expect("nobody was asked").id.to_string()
}

/// How it ended.
pub(crate) fn outcome(run: &RunState) -> &Outcome {
    match &run.status {
        Status::Ended { outcome, .. } => outcome,
        other => panic!("{} has not ended: {other:?}", run.id),
    }
}

pub(crate) fn done(run: &RunState) -> bool {
    *outcome(run) == Outcome::Done
}

pub(crate) fn undone(run: &RunState) -> bool {
    matches!(outcome(run), Outcome::Undone { .. })
}

/// What the engine says of a container, which has to be there.
pub(crate) fn inspect(night: &Night, name: &str) -> Value {
    night.run(async { night.engine.inspect(name).await }).unwrap().unwrap_or_else(|| panic!("{name} is gone"))
}

/// Amal looks at the plan and asks for the rollback of the API, Carla agrees. Gives the plan as told, and the run at rest.
pub(crate) fn agreed(night: &Night) -> (String, RunState) {
    night.live(async |bot| {
        let plan = answer(bot, AMAL, "/rollback plan image api").await;
        let run = bot.rollback(AMAL, "/rollback image api", waits).await;
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        (plan, bot.run_until(run.id, at_rest).await)
    })
}

/// Steps that were ordered, whatever came of them.
pub(crate) fn orders(night: &Night, run: RunId) -> usize {
    let thread = night.log.thread(&Subject::Run(run)).unwrap();
    thread.iter().filter(|r| matches!(r.event, Event::StepIntent { .. })).count()
}

/// All records that fit.
pub(crate) fn records(night: &Night, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
    let all = night.log.read(Position(0), 100_000).unwrap();
    all.into_iter().map(|r| r.event).filter(|e| fits(e)).collect()
}

/// Why requests and votes were refused, as it is on record.
pub(crate) fn refusals(night: &Night) -> Vec<String> {
    let why = |e: Event| match e {
        Event::Refused { why, .. } | Event::Ended { outcome: Outcome::Refused { why, .. } } => Some(why),
        _ => None,
    };
    records(night, |_| true).into_iter().filter_map(why).collect()
}

/// Fails unless the API runs that version alone, under its own name, and the pin says so.
pub(crate) fn stands(night: &Night, version: &str) {
    let image = format!("shop/api:{version}");
    assert_eq!(night.containers(), ["shop-api-1", "shop-db-1", "shop-web-1"]);
    assert_eq!(night.pin(), format!("# the shop\nAPI_IMAGE={image}\nWEB_PORT=8080\n"));
    let (runs, wanted) = night.run(async {
        let config = night.config();
        let host = night.hosts(&config).into_values().next().unwrap();
        let facts = host.inspect.stack(&config.stacks[0].project).await.unwrap();
        let api = facts.services.iter().find(|(n, _)| n.as_str() == "api").map(|(_, s)| s.containers[0].clone());
        let local = host.inspect.local_images("shop/api").await.unwrap();
        (api.unwrap(), local.into_iter().find(|h| h.reference == image).unwrap())
    });
    assert_eq!(runs.image.fingerprint, wanted.fingerprint, "the api runs {}, not {image}", runs.image.reference);
    assert_eq!(runs.state, sternway::agent::ContainerState::Running);
    assert!(night.engine.behind(API).is_some(), "nothing holds the port");
}

/// What somebody says, to be handed in once or twice.
pub(crate) fn hear(bot: &Living, account: &str, words: &str) -> Invocation {
    bot.chat.hear(account, "console", words, bot.clock.now())
}

/// Says a line and gives the private answer that is not just that it was accepted.
pub(crate) async fn answer(bot: &Living, account: &str, words: &str) -> String {
    let invocation = hear(bot, account, words);
    let key = invocation.event.clone();
    bot.bot.intake().send(invocation).await.unwrap();
    let is_it = |s: &Said| s.to.is_some() && s.key.0 == key && !s.card.plain().contains(" accepted: ");
    let said = bot.chat.wait_for(|said| said.iter().any(is_it), PATIENCE).await;
    let said = said.unwrap_or_else(|e| panic!("no answer to {words:?}: {e}\n{}", bot.story()));
    said.iter().find(|s| is_it(s)).map(|s| s.card.plain()).unwrap()
}

/// Everything that was said to all, as one text.
pub(crate) fn thread_of(night: &Night, run: RunId) -> Vec<Said> {
    night.chat.standing().into_iter().filter(|s| s.run == Some(run)).collect()
}

/// What a thread ends with: the record as it was then.
pub(crate) fn is_witness(said: &Said) -> bool {
    said.card.plain().starts_with("record ")
}

/// The last thing that a thread tells before that.
pub(crate) fn last_word(night: &Night, run: RunId) -> String {
    let thread = thread_of(night, run);
    let [.., word, witness] = thread.as_slice() else { panic!("{run} has a thread of {}", thread.len()) };
    assert!(is_witness(witness), "the thread ends with {}", witness.card.plain());
    word.card.plain()
}

/// Rows that a card takes on a phone before the fold.
pub(crate) fn rows(card: &Card) -> usize {
    let row = |line: &Line| line.iter().map(|s| s.words().chars().count()).sum::<usize>().div_ceil(40).max(1);
    row(&card.title) + card.lines.iter().map(row).sum::<usize>()
}

/// Digests become `#`; ids are counted in the order in which they appear; times of day lose their seconds.
pub(crate) fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut ids: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if word_end == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(word_end);
        rest = after;
        let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = &word[letters.len()..];
        let digest = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
        if digest || (letters.is_empty() && (out.ends_with('/') || out.ends_with("record "))) {
            out.push('#');
        } else if matches!(letters, "r" | "a" | "rel") && !number.is_empty() {
            let known = ids.entry(letters.to_owned()).or_default();
            let next = known.len() + 1;
            let n = known.entry(number.to_owned()).or_insert(next);
            out.push_str(&format!("{letters}{n}"));
        } else {
            out.push_str(word);
        }
    }
    out
}
