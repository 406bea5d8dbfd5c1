//! The config as the person who installs Sternway meets it: what is taken, what is refused and with which words.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may fall

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sternway::config::channels::Channel;
use sternway::config::health::Health;
use sternway::config::service::Service;
use sternway::config::sternway::{DockerHost, LogFormat, LogLevel, Sternway};
use sternway::config::{Config, Problem, health_rule};
use sternway::domain::actor::{Account, Surface};
use sternway::domain::invocation::Place;
use sternway::domain::names::{PersonId, ServiceName, StackName};
use sternway::domain::plan::HealthCheck;

const EXAMPLE: &str = include_str!("../config/sternway.toml");
const MINIMAL: &str = include_str!("../config/minimal.toml");
const STACK: &str = "[[stack]]\nname = \"shop\"\n";

fn good(text: &str) -> Config {
    Config::parse("s.toml", text).unwrap_or_else(|problems| panic!("must be taken:\n{}", shown(&problems)))
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn refused(text: &str) -> Vec<Problem> {
    Config::parse("s.toml", text).map(|_| ()).expect_err(&format!("must be refused:\n{text}"))
}

/// The one problem of `text` in a config that is otherwise well.
#[track_caller]
fn one(text: &str) -> Problem {
    let problems = refused(text);
    assert_eq!(problems.len(), 1, "one problem is expected:\n{}", shown(&problems));
    problems.into_iter().next().unwrap()
}

fn account(surface: Surface, id: &str) -> Account {
    Account { surface, id: id.to_owned(), detail: Some("pid 311".to_owned()) }
}

fn place(surface: Surface, channel: &str) -> Place {
    Place { surface, channel: channel.to_owned(), thread: None }
}

fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

// ---- the files we ship

#[test]
fn the_example_is_taken_and_says_what_the_users_stack_needs() {
    let config = Config::parse("config/sternway.toml", EXAMPLE).unwrap_or_else(|p| panic!("{}", shown(&p)));
    let stack = config.stack(&StackName::parse("kaleem").unwrap()).expect("the users' own stack");
    let names: Vec<&str> = stack.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["api", "frontend", "mongo", "nginx", "qdrant", "rabbitmq", "redis"]);
    let api = stack.service(&service("api"));
    assert_eq!(api.health, Some(Health::Url("http://127.0.0.1:3000/api/health".to_owned())));
    assert_eq!((api.interval, api.grace_s()), (Duration::from_millis(500), 2));
    assert!(api.allows("ghcr.io/owner/repo/kaleem-api:v0.0.1"));
    assert_eq!(api.pin.as_ref().map(|p| (p.file.as_str(), p.key.as_str())), Some((".env", "KALEEM_API_IMAGE")));
    assert_eq!(api.proxies[0].service, service("nginx"));
    assert_eq!(stack.start_order.concat().len(), 7, "every service has its place in the order");
    assert_eq!(config.check(&[]).warnings, Vec::<String>::new());
}

/// Lines that show a key at its default must hold: with all of them switched on nothing changes but those that
/// are said to be absent by default.
#[test]
fn every_key_that_the_example_only_shows_is_a_key_at_its_default() {
    let is_key = |line: &str| {
        line.strip_prefix("# ").is_some_and(|l| {
            l.starts_with("[channels")
                || l.split_once(" = ")
                    .is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        })
    };
    let mut switched = 0;
    let on: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ").filter(|_| is_key(line)) {
            Some(key) => {
                switched += 1;
                format!("{key}\n")
            }
            None => format!("{line}\n"),
        })
        .collect();
    assert!(switched >= 15, "only {switched} keys are shown");
    let config = Config::parse("config/sternway.toml", &on).unwrap_or_else(|p| panic!("{}", shown(&p)));
    let default = Sternway::default();
    let zone = config.sternway.zone.clone();
    let expected = Sternway {
        zone,
        commands: Some("/etc/sternway/commands".into()),
        docker: Some(DockerHost::Unix("/var/run/docker.sock".into())),
        docker_config: Some("/root/.docker/config.json".into()),
        ..default
    };
    assert_eq!(config.sternway, expected);
    assert_eq!(config.limits.door, sternway::config::limits::DOOR_DEFAULT);
    let api = config.stacks[0].service(&service("api"));
    let plain = Service::default();
    assert_eq!((api.count, api.deadline, api.order), (plain.count, plain.deadline, plain.order));
    assert_eq!(plain.interval, Duration::from_secs(1), "the example says so");
    assert_eq!(plain.grace, Duration::from_secs(10), "the example says so");
    assert_eq!(config.channels.len(), 1);
}

