//! What is wrong or odd about a config once the commands are known: for `sternway check` and for every start.
//!
//! The catalogue is handed in as plain facts, so this room need not know how commands are written.

use std::collections::BTreeSet;

use super::Config;
use super::approvals::ApprovalNeeds;
use super::channels::CommandName;
use super::people::WELL_KNOWN_ROLES;
use super::problem::Problem;
use super::reader::{did_you_mean, nearest};
use crate::domain::actor::{Person, Surface};
use crate::domain::names::RoleName;

/// What one command of the catalogue needs, by its own file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFacts {
    /// Its name without slash, such as `rollback image`.
    pub name: String,
    /// Roles of which one is needed to say it; empty = anyone.
    pub roles: Vec<RoleName>,
    /// Who must agree, if anyone.
    pub approval: Option<ApprovalNeeds>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// What must be put right before Sternway starts.
    pub problems: Vec<Problem>,
    /// What is allowed but probably not meant: a sentence each, saying what to do.
    pub warnings: Vec<String>,
}

/// A place in the file where a command is named.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mention {
    pub(crate) command: CommandName,
    /// The place, with an empty message.
    pub(crate) place: Problem,
    /// Whether a first word alone is enough there.
    pub(crate) prefix_will_do: bool,
    /// Whether it is the head of an approval rule.
    pub(crate) rule: bool,
}

impl Mention {
    fn problem(&self, message: String, hint: Option<String>) -> Problem {
        let mut problem = self.place.clone();
        problem.message = message;
        problem.with_hint(hint)
    }
}

/// Looks at the config in the light of the commands there are.
pub(crate) fn check(config: &Config, mentions: &[Mention], commands: &[CommandFacts]) -> Findings {
    let mut findings = Findings::default();
    let known: Vec<&str> = commands.iter().map(|c| c.name.as_str()).collect();
    for mention in mentions {
        let name = mention.command.as_str();
        let fact = commands.iter().find(|c| c.name == name);
        let meant = fact.is_some() || (mention.prefix_will_do && known.iter().any(|k| mention.command.means(k)));
        if !meant {
            findings
                .problems
                .push(mention.problem(format!("there is no command “{name}”"), Some(did_you_mean(name, &known))));
        } else if mention.rule
            && let Some(fact) = fact
        {
            findings.problems.extend(rule_problems(config, mention, fact));
        }
    }
    for command in commands {
        findings.warnings.extend(nobody_may(config, command));
        findings.warnings.extend(nobody_can_agree(config, command));
    }
    findings.warnings.extend(odd_roles(config, commands));
    findings.warnings.extend(odd_people(config));
    findings.warnings.extend(odd_stacks(config));
    findings
}

fn rule_problems(config: &Config, mention: &Mention, fact: &CommandFacts) -> Vec<Problem> {
    let Some(rule) = config.approvals.get(&mention.command) else { return Vec::new() };
    let hint = || Some("the config may ask for more than a command's file, never for less".to_owned());
    match &fact.approval {
        Some(file) => rule.less_than(file).into_iter().map(|why| mention.problem(why, hint())).collect(),
        None if rule.from.is_none() => {
            let message = format!("nobody approves “{}” by its own file, so say who shall", fact.name);
            vec![mention.problem(message, Some("add from = \"approver\"".to_owned()))]
        }
        None => Vec::new(),
    }
}

fn holders<'a>(config: &'a Config, role: &RoleName) -> Vec<&'a Person> {
    config.people_with(role).collect()
}

fn nobody_may(config: &Config, command: &CommandFacts) -> Option<String> {
    if command.roles.is_empty() || command.roles.iter().any(|r| !holders(config, r).is_empty()) {
        return None;
    }
    let roles: Vec<&str> = command.roles.iter().map(RoleName::as_str).collect();
    let held: BTreeSet<&str> = config.people.iter().flat_map(|p| p.person.roles.iter()).map(RoleName::as_str).collect();
    let near = roles.iter().find_map(|role| nearest(role, held.iter().copied()));
    let near = near.map(|n| format!(" (people have the role {n}: is it meant?)")).unwrap_or_default();
    Some(format!(
        "nobody can say /{}: it needs the role {}, which no [[person]] has{near}; add it to somebody's roles",
        command.name,
        roles.join(" or ")
    ))
}

