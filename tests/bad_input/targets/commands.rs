//! What is typed, and the files that say what can be typed.

use std::sync::OnceLock;

use sternway::command::{Catalogue, CommandFile, LINE_MAX, Offer, World};
use sternway::domain::text::is_hidden;

use super::{assert_refusal, assert_shown};

struct Memory;

impl World for Memory {
    fn services(&self) -> Vec<Offer> {
        ["api", "web", "mongo"].map(|name| Offer::new(name, "a service")).to_vec()
    }
    fn releases(&self, _: &str) -> Vec<Offer> {
        ["rel17", "rel12"].map(|name| Offer::new(name, "proven")).to_vec()
    }
    fn runs(&self) -> Vec<Offer> {
        vec![Offer::new("r42", "of amal")]
    }
    fn stuck_runs(&self) -> Vec<Offer> {
        self.runs()
    }
    fn approvals(&self) -> Vec<Offer> {
        vec![Offer::new("a45", "of r42")]
    }
}

fn ours() -> &'static Catalogue {
    static OURS: OnceLock<Catalogue> = OnceLock::new();
    OURS.get_or_init(|| Catalogue::load(&[]).unwrap())
}

pub fn line(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    let catalogue = ours();
    match catalogue.parse(&line) {
        Ok(request) => {
            assert!(line.len() <= LINE_MAX, "a line of {} bytes is understood", line.len());
            let said = request.line();
            let again = catalogue.parse(&said).unwrap_or_else(|why| panic!("{line:?} became {said:?}: {why}"));
            assert_eq!(
                (&again.command, &again.arguments, &again.reason, again.dry_run),
                (&request.command, &request.arguments, &request.reason, request.dry_run),
                "through {said:?}"
            );
            assert!(!request.reason.iter().flat_map(|r| r.chars()).any(is_hidden), "hidden in the reason of {line:?}");
            let card = catalogue.help(Some(&request.command));
            assert_shown("help", &card.plain());
        }
        Err(trouble) => {
            if let Some(span) = trouble.span() {
                assert!(line.get(span.clone()).is_some(), "{span:?} cuts {line:?}");
            }
            assert_refusal("a line", &trouble.to_string(), 4_096);
            assert_refusal("a line", &trouble.to_card().plain(), 8_192);
        }
    }
    for cursor in [0, line.len() / 2, line.len(), usize::MAX] {
        for suggestion in catalogue.complete(&line, cursor, &Memory) {
            assert!(line.get(suggestion.replace.clone()).is_some(), "{suggestion:?} cuts {line:?}");
            assert!(suggestion.replace.end <= cursor.min(line.len()));
        }
    }
}

pub fn file(data: &[u8]) {
    let file = CommandFile { name: "team.toml".to_owned(), text: String::from_utf8_lossy(data).into_owned() };
    match Catalogue::load(std::slice::from_ref(&file)) {
        Ok(catalogue) => {
            for spec in catalogue.specs() {
                let card = catalogue.help(Some(&spec.path)).plain();
                assert_shown("help", &card);
                assert!(catalogue.parse(&format!("/help {}", spec.path)).is_ok(), "no help about {}", spec.path);
            }
        }
        Err(bad) => {
            for one in &bad.0 {
                let told = one.to_string();
                assert!(told.starts_with(&format!("{}:", one.file)), "no place: {told}");
                assert_refusal("a command file", &told, 8_192);
            }
            assert_refusal("command files", &bad.to_string(), 1024 * 1024);
        }
    }
}
