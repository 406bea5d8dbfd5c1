//! The config: one TOML file as plain typed data, one file here per section of it.
//!
//! It is read once, at start, and answers questions: who is this, which stack is meant here, how is this service
//! proven, who must agree. It must never decide whether something may happen (that is the gate's), read the
//! environment, or hold a secret: secrets stand elsewhere and the config says where ([`secret::SecretSource`]).
//!
//! A config sets rights, so nothing in it is guessed: unknown keys are refused by name and place, every problem of
//! the file is told in one go, and a file that others may write is not read (decision 14).

pub mod approvals;
pub mod channels;
pub mod check;
pub mod duration;
pub mod file;
pub mod health;
pub mod limits;
pub mod people;
mod policy;
pub mod problem;
mod reader;
pub mod repository;
pub mod secret;
pub mod service;
pub mod stack;
pub mod sternway;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::tz::TimeZone;
use toml::de::DeTable;

use crate::domain::actor::{Account, Person};
use crate::domain::invocation::Place;
use crate::domain::names::{HostName, PersonId, RoleName, StackName, Target};
use approvals::{ApprovalNeeds, ApprovalRule};
use channels::{CommandName, Narrowing};
use check::{CommandFacts, Findings, Mention};
use limits::Limits;
use people::PersonConfig;
use stack::Stack;
use sternway::Sternway;

pub use health::{guessed_among, health_rule};
pub use problem::Problem;
pub use secret::{Secret, SecretSource};

use reader::{Node, Section, Source};

/// Everything the config says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the bot lives.
    pub sternway: Sternway,
    /// Who people are.
    pub people: Vec<PersonConfig>,
    /// What may be touched; at least one, all on one host.
    pub stacks: Vec<Stack>,
    /// Where more consent is asked for than a command's own file does.
    pub approvals: BTreeMap<CommandName, ApprovalRule>,
    /// How often one person may speak.
    pub limits: Limits,
    /// What may be said where; a channel that is not here is not narrowed.
    pub channels: Vec<Narrowing>,
    files: BTreeMap<String, String>,
    mentions: Vec<Mention>,
}