/// Who must agree to a command, the config's rule included.
fn needs_of(config: &Config, command: &CommandFacts) -> Option<ApprovalNeeds> {
    config.approval_needs(&command.name, command.approval.clone())
}

fn nobody_can_agree(config: &Config, command: &CommandFacts) -> Option<String> {
    let needs = needs_of(config, command)?;
    let approvers = holders(config, &needs.from);
    let enough = |others: usize| others as u64 >= u64::from(needs.count);
    let how_many = format!("{} of role {}", needs.count, needs.from);
    if !enough(approvers.len()) {
        return Some(format!(
            "/{} can never be approved: it wants {how_many}, and the config has {}; give the role to more people",
            command.name,
            approvers.len()
        ));
    }
    let may_ask = |p: &&Person| command.roles.is_empty() || command.roles.iter().any(|r| p.roles.contains(r));
    let alone: Vec<&str> =
        approvers.iter().filter(|p| may_ask(p) && !enough(approvers.len() - 1)).map(|p| p.id.as_str()).collect();
    (!alone.is_empty()).then(|| {
        format!(
            "/{} said by {} can never be approved: it wants {how_many} besides the one who asks; give the role to one more",
            command.name,
            alone.join(" or ")
        )
    })
}

fn odd_roles(config: &Config, commands: &[CommandFacts]) -> Vec<String> {
    let mut used: BTreeSet<&str> = WELL_KNOWN_ROLES.into_iter().collect();
    used.extend(commands.iter().flat_map(|c| &c.roles).map(RoleName::as_str));
    used.extend(commands.iter().filter_map(|c| c.approval.as_ref()).map(|a| a.from.as_str()));
    used.extend(config.approvals.values().filter_map(|r| r.from.as_ref()).map(RoleName::as_str));
    let held: BTreeSet<&RoleName> = config.people.iter().flat_map(|p| &p.person.roles).collect();
    held.into_iter()
        .filter(|role| !used.contains(role.as_str()))
        .map(|role| {
            let near = nearest(role.as_str(), used.iter().copied());
            let near = near.map(|n| format!("; is {n} meant?")).unwrap_or_default();
            format!("the role {role} allows nothing: no command asks for it{near}")
        })
        .collect()
}

fn odd_people(config: &Config) -> Vec<String> {
    let mut odd = Vec::new();
    if config.people.is_empty() {
        odd.push("there is no [[person]]: everybody may look, nobody may act".to_owned());
    }
    for person in config.people.iter().map(|p| &p.person) {
        if person.accounts.is_empty() {
            odd.push(format!("{} has no accounts and can speak nowhere; add accounts = {{ … }}", person.id));
        }
        if person.accounts.iter().any(|(surface, id)| *surface == Surface::Console && id == "uid:0") {
            odd.push(format!(
                "uid:0 is linked to {}: whoever is root on this host speaks as {} on the console",
                person.id, person.id
            ));
        }
    }
    odd
}

fn odd_stacks(config: &Config) -> Vec<String> {
    let mut odd = Vec::new();
    for stack in &config.stacks {
        for (name, pin) in stack.pins() {
            let others: Vec<&str> =
                stack.shares_pin(name).into_iter().filter(|o| *o > name).map(|o| o.as_str()).collect();
            if !others.is_empty() {
                odd.push(format!(
                    "{name} and {} of {} have the same pin {} in {}: rolling one back changes what the next `up` does \
                     to the other",
                    others.join(" and "),
                    stack.name,
                    pin.key,
                    pin.file
                ));
            }
        }
    }
    odd
}
