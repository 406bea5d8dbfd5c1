//! `[approvals."rollback image"]`: who must agree to what. May ask for more than a command's own file (decision 14).

use std::collections::BTreeMap;
use std::time::Duration;

use super::channels::CommandName;
use super::duration;
use super::reader::{FromToml, Node, Section};
use super::sternway::word;
use crate::domain::names::RoleName;

/// Fewest approvers that can be asked for: fewer would be no approval. The one exception from asking at all is
/// [`Waive::ProvenRelease`].
pub const APPROVERS_MIN: u32 = 1;

/// Most approvers that can be asked for.
const APPROVERS_MAX: u32 = 10;

/// How long a question stands that only the config asks, unless it says otherwise.
pub const EXPIRES_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// When nobody needs to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Waive {
    /// When the way leads to a recorded release that was proven healthy.
    ProvenRelease,
    /// Somebody is always asked.
    Never,
}

impl Waive {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Waive::ProvenRelease => "proven_release",
            Waive::Never => "never",
        }
    }
}

/// What the config says about one command; what it does not say stays as the command's file has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApprovalRule {
    /// Distinct persons, the requester never counted.
    pub count: Option<u32>,
    /// The role that may agree.
    pub from: Option<RoleName>,
    /// When nobody needs to be asked.
    pub waive: Option<Waive>,
    /// How long the question stands.
    pub expires: Option<Duration>,
}

/// Who must agree to one command, all said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalNeeds {
    /// Distinct persons, the requester never counted.
    pub count: u32,
    /// The role that may agree.
    pub from: RoleName,
    /// When nobody needs to be asked.
    pub waive: Waive,
    /// How long the question stands.
    pub expires: Duration,
}

impl ApprovalRule {
    /// What the command's file asks for and this rule on top: never fewer persons and never a waiver that the file
    /// does not give. Role and time are the config's if it names them.
    #[must_use]
    pub fn over(&self, file: ApprovalNeeds) -> ApprovalNeeds {
        ApprovalNeeds {
            count: self.count.unwrap_or(0).max(file.count),
            from: self.from.clone().unwrap_or(file.from),
            waive: self.waive.unwrap_or(file.waive).max(file.waive),
            expires: self.expires.unwrap_or(file.expires),
        }
    }

    /// What this rule alone asks for, when the command's file asks for nobody. `None` when it does not say who.
    #[must_use]
    pub fn alone(&self) -> Option<ApprovalNeeds> {
        Some(ApprovalNeeds {
            count: self.count.unwrap_or(APPROVERS_MIN),
            from: self.from.clone()?,
            waive: self.waive.unwrap_or(Waive::Never),
            expires: self.expires.unwrap_or(EXPIRES_DEFAULT),
        })
    }

    /// Sentences on where this rule asks for less than the command's file: it would have no effect.
    pub(crate) fn less_than(&self, file: &ApprovalNeeds) -> Vec<String> {
        let mut less = Vec::new();
        if let Some(count) = self.count.filter(|c| *c < file.count) {
            less.push(format!("count = {count} is less than the {} that the command's own file asks for", file.count));
        }
        if let Some(waive) = self.waive.filter(|w| *w < file.waive) {
            less.push(format!(
                "waive = \"{}\" is less than the command's own file asks for: someone is always asked",
                waive.as_str()
            ));
        }
        less
    }
}

impl FromToml for Waive {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        word(&node, &[(Waive::Never.as_str(), Waive::Never), (Waive::ProvenRelease.as_str(), Waive::ProvenRelease)])
    }
}

/// Reads `[approvals]`; `mention` is told of every command that is named, and where.
pub(crate) fn read<'a>(
    section: Section<'a>,
    mention: &mut dyn FnMut(&CommandName, &super::reader::Entry<'a>),
) -> BTreeMap<CommandName, ApprovalRule> {
    let mut rules = BTreeMap::new();
    for entry in section.entries() {
        let command = match CommandName::parse(entry.key) {
            Ok(command) => command,
            Err(why) => {
                section.source.refuse(entry.key_span, &entry.node.path, why, None);
                continue;
            }
        };
        let Some(mut table) = entry.node.section("a table") else { continue };
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
        let count_node = table.node("count");
        let mut count = table.optional::<u32>("count");
        if let (Some(n), Some(node)) = (count, count_node)
            && !(APPROVERS_MIN..=APPROVERS_MAX).contains(&n)
        {
            let hint = "what changes the world wants one approver at least; \
                        to roll back to proven releases without, write waive = \"proven_release\""
                .to_owned();
            count = node.refuse(format!("`count` is from {APPROVERS_MIN} to {APPROVERS_MAX}, not {n}"), hint);
        }
        let rule = ApprovalRule {
            count,
            from: table.optional("from"),
            waive: table.optional("waive"),
            expires: table.bounded_option("expires", minute..=day, duration::show),
        };
        table.finish();
        mention(&command, &entry);
        rules.insert(command, rule);
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(count: u32, waive: Waive) -> ApprovalNeeds {
        ApprovalNeeds { count, from: RoleName::parse("approver").unwrap(), waive, expires: Duration::from_secs(900) }
    }

    #[test]
    fn a_rule_can_only_ask_for_more_than_the_commands_file() {
        let strict = ApprovalRule { count: Some(2), waive: Some(Waive::Never), ..ApprovalRule::default() };
        assert_eq!(strict.over(needs(1, Waive::ProvenRelease)), needs(2, Waive::Never));
        assert!(strict.less_than(&needs(1, Waive::ProvenRelease)).is_empty());

        let lax = ApprovalRule { count: Some(1), waive: Some(Waive::ProvenRelease), ..ApprovalRule::default() };
        assert_eq!(lax.over(needs(2, Waive::Never)), needs(2, Waive::Never));
        assert_eq!(lax.less_than(&needs(2, Waive::Never)).len(), 2);
    }

    #[test]
    fn what_a_rule_does_not_say_stays_as_the_file_has_it() {
        for waive in [Waive::Never, Waive::ProvenRelease] {
            assert_eq!(ApprovalRule::default().over(needs(3, waive)), needs(3, waive));
        }
    }
}