/// A key that nobody explained is one that nobody will find.
#[test]
fn the_example_names_every_key_there_is() {
    // The refusal of an unknown key lists the valid ones: asked here table by table.
    for (text, table) in [
        ("zz = 1\n[sternway]\nzz = 1\n[[person]]\nzz = 1\nid = 'a'\n[person.accounts]\nzz = 1\n", "people"),
        ("[[stack]]\nname = 'a'\nzz = 1\n[stack.service.api]\nzz = 1\nhealth = { zz = 1 }\n", "services"),
        ("[[stack]]\nname = 'a'\ndir = '/a'\n[stack.service.api]\npin = { zz = 1 }\nproxies = [{ zz = 1 }]\n", "pins"),
        ("[limits]\nzz = 1\n[approvals.\"a\"]\nzz = 1\n[channels.console]\nzz = 1\n", "limits"),
    ] {
        let mut asked = 0;
        for problem in refused(text) {
            let Some((_, keys)) = problem.hint.as_deref().and_then(|h| h.split_once("valid here: ")) else { continue };
            asked += 1;
            for key in keys.split(", ") {
                assert!(EXAMPLE.contains(key), "`{key}` ({}) is not in config/sternway.toml", problem.key);
            }
        }
        assert!(asked >= 2, "{table}: no list of keys was told");
    }
}

#[test]
fn the_minimal_set_up_is_short_and_needs_nothing_more() {
    assert!(MINIMAL.lines().count() <= 25, "{} lines", MINIMAL.lines().count());
    let config = good(MINIMAL);
    let findings = config.check(&[]);
    assert_eq!((findings.problems.len(), findings.warnings), (0, vec![]));
    assert_eq!(config.host().as_str(), "local");
    assert!(config.stack_of(&place(Surface::Console, "console")).is_some(), "the only stack is meant everywhere");
}

// ---- what is refused, and how it reads

#[test]
fn an_unknown_key_is_refused_where_it_stands_with_the_one_that_was_meant() {
    let text = "[[stack]]\nname = \"shop\"\n\n[stack.service.api]\n  deadlin = \"2s\"\n";
    assert_eq!(
        one(text).to_string(),
        "s.toml:5:3: `deadlin` is no key of [stack.service.api]\n  5 |   deadlin = \"2s\"\n    |   ^^^^^^^\n  \
         → did you mean `deadline`? valid here: count, deadline, drain, grace, health, interval, order, pin, proxies, repositories"
    );
}

#[test]
fn all_problems_of_a_file_are_told_at_once_in_its_order() {
    let problems = refused(
        "[sternway]\nlevel = \"loud\"\nkeep_releases = 1\n\n[[person]]\nroles = [\"on call\"]\n\n\
         [[stack]]\nname = \"a b\"\n[stack.service.api]\ninterval = \"2\"\ngrace = 2\n",
    );
    let told: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    assert_eq!(
        told,
        [
            (2, "sternway.level"),
            (3, "sternway.keep_releases"),
            (5, "person"),
            (6, "person.roles"),
            (9, "stack.name"),
            (11, "stack.service.api.interval"),
            (12, "stack.service.api.grace"),
        ],
        "{}",
        shown(&problems)
    );
}

#[test]
fn what_does_not_read_as_toml_is_told_with_its_place_and_nothing_that_follows_from_it() {
    let problems = refused("[sternway]\nlevel = \n\n[[stack]\nname = \"shop\"\n");
    assert!(problems.iter().all(|p| p.line == 2 || p.line == 4), "{}", shown(&problems));
    assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>().first(), Some(&2), "{}", shown(&problems));
    assert_eq!(one("[sternway]\nlevel = \"info\"\nlevel = \"warn\"\n").line, 3, "a key that stands twice");
}

