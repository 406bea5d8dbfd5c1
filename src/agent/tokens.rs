//! The door: which message may still act (durability R3).
//!
//! The highest token of each target is on disk before its message acts. What is lower is refused. The very
//! same message again, before it came to an end, may go on: nothing newer can be undone by it, and desired
//! state makes twice once. After it came to a certain end it only looks: its moment is over, whatever
//! happened since. A different message under the same token is refused: a coordinator counts.

use serde::{Deserialize, Serialize};

use super::folder::{Folder, FolderError, Room};
use super::{ActError, Order};
use crate::domain::canonical;
use crate::domain::event::Token;
use crate::domain::names::Target;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// To make it so.
    Act,
    /// To look, after ending what was left unfinished.
    Observe,
}

/// What the door says to a message that is not too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// Never seen, or seen and not ended: it may act.
    Act,
    /// It had its certain end before: it may only look.
    LookOnly,
}

/// The newest message of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    token: Token,
    /// Hash of manner, run, project and action.
    message: String,
    ended: bool,
}

/// Lets a message in, durably, or says that it is too late. The caller holds the target's mutex.
///
/// # Errors
/// [`ActError::Stale`] when a newer one, or another of the same token, was seen; [`ActError::Refused`] when the
/// folder does not let it be stored: what cannot be remembered may not act.
pub fn admit(folder: &Folder, order: &Order, manner: Manner) -> Result<Admitted, ActError> {
    let name = file_name(&order.target);
    let message = hash(order, manner)?;
    let seen: Option<Newest> = folder.read(Room::Tokens, &name).map_err(refused)?;
    match seen {
        Some(seen) if order.token < seen.token => Err(ActError::Stale(seen.token)),
        Some(seen) if order.token == seen.token && seen.message != message => Err(ActError::Stale(seen.token)),
        Some(seen) if order.token == seen.token && seen.ended => Ok(Admitted::LookOnly),
        Some(seen) if order.token == seen.token => Ok(Admitted::Act),
        _ => {
            let newest = Newest { token: order.token, message, ended: false };
            folder.write(Room::Tokens, &name, &newest).map_err(refused)?;
            Ok(Admitted::Act)
        }
    }
}

/// Notes that the newest message came to a certain end.
///
/// # Errors
/// When it cannot be written; the message's own result stands all the same.
pub fn ended(folder: &Folder, order: &Order, manner: Manner) -> Result<(), ActError> {
    let newest = Newest { token: order.token, message: hash(order, manner)?, ended: true };
    folder.write(Room::Tokens, &file_name(&order.target), &newest).map_err(refused)
}

fn refused(error: FolderError) -> ActError {
    ActError::Refused(error.to_string())
}

/// Names hold letters, digits, `-`, `_` and `.` only, so `~` keeps them apart.
fn file_name(target: &Target) -> String {
    format!("{}~{}", target.stack, target.host)
}

fn hash(order: &Order, manner: Manner) -> Result<String, ActError> {
    canonical::sha256("sternway-order-v1", &(manner, order.run, &order.project, &order.action))
        .map_err(|e| ActError::Refused(format!("the order has no canonical form: {e}; nothing was done")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Position, RunId};
    use crate::domain::names::{HostName, ProjectName, ServiceName, StackName};
    use crate::domain::plan::StepAction;

    fn order(claim: u64, n: u64, service: &str) -> Order {
        Order {
            token: Token { epoch: 0, claim: Position(claim), n },
            target: Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("h").unwrap() },
            project: ProjectName::parse("shop").unwrap(),
            run: RunId(Position(claim)),
            action: StepAction::DumpDatabase { service: ServiceName::parse(service).unwrap() },
        }
    }

    #[test]
    fn a_lower_token_is_stale_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        admit(&folder, &order(5, 3, "a"), Manner::Act).unwrap();
        drop(folder);
        let folder = Folder::open(dir.path()).unwrap();
        for late in [order(5, 2, "a"), order(4, 9, "a")] {
            let newest = Token { epoch: 0, claim: Position(5), n: 3 };
            assert_eq!(admit(&folder, &late, Manner::Act), Err(ActError::Stale(newest)));
        }
        assert_eq!(admit(&folder, &order(6, 1, "a"), Manner::Act), Ok(Admitted::Act));
    }

    #[test]
    fn looking_closes_the_door_to_an_act_of_the_same_token() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        admit(&folder, &order(5, 3, "a"), Manner::Observe).unwrap();
        assert!(matches!(admit(&folder, &order(5, 3, "a"), Manner::Act), Err(ActError::Stale(_))));
        assert!(matches!(admit(&folder, &order(5, 3, "b"), Manner::Observe), Err(ActError::Stale(_))));
    }

    #[test]
    fn the_same_message_goes_on_until_its_end_and_then_only_looks() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let message = order(5, 3, "a");
        assert_eq!(admit(&folder, &message, Manner::Act), Ok(Admitted::Act));
        assert_eq!(admit(&folder, &message, Manner::Act), Ok(Admitted::Act));
        ended(&folder, &message, Manner::Act).unwrap();
        assert_eq!(admit(&folder, &message, Manner::Act), Ok(Admitted::LookOnly));
    }

    #[test]
    fn a_damaged_token_file_lets_nothing_in() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        std::fs::write(folder.path(Room::Tokens, "shop~h"), b"{").unwrap();
        let Err(ActError::Refused(why)) = admit(&folder, &order(9, 9, "a"), Manner::Act) else {
            panic!("a damaged file must refuse")
        };
        assert!(why.contains("tokens/shop~h.json"), "{why}");
    }
}
