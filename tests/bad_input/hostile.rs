//! One list of words in every place where something from outside is shown to people.

use serde_json::{Value, json};
use sternway::domain::text::is_hidden;

use crate::hostile_words::WORDS;
use crate::targets::engine_world::{all_is_shown, live_with_engine, places, talk};
use crate::targets::night::{AMAL, CARLA, Night, STRANGER};

const LOOKS: [&str; 3] = ["/status", "/releases api", "/rollback plan image api"];

/// Labels, environment, mounts, names, image references, events and the engine's own version.
#[test]
fn whatever_the_engine_says_of_containers_and_images_is_shown_as_what_it_is() {
    let night = Night::after_a_bad_deploy();
    for words in WORDS {
        live_with_engine(&night, places(words, 1), async |bot| talk(bot, &LOOKS).await);
    }
    // In values and in errors they do not get into each other's way.
    for words in WORDS.chunks(6) {
        for kind in [0, 2] {
            live_with_engine(&night, places(&words.join(" "), kind), async |bot| talk(bot, &LOOKS).await);
        }
    }
    all_is_shown(&night);
    let said: String = night.chat.said().iter().map(|s| s.card.plain()).collect();
    assert!(said.contains("⟨U+001B⟩") && said.contains("⟨U+202E⟩"), "the words did not get so far");
}

/// The engine's refusals in the middle of a swap, in the thread and in the record of it.
#[test]
fn what_the_engine_says_when_it_refuses_is_one_line_of_the_story() {
    let all = WORDS.join(" ");
    for call in ["create", "start", "stop", "tag"] {
        let night = Night::after_a_bad_deploy();
        let Value::Object(patch) = json!({"error": {call: all}}) else { unreachable!("it is an object") };
        live_with_engine(&night, patch, async |bot| {
            talk(bot, &["/rollback image api"]).await;
            let run = bot.newest().expect("it was accepted").id;
            talk(bot, &["/runs list", "/status"]).await;
            bot.ask(AMAL, &format!("/runs show {run}")).await;
            bot.ask(CARLA, "/audit show").await;
        });
        all_is_shown(&night);
    }
}

/// What people say, known ones and strangers.
#[test]
fn whatever_is_said_is_shown_as_what_it_is() {
    let night = Night::after_a_bad_deploy();
    for words in WORDS {
        night.live(async |bot| {
            talk(bot, &[&format!("/rollback plan image api because {words}"), &format!("/{words}")]).await;
            bot.ask(AMAL, &format!("/rollback image {words}")).await;
            bot.ask(AMAL, &format!("/rollback image api to \"{words}\"")).await;
            bot.ask(AMAL, &format!("/help {words}")).await;
            bot.ask(STRANGER, &format!("/rollback image api because {words}")).await;
            bot.ask(CARLA, &format!("/deny a1 because {words}")).await;
        });
    }
    night.live(async |bot| {
        bot.ask(CARLA, "/audit show").await;
        bot.ask(CARLA, "/runs list").await;
    });
    all_is_shown(&night);
    for said in night.chat.said() {
        assert!(!said.card.plain().chars().any(|c| c != '\n' && is_hidden(c)));
    }
}
