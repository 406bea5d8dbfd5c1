//! One line of the log as bytes: a head of fixed width, then the event's own bytes (durability section 4).
//!
//! Must never: parse JSON or re-serialise. A verifier cuts the event out by offset, so what is hashed is
//! what stands in the file, whatever wrote it.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Hash;

/// Longest line that is written or read, newline included. Keeps every reader's memory bounded; the largest
/// real record, a plan of a big stack, is some tens of kilobytes.
pub const LINE_MAX: usize = 1024 * 1024;

/// Digits of `seq`.
const SEQ_DIGITS: usize = 12;
const SEQ_AT: usize = OPEN.len();
const PREV_AT: usize = SEQ_AT + SEQ_DIGITS + TO_PREV.len();
const HASH_AT: usize = PREV_AT + 64 + TO_HASH.len();
const EVENT_AT: usize = HASH_AT + 64 + TO_EVENT.len();

const OPEN: &str = "{\"seq\":\"";
const TO_PREV: &str = "\",\"prev\":\"";
const TO_HASH: &str = "\",\"hash\":\"";
const TO_EVENT: &str = "\",\"event\":";
const CLOSE: &str = "}";

/// Separates these hashes from every other use of SHA-256 (decision 5).
const DOMAIN: &[u8] = b"sternway-log-v1\0";

impl Hash {
    /// What stands before the first record of a log or of a subject.
    pub const ZERO: Hash = Hash([0; 32]);

    /// Reads 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Hash> {
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let mut out = [0; 32];
        (text.len() == 64 && text.bytes().all(lower) && hex::decode_to_slice(text, &mut out).is_ok())
            .then_some(Hash(out))
    }
}

/// A log's id: keeps the lines of two installations apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl LogId {
    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<LogId> {
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let mut out = [0; 16];
        (text.len() == 32 && text.bytes().all(lower) && hex::decode_to_slice(text, &mut out).is_ok())
            .then_some(LogId(out))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A line cut into its parts; nothing about it is proven yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Position in the log.
    pub seq: u64,
    /// Hash of the line before.
    pub prev: Hash,
    /// Hash that the line claims for itself.
    pub hash: Hash,
    /// The event's bytes as they stand in the line.
    pub event: &'a [u8],
}

impl<'a> Line<'a> {
    /// Cuts a line (without its newline) by the fixed widths of its head; `None` when it is no such line.
    pub fn cut(bytes: &'a [u8]) -> Option<Line<'a>> {
        let fixed = |at: usize, text: &str| bytes.get(at..at + text.len()) == Some(text.as_bytes());
        let frame = fixed(0, OPEN)
            && fixed(SEQ_AT + SEQ_DIGITS, TO_PREV)
            && fixed(PREV_AT + 64, TO_HASH)
            && fixed(HASH_AT + 64, TO_EVENT)
            && bytes.len() > EVENT_AT + CLOSE.len()
            && bytes.ends_with(CLOSE.as_bytes());
        if !frame {
            return None;
        }
        let digits = text(bytes, SEQ_AT, SEQ_DIGITS)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Line {
            seq: digits.parse().ok()?,
            prev: Hash::parse(text(bytes, PREV_AT, 64)?)?,
            hash: Hash::parse(text(bytes, HASH_AT, 64)?)?,
            event: &bytes[EVENT_AT..bytes.len() - CLOSE.len()],
        })
    }

    /// The hash that this line must have in that log.
    pub fn proper_hash(&self, log: LogId) -> Hash {
        hash(log, self.seq, self.prev, self.event)
    }
}

fn text(bytes: &[u8], at: usize, len: usize) -> Option<&str> {
    std::str::from_utf8(bytes.get(at..at + len)?).ok()
}

/// SHA-256 over domain, log id, position (big-endian), previous hash and event bytes.
pub fn hash(log: LogId, seq: u64, prev: Hash, event: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update(log.0);
    hasher.update(seq.to_be_bytes());
    hasher.update(prev.0);
    hasher.update(event);
    Hash(hasher.finalize().into())
}

/// Appends the line with its newline to `out` and returns its hash.
pub fn write(out: &mut Vec<u8>, log: LogId, seq: u64, prev: Hash, event: &str) -> Hash {
    let hash = hash(log, seq, prev, event.as_bytes());
    let head = format!("{OPEN}{seq:0SEQ_DIGITS$}{TO_PREV}{prev}{TO_HASH}{hash}{TO_EVENT}");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(CLOSE.as_bytes());
    out.push(b'\n');
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId([7; 16]);

    #[test]
    fn a_line_is_cut_as_it_was_written() {
        let mut out = Vec::new();
        let hash = write(&mut out, LOG, 42, Hash([1; 32]), "{\"v\":1}");
        let text = String::from_utf8(out.clone()).unwrap();
        assert_eq!(
            text,
            format!(
                "{{\"seq\":\"000000000042\",\"prev\":\"{}\",\"hash\":\"{hash}\",\"event\":{{\"v\":1}}}}\n",
                "01".repeat(32)
            )
        );
        let line = Line::cut(&out[..out.len() - 1]).expect("it is a line");
        assert_eq!((line.seq, line.prev, line.hash, line.event), (42, Hash([1; 32]), hash, &b"{\"v\":1}"[..]));
        assert_eq!(line.proper_hash(LOG), hash);
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        // Computed with coreutils: printf 'sternway-log-v1\0' + 16×07 + 8-byte 42 + 32×01 + event | sha256sum
        let mut bytes = b"sternway-log-v1\0".to_vec();
        bytes.extend([7; 16]);
        bytes.extend(42u64.to_be_bytes());
        bytes.extend([1; 32]);
        bytes.extend(b"{\"v\":1}");
        assert_eq!(hash(LOG, 42, Hash([1; 32]), b"{\"v\":1}").0, <[u8; 32]>::from(Sha256::digest(&bytes)));
    }

    #[test]
    fn every_part_is_covered_by_the_hash() {
        let base = hash(LOG, 1, Hash::ZERO, b"{}");
        assert_ne!(base, hash(LogId([8; 16]), 1, Hash::ZERO, b"{}"), "log id");
        assert_ne!(base, hash(LOG, 2, Hash::ZERO, b"{}"), "position");
        assert_ne!(base, hash(LOG, 1, Hash([1; 32]), b"{}"), "previous hash");
        assert_ne!(base, hash(LOG, 1, Hash::ZERO, b"{ }"), "event");
    }

    #[test]
    fn what_is_not_exactly_a_line_is_not_cut() {
        let mut out = Vec::new();
        write(&mut out, LOG, 42, Hash::ZERO, "{}");
        out.pop();
        for at in 0..EVENT_AT {
            let mut bad = out.clone();
            bad[at] = b'X';
            assert!(Line::cut(&bad).is_none(), "byte {at} of the head was changed");
        }
        // One byte less still ends in a brace, that of the event; its hash tells.
        for len in 0..out.len() - 1 {
            assert!(Line::cut(&out[..len]).is_none(), "only {len} bytes");
        }
    }
}
