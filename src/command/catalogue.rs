//! All that can be said: our commands, those of the team's files, and the checks that need all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::domain::canonical;
use crate::domain::names::RoleName;

use super::read::{Bad, Reader};
use super::register;
use super::rules::{self, Checked, CheckedFile};
use super::spec::{Action, CommandPath, CommandSpec, Who};

/// Most commands: Slack takes 50 per app and `/sternway` is one (slack.md section 9). Discord takes 100.
pub const COMMANDS_MAX: usize = 49;

/// Our files, in the order in which help shows them. A team's file of the same name replaces one whole.
const EMBEDDED: [(&str, &str); 9] = [
    ("rollback", include_str!("../../commands/rollback.toml")),
    ("releases", include_str!("../../commands/releases.toml")),
    ("status", include_str!("../../commands/status.toml")),
    ("runs", include_str!("../../commands/runs.toml")),
    ("approve", include_str!("../../commands/approve.toml")),
    ("deny", include_str!("../../commands/deny.toml")),
    ("cancel", include_str!("../../commands/cancel.toml")),
    ("audit", include_str!("../../commands/audit.toml")),
    ("help", include_str!("../../commands/help.toml")),
];

/// A command file as the caller read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFile {
    /// Its name or path, as error texts will show it; the last part must end in `.toml`.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// Where a file of the catalogue comes from, and its hash: logged at start (decision 14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// Whether it is the team's.
    pub team: bool,
}

/// Everything that is wrong with the command files. Nothing of them is used then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFiles(pub Vec<Bad>);

impl fmt::Display for BadFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, bad) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{bad}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadFiles {}

/// What one top-level word leads to.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One command.
    Single(Arc<CommandSpec>),
    /// Subcommands.
    Group {
        /// In the file's order.
        subs: Vec<Arc<CommandSpec>>,
        /// The one that is meant when none is said.
        default: Option<Arc<CommandSpec>>,
    },
}

/// One top-level word.
#[derive(Debug, Clone)]
pub struct Command {
    /// The word, without its slash.
    pub name: String,
    /// One line about it.
    pub short: String,
    /// More about it.
    pub long: String,
    /// What it leads to.
    pub shape: Shape,
}

impl Command {
    /// All that can be done under this word.
    pub fn specs(&self) -> &[Arc<CommandSpec>] {
        match &self.shape {
            Shape::Single(spec) => std::slice::from_ref(spec),
            Shape::Group { subs, .. } => subs,
        }
    }

    /// The subcommand with this name.
    pub fn sub(&self, name: &str) -> Option<&Arc<CommandSpec>> {
        match &self.shape {
            Shape::Single(_) => None,
            Shape::Group { subs, .. } => subs.iter().find(|s| s.path.last() == name),
        }
    }

