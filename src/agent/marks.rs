//! Our labels on the containers we make, and whether they are really ours (decision 16).
//!
//! They are the second witness of an open swap, for the day the ledger is lost. Each set carries a MAC over
//! all of it, with project and service, so that none can be moved or edited. A label of ours without a valid
//! MAC is told as an alarm and decides nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operation::Operation;
use super::raw;
use crate::domain::ids::RunId;

const OP: &str = "io.sternway.op";
const RUN: &str = "io.sternway.run";
const REPLACES: &str = "io.sternway.replaces";
const NAME: &str = "io.sternway.name";
const RESTART: &str = "io.sternway.restart";
const POLICY: &str = "io.sternway.policy";
const ORDER: &str = "io.sternway.order";
const START_FIRST: &str = "start-first";
/// Instead of an order: nothing stood there before.
const MADE: &str = "made";
const MAC: &str = "io.sternway.mac";
/// On the created, never started containers that keep an image from being pruned.
pub(super) const PIN: &str = "io.sternway.pin";

/// All keys that mean something to us; others below the prefix are nobody's business.
const OURS: [&str; 9] = [OP, RUN, REPLACES, NAME, RESTART, POLICY, ORDER, MAC, PIN];

/// Keys that only containers made by a swap or kept by a pin of ours have, forged or not.
pub(super) const KEYS: [&str; 2] = [OP, PIN];

/// What a valid set of labels says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) op: String,
    pub(super) run: RunId,
    pub(super) replaces: String,
    pub(super) name: String,
    /// The old container's restart policy.
    pub(super) old_policy: Value,
    /// The one that the new container gets.
    pub(super) new_policy: Value,
    /// Whether the old one went on serving meanwhile.
    pub(super) start_first: bool,
    /// Whether there was no container before: `replaces` is one that was gone by then.
    pub(super) made: bool,
}

/// What the labels of a container are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marked {
    /// None of ours.
    Not,
    /// Ours, with a valid MAC.
    Swap(Mark),
    /// A pin of ours, with a valid MAC.
    Pin(String),
    /// Called ours, but the MAC is missing or wrong: these keys.
    Forged(Vec<String>),
}

/// Labels for the new container of a swap. `seal` makes the MAC of a text.
pub(super) fn of_swap(op: &Operation, seal: impl Fn(&str) -> String) -> Map<String, Value> {
    let mut labels = BTreeMap::from([
        (OP.to_owned(), op.op.clone()),
        (RUN.to_owned(), op.run.to_string()),
        (REPLACES.to_owned(), op.old.id.clone()),
        (NAME.to_owned(), op.name.clone()),
        (RESTART.to_owned(), op.old.policy.to_string()),
        (POLICY.to_owned(), op.new_policy.to_string()),
        (ORDER.to_owned(), order_of(op).to_owned()),
    ]);
    labels.insert(MAC.to_owned(), seal(&sealed_text(&labels, op.project.as_str(), op.service.as_str())));
    labels.into_iter().map(|(k, v)| (k, json!(v))).collect()
}

fn order_of(op: &Operation) -> &'static str {
    match &op.start_first {
        _ if op.missing => MADE,
        Some(_) => START_FIRST,
        None => "stop-first",
    }
}

/// Labels for the container that keeps an image.
pub(super) fn of_pin(value: &str, seal: impl Fn(&str) -> String) -> Map<String, Value> {
    let mut labels = BTreeMap::from([(PIN.to_owned(), value.to_owned())]);
    labels.insert(MAC.to_owned(), seal(&sealed_text(&labels, "", "")));
    labels.into_iter().map(|(k, v)| (k, json!(v))).collect()
}

