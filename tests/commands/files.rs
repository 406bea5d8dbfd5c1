//! What a team's files may say, and what a bad one is told.

use sternway::command::Catalogue;

use super::{ours, with};

/// A procedure that holds; each case of the table breaks one thing in it.
const GOOD: &str = r#"name  = "swap"
short = "swap it"
examples = ["/swap api"]
kind  = "procedure"
risk  = "change"
roles = ["on-call"]
approval = { from = "approver", count = 1, waived = "proven_release", expires = "30m" }
reason = "optional"
rate  = { count = 5, per = "10m" }
lock  = "stack"
time_limit = "10m"
steps = ["protect_image", "swap_service", "prove_health"]
[[argument]]
name = "service"
type = "service"
[[argument]]
name = "to"
type = "release_target"
required = false
keyword = "to"
"#;

/// The file with one piece exchanged.
fn broken(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the good file has no {from:?}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn the_good_file_is_good() {
    with(&[("swap.toml", GOOD)]).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_bad_file_is_told_where_and_what_would_be_valid() {
    let table: &[(&str, &str, &str)] = &[
        // Not TOML; types; unknown keys and words.
        (
            "risk  = \"change\"",
            "risk  = change\"",
            "swap.toml:5:9: this is no TOML: missing opening quote, expected `\"`",
        ),
        ("count = 1, w", "count = \"1\", w", "swap.toml:7:41: count: a whole number is wanted here, not text"),
        (
            "roles = [\"on-call\"]",
            "roles = \"on-call\"",
            "swap.toml:6:9: roles: a list in [ ] is wanted here, not text",
        ),
        ("required = false", "required = \"no\"", "swap.toml:19:12: required: true or false is wanted here, not text"),
        (
            "lock  =",
            "lok  =",
            "swap.toml:10:1: lok: there is no such key, did you mean “lock”?; the keys here are: approval, argument, default, does, examples, kind, lock, long, name, rate, reason, risk, roles, short, steps, sub, time_limit",
        ),
        (
            "keyword = \"to\"",
            "keywrd = \"to\"",
            "swap.toml:20:1: keywrd: there is no such key, did you mean “keyword”?; the keys here are: about, choices, complete, from_thread, keyword, name, positional, required, type",
        ),
        (
            "expires = \"30m\"",
            "expires = \"30m\", role = \"x\"",
            "swap.toml:7:88: role: there is no such key; the keys here are: count, expires, from, waived",
        ),
        (
            "\"change\"",
            "\"chnage\"",
            "swap.toml:5:9: risk: “chnage” is not a risk, did you mean “change”?; valid: look, change, destructive",
        ),
        (
            "\"swap_service\"",
            "\"swap_servce\"",
            "swap.toml:12:27: steps: “swap_servce” is not a step, did you mean “swap_service”?; valid: pull_image, protect_image, swap_service, write_pin, signal_proxy, prove_health, release_pins",
        ),
        (
            "\"swap_service\"",
            "\"run_shell\"",
            "swap.toml:12:27: steps: “run_shell” is not a step; valid: pull_image, protect_image, swap_service, write_pin, signal_proxy, prove_health, release_pins",
        ),
        (
            "type = \"service\"",
            "type = \"servce\"",
            "swap.toml:15:8: type: “servce” is not a type, did you mean “service”?; valid: service, release_target, run, approval, choice, text, integer, duration, command",
        ),
        (
            "\"10m\"\nsteps",
            "\"10 minutes\"\nsteps",
            "swap.toml:11:14: time_limit: “10 minutes” is no duration; it looks like \"90s\", \"15m\" or \"2h30m\"",
        ),
        ("\"10m\"\nsteps", "\"2d\"\nsteps", "swap.toml:11:14: time_limit: from 1s to 1d, not 2d"),
        // Names.
        (
            "name  = \"swap\"",
            "name  = \"swop\"",
            "swap.toml:1:9: name: the file is called swap.toml, so its command is “swap”",
        ),
        (
            "name  = \"swap\"",
            "name  = \"Swap\"",
            "swap.toml:1:9: name: “Swap” has to be a-z, 0-9 and -, begin with a letter and have at most 31 characters",
        ),
        (
            "name = \"service\"",
            "name = \"the service\"",
            "swap.toml:14:8: name: “the service” has to be a-z, 0-9 and -, begin with a letter and have at most 32 characters",
        ),
        (
            "keyword = \"to\"",
            "keyword = \"because\"",
            "swap.toml:16:1: argument: “because” means something else in this command already",
        ),
        (
            "keyword = \"to\"",
            "keyword = \"service\"",
            "swap.toml:16:1: argument: “service” means something else in this command already",
        ),
        (
            "[\"on-call\"]",
            "[\"on call\"]",
            "swap.toml:6:10: roles: a role name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “ ” is not one of them",
        ),
        (
            "[\"on-call\"]",
            "[]",
            "swap.toml:6:9: roles: nobody could say it: name roles, or \"anyone\" for what only looks",
        ),
        // What is missing.
        ("short = \"swap it\"\n", "", "swap.toml:1:9: short: this has to be said"),
        (
            "kind  = \"procedure\"\n",
            "",
            "swap.toml:1:9: kind: `swap` has to say this; valid: procedure, query, builtin",
        ),
        ("lock  = \"stack\"\n", "", "swap.toml:1:9: lock: `swap` has to say this; valid: stack, none"),
        (
            "type = \"service\"\n",
            "",
            "swap.toml:13:1: type: an argument has to say this; valid: service, release_target, run, approval, choice, text, integer, duration, command",
        ),
        (
            "waived = \"proven_release\", ",
            "",
            "swap.toml:7:12: waived: an approval has to say this; valid: never, proven_release",
        ),
        // What contradicts itself.
        (
            "required = false",
            "required = true\nfrom_thread = true",
            "swap.toml:20:15: from_thread: what is required cannot be taken from the thread",
        ),
        (
            "required = false",
            "from_thread = true",
            "swap.toml:19:15: from_thread: only a run or an approval belongs to a thread",
        ),
        (
            "type = \"service\"",
            "type = \"service\"\ncomplete = \"runs\"",
            "swap.toml:16:12: complete: runs do not complete a service; valid: services, none",
        ),
        (
            "type = \"service\"",
            "type = \"service\"\nchoices = [\"a\"]",
            "swap.toml:16:11: choices: only a choice has choices; this is a service",
        ),
        (
            "[\"/swap api\"]",
            "[\"/swap api\", \"/swap\"]",
            "swap.toml:3:26: examples: “/swap” is not understood: /swap needs a service, such as api or api@shop.",
        ),
        (
            "[\"/swap api\"]",
            "[\"/status\"]",
            "swap.toml:3:13: examples: “/status” is an example of /status, not of /swap",
        ),
        (
            "short = \"swap it\"",
            "short = \"swap it\"\ndoes = \"status\"",
            "swap.toml:3:8: does: a procedure has `steps` instead",
        ),
        (
            "kind  = \"procedure\"",
            "kind = \"procedure\"\ndefault = \"x\"",
            "swap.toml:5:11: default: there is no [[sub]] that could be meant",
        ),
        // The floors.
        (
            "count = 1, w",
            "count = 0, w",
            "swap.toml:7:41: count: at least 1; to let proven releases through without a vote say waived = \"proven_release\"",
        ),
        ("count = 1, w", "count = -1, w", "swap.toml:7:41: count: 1 to 9 votes can be asked, not -1"),
        (
            "risk  = \"change\"",
            "risk  = \"destructive\"",
            "swap.toml:7:53: waived: destructive work always needs its votes: \"never\"",
        ),
        ("risk  = \"change\"", "risk  = \"look\"", "swap.toml:5:9: risk: `swap` changes things: at least \"change\""),
        (
            "[\"on-call\"]",
            "[\"anyone\"]",
            "swap.toml:6:9: roles: whoever is linked to no person may look, never act: name roles instead of \"anyone\"",
        ),
        ("\"stack\"", "\"none\"", "swap.toml:10:9: lock: two changes of one stack must never meet: \"stack\""),
        (
            "approval = { from = \"approver\", count = 1, waived = \"proven_release\", expires = \"30m\" }\n",
            "",
            "swap.toml:1:9: approval: `swap` makes a plan that changes something, so it has to say whose votes it needs: approval = { from, count, waived, expires }",
        ),
        (
            "[\"protect_image\", \"swap_service\"",
            "[\"swap_service\", \"protect_image\"",
            "swap.toml:12:9: steps: swap_service needs protect_image before it: the way back must survive pruning",
        ),
        (
            "\"prove_health\"]",
            "\"release_pins\"]",
            "swap.toml:12:9: steps: release_pins frees what cannot be brought back, so it stands alone: nothing behind it can fail",
        ),
        (
            "\"protect_image\", \"swap_service\"",
            "\"protect_image\", \"pull_image\", \"swap_service\"",
            "swap.toml:12:9: steps: pull_image brings what protect_image keeps: it stands before it",
        ),
        (
            "\"swap_service\", \"prove_health\"",
            "\"prove_health\", \"swap_service\"",
            "swap.toml:12:9: steps: prove_health is about what swap_service made: it stands behind it",
        ),
        (
            "type = \"service\"\n",
            "type = \"text\"\n",
            "swap.toml:1:9: argument: `swap` cannot do without a required argument `service` of type service",
        ),
    ];
    let mut failures = Vec::new();
    for (from, to, expected) in table {
        let found = with(&[("swap.toml", &broken(from, to))]).map_or_else(|e| e, |_| "accepted".to_owned());
        if !found.lines().any(|line| line == *expected) {
            failures.push(format!(
                "{from:?} -> {to:?}\n  expected: {expected}\n  found:    {}",
                found.replace('\n', "\n            ")
            ));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), table.len(), failures.join("\n"));
}

#[test]
fn destructive_work_without_a_vote_is_refused() {
    let file = broken("risk  = \"change\"", "risk  = \"destructive\"")
        .replace("count = 1, waived = \"proven_release\"", "count = 0, waived = \"never\"");
    assert_eq!(
        with(&[("swap.toml", &file)]).unwrap_err(),
        "swap.toml:7:41: count: destructive work needs at least 1 vote"
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let file = broken("\"change\"", "\"chnage\"")
        .replace("lock  =", "lok =")
        .replace("type = \"service\"", "type = \"servce\"");
    let told = with(&[("swap.toml", &file)]).unwrap_err();
    let lines: Vec<&str> = told.lines().map(|l| l.split(": ").next().unwrap()).collect();
    assert_eq!(lines[..1], ["swap.toml:1:9"], "{told}"); // the missing lock
    for place in ["swap.toml:5:9", "swap.toml:10:1", "swap.toml:15:8"] {
        assert!(lines.contains(&place), "{place} is missing in:\n{told}");
    }
}

#[test]
fn a_team_cannot_take_the_votes_out_of_the_ways_out_of_stuck() {
    let runs = include_str!("../../commands/runs.toml");
    for (from, to, expected) in [
        ("count = 1", "count = 0", "count: at least 1"),
        (
            "waived = \"never\"",
            "waived = \"proven_release\"",
            "waived: a way out of a stuck run always needs its votes",
        ),
        (
            "roles    = [\"on-call\", \"approver\"]",
            "roles = [\"anyone\"]",
            "roles: whoever is linked to no person may look",
        ),
    ] {
        assert!(runs.contains(from), "runs.toml has no {from}");
        let told = with(&[("runs.toml", &runs.replace(from, to))]).unwrap_err();
        assert!(told.contains(expected), "{from} -> {to}: {told}");
    }
}

#[test]
fn a_teams_file_replaces_ours_whole() {
    let file = "name = \"releases\"\nshort = \"ours\"\nkind = \"query\"\ndoes = \"releases\"\nrisk = \"look\"\nroles = [\"on-call\"]\n[[argument]]\nname = \"service\"\ntype = \"service\"\n";
    let catalogue = with(&[("/etc/sternway/commands/releases.toml", file)]).unwrap();
    let command = catalogue.command("releases").unwrap();
    assert_eq!(command.short, "ours");
    assert!(command.long.is_empty(), "nothing of ours may be left: {}", command.long);
    assert_eq!(command.specs()[0].rate, None, "nothing of ours may be left");
    let names = |c: &Catalogue| c.commands().iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&catalogue), names(&ours()));
    let team: Vec<&str> = catalogue.files().iter().filter(|f| f.team).map(|f| f.name.as_str()).collect();
    assert_eq!(team, ["/etc/sternway/commands/releases.toml"]);
}

#[test]
fn two_files_for_one_command_and_other_names_are_refused() {
    let told = with(&[("a/swap.toml", GOOD), ("b/swap.toml", GOOD), ("swap.yaml", GOOD)]).unwrap_err();
    assert_eq!(
        told,
        "b/swap.toml:1:1: a/swap.toml declares this command already\nswap.yaml:1:1: the name of a command file ends in .toml"
    );
}

#[test]
fn what_a_reviewer_could_not_see_is_refused() {
    let told = with(&[("swap.toml", &broken("swap it", "swap\u{202e} it"))]).unwrap_err();
    assert_eq!(told, "swap.toml:2:14: a hidden character U+202E: a reviewer could not see it");
}

#[test]
fn voters_are_the_roles_that_approvals_ask() {
    let catalogue = with(&[("swap.toml", &broken("from = \"approver\"", "from = \"dba\""))]).unwrap();
    let approve = &catalogue.command("approve").unwrap().specs()[0];
    assert_eq!(approve.who.to_string(), "approver, dba");
}

#[test]
fn the_hash_follows_what_decides_and_not_the_wording() {
    let hash = |file: &str| with(&[("swap.toml", file)]).unwrap_or_else(|e| panic!("{e}")).hash().to_owned();
    let good = hash(GOOD);
    assert_eq!(good.len(), 64);
    assert_eq!(good, hash(GOOD), "the same files have the same hash");
    assert_eq!(good, hash(&broken("swap it", "swap that")), "wording decides nothing");
    assert_eq!(good, hash(&format!("# a comment\n{GOOD}")));
    for (from, to) in [
        ("count = 1, w", "count = 2, w"),
        ("[\"on-call\"]", "[\"lead\"]"),
        ("\"proven_release\"", "\"never\""),
        (", \"prove_health\"]", "]"),
        ("count = 5", "count = 6"),
        ("time_limit = \"10m\"", "time_limit = \"11m\""),
    ] {
        assert_ne!(good, hash(&broken(from, to)), "{from} -> {to}");
    }
    assert_ne!(good, ours().hash());
}