impl Config {
    /// Reads the config file.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file; also when others than its owner may write it.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        let file = file::read_rights_file(path)?;
        Self::parse(&file.name, &file.text)
    }

    /// Reads a config from its text. `name` is shown with problems; relative paths are taken from its folder.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let source = Source::new(name, text);
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What does not read as TOML would only cause problems that are none.
            for error in errors {
                source.refuse(error.span().unwrap_or(0..0), "", error.message(), None);
            }
            return Err(source.into_problems());
        }
        let config = read(&source, root.get_ref());
        if source.is_clean() { Ok(config) } else { Err(source.into_problems()) }
    }

    /// The person an account is linked to. Who is linked to nobody may look, never approve or act (decision 2).
    pub fn person_of(&self, account: &Account) -> Option<&Person> {
        let linked = |p: &&Person| p.accounts.iter().any(|(s, id)| *s == account.surface && *id == account.id);
        self.people.iter().map(|p| &p.person).find(linked)
    }

    /// The person with this id.
    pub fn person(&self, id: &PersonId) -> Option<&Person> {
        self.people.iter().map(|p| &p.person).find(|p| p.id == *id)
    }

    /// Everyone who has a role.
    pub fn people_with(&self, role: &RoleName) -> impl Iterator<Item = &Person> {
        self.people.iter().map(|p| &p.person).filter(move |p| p.roles.contains(role))
    }

    /// The zone in which a person says `@02:10`.
    pub fn zone_of(&self, id: &PersonId) -> &TimeZone {
        let own = self.people.iter().find(|p| p.person.id == *id).and_then(|p| p.zone.as_ref());
        own.unwrap_or(&self.sternway.zone)
    }

    /// The stack with this name.
    pub fn stack(&self, name: &StackName) -> Option<&Stack> {
        self.stacks.iter().find(|s| s.name == *name)
    }

    /// The stack that is meant in a place when none is named: the one bound there, else the default, else the only one.
    pub fn stack_of(&self, place: &Place) -> Option<&Stack> {
        let bound = self.stacks.iter().find(|s| s.channels.iter().any(|c| c.is(place)));
        bound.or_else(|| self.stacks.iter().find(|s| s.default)).or(match self.stacks.as_slice() {
            [only] => Some(only),
            _ => None,
        })
    }

    /// The stack that a target belongs to.
    pub fn stack_at(&self, target: &Target) -> Option<&Stack> {
        self.stacks.iter().find(|s| s.name == target.stack && s.host == target.host)
    }

    /// The one host on which all stacks are placed.
    pub fn host(&self) -> &HostName {
        &self.stacks.first().expect("a config without a stack is refused").host
    }

    /// Whether a command (its name without slash) may be said in a place. Says nothing about who may say it.
    pub fn allowed_in(&self, place: &Place, command: &str) -> bool {
        self.channels.iter().filter(|n| n.channel.is(place)).all(|n| n.only.allows(command))
    }

    /// Who must agree to a command: what its file asks for with the config's rule on top. `None` when neither
    /// asks for anyone.
    pub fn approval_needs(&self, command: &str, by_file: Option<ApprovalNeeds>) -> Option<ApprovalNeeds> {
        let rule = self.approvals.iter().find(|(name, _)| name.as_str() == command).map(|(_, rule)| rule);
        match (rule, by_file) {
            (Some(rule), Some(file)) => Some(rule.over(file)),
            (Some(rule), None) => rule.alone(),
            (None, file) => file,
        }
    }

    /// How often one person may say a command per minute, if the config says so.
    pub fn limit_of(&self, command: &str) -> Option<u32> {
        self.limits.commands.iter().find(|(name, _)| name.as_str() == command).map(|(_, limit)| *limit)
    }

    /// Hash of what governs rights and plans, 64 hex digits: the `policy` of every plan (decision 11). The same
    /// whatever the order of the file; not changed by folders, logging, zones, limits and bound channels.
    pub fn hash(&self) -> String {
        policy::hash(self)
    }

    /// SHA-256 by file name of what was read, for the record of the start (decision 14).
    pub fn files_with_hashes(&self) -> BTreeMap<String, String> {
        self.files.clone()
    }

    /// Looks at the config in the light of the commands there are. Must have no problems before anything starts.
    pub fn check(&self, commands: &[CommandFacts]) -> Findings {
        check::check(self, &self.mentions, commands)
    }
}

fn read<'a>(source: &'a Source<'a>, table: &'a DeTable<'a>) -> Config {
    let mut root = Section::new(source, "".into(), 0..0, table);
    let mut mentions: Vec<Mention> = Vec::new();
    let part = |root: &mut Section<'a>, key: &'static str| root.node(key).and_then(|n| n.section(&format!("[{key}]")));
    let sternway = part(&mut root, "sternway").map(Sternway::read).unwrap_or_default();
    let people = people::read(root.sections("person"));
    let stack_sections = root.sections("stack");
    if stack_sections.is_empty() && root.node("stack").is_none() {
        root.refuse("there is no [[stack]], and only configured stacks are ever touched", hint_stack());
    }
    let stacks = stack::read(stack_sections);
    let approvals = part(&mut root, "approvals").map(|section| {
        approvals::read(section, &mut |command, entry| {
            let place = source.problem(entry.key_span.clone(), &entry.node.path, "");
            mentions.push(Mention { command: command.clone(), place, prefix_will_do: false, rule: true });
        })
    });
    let limits = part(&mut root, "limits").map(|section| {
        Limits::read(section, &mut |command, entry| {
            let place = source.problem(entry.key_span.clone(), &entry.node.path, "");
            mentions.push(Mention { command: command.clone(), place, prefix_will_do: false, rule: false });
        })
    });
    let channels = part(&mut root, "channels").map(|section| {
        channels::read(section, &mut |command, node: &Node<'a>| {
            mentions.push(Mention {
                command: command.clone(),
                place: node.problem(""),
                prefix_will_do: true,
                rule: false,
            });
        })
    });
    root.finish();
    Config {
        sternway,
        people,
        stacks,
        approvals: approvals.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        channels: channels.unwrap_or_default(),
        files: BTreeMap::from([(source.name.to_owned(), file::sha256(source.text))]),
        mentions,
    }
}

fn hint_stack() -> String {
    "add [[stack]] with a name and its Compose project, as `docker compose ls` prints it".to_owned()
}
