//! What has to hold: nothing goes wrong while every rule holds, and something does without each.

use std::time::Instant;

use super::super::rules::Rule;
use super::cast::{Setting, Votes};
use super::leave_out::{Left, Outer};
use super::search::{Walk, walk};
use super::world::Luck;

/// Nothing goes wrong by itself.
const CALM: Luck = Luck {
    crashes: 0,
    lost: 0,
    step_fails: 0,
    undo_fails: 0,
    cancels: 0,
    outside: 0,
    hours: 0,
    following: 0,
    ways: 0,
    rights: 0,
};

/// Everything that may go wrong in one night.
const NIGHT: Luck = Luck {
    crashes: 2,
    lost: 2,
    step_fails: 1,
    undo_fails: 1,
    cancels: 1,
    outside: 1,
    hours: 1,
    following: 2,
    ways: 1,
    rights: 0,
};

const ONE_VOTE: Votes = Votes { count: 1, waived: false, consoles: false };

/// From the first word on: one request for two services, to which one person has to agree.
const ASKED: Setting = Setting {
    services: 2,
    one_way: false,
    votes: Some(ONE_VOTE),
    ways_are_asked: false,
    passed: false,
    luck: Luck { following: 1, ..CALM },
    left: Left::Out,
};

/// A run for two services that may act.
const ACTS: Setting = Setting { votes: None, passed: true, luck: CALM, ..ASKED };

/// States of one walk at most; beyond, its memory would not fit a small machine.
const MANY: usize = 120_000_000;

fn tell(story: &[String]) -> String {
    story.iter().map(|line| format!("\n  {line}")).collect()
}

/// Walks everywhere, and nothing may go wrong.
fn all_is_well(name: &str, setting: Setting, ends: &[&str]) -> Walk {
    let began = Instant::now();
    let found = walk(setting, MANY);
    let seconds = began.elapsed().as_secs_f32();
    let Walk { states, moves, closed, journals, story, ends: came, .. } = &found;
    eprintln!(
        "{name}: {states} states, {moves} moves, {}, {journals} journals, {seconds:.1} s; ends {came:?}",
        if *closed { "closed" } else { "NOT closed" }
    );
    if let Some(story) = story {
        panic!("{name}: something goes wrong, found after {states} states:{}", tell(story));
    }
    assert!(closed, "{name}: {states} states, and still not all");
    for end in ends {
        assert!(came.contains_key(end), "{name}: no way ends `{end}`: {came:?}");
    }
    found
}

/// A run's bad night, past the gate.
#[test]
fn a_run_that_may_act_ends_old_new_or_stuck_whatever_the_night() {
    let luck = Luck { crashes: 1, lost: 1, outside: 0, hours: 0, following: 0, ..NIGHT };
    all_is_well("a run, one crash, one lost answer", Setting { luck, ..ACTS }, &["new", "old", "stuck", "accepted"]);
    let luck = Luck { crashes: 1, lost: 1, undo_fails: 0, outside: 1, hours: 0, following: 0, ..NIGHT };
    all_is_well("a run, somebody deploys meanwhile", Setting { luck, ..ACTS }, &["new", "old", "stuck", "accepted"]);
    let luck = Luck { crashes: 1, lost: 1, undo_fails: 0, outside: 0, hours: 1, following: 0, ..NIGHT };
    let one_way = Setting { one_way: true, luck, ..ACTS };
    all_is_well("a run with a step of no return", one_way, &["new", "old", "stuck", "accepted"]);
}

/// From the first word on, and with somebody else's request on the same stack.
#[test]
fn from_the_first_word_on_only_what_was_agreed_to_acts() {
    let luck = Luck { crashes: 1, outside: 1, hours: 1, following: 1, rights: 1, ..CALM };
    all_is_well(
        "a request, its votes and its time",
        Setting { services: 1, luck, ..ASKED },
        &["new", "void", "expired"],
    );
    let luck = Luck { crashes: 1, lost: 1, outside: 0, hours: 0, following: 1, ..NIGHT };
    all_is_well("a request for two services", Setting { luck, ..ASKED }, &["new", "old", "stuck", "accepted"]);
    let luck = Luck { lost: 1, cancels: 1, hours: 1, following: 2, ..CALM };
    all_is_well("two requests for one stack", Setting { services: 1, luck, ..ASKED }, &["new", "old", "refused"]);
    let luck = Luck { step_fails: 1, undo_fails: 1, ways: 1, ..CALM };
    let setting = Setting { services: 1, passed: true, ways_are_asked: true, luck, ..ASKED };
    all_is_well("ways out that are asked for", setting, &["stuck", "accepted", "new", "old"]);
}