    /// The procedures under this word: what its dry run can be about.
    pub fn procedures(&self) -> impl Iterator<Item = &Arc<CommandSpec>> {
        self.specs().iter().filter(|s| matches!(s.action, Action::Procedure(_)))
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// A top-level word with subcommands.
    Group(&'a Command),
    /// A command.
    Spec(&'a Arc<CommandSpec>),
    /// The dry run (first) of a procedure (second): `rollback plan image`.
    DryRun(&'a Arc<CommandSpec>, &'a Arc<CommandSpec>),
}

/// All commands.
#[derive(Debug, Clone)]
pub struct Catalogue {
    commands: Vec<Command>,
    files: Vec<Loaded>,
    hash: String,
}

impl Catalogue {
    /// Our commands, with the team's files replacing those of the same name and adding others.
    ///
    /// # Errors
    /// All that is wrong with any file, by file, line and column.
    pub fn load(team: &[CommandFile]) -> Result<Self, BadFiles> {
        let mut sources: Vec<(String, CommandFile, bool)> = EMBEDDED
            .iter()
            .map(|(stem, text)| {
                let file = CommandFile { name: format!("commands/{stem}.toml"), text: (*text).to_owned() };
                ((*stem).to_owned(), file, false)
            })
            .collect();
        let mut bad = Vec::new();
        let mut sorted: Vec<&CommandFile> = team.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        for file in sorted {
            let last = file.name.rsplit(['/', '\\']).next().unwrap_or("");
            let Some(stem) = last.strip_suffix(".toml") else {
                bad.push(whole_file(file, "the name of a command file ends in .toml"));
                continue;
            };
            match sources.iter_mut().find(|(s, ..)| s == stem) {
                Some((_, earlier, true)) => {
                    bad.push(whole_file(file, &format!("{} declares this command already", earlier.name)));
                }
                Some(ours) => *ours = (stem.to_owned(), file.clone(), true),
                None => sources.push((stem.to_owned(), file.clone(), true)),
            }
        }

        let mut checked: Vec<(CommandFile, CheckedFile)> = Vec::new();
        for (stem, file, _) in &sources {
            let mut reader = Reader::new(&file.name, &file.text);
            if let Some(raw) = reader.read()
                && let Some(found) = rules::check(&mut reader, stem, raw)
            {
                checked.push((file.clone(), found));
            }
            bad.extend(reader.into_bad());
        }
        if sources.len() > COMMANDS_MAX {
            let (_, file, _) = &sources[COMMANDS_MAX];
            bad.push(whole_file(file, &format!("there are more than {COMMANDS_MAX} commands; Slack takes no more")));
        }
        if !bad.is_empty() {
            bad.sort();
            return Err(BadFiles(bad));
        }

        fill_voters(&mut checked);
        let files = sources
            .iter()
            .map(|(_, file, team)| Loaded {
                name: file.name.clone(),
                sha256: hex::encode(Sha256::digest(file.text.as_bytes())),
                team: *team,
            })
            .collect();
        let commands: Vec<Command> = checked.iter().map(|(_, file)| command(file)).collect();
        let hash = hash(&commands);
        let catalogue = Self { commands, files, hash };
        for (file, found) in &checked {
            bad.extend(catalogue.check_together(file, found));
        }
        if bad.is_empty() { Ok(catalogue) } else { Err(BadFiles(bad)) }
    }

    /// All top-level words: ours in the order of help, then the team's by name.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// The top-level word, lower case, without its slash.
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.commands.iter().find(|c| c.name == name)
    }

    /// All that can be done.
    pub fn specs(&self) -> impl Iterator<Item = &Arc<CommandSpec>> {
        self.commands.iter().flat_map(|c| c.specs())
    }

    /// What these words name, lower case.
    pub fn find(&self, path: &str) -> Option<Found<'_>> {
        let mut words = path.split(' ');
        let command = self.command(words.next()?)?;
        let found = match (words.next(), &command.shape) {
            (None, Shape::Single(spec)) => Found::Spec(spec),
            (None, Shape::Group { .. }) => Found::Group(command),
            (Some(sub), _) => {
                let spec = command.sub(sub)?;
                match words.next() {
                    None => Found::Spec(spec),
                    Some(third) if spec.is_dry_run() => {
                        Found::DryRun(spec, command.procedures().find(|p| p.path.last() == third)?)
                    }
                    Some(_) => return None,
                }
            }
        };
        words.next().is_none().then_some(found)
    }

    /// SHA-256 over all that decides: names, arguments, steps, consent, limits. Wording (help, examples) is not in
    /// it, so mending a sentence voids no approval (decision 11).
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The files it was loaded from.
    pub fn files(&self) -> &[Loaded] {
        &self.files
    }

    /// What can only be judged when all files are known.
    fn check_together(&self, file: &CommandFile, found: &CheckedFile) -> Vec<Bad> {
        let mut reader = Reader::new(&file.name, &file.text);
        for Checked { spec, example_spans, span, .. } in &found.commands {
            if spec.is_dry_run() && self.command(&found.name).is_none_or(|c| c.procedures().next().is_none()) {
                reader.wrong(span.clone(), "does", "there is no procedure in this file whose plan it could show");
            }
            for (example, at) in spec.examples.iter().zip(example_spans) {
                match self.parse(example) {
                    Err(trouble) => {
                        reader.wrong(at.clone(), "examples", format!("“{example}” is not understood: {trouble}"));
                    }
                    Ok(request) if request.policy.path != spec.path => {
                        let message =
                            format!("“{example}” is an example of /{}, not of /{}", request.policy.path, spec.path);
                        reader.wrong(at.clone(), "examples", message);
                    }
                    Ok(_) => {}
                }
            }
        }
        if let Some(size) = self.command(&found.name).map(register::discord_size)
            && size > register::DISCORD_CHARACTERS_MAX
        {
            let message = format!(
                "its names and descriptions have {size} characters; Discord takes {}",
                register::DISCORD_CHARACTERS_MAX
            );
            reader.wrong(0..0, "", message);
        }
        reader.into_bad()
    }
}

fn whole_file(file: &CommandFile, message: &str) -> Bad {
    Bad { file: file.name.clone(), line: 1, column: 1, key: String::new(), message: message.to_owned() }
}

/// Puts every role that some approval asks where a file says `voters`.
fn fill_voters(files: &mut [(CommandFile, CheckedFile)]) {
    let voters: BTreeSet<RoleName> = files
        .iter()
        .flat_map(|(_, file)| &file.commands)
        .filter_map(|c| c.spec.approval.as_ref().map(|a| a.from.clone()))
        .collect();
    for checked in files.iter_mut().flat_map(|(_, file)| &mut file.commands) {
        if let (true, Who::Roles(roles)) = (checked.voters, &mut checked.spec.who) {
            roles.extend(voters.iter().cloned());
        }
    }
}

fn command(file: &CheckedFile) -> Command {
    let specs: Vec<Arc<CommandSpec>> = file.commands.iter().map(|c| Arc::new(c.spec.clone())).collect();
    let shape = match (file.is_group, specs.as_slice()) {
        (false, [one]) => Shape::Single(Arc::clone(one)),
        _ => {
            let default = file.default.as_deref().and_then(|d| specs.iter().find(|s| s.path.last() == d)).cloned();
            Shape::Group { subs: specs, default }
        }
    };
    Command { name: file.name.clone(), short: file.short.clone(), long: file.long.clone(), shape }
}

fn hash(commands: &[Command]) -> String {
    let content: BTreeMap<&str, _> = commands
        .iter()
        .map(|c| {
            let default: Option<&CommandPath> = match &c.shape {
                Shape::Single(_) => None,
                Shape::Group { default, .. } => default.as_ref().map(|d| &d.path),
            };
            let specs: Vec<&CommandSpec> = c.specs().iter().map(Arc::as_ref).collect();
            (c.name.as_str(), json!({ "default": default, "specs": specs }))
        })
        .collect();
    canonical::sha256("sternway-catalogue-v1", &content)
        .expect("a catalogue has only words and integers that the rules keep below 2^53")
}