/// Each line: what is wrong, and words that the refusal has to hold.
#[test]
fn refusals_say_what_is_wrong_and_what_would_be_right() {
    let api = |line: &str| format!("{STACK}dir = \"/opt/shop\"\n[stack.service.api]\n{line}\n");
    let sternway = |line: &str| format!("[sternway]\n{line}\n{STACK}");
    let person = |line: &str| format!("{STACK}[[person]]\nid = \"a\"\n{line}\n");
    let cases: Vec<(String, &[&str])> = vec![
        (String::new(), &["no [[stack]]", "docker compose ls"]),
        ("[stack]\nname = \"shop\"\n".into(), &["[[stack]]", "two brackets"]),
        ("[[stack]]\nproject = \"shop\"\n".into(), &["`name` is missing", "name = \"shop\""]),
        ("[[stack]]\nname = \"Shop\"\n".into(), &["lower case", "docker compose ls"]),
        (format!("{STACK}{STACK}"), &["shop is there already"]),
        (format!("{STACK}[[stack]]\nname = \"b\"\nproject = \"shop\"\n"), &["is the stack shop already"]),
        (format!("{STACK}[[stack]]\nname = \"b\"\nhost = \"h2\"\n"), &["one host", "not available yet"]),
        (format!("{STACK}default = true\n[[stack]]\nname = \"b\"\ndefault = true\n"), &["shop is the default already"]),
        (
            format!("{STACK}channels = [\"console\"]\n[[stack]]\nname = \"b\"\nchannels = [\"console\"]\n"),
            &["bound to shop"],
        ),
        (format!("{STACK}channels = [\"#ops\"]\n"), &["“#ops” is no channel", "slack:C"]),
        (format!("{STACK}dir = \"../shop\"\n"), &["absolute"]),
        (format!("{STACK}start_order = [[\"a\"], [\"a\"]]\n"), &["twice"]),
        (format!("{STACK}start_order = [\"a\"]\n"), &["list of lists"]),
        (format!("{STACK}[stack.service.\"a b\"]\n"), &["service name"]),
        (api("order = \"start-first\""), &["needs a proxy", "proxies ="]),
        (api("drain = \"2s\""), &["only with order"]),
        (api("health = \"none\""), &["{ none = true }"]),
        (api("health = { url = \"http://127.0.0.1/\", port = 80 }"), &["exactly one way"]),
        (api("health = { exec = false }"), &["exactly one way"]),
        (api("health = { port = 0 }"), &["from 1 to 65535"]),
        (api("health = { port = 65536 }"), &["from 1 to 65535"]),
        (api("health = { url = \"http://api:3000/health\" }"), &["inside the project's network", "127.0.0.1"]),
        (api("health = { url = \"http://u:hunter2@127.0.0.1/\" }"), &["no user"]),
        (api("interval = \"10ms\""), &["from 50ms to 1m"]),
        (api("interval = \"2 minutes\""), &["as in 500ms"]),
        (api("deadline = 60"), &["integer", "a length of time"]),
        (api("count = 10\ninterval = \"10s\"\ndeadline = \"60s\""), &["take 1m30s", "deadline of 1m"]),
        (api("count = -1"), &["not a number from 0"]),
        (api("grace = \"1500ms\""), &["whole seconds"]),
        (api("repositories = [\"ghcr.io/shop/api:1.4\"]"), &["tag or digest"]),
        (api("proxies = [{ service = \"nginx\", signal = \"KILL\" }]"), &["“KILL”", "HUP"]),
        (api("proxies = [{ service = \"api\" }]"), &["proxy to itself"]),
        (api("pin = { file = \"../.env\", key = \"A\" }"), &["beneath the project folder"]),
        (api("pin = { file = \"/etc/passwd\", key = \"A\" }"), &["beneath the project folder"]),
        (api("pin = { file = \".env\", key = \"A B\" }"), &["cannot be a key"]),
        (api("pin = { file = \"compose.override.yml\", key = \"image\" }"), &["Compose file", "${API_IMAGE}", ".env"]),
        (format!("{STACK}[stack.service.api]\npin = {{ file = \".env\", key = \"A\" }}\n"), &["`dir`"]),
        (sternway("zone = \"Mars/Base\""), &["IANA"]),
        (sternway("store = \"~/store\""), &["shell"]),
        (sternway("store = \"\""), &["empty"]),
        (sternway("agent = \"/var/lib/sternway/store/agent\""), &["beside each other"]),
        (sternway("agent = \"/var/lib/sternway/store\""), &["beside each other"]),
        (sternway("docker = \"ssh://box\""), &["unix:///path"]),
        (sternway("log = \"Json\""), &["did you mean `json`"]),
        (person("accounts = { console = [\"layla\"] }"), &["id -u"]),
        (person("accounts = { slack = [\"@layla\"] }"), &["Copy member ID"]),
        (person("accounts = { teams = [\"x\"] }"), &["`teams` is no key", "discord"]),
        (person("accounts = { console = [\"uid:1\", \"uid:1\"] }"), &["twice"]),
        (person("[[person]]\nid = \"a\""), &["a is there already"]),
        (format!("{STACK}[approvals.\"rollback image\"]\ncount = 0\n"), &["one approver at least", "proven_release"]),
        (format!("{STACK}[approvals.\"rollback image\"]\nwaive = \"always\"\n"), &["“always”", "never"]),
        (format!("{STACK}[approvals.\"rollback image\"]\nexpires = \"2d\"\n"), &["from 1m to 1d"]),
        (format!("{STACK}[approvals.\"/rollback\"]\ncount = 2\n"), &["without slash"]),
        (format!("{STACK}[limits]\ndoor = 0\n"), &["from 1 to 6000"]),
        (format!("{STACK}[limits.command]\n\"rollback image\" = 0\n"), &["[channels]"]),
        (format!("{STACK}[channels.console]\nallow = []\ndeny = []\n"), &["either `allow` or `deny`"]),
        (format!("{STACK}[channels.ops]\nallow = []\n"), &["no channel"]),
    ];
    for (text, words) in cases {
        let shown = one(&text).to_string();
        for word in words {
            assert!(shown.contains(word), "“{word}” is wanted in:\n{shown}\nfor:\n{text}");
        }
    }
}