/// What goes wrong without a rule, as a short story.
fn without(name: &str, left: Left, setting: Setting) -> Vec<String> {
    let found = walk(Setting { left, ..setting }, MANY);
    let Some(story) = found.story else {
        panic!("{name}: left out, and nothing goes wrong in {} states (closed: {})", found.states, found.closed)
    };
    eprintln!("Without “{name}”, after {} states:{}\n", found.states, tell(&story));
    story
}

fn acts(luck: Luck) -> Setting {
    Setting { luck, ..ACTS }
}

fn asked(luck: Luck) -> Setting {
    Setting { luck: Luck { following: luck.following.max(1), ..luck }, ..ASKED }
}

/// Every rule with a setting that is unlucky enough to need it.
fn rules() -> Vec<(&'static str, Left, Setting)> {
    use Left::{Both, Inner, Outer as Out};
    let one_way = |luck| Setting { one_way: true, ..acts(luck) };
    let two_votes = Some(Votes { count: 2, ..ONE_VOTE });
    vec![
        ("R1 journal first", Inner(Rule::JournalFirst), acts(CALM)),
        ("R2 an order says what shall be", Out(Outer::DesiredState), acts(Luck { step_fails: 1, ..CALM })),
        (
            "R3 the agent refuses what is older than the newest it has seen",
            Out(Outer::DoorIsWatched),
            acts(Luck { lost: 1, cancels: 1, ..CALM }),
        ),
        ("R3 each message is counted", Out(Outer::MessagesAreCounted), acts(Luck { lost: 1, cancels: 1, ..CALM })),
        ("R4 recovery takes a new claim", Inner(Rule::NewClaim), acts(Luck { crashes: 1, lost: 1, ..CALM })),
        ("R4 recovery looks first", Inner(Rule::LookFirst), one_way(Luck { crashes: 1, ..CALM })),
        ("R5 the uncertain is taken back", Inner(Rule::UndoUncertain), acts(Luck { step_fails: 1, ..CALM })),
        ("R6 a time-out is not a failure", Inner(Rule::TimeoutIsNoFailure), acts(Luck { lost: 1, ..CALM })),
        (
            "R7 an undo that fails is stuck",
            Inner(Rule::FailedUndoIsStuck),
            acts(Luck { step_fails: 1, undo_fails: 1, ..CALM }),
        ),
        (
            "R7 what is stuck keeps the stack",
            Out(Outer::StuckKeepsClaim),
            acts(Luck { step_fails: 1, undo_fails: 1, ..CALM }),
        ),
        ("R8 one run holds the stack", Out(Outer::OneClaim), asked(Luck { following: 2, ..CALM })),
        ("R10 consent is for now", Inner(Rule::ConsentIsForNow), asked(Luck { crashes: 1, hours: 1, ..CALM })),
        (
            "R10 a request is for now",
            Inner(Rule::RequestIsForNow),
            Setting { votes: None, ..asked(Luck { crashes: 1, hours: 1, ..CALM }) },
        ),
        ("R10 a vote comes in time", Out(Outer::VoteInTime), asked(Luck { hours: 1, ..CALM })),
        ("steps are taken back from the last", Inner(Rule::UndoInReverse), acts(Luck { cancels: 1, ..CALM })),
        (
            "it is looked before `it is now so`",
            Inner(Rule::LookBeforeAccept),
            Setting { services: 1, ..acts(Luck { lost: 16, ..CALM }) },
        ),
        ("a cancel is heeded", Inner(Rule::CancelIsHeeded), acts(Luck { cancels: 1, ..CALM })),
        ("the time limit is heeded", Inner(Rule::LimitIsHeeded), acts(Luck { hours: 1, ..CALM })),
        (
            "past a step of no return it goes forward",
            Inner(Rule::NoTurnPastReturn),
            one_way(Luck { cancels: 1, ..CALM }),
        ),
        (
            "only the container that was planned for is replaced",
            Out(Outer::OnlyThePlannedOne),
            acts(Luck { outside: 1, ..CALM }),
        ),
        ("votes before the claim", Both(Rule::VotesBeforeClaim, Outer::OnlyAgreedClaims), asked(CALM)),
        ("the plan is made again under the claim", Inner(Rule::PlanAgain), asked(Luck { outside: 1, ..CALM })),
        (
            "what is asked again is shown",
            Inner(Rule::AgainIsShown),
            Setting { votes: Some(Votes { waived: true, ..ONE_VOTE }), ..asked(Luck { outside: 1, ..CALM }) },
        ),
        (
            "the requester's right is asked anew",
            Inner(Rule::RightsAskedAnew),
            asked(Luck { crashes: 1, rights: 1, ..CALM }),
        ),
        ("nobody approves their own request", Out(Outer::NoOwnVote), asked(CALM)),
        ("a person counts once", Out(Outer::PersonOnce), Setting { votes: two_votes, ..asked(CALM) }),
        (
            "votes from consoles are one",
            Out(Outer::ConsolesAreOne),
            Setting { votes: Some(Votes { count: 2, consoles: true, ..ONE_VOTE }), ..asked(CALM) },
        ),
        ("only whom the rule names may vote", Out(Outer::OnlyApprovers), asked(CALM)),
        ("a vote is for one plan", Out(Outer::VoteIsForOnePlan), asked(Luck { following: 2, ..CALM })),
        (
            "a way out is for what was seen",
            Inner(Rule::WayOutIsForWhatWasSeen),
            Setting {
                services: 1,
                passed: true,
                ways_are_asked: true,
                luck: Luck { step_fails: 2, undo_fails: 2, ways: 2, ..CALM },
                ..ASKED
            },
        ),
    ]
}

