//! Bad input: whatever is typed, written into a file, sent by an engine, a service, a client or a server, there is no
//! panic, an end in bounded time and memory, a clear refusal, and nothing that steers whoever reads it.
//!
//! `corpus.rs` replays `tests/corpus/` and changes of it through the targets that `make fuzz` uses too; `hostile.rs` puts
//! one list of words into every place from outside; `terminal.rs` reads what the program prints; `readers.rs` feeds
//! readers without end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // tests

#[path = "support/hostile_words.rs"]
mod hostile_words;

#[path = "bad_input/targets/mod.rs"]
mod targets;

#[path = "bad_input/corpus.rs"]
mod corpus;
#[path = "bad_input/hostile.rs"]
mod hostile;
#[path = "bad_input/mutate.rs"]
mod mutate;
#[path = "bad_input/readers.rs"]
mod readers;
#[path = "bad_input/terminal.rs"]
mod terminal;

macro_rules! targets {
    ($($name:ident)*) => {
        /// Targets that have their two tests here.
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        $(mod $name {
            fn target() -> &'static crate::targets::Target {
                crate::targets::ALL.iter().find(|t| t.name == stringify!($name)).expect("it is on the list")
            }

            #[test]
            fn corpus() {
                crate::corpus::replay(target());
            }

            #[test]
            fn mutations() {
                crate::corpus::mutations(target());
            }
        })*
    };
}

targets! {
    command_line command_file config pin_text pin_path log_line log_chain log_folder cursors engine_answers engine_world
    agent_folder docker_login health_answer console_server console_client shown_text
}
