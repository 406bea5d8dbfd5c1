//! `[[person]]`: who people are, by accounts that a platform or the kernel vouches for (decision 2).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::tz::TimeZone;

use super::reader::Section;
use crate::domain::actor::{Person, Surface};
use crate::domain::names::RoleName;

/// A role that Sternway's own commands use: may roll back.
pub const ON_CALL: &str = "on-call";
/// A role that Sternway's own commands use: may agree to what others ask for.
pub const APPROVER: &str = "approver";
/// A role that Sternway's own commands use: may lead a stuck run out and export the record.
pub const ADMIN: &str = "admin";
/// The roles that Sternway's own commands use. A team may invent others.
pub const WELL_KNOWN_ROLES: [&str; 3] = [ON_CALL, APPROVER, ADMIN];

/// A person and what the config says about them beside their rights.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonConfig {
    /// Who they are and what they may do.
    pub person: Person,
    /// Zone in which they say `@02:10`, if another than the default.
    pub zone: Option<TimeZone>,
}

/// Reads every `[[person]]`; refuses an id or an account that stands twice.
pub(crate) fn read(sections: Vec<Section<'_>>) -> Vec<PersonConfig> {
    let mut people: Vec<PersonConfig> = Vec::new();
    let mut owners: BTreeMap<(Surface, String), String> = BTreeMap::new();
    for mut section in sections {
        let id_node = section.node("id");
        let id = section.required("id", "\"layla\"");
        let roles: Vec<RoleName> = section.optional("roles").unwrap_or_default();
        let zone = section.optional("zone");
        let mut accounts = Vec::new();
        if let Some(table) = section.node("accounts").and_then(|n| n.section("a table of accounts")) {
            read_accounts(table, |surface, account, refuse| {
                let owner = id.as_ref().map_or_else(|| "somebody else".to_owned(), ToString::to_string);
                let key = (surface, account.to_owned());
                match owners.get(&key) {
                    Some(first) if *first == owner => refuse("this account stands here twice".to_owned()),
                    Some(first) => {
                        refuse(format!("this account is linked to {first} already: one account, one person"))
                    }
                    None => {
                        owners.insert(key.clone(), owner);
                        accounts.push(key);
                    }
                }
            });
        }
        section.finish();
        let Some(id) = id else { continue };
        if people.iter().any(|p| p.person.id == id) {
            if let Some(node) = id_node {
                let hint = "list all accounts of a person in one [[person]]".to_owned();
                node.note(format!("{id} is there already"), hint);
            }
            continue;
        }
        let roles: BTreeSet<RoleName> = roles.into_iter().collect();
        people.push(PersonConfig { person: Person { id, roles, accounts }, zone });
    }
    people
}

type Refuse<'r> = &'r dyn Fn(String);

fn read_accounts(mut section: Section<'_>, mut take: impl FnMut(Surface, &str, Refuse<'_>)) {
    for surface in [Surface::Console, Surface::Slack, Surface::Discord, Surface::Web] {
        let Some(node) = section.node(surface.as_str()) else { continue };
        for item in node.items("a list of accounts, such as [\"…\"]").unwrap_or_default() {
            let span: Range<usize> = item.value.span();
            let Some(text) = item.text("an account's id as a text") else { continue };
            match check_account(surface, text) {
                Ok(()) => take(surface, text, &|why| item.source.refuse(span.clone(), &item.path, why, None)),
                Err(hint) => {
                    let message = format!("“{text}” is no {} account", surface.as_str());
                    item.note(message, hint);
                }
            }
        }
    }
    section.finish();
}

/// Whether a text can be an account's id; else how to find it out. Ids come from the platform, names can be taken
/// by anyone.
fn check_account(surface: Surface, text: &str) -> Result<(), String> {
    let upper_or_digit = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    match surface {
        Surface::Console => {
            let number = text.strip_prefix("uid:").filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
            match number.and_then(|n| n.parse::<u32>().ok().filter(|uid| uid.to_string() == n)) {
                Some(_) => Ok(()),
                None => Err("write uid:1000; the number is what `id -u` prints for that user".to_owned()),
            }
        }
        Surface::Slack if text.len() >= 3 && text.starts_with(['U', 'W']) && text.chars().all(upper_or_digit) => Ok(()),
        Surface::Slack => Err("use the member id (U…): in Slack open the profile, ⋮, Copy member ID".to_owned()),
        Surface::Discord if (15..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        Surface::Discord => {
            Err("use the user id, all digits: in Discord turn Developer Mode on, right-click, Copy User ID".to_owned())
        }
        Surface::Web if !text.is_empty() && !text.contains(char::is_whitespace) && text.is_ascii() => Ok(()),
        Surface::Web => Err("use the login name as the sign-in gives it".to_owned()),
        Surface::Trigger => Err("a trigger is nobody's account".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_an_id_that_the_platform_gave_never_a_name() {
        let check = |surface, good: &[&str], bad: &[&str]| {
            for text in good {
                assert!(check_account(surface, text).is_ok(), "{text} must be taken");
            }
            for text in bad {
                assert!(check_account(surface, text).is_err(), "{text:?} must be refused");
            }
        };
        check(
            Surface::Console,
            &["uid:0", "uid:1000"],
            &["1000", "uid:", "uid:01", "uid:-1", "uid:+1", "layla", "uid:4294967296"],
        );
        check(Surface::Slack, &["U024BE7LH", "W024BE7LH"], &["@layla", "u024be7lh", "C024BE91L", "U", ""]);
        check(Surface::Discord, &["80351110224678912"], &["layla#1234", "123", "8035111022467891a"]);
        check(Surface::Web, &["layla@example.com"], &["", "a b"]);
        check(Surface::Trigger, &[], &["health"]);
    }
}