#[test]
fn each_rule_left_out_gives_a_story_in_which_something_goes_wrong() {
    for (name, left, setting) in rules() {
        let story = without(name, left, setting);
        assert!(story.len() <= 24, "{name}: a story of {} sentences is not short", story.len());
        for sentence in &story {
            let dump = sentence.contains(['{', '}', '"']) || sentence.contains("Some(") || sentence.contains("::");
            assert!(!dump && sentence.ends_with('.'), "{name}: not for people: {sentence}");
        }
    }
}

/// The same settings with every rule: nothing goes wrong in them, so it is the rule that makes the difference.
#[test]
fn in_the_same_settings_nothing_goes_wrong_while_the_rule_holds() {
    // The last one's is the largest; `make explore` closes it.
    for (name, _, setting) in rules().into_iter().filter(|(_, _, s)| !s.ways_are_asked) {
        all_is_well(name, setting, &[]);
    }
}

/// `make explore`: two services with all that luck, then four; each line is a walk.
#[test]
#[ignore = "minutes and gigabytes; make explore runs it"]
fn far() {
    #[allow(clippy::disallowed_methods)] // how far is said outside
    let walks = std::env::var("STERNWAY_EXPLORE").unwrap_or_default();
    for walk in walks.split(';').map(str::trim).filter(|w| !w.is_empty()) {
        let mut setting = Setting { luck: CALM, ..ASKED };
        for word in walk.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, "1"));
            let value: u8 = value.parse().unwrap_or_else(|_| panic!("{word} is no number of something"));
            let luck = &mut setting.luck;
            match name {
                "services" => setting.services = usize::from(value),
                "no-return" => setting.one_way = true,
                "acts" => setting.passed = true,
                "ways-asked" => setting.ways_are_asked = true,
                "nobody-agrees" => setting.votes = None,
                "votes" => setting.votes = Some(Votes { count: u32::from(value), ..ONE_VOTE }),
                "night" => *luck = NIGHT,
                "requests" => luck.following = value,
                "crashes" => luck.crashes = value,
                "lost" => luck.lost = value,
                "fails" => luck.step_fails = value,
                "undo-fails" => luck.undo_fails = value,
                "cancels" => luck.cancels = value,
                "outside" => luck.outside = value,
                "hours" => luck.hours = value,
                "ways" => luck.ways = value,
                "rights" => luck.rights = value,
                other => panic!("`{other}` is nothing that could be set"),
            }
        }
        all_is_well(walk, setting, &[]);
    }
}