/// Reads the labels of a container. `valid` checks the MAC of a text.
pub(super) fn read(inspect: &Value, valid: impl Fn(&str, &str) -> bool) -> Marked {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for key in OURS {
        if let Some(value) = raw::label(inspect, key) {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    if labels.is_empty() {
        return Marked::Not;
    }
    let forged = |labels: &BTreeMap<String, String>| Marked::Forged(labels.keys().cloned().collect());
    let Some(mac) = labels.remove(MAC) else { return forged(&labels) };
    let is_pin = labels.contains_key(PIN);
    let (project, service) = if is_pin {
        ("", "")
    } else {
        (raw::label(inspect, raw::PROJECT).unwrap_or_default(), raw::label(inspect, raw::SERVICE).unwrap_or_default())
    };
    if !valid(&sealed_text(&labels, project, service), &mac) {
        labels.insert(MAC.to_owned(), mac);
        return forged(&labels);
    }
    if is_pin {
        return Marked::Pin(labels.remove(PIN).unwrap_or_default());
    }
    let take = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let policy = |key: &str| serde_json::from_str(&take(key)).ok();
    match (RunId::parse(&take(RUN)), policy(RESTART), policy(POLICY)) {
        (Ok(run), Some(old_policy), Some(new_policy)) => {
            let (op, replaces, name) = (take(OP), take(REPLACES), take(NAME));
            let (start_first, made) = (take(ORDER) == START_FIRST, take(ORDER) == MADE);
            Marked::Swap(Mark { op, run, replaces, name, old_policy, new_policy, start_first, made })
        }
        _ => forged(&labels),
    }
}

/// What the MAC is over: keys and values in order, each with its length, so that nothing can slide.
fn sealed_text(labels: &BTreeMap<String, String>, project: &str, service: &str) -> String {
    let mut text = format!("{}:{project}{}:{service}", project.len(), service.len());
    for (key, value) in labels.iter().filter(|(key, _)| *key != MAC) {
        text.push_str(&format!("{}:{key}{}:{value}", key.len(), value.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canonical;

    fn seal(text: &str) -> String {
        canonical::sha256("test", &text).unwrap()
    }

    fn valid(text: &str, mac: &str) -> bool {
        seal(text) == mac
    }

    fn container(labels: Map<String, Value>, service: &str) -> Value {
        let mut labels = labels;
        labels.insert(raw::PROJECT.to_owned(), json!("shop"));
        labels.insert(raw::SERVICE.to_owned(), json!(service));
        json!({"Config": {"Labels": labels}})
    }

    fn operation() -> Operation {
        serde_json::from_value(json!({
            "op": "abc", "run": "r7", "target": {"stack": "shop", "host": "h"},
            "token": {"epoch": 0, "claim": 7, "n": 1}, "project": "shop", "service": "api", "name": "shop-api-1",
            "old": {"id": "old", "policy": {"Name": "always", "MaximumRetryCount": 0}, "ran": true}, "new": null,
            "new_policy": {"Name": "no"},
            "wanted": "0".repeat(64), "grace_s": 1, "phase": {"is": "preparing"},
            "health": {"check": {"by": "weak"}, "count": 1, "interval_ms": 1, "deadline_s": 1}
        }))
        .unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_every_edit_is_a_forgery() {
        let labels = of_swap(&operation(), seal);
        let Marked::Swap(mark) = read(&container(labels.clone(), "api"), valid) else { panic!("must be valid") };
        assert_eq!((mark.op.as_str(), mark.replaces.as_str(), mark.name.as_str()), ("abc", "old", "shop-api-1"));
        assert_eq!(mark.old_policy["Name"], "always");
        for key in labels.keys() {
            let mut edited = labels.clone();
            edited.insert(key.clone(), json!("other"));
            assert!(matches!(read(&container(edited, "api"), valid), Marked::Forged(_)), "{key} was edited");
            let mut without = labels.clone();
            without.remove(key);
            assert!(matches!(read(&container(without, "api"), valid), Marked::Forged(_)), "{key} was removed");
        }
        assert!(matches!(read(&container(labels, "db"), valid), Marked::Forged(_)), "moved to another service");
        assert_eq!(read(&container(Map::new(), "api"), valid), Marked::Not);
    }

    #[test]
    fn a_pin_is_no_swap() {
        let labels = of_pin("shop-api:0123", seal);
        assert_eq!(read(&container(labels, "api"), valid), Marked::Pin("shop-api:0123".to_owned()));
    }
}
