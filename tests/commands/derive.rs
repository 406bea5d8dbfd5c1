//! What is derived from the catalogue: completion, help, the document, the platforms' registrations.

use serde_json::Value;
use sternway::command::{Action, Builtin, Catalogue, CommandPath, Found, Query, SLACK_RESERVED, StepKind, Suggestion};

use super::{memory, ours, with};

/// The texts offered where `|` stands, and what each replaces.
fn offered(catalogue: &Catalogue, line: &str) -> (Vec<String>, String) {
    let cursor = line.find('|').expect("a cursor");
    let line = line.replacen('|', "", 1);
    let found = catalogue.complete(&line, cursor, &memory());
    let replaced = found.first().map(|s: &Suggestion| line[s.replace.clone()].to_owned()).unwrap_or_default();
    (found.into_iter().map(|s| s.text).collect(), replaced)
}

#[test]
fn completion_knows_what_can_stand_at_the_cursor() {
    let catalogue = ours();
    let table: &[(&str, &[&str], &str)] = &[
        ("/ro|", &["/rollback"], "/ro"),
        ("ro|", &["/rollback"], "ro"),
        ("/rolback|", &["/rollback"], "/rolback"),
        ("/sternway ro|", &["rollback"], "ro"),
        ("<@U1> st|", &["status"], "st"),
        ("/rollback |", &["image", "plan"], ""),
        ("/rollback im|age", &["image"], "im"),
        ("/rollback plan |", &["image"], ""),
        ("/rollback image |", &["api", "web", "mongo"], ""),
        ("/rollback image w|", &["web"], "w"),
        ("/rollback plan image a|", &["api"], "a"),
        ("/rollback image api |", &["rel17", "rel12", "to", "with", "and", "because"], ""),
        ("/rollback image api to |", &["rel17", "rel12"], ""),
        ("/rollback image api to rel12|", &["rel12", "rel17"], "rel12"),
        ("/rollback image api to:rel12|", &["rel12", "rel17"], "rel12"),
        ("/rollback image api@shop to |", &["rel99"], ""),
        ("/rollback image web |", &["to", "with", "and", "because"], ""),
        ("/rollback image api rel17 |", &["with", "and", "because"], ""),
        ("/rollback image api with |", &["recorded settings"], ""),
        ("/rollback image api with recorded s|", &["settings"], "s"),
        ("/rollback image api bec|", &["because"], "bec"),
        ("/rollback image api because sl|", &[], ""),
        ("/rollback image \u{a0}\u{200f}a|", &["api"], "a"),
        ("/runs undo |", &["r40", "because"], ""),
        ("/runs show |", &["r42", "r40"], ""),
        ("/approve |", &["a45", "because"], ""),
        ("/help ro|", &["rollback"], "ro"),
        ("/nothing |", &[], ""),
        ("/status |", &[], ""),
    ];
    let mut failures = Vec::new();
    for (line, expected, replaced) in table {
        let found = offered(&catalogue, line);
        if found.0 != *expected || found.1 != *replaced {
            failures.push(format!(
                "{line:?}\n  expected: {expected:?} for {replaced:?}\n  found:    {:?} for {:?}",
                found.0, found.1
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_surface_with_fields_completes_one_of_them() {
    let texts = |path, name, typed, given: &[(&str, &str)]| -> Vec<String> {
        ours().complete_argument(path, name, typed, given, &memory()).into_iter().map(|s| s.text).collect()
    };
    assert_eq!(texts("rollback image", "service", "we", &[]), ["web"]);
    assert_eq!(texts("rollback plan image", "to", "", &[("service", "api")]), ["rel17", "rel12"]);
    assert_eq!(texts("rollback image", "to", "", &[]), Vec::<String>::new());
    assert_eq!(texts("runs undo", "run", "", &[]), ["r40"]);
    assert_eq!(texts("nothing", "run", "", &[]), Vec::<String>::new());
}

fn path(catalogue: &Catalogue, words: &str) -> Option<CommandPath> {
    let request = catalogue.parse(&format!("/help {words}")).unwrap();
    request.arguments.command("command").cloned()
}

#[test]
fn help_fits_a_phone_and_ends_in_what_to_type() {
    let catalogue = ours();
    for words in [
        "",
        "rollback",
        "rollback image",
        "rollback plan",
        "rollback plan image",
        "runs",
        "runs accept",
        "approve",
        "audit export",
        "help",
    ] {
        let card = catalogue.help(path(&catalogue, words).as_ref());
        let rows = |line: &Vec<sternway::domain::card::Span>| {
            line.iter().map(|s| s.words().chars().count()).sum::<usize>().div_ceil(40).max(1)
        };
        let total = rows(&card.title) + card.lines.iter().map(rows).sum::<usize>();
        assert!(total <= 12, "/help {words}: {total} rows\n{}", card.plain());
        let last = card.lines.last().and_then(|l| l.last()).map(|s| s.words().to_owned()).unwrap_or_default();
        assert!(catalogue.parse(&last).is_ok(), "/help {words} ends in {last:?}\n{}", card.plain());
    }
    insta::assert_snapshot!("help", catalogue.help(None).plain());
    insta::assert_snapshot!("help_rollback", catalogue.help(path(&catalogue, "rollback").as_ref()).plain());
    insta::assert_snapshot!("help_rollback_image", catalogue.help(path(&catalogue, "rollback image").as_ref()).plain());
}

#[test]
fn our_commands_do_what_their_names_say() {
    let catalogue = ours();
    let action = |path: &str| match catalogue.find(path) {
        Some(Found::Spec(spec)) => spec.action.clone(),
        other => panic!("{path}: {other:?}"),
    };
    let steps = vec![
        StepKind::PullImage,
        StepKind::ProtectImage,
        StepKind::SwapService,
        StepKind::WritePin,
        StepKind::SignalProxy,
        StepKind::ProveHealth,
    ];
    for (path, expected) in [
        ("rollback image", Action::Procedure(steps)),
        ("rollback plan", Action::Query(Query::DryRun)),
        ("releases list", Action::Query(Query::Releases)),
        ("releases prune", Action::Procedure(vec![StepKind::ReleasePins])),
        ("releases plan", Action::Query(Query::DryRun)),
        ("status", Action::Query(Query::Status)),
        ("runs list", Action::Query(Query::RunsList)),
        ("runs show", Action::Query(Query::RunsShow)),
        ("runs retry", Action::Builtin(Builtin::RunsRetry)),
        ("runs undo", Action::Builtin(Builtin::RunsUndo)),
        ("runs accept", Action::Builtin(Builtin::RunsAccept)),
        ("approve", Action::Builtin(Builtin::Approve)),
        ("deny", Action::Builtin(Builtin::Deny)),
        ("cancel", Action::Builtin(Builtin::Cancel)),
        ("audit show", Action::Query(Query::AuditShow)),
        ("audit verify", Action::Query(Query::AuditVerify)),
        ("audit export", Action::Query(Query::AuditExport)),
        ("help", Action::Query(Query::Help)),
    ] {
        assert_eq!(action(path), expected, "{path}");
    }
    let image = catalogue.parse("/rollback plan image api").unwrap();
    assert_eq!(image.policy.path.as_str(), "rollback plan");
    assert_eq!(image.policy.risk.as_str(), "look");
    assert_eq!(image.spec.path.as_str(), "rollback image");
}

#[test]
#[allow(clippy::disallowed_methods)] // a test may be told to rewrite what it compares with
fn the_document_is_the_one_on_disk() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
    let made = ours().docs();
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(file, &made).unwrap();
    }
    let found = std::fs::read_to_string(file).unwrap_or_default();
    let differs = made.lines().zip(found.lines()).enumerate().find(|(_, (a, b))| a != b);
    assert!(
        made == found,
        "docs/commands.md is not what commands/*.toml say, first at {differs:?}; run UPDATE=1 cargo test --test commands"
    );
}

/// Discord's rules for names, lengths and order (discord.md section 7), checked over the whole tree.
fn discord_accepts(command: &Value, depth: usize) {
    let name = command["name"].as_str().unwrap();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    assert!((1..=32).contains(&name.len()) && name.chars().all(good), "name {name:?}");
    let about = command["description"].as_str().unwrap().chars().count();
    assert!((1..=100).contains(&about), "{name}: description of {about} characters");
    assert!(depth <= 3, "{name}: one group level only");
    let empty = Vec::new();
    let options = command["options"].as_array().unwrap_or(&empty);
    assert!(options.len() <= 25, "{name}: {} options", options.len());
    let is_sub = |o: &Value| o["type"].as_u64().is_some_and(|t| t <= 2);
    let subs = options.iter().filter(|o| is_sub(o)).count();
    assert!(subs == 0 || subs == options.len(), "{name}: subcommands and options are mixed");
    let mut names = std::collections::BTreeSet::new();
    let mut optional = false;
    for option in options {
        assert!(names.insert(option["name"].as_str().unwrap()), "{name}: {} twice", option["name"]);
        if is_sub(option) {
            discord_accepts(option, depth + 1);
            continue;
        }
        discord_accepts(option, 0);
        let required = option["required"].as_bool().unwrap();
        assert!(!(required && optional), "{name}: required {} behind an optional one", option["name"]);
        optional |= !required;
        assert!(
            !(option.get("choices").is_some() && option.get("autocomplete").is_some()),
            "{name}: choices and autocomplete"
        );
    }
}

#[test]
fn discord_accepts_what_it_is_told() {
    let list = ours().discord();
    for command in list.as_array().unwrap() {
        discord_accepts(command, 1);
    }
    let rollback = &list.as_array().unwrap()[0];
    assert_eq!(rollback["options"][0]["type"], 1, "image is a subcommand");
    assert_eq!(rollback["options"][1]["type"], 2, "plan is a group");
    assert_eq!(rollback["options"][1]["options"][0]["name"], "image");
    insta::assert_snapshot!("discord_rollback", serde_json::to_string_pretty(rollback).unwrap());
}

#[test]
fn slack_is_told_no_name_of_its_own() {
    let slack = ours().slack();
    let names: Vec<&str> =
        slack.slash_commands.as_array().unwrap().iter().map(|c| c["command"].as_str().unwrap()).collect();
    assert_eq!(names[0], "/sternway");
    assert_eq!(slack.only_behind_product, ["status", "help"]);
    for entry in slack.slash_commands.as_array().unwrap() {
        let name = entry["command"].as_str().unwrap();
        assert!(!SLACK_RESERVED.contains(&&name[1..]), "{name} voids the manifest");
        assert!(
            name.len() <= 32 && name[1..].chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
            "{name}"
        );
        assert!(entry["description"].as_str().unwrap().chars().count() <= 140, "{name}");
        assert!(entry["usage_hint"].as_str().unwrap().chars().count() <= 1000, "{name}");
    }
}

/// A command that nobody has seen before.
const RESTART: &str = r#"
name  = "settle"
short = "signal the proxy and prove a service"
examples = ["/settle api", "/settle api softly because it lost its address"]
kind  = "procedure"
risk  = "change"
roles = ["netops"]
approval = { from = "netlead", count = 2, waived = "never", expires = "15m" }
reason = "optional"
lock  = "stack"
time_limit = "2m"
steps = ["signal_proxy", "prove_health"]
[[argument]]
name = "service"
type = "service"
[[argument]]
name = "how"
type = "choice"
choices = ["softly", "at once"]
required = false
"#;

#[test]
fn a_file_nobody_has_seen_is_in_everything_that_is_derived() {
    let catalogue = with(&[("settle.toml", RESTART)]).unwrap();
    let request = catalogue.parse("/settle api at once because it lost its address").unwrap();
    assert_eq!(request.spec.action, Action::Procedure(vec![StepKind::SignalProxy, StepKind::ProveHealth]));
    assert_eq!(request.arguments.choice("how").map(String::as_str), Some("at once"));
    assert_eq!(request.reason.as_deref(), Some("it lost its address"));
    assert!(catalogue.parse("/setle api").unwrap_err().commands().any(|c| c == "/settle api"));
    assert!(catalogue.help(None).plain().contains("/settle"), "help");
    assert!(
        catalogue.help(path(&catalogue, "settle").as_ref()).plain().contains("Needs 2 votes from netlead"),
        "help settle"
    );
    assert_eq!(offered(&catalogue, "/set|").0, ["/settle"]);
    assert_eq!(offered(&catalogue, "/settle api at|").0, ["at once"]);
    assert!(catalogue.docs().contains("## settle\n"), "docs");
    let has = |list: &Value, key: &str, name: &str| list.as_array().unwrap().iter().any(|c| c[key] == name);
    assert!(has(&catalogue.discord(), "name", "settle"), "discord");
    assert!(has(&catalogue.slack().slash_commands, "command", "/settle"), "slack");
    for command in catalogue.discord().as_array().unwrap() {
        discord_accepts(command, 1);
    }
    assert!(
        catalogue.command("approve").unwrap().specs()[0].who.to_string().contains("netlead"),
        "whoever it asks may vote"
    );
    assert!(ours().parse("/settle api").is_err(), "it is not ours");
}
