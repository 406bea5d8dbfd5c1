//! `/help`: what can be said, on a phone.

use crate::domain::card::{Card, Line, Tone, code, strong, text};
use crate::domain::text::shorten;
use crate::domain::trouble::{COLUMNS, ROWS};

use super::catalogue::{Catalogue, Command, Found};
use super::docs::{consent, often, sentence};
use super::spec::{CommandPath, CommandSpec};

impl Catalogue {
    /// Help about everything, or about one command or group. A path that names nothing gets the overview.
    pub fn help(&self, topic: Option<&CommandPath>) -> Card {
        match topic.and_then(|t| self.find(t.as_str())) {
            None => self.overview(),
            Some(Found::Group(command)) => group(command),
            Some(Found::Spec(spec)) => one(spec),
            Some(Found::DryRun(dry, spec)) => {
                let mut card = one(spec);
                card.lines.insert(0, vec![text(shorten(&sentence(&dry.short), COLUMNS))]);
                card
            }
        }
    }

    fn overview(&self) -> Card {
        let mut card = Card::new(Tone::Plain, vec![strong("What you can say")]);
        let lines = self.commands().iter().map(|c| entry(&c.name, &c.short));
        fill(&mut card, lines.collect(), vec![text("More: "), code("/help rollback")]);
        card
    }
}

/// One row: the command and as much of what it does as fits.
fn entry(name: &str, about: &str) -> Line {
    let said = format!("/{name}");
    let room = COLUMNS.saturating_sub(said.chars().count() + 2);
    vec![code(said), text(format!("  {}", shorten(about, room)))]
}

/// Puts as many lines on the card as fit before it folds, the rest behind the fold, and `last` at the end.
fn fill(card: &mut Card, lines: Vec<Line>, last: Line) {
    let room = ROWS - 2;
    let folds = lines.len() > room;
    let shown = if folds { room - 1 } else { lines.len() };
    let mut lines = lines.into_iter();
    card.lines.extend(lines.by_ref().take(shown));
    card.details.extend(lines);
    if folds {
        card.lines.push(vec![text(format!("… and {} more below", card.details.len()))]);
    }
    card.lines.push(last);
}

fn group(command: &Command) -> Card {
    let mut card = Card::new(
        Tone::Plain,
        vec![code(format!("/{}", command.name)), text(format!("  {}", shorten(&command.short, 60)))],
    );
    let subs = command.specs();
    let first = subs.first().map(|s| s.path.to_string()).unwrap_or_default();
    fill(
        &mut card,
        subs.iter().map(|s| entry(s.path.as_str(), &s.short)).collect(),
        vec![text("More: "), code(format!("/help {first}"))],
    );
    card.details.extend(command.long.lines().map(|l| vec![text(l)]));
    card
}

fn one(spec: &CommandSpec) -> Card {
    let mut card = Card::new(Tone::Plain, vec![strong(shorten(&sentence(&spec.short), 2 * COLUMNS))]);
    card = card.line(vec![code(shorten(&spec.usage(), 3 * COLUMNS))]);
    card = card.line(vec![text("Who: "), text(shorten(&spec.who.to_string(), COLUMNS - 5))]);
    if let Some(votes) = consent(spec) {
        card = card.line(vec![text(shorten(&votes, 2 * COLUMNS))]);
    }
    if let Some(often) = often(spec) {
        card = card.line(vec![text(often)]);
    }
    for argument in &spec.arguments {
        let about = if argument.about.is_empty() { argument.kind.looks_like() } else { argument.about.clone() };
        card = card.detail(vec![code(&argument.name), text(format!(": {about}"))]);
    }
    card.details.extend(spec.long.lines().map(|l| vec![text(l)]));
    card.details.extend(spec.examples.iter().skip(1).map(|e| vec![code(e)]));
    let next = spec.examples.first().cloned().unwrap_or_else(|| format!("/{}", spec.path));
    card.line(vec![text("Try: "), code(shorten(&next, 2 * COLUMNS - 5))])
}
