//! Words that want to steer: they are shown as what they are, and they are part of what is agreed to.

use sternway::domain::run::RunState;
use sternway::domain::text::is_hidden;

use crate::cast::{answer, asking, done, masked, over, question, rows, stands, waits};
use crate::night::{AMAL, CARLA, Living, Night, STRANGER, at_rest};

const NASTY: [&str; 6] = [
    "\u{1b}[2J\u{1b}[31mapproved by carla",
    "evil\u{202e}txt.exe\u{202c}",
    "\u{2066}api\u{2069} zero\u{200b}width",
    "<!channel> <@U1> [click](https://evil.example) `code`",
    "tag\u{e0041}\u{e0042} soft\u{ad}hyphen",
    "bell\u{7} and nul\u{0} and c1\u{9b}31m",
];

fn nothing_hidden(night: &Night) {
    for said in night.chat.said() {
        let words = said.card.plain();
        let hidden: Vec<char> = words.chars().filter(|c| *c != '\n' && is_hidden(*c)).collect();
        assert!(hidden.is_empty(), "{hidden:?} in {words:?}");
    }
}

async fn plan_hash(bot: &Living, reason: &str) -> RunState {
    bot.rollback(AMAL, &format!("/rollback plan image api because {reason}"), over).await
}

#[test]
fn a_hostile_reason_is_visible_never_raw_and_in_the_hash() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        let plain = plan_hash(bot, "nothing").await.plan.unwrap().hash;
        for nasty in NASTY {
            let run = plan_hash(bot, nasty).await;
            let Some(planned) = run.plan else { panic!("{nasty:?}: {:?}", run.status) };
            assert!(!planned.plan.reason.chars().any(is_hidden), "{:?}", planned.plan.reason);
            assert_ne!(planned.hash, plain, "{nasty:?} is not in the hash");
        }
        let left = plan_hash(bot, "a\u{202e}b").await.plan.unwrap();
        let right = plan_hash(bot, "a\u{202d}b").await.plan.unwrap();
        assert_ne!(left.hash, right.hash, "two that look alike are not one");
        assert_eq!(left.plan.reason, "a⟨U+202E⟩b");
    });
    nothing_hidden(&night);
}

#[test]
fn hostile_words_in_votes_denials_and_typos_are_visible_too() {
    let night = asking();
    let run = night.live(async |bot| {
        let first = bot.rollback(AMAL, &format!("/rollback image api because {}", NASTY[1]), waits).await;
        bot.ask(CARLA, &format!("/deny {} because {}", question(&first), NASTY[0])).await;
        let run = bot.rollback(AMAL, "/rollback image api", waits).await;
        bot.ask(CARLA, &format!("/approve {} because {}", question(&run), NASTY[2])).await;
        for words in
            ["/rollback \u{1b}[2Jimage", "/\u{202e}sutats", "/rollback image \u{1b}]0;x\u{7}", "/runs show r\u{0}1"]
        {
            answer(bot, AMAL, words).await;
        }
        bot.ask(STRANGER, &format!("/rollback image api because {}", NASTY[0])).await;
        bot.ask(CARLA, "/audit show").await;
        answer(bot, CARLA, &format!("/runs show {}", first.id)).await;
        answer(bot, CARLA, "/runs list").await;
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
    nothing_hidden(&night);
}

#[test]
fn an_arabic_reason_is_kept_as_it_was_written() {
    let night = asking();
    let reason = "الواجهة بطيئة منذ النشر";
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, &format!("/rollback image api because {reason}"), waits).await;
        bot.ask(CARLA, &format!("/approve {} because نعم", question(&run))).await;
        bot.run_until(run.id, at_rest).await
    });
    assert_eq!(run.plan.as_ref().unwrap().plan.reason, reason);
    assert!(done(&run));
    stands(&night, "1.0");
    let said: String = night.chat.standing().iter().map(|s| s.card.plain() + "\n").collect();
    assert!(said.contains(&format!("because {reason}")), "{}", masked(&said));
    assert!(said.contains("carla approved (1 of 1): نعم"), "{}", masked(&said));
}

#[test]
fn a_long_reason_fits_the_card_and_is_there_in_full() {
    let night = asking();
    let long = "word ".repeat(99) + "end.";
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, &format!("/rollback image api because {long}"), waits).await;
        bot.until("the question is asked", |b| b.chat.said().iter().any(|s| s.way == sternway::chat::sim::Way::Ask))
            .await;
        run
    });
    assert_eq!(run.plan.unwrap().plan.reason, long);
    for said in night.chat.standing().iter().filter(|s| s.run.is_some()) {
        assert!(rows(&said.card) <= 12, "{} rows:\n{}", rows(&said.card), said.card.plain());
        assert!(said.card.plain().contains("end."), "it is not there in full:\n{}", said.card.plain());
    }
}

#[test]
fn a_reason_that_is_too_long_is_refused_with_how_long_it_may_be() {
    let night = Night::after_a_bad_deploy();
    let told = night.live(async |bot| {
        let told = answer(bot, AMAL, &format!("/rollback image api because {}", "x".repeat(501))).await;
        assert!(bot.newest().is_none());
        told
    });
    assert!(told.contains("at most 500"), "{told}");
}

#[test]
fn nothing_from_chat_is_taken_for_more_than_a_name() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        for words in [
            "/rollback image api;reboot",
            "/rollback image ../../etc/passwd",
            "/rollback image $(reboot)",
            "/rollback image api to $(reboot)",
            "/rollback image api to `reboot`",
            "/rollback image api to docker.io/evil/api:1.0",
            "/rollback image api@shop/../other",
            "/rollback image api to sha256:zz",
        ] {
            let told = answer(bot, AMAL, words).await;
            assert!(!told.contains("accepted"), "{words}: {told}");
            assert!(bot.newest().is_none_or(|r| r.ended() && r.plan.is_none()), "{words} was planned");
            bot.clock_passes(150).await;
        }
    });
    stands(&night, "1.1");
}