#[test]
fn an_account_of_two_persons_is_refused_with_the_first_ones_name() {
    let text = format!(
        "{STACK}[[person]]\nid = \"layla\"\naccounts = {{ slack = [\"U024BE7LH\"] }}\n\
         [[person]]\nid = \"omar\"\naccounts = {{ slack = [\"U024BE7LH\"] }}\n"
    );
    let problem = one(&text);
    assert_eq!((problem.line, problem.key.as_str()), (8, "person.accounts.slack"));
    assert!(problem.message.contains("linked to layla"), "{problem}");
}

#[test]
fn a_secret_written_into_the_file_is_refused_and_not_repeated() {
    for text in ["[sternway]\nslack_token = \"xoxb-canary\"\n", "[sternway]\nslack_token = \"xoxb-canary\n"] {
        let shown = shown(&refused(text));
        assert!(!shown.contains("canary"), "{shown}");
    }
}

proptest::proptest! {
    /// Whatever a slip of the hand makes of the file, it is taken or refused with a place, and never a crash.
    #[test]
    fn a_slip_of_the_hand_is_taken_or_refused_with_its_place(
        at in 0..EXAMPLE.len(), length in 0usize..12, typed in "[\\[\\]{}\"'=#.,a-z0-9 \\né]{0,4}"
    ) {
        let from = (0..=at).rev().find(|i| EXAMPLE.is_char_boundary(*i)).unwrap_or(0);
        let to = (0..=(from + length).min(EXAMPLE.len())).rev().find(|i| EXAMPLE.is_char_boundary(*i)).unwrap_or(from);
        let text = format!("{}{typed}{}", &EXAMPLE[..from], &EXAMPLE[to.max(from)..]);
        if let Err(problems) = Config::parse("s.toml", &text) {
            proptest::prop_assert!(!problems.is_empty());
            for problem in &problems {
                proptest::prop_assert!(problem.line <= text.lines().count() + 1, "{problem}");
                proptest::prop_assert!(problem.to_string().starts_with("s.toml:"), "{problem}");
            }
        }
    }
}

