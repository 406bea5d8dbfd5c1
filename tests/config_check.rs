//! The config's hash that plans carry, and the config in the light of the commands there are.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may fall

use std::time::Duration;

use sternway::config::approvals::{ApprovalNeeds, Waive};
use sternway::config::check::CommandFacts;
use sternway::config::{Config, Problem};
use sternway::domain::names::RoleName;

const EXAMPLE: &str = include_str!("../config/sternway.toml");
const MINIMAL: &str = include_str!("../config/minimal.toml");
const STACK: &str = "[[stack]]\nname = \"shop\"\n";

fn good(text: &str) -> Config {
    Config::parse("s.toml", text).unwrap_or_else(|problems| panic!("must be taken:\n{}", shown(&problems)))
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

// ---- the policy hash

#[test]
fn the_policy_hash_stays_the_same_when_nothing_that_governs_changes() {
    let before = good(EXAMPLE).hash();
    for (from, to) in [
        ("zone = \"Asia/Riyadh\"", "zone = \"UTC\""),
        ("# level = \"info\"", "level = \"debug\""),
        ("\"rollback image\" = 6", "\"rollback image\" = 7"),
        ("[\"on-call\", \"approver\"]", "[\"approver\", \"on-call\"]"),
        ("default = true", "# default = true"),
        ("interval = \"500ms\"", "interval = \"500ms\"\ncount = 3"),
        ("# keep_releases = 5", "keep_releases = 9"),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        assert_eq!(good(&EXAMPLE.replacen(from, to, 1)).hash(), before, "{from} → {to}");
    }
    let two = |a: &str, b: &str| good(&format!("{a}{b}")).hash();
    let person = |ids: &str| good(&format!("{STACK}[[person]]\nid = 'a'\naccounts = {{ console = [{ids}] }}\n")).hash();
    assert_eq!(person("'uid:1', 'uid:2'"), person("'uid:2', 'uid:1'"), "nor does the order of accounts");
    let (a, b) = ("[[stack]]\nname = \"a\"\n", "[[stack]]\nname = \"b\"\n");
    assert_eq!(two(a, b), two(b, a), "the order of the file governs nothing");
}

#[test]
fn the_policy_hash_changes_with_everything_that_governs() {
    let before = good(EXAMPLE).hash();
    let mut seen = vec![before];
    for (from, to) in [
        ("roles = [\"on-call\", \"approver\"]", "roles = [\"approver\"]"),
        ("slack = [\"U024BE7LH\"]", "slack = [\"U024BE7LX\"]"),
        ("id = \"omar\"", "id = \"amira\""),
        ("project = \"kaleem\"", "project = \"kaleem2\""),
        ("dir = \"/opt/kaleem\"", "dir = \"/opt/kaleem2\""),
        ("api/health\" }", "api/healthz\" }"),
        ("interval = \"500ms\"", "interval = \"501ms\""),
        ("# count = 3", "count = 4"),
        ("# deadline = \"60s\"", "deadline = \"61s\""),
        ("grace = \"2s\"", "grace = \"3s\""),
        ("kaleem-api\"]", "kaleem-apx\"]"),
        ("signal = \"HUP\"", "signal = \"USR1\""),
        ("key = \"KALEEM_API_IMAGE\"", "key = \"API_IMAGE\""),
        ("count = 1 ", "count = 2 "),
        ("from = \"approver\"", "from = \"admin\""),
        ("waive = \"proven_release\"", "waive = \"never\""),
        ("expires = \"15m\"", "expires = \"16m\""),
        ("[\"mongo\", \"redis\", ", "[\"redis\", \"mongo\", "),
        ("# docker = \"unix:///var/run/docker.sock\"", "docker = \"tcp://proxy:2375\""),
    ] {
        assert!(EXAMPLE.contains(from), "{from}");
        let after = good(&EXAMPLE.replacen(from, to, 1)).hash();
        assert!(!seen.contains(&after), "{from} → {to} must change the hash");
        seen.push(after);
    }
    let narrowed = good(&format!("{EXAMPLE}\n[channels.console]\ndeny = [\"rollback\"]\n")).hash();
    assert!(!seen.contains(&narrowed), "a narrowed channel must change the hash");
}

/// Plans that wait for approval across an upgrade of Sternway are for the hash of the day they were made.
#[test]
fn the_policy_hash_is_the_same_in_every_version() {
    let text = "[[person]]\nid = 'a'\nroles = ['approver']\naccounts = { console = ['uid:7'] }\n\
                [[stack]]\nname = 'shop'\nhost = 'h'\nproject = 'p'\ndir = '/opt/p'\nstart_order = [['db'], ['api']]\n\
                [stack.service.api]\nhealth = { port = 80 }\npin = { file = '.env', key = 'K' }\n\
                repositories = ['r/api']\nproxies = [{ service = 'nginx' }]\n\
                [approvals.'rollback image']\ncount = 2\n[channels.console]\ndeny = ['rollback']\n";
    assert_eq!(good(text).hash(), "70f9cba2899f2c3badaf1d4e074ce69fcccc9d2bfbeba7491b902aaef3a7c5b9");
}

// ---- with the commands known

fn needs(count: u32, waive: Waive) -> ApprovalNeeds {
    ApprovalNeeds { count, from: role("approver"), waive, expires: Duration::from_secs(900) }
}

fn catalogue() -> Vec<CommandFacts> {
    vec![
        CommandFacts { name: "status".to_owned(), roles: vec![], approval: None },
        CommandFacts {
            name: "rollback image".to_owned(),
            roles: vec![role("on-call")],
            approval: Some(needs(1, Waive::ProvenRelease)),
        },
        CommandFacts {
            name: "rollback database".to_owned(),
            roles: vec![role("on-call")],
            approval: Some(needs(1, Waive::Never)),
        },
    ]
}

#[test]
fn the_files_we_ship_are_well_with_the_commands_there_are() {
    for text in [EXAMPLE, MINIMAL] {
        let findings = good(text).check(&catalogue());
        assert_eq!((findings.problems.len(), findings.warnings), (0, vec![]), "{}", shown(&findings.problems));
    }
}

#[test]
fn a_command_that_does_not_exist_is_refused_where_it_is_named() {
    let config = good(&format!(
        "{STACK}[approvals.\"rolback image\"]\ncount = 2\n[limits.command]\n\"stattus\" = 3\n\
         [channels.console]\nallow = [\"status\", \"releasse\", \"rollback\"]\n"
    ));
    let problems = config.check(&catalogue()).problems;
    let told: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.message.as_str())).collect();
    assert_eq!(
        told,
        [
            (3, "there is no command “rolback image”"),
            (6, "there is no command “stattus”"),
            (8, "there is no command “releasse”"),
        ]
    );
    assert!(problems[0].to_string().contains("did you mean `rollback image`"), "{}", problems[0]);
}

