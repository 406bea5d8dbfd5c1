//! When a checkpoint is due, and putting it behind what is about to be written: in the same write, under the same sync.
//!
//! Must never: hold up or refuse what it is about.

use jiff::Timestamp;

use super::admit::Front;
use super::checkpoint::Signer;
use super::projections::Refusal;
use super::{ReadError, Record};

/// Most records without a checkpoint. One more group may come before it.
pub(crate) const EVERY: u64 = 1_000;

/// What came of it.
pub(crate) enum Signing {
    /// This checkpoint stands at the end.
    Signed(Box<Record>),
    /// A checkpoint covers everything already.
    Covered,
    /// Something stands without one, for now.
    Waits,
}

/// Signs when a run with a thread has ended, when [`EVERY`] records stand without, or when `now` says so; never about
/// nothing but a checkpoint.
pub(crate) fn sign_if_due(
    front: &mut Front<'_>,
    signer: &Signer,
    at: Timestamp,
    now: bool,
) -> Result<Signing, ReadError> {
    let signed = front.signed()?;
    let uncovered = signed.uncovered();
    if uncovered == 0 {
        return Ok(Signing::Covered);
    }
    if !now && uncovered < EVERY && signed.ended.is_empty() {
        return Ok(Signing::Waits);
    }
    match front.sign(signer, at) {
        Ok(record) => Ok(Signing::Signed(Box::new(record))),
        Err(Refusal::Index(error)) => Err(error),
        Err(Refusal::Append(error)) => {
            tracing::error!(%error, "no checkpoint could be made; it is tried again");
            Ok(Signing::Waits)
        }
    }
}