// ---- the file itself

#[test]
fn a_config_that_others_may_write_is_refused_and_one_that_is_not_is_on_record_with_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sternway.toml");
    std::fs::write(&path, MINIMAL).unwrap();
    for mode in [0o620, 0o602, 0o666] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let problems = Config::load(&path).map(|_| ()).expect_err("writable by others");
        assert!(problems[0].to_string().contains("chmod go-w"), "{}", shown(&problems));
    }
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let config = Config::load(&path).unwrap_or_else(|p| panic!("{}", shown(&p)));
    let files = config.files_with_hashes();
    // What `sha256sum` prints, reckoned without our own code.
    let expected = {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(MINIMAL.as_bytes()))
    };
    assert_eq!(files, BTreeMap::from([(path.display().to_string(), expected)]));
}

#[test]
fn a_missing_file_is_told_with_what_to_do() {
    let problems = Config::load(Path::new("/nowhere/sternway.toml")).map(|_| ()).expect_err("there is none");
    let shown = shown(&problems);
    assert!(shown.starts_with("/nowhere/sternway.toml: there is no such file"), "{shown}");
    assert!(shown.contains("config/minimal.toml"), "{shown}");
}

#[test]
fn relative_paths_are_taken_from_the_folder_of_the_file() {
    let text = format!("[sternway]\nstore = \"data/log\"\n{STACK}");
    let config = Config::parse("/etc/sternway/sternway.toml", &text).unwrap();
    assert_eq!(config.sternway.store, PathBuf::from("/etc/sternway/data/log"));
}

// ---- questions

#[test]
fn a_person_is_found_by_any_account_and_root_is_nobody_unless_named() {
    let config = good(EXAMPLE);
    for (surface, id) in
        [(Surface::Console, "uid:1000"), (Surface::Slack, "U024BE7LH"), (Surface::Discord, "80351110224678912")]
    {
        let person = config.person_of(&account(surface, id));
        assert_eq!(person.map(|p| p.id.as_str()), Some("layla"), "{id}");
    }
    for (surface, id) in [
        (Surface::Console, "uid:0"),
        (Surface::Discord, "U024BE7LH"),
        (Surface::Trigger, "uid:1000"),
        (Surface::Slack, ""),
    ] {
        assert_eq!(config.person_of(&account(surface, id)), None, "{surface:?} {id}");
    }
    let named = good(&format!("{STACK}[[person]]\nid = \"root\"\naccounts = {{ console = [\"uid:0\"] }}\n"));
    assert!(named.person_of(&account(Surface::Console, "uid:0")).is_some());
    assert!(named.check(&[]).warnings.iter().any(|w| w.contains("uid:0")), "it is told");
}

#[test]
fn a_place_means_the_stack_bound_there_else_the_default_else_the_only_one() {
    let two = "[[stack]]\nname = \"a\"\nchannels = [\"slack:C024BE91L\"]\n[[stack]]\nname = \"b\"\n";
    let meant = |text: &str, at: &Place| good(text).stack_of(at).map(|s| s.name.to_string());
    let (slack, console) = (place(Surface::Slack, "C024BE91L"), place(Surface::Console, "console"));
    assert_eq!(meant(two, &slack).as_deref(), Some("a"));
    assert_eq!(meant(two, &console), None, "two stacks and no default: it has to be said");
    assert_eq!(meant(&format!("{two}default = true\n"), &console).as_deref(), Some("b"));
    assert_eq!(meant(&format!("{two}default = true\n"), &slack).as_deref(), Some("a"), "bound goes before default");
    assert_eq!(meant(STACK, &slack).as_deref(), Some("shop"));
}

