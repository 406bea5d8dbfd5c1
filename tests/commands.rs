//! The catalogue as people and teams meet it: what can be typed, what a bad file is told, what is derived.

// Helpers fail the test that calls them, with what they saw.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use sternway::command::{Catalogue, CommandFile, Offer, World};

#[path = "commands/derive.rs"]
mod derive;
#[path = "commands/files.rs"]
mod files;
#[path = "commands/hints.rs"]
mod hints;
#[path = "commands/parse.rs"]
mod parse;
#[path = "commands/random.rs"]
mod random;

/// Our own commands.
fn ours() -> Catalogue {
    Catalogue::load(&[]).unwrap_or_else(|bad| panic!("our own files:\n{bad}"))
}

/// Our own commands and these files of a team.
fn with(files: &[(&str, &str)]) -> Result<Catalogue, String> {
    let files: Vec<CommandFile> =
        files.iter().map(|(name, text)| CommandFile { name: (*name).to_owned(), text: (*text).to_owned() }).collect();
    Catalogue::load(&files).map_err(|bad| bad.to_string())
}

/// What a caller has in memory.
#[derive(Default)]
struct Memory {
    services: Vec<&'static str>,
    releases: BTreeMap<&'static str, Vec<&'static str>>,
}

fn offers(texts: &[&str]) -> Vec<Offer> {
    texts.iter().map(|t| Offer::new(*t, format!("about {t}"))).collect()
}

impl World for Memory {
    fn services(&self) -> Vec<Offer> {
        offers(&self.services)
    }
    fn releases(&self, service: &str) -> Vec<Offer> {
        offers(self.releases.get(service).map_or(&[], Vec::as_slice))
    }
    fn runs(&self) -> Vec<Offer> {
        offers(&["r42", "r40"])
    }
    fn stuck_runs(&self) -> Vec<Offer> {
        offers(&["r40"])
    }
    fn approvals(&self) -> Vec<Offer> {
        offers(&["a45"])
    }
}

fn memory() -> Memory {
    Memory {
        services: vec!["api", "web", "mongo"],
        releases: BTreeMap::from([("api", vec!["rel17", "rel12"]), ("api@shop", vec!["rel99"])]),
    }
}