#[test]
fn a_rule_that_asks_for_less_than_the_commands_file_is_refused() {
    let config = good(&format!("{STACK}[approvals.\"rollback database\"]\nwaive = \"proven_release\"\n"));
    let problems = config.check(&catalogue()).problems;
    assert_eq!(problems.len(), 1, "{}", shown(&problems));
    assert!(problems[0].to_string().contains("someone is always asked"), "{}", problems[0]);
    let asked = config.approval_needs("rollback database", Some(needs(1, Waive::Never))).unwrap();
    assert_eq!(asked.waive, Waive::Never, "even if it were not refused it would have no effect");
}

#[test]
fn a_rule_for_a_command_that_asks_nobody_has_to_say_whom() {
    let silent = good(&format!("{STACK}[approvals.status]\ncount = 2\n"));
    assert_eq!(silent.check(&catalogue()).problems.len(), 1);
    let said = good(&format!("{STACK}[approvals.status]\ncount = 2\nfrom = \"approver\"\n"));
    assert_eq!(said.check(&catalogue()).problems.len(), 0);
    assert_eq!(said.approval_needs("status", None).map(|n| (n.count, n.waive)), Some((2, Waive::Never)));
    assert_eq!(said.approval_needs("releases", None), None);
}

#[test]
fn the_check_warns_when_nobody_has_a_role_or_too_few_can_agree() {
    let people = |list: &[(&str, &str)]| {
        let people = list.iter().enumerate().map(|(n, (id, roles))| {
            format!("[[person]]\nid = \"{id}\"\nroles = [{roles}]\naccounts = {{ console = [\"uid:1{n}\"] }}\n")
        });
        format!("{STACK}{}", people.collect::<String>())
    };
    let warned = |text: &str| good(text).check(&catalogue()).warnings.join("\n");

    let nobody = warned(STACK);
    assert!(nobody.contains("everybody may look, nobody may act"), "{nobody}");
    assert!(nobody.contains("nobody can say /rollback image: it needs the role on-call"), "{nobody}");
    assert!(nobody.contains("/rollback image can never be approved"), "{nobody}");

    let typo = warned(&people(&[("a", "\"oncall\""), ("b", "\"approver\"")]));
    assert!(typo.contains("people have the role oncall: is it meant?"), "{typo}");
    assert!(typo.contains("the role oncall allows nothing: no command asks for it; is on-call meant?"), "{typo}");

    let alone = warned(&people(&[("a", "\"on-call\", \"approver\""), ("b", "\"on-call\"")]));
    assert!(alone.contains("said by a can never be approved"), "{alone}");

    let enough = people(&[("a", "\"on-call\", \"approver\""), ("b", "\"on-call\", \"approver\"")]);
    assert_eq!(warned(&enough), "");
    let more = warned(&format!("{enough}[approvals.\"rollback image\"]\ncount = 3\n"));
    assert!(
        more.contains("/rollback image can never be approved: it wants 3 of role approver, and the config has 2"),
        "{more}"
    );
}