#[test]
fn a_channel_narrows_and_another_does_not() {
    let config = good(&format!(
        "{STACK}[channels.console]\nallow = [\"status\", \"rollback image\"]\n\
         [channels.\"slack:C024BE91L\"]\ndeny = [\"rollback\"]\n"
    ));
    let (console, slack) = (place(Surface::Console, "console"), place(Surface::Slack, "C024BE91L"));
    for (at, command, allowed) in [
        (&console, "status", true),
        (&console, "rollback image", true),
        (&console, "rollback database", false),
        (&slack, "status", true),
        (&slack, "rollback image", false),
        (&place(Surface::Slack, "C0000"), "rollback image", true),
        (&place(Surface::Discord, "C024BE91L"), "rollback image", true),
    ] {
        assert_eq!(config.allowed_in(at, command), allowed, "{command} in {at:?}");
    }
}

#[test]
fn a_service_that_the_config_does_not_name_is_handled_by_the_defaults() {
    let config = good(STACK);
    let unnamed = config.stacks[0].service(&service("worker"));
    assert_eq!(unnamed, &Service::default());
    assert!(!unnamed.allows("shop/worker:1"), "no repository is allowed unless named");
    assert_eq!(health_rule(unnamed, &[(8080, "80/tcp".to_owned())], false).check, HealthCheck::Tcp { port: 8080 });
}

#[test]
fn a_pin_that_two_services_share_is_known_on_both_sides() {
    let text = format!(
        "{STACK}dir = \"/opt/shop\"\n[stack.service.api]\npin = {{ file = \".env\", key = \"TAG\" }}\n\
         [stack.service.worker]\npin = {{ file = \".env\", key = \"TAG\" }}\n\
         [stack.service.web]\npin = {{ file = \".env\", key = \"WEB\" }}\n"
    );
    let config = good(&text);
    assert_eq!(config.stacks[0].shares_pin(&service("api")), [&service("worker")]);
    assert_eq!(config.stacks[0].shares_pin(&service("worker")), [&service("api")]);
    assert!(config.stacks[0].shares_pin(&service("web")).is_empty());
    let warnings = config.check(&[]).warnings;
    assert_eq!(warnings.iter().filter(|w| w.contains("same pin TAG")).count(), 1, "{warnings:?}");
}

#[test]
fn what_is_not_said_has_its_default_and_what_is_said_is_taken() {
    let config = good(&format!(
        "[sternway]\nlog = \"json\"\nlevel = \"debug\"\nzone = \"Africa/Cairo\"\ndocker = \"tcp://proxy:2375\"\n\
         {STACK}channels = [\"discord:80351110224678913\"]\n[[person]]\nid = \"a\"\nzone = \"Asia/Riyadh\"\n[[person]]\nid = \"b\"\n"
    ));
    assert_eq!((config.sternway.log, config.sternway.level), (LogFormat::Json, LogLevel::Debug));
    assert_eq!(config.sternway.docker, Some(DockerHost::Tcp("proxy:2375".to_owned())));
    assert_eq!(config.sternway.keep_releases, 5);
    assert_eq!(config.stacks[0].channels, [Channel::parse("discord:80351110224678913").unwrap()]);
    assert_eq!(config.stacks[0].project.as_str(), "shop", "the stack's name is the project's unless said");
    assert_eq!(config.stacks[0].target().to_string(), "shop@local");
    let zone = |id: &str| config.zone_of(&PersonId::parse(id).unwrap()).iana_name().map(str::to_owned);
    assert_eq!(zone("a").as_deref(), Some("Asia/Riyadh"));
    assert_eq!(zone("b").as_deref(), Some("Africa/Cairo"));
}

#[test]
fn start_first_names_its_proxies_and_one_that_looks_by_itself_gets_no_signal() {
    let text = "[[stack]]\nname = \"shop\"\n[stack.service.api]\norder = \"start-first\"\ndrain = \"3s\"\n\
                proxies = [{ service = \"nginx\" }, { service = \"haproxy\", signal = \"none\" }]\n";
    let config = good(text);
    let api = config.stacks[0].services.values().next().unwrap();
    let signals: Vec<Option<&str>> = api.proxies.iter().map(|p| p.signal.as_deref()).collect();
    assert_eq!((signals, api.drain), (vec![Some("HUP"), None], Duration::from_secs(3)));
}
