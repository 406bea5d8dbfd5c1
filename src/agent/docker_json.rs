//! What an engine sends as JSON, taken into memory within limits: the engine is trusted with containers, not with this
//! process's memory, and anything between it and us may answer in its place.
//!
//! A tree of values takes many times the room of its text (an object of one member: seven bytes, six hundred in memory), so
//! the members are counted before anything is built. Nesting ends at serde_json's own limit of 128.

use serde_json::Value;

use super::engine::EngineError;

/// Objects in one answer; a list of five thousand images has ten thousand.
const OBJECTS_MAX: usize = 200_000;

/// Values in one answer; such a list has a hundred thousand.
const VALUES_MAX: usize = 2_000_000;

/// Longest line of a stream, in bytes. A pull's have a few hundred; an event carries every label of its container.
pub(super) const LINE_MAX: usize = 1024 * 1024;

/// A whole answer.
pub(super) fn json(body: &[u8]) -> Result<Value, EngineError> {
    let (mut objects, mut values) = (0, 1);
    let (mut quoted, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => objects += 1,
            b',' | b'[' if !quoted => values += 1,
            _ => {}
        }
    }
    if objects > OBJECTS_MAX || values > VALUES_MAX {
        let what = format!("what it sent has more than {OBJECTS_MAX} objects or {VALUES_MAX} values");
        return Err(EngineError::NoAnswer(what));
    }
    serde_json::from_slice(body).map_err(|e| EngineError::NoAnswer(format!("what it sent is not JSON ({e})")))
}

/// Values that come one to a line, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    rest: Vec<u8>,
}

impl JsonLines {
    /// The values that end in this piece. A line that is no JSON is none; one that is too long ends the stream.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> Result<Vec<Value>, EngineError> {
        let mut found = Vec::new();
        while let Some(end) = piece.iter().position(|b| *b == b'\n') {
            self.add(&piece[..end])?;
            found.extend(self.end());
            piece = &piece[end + 1..];
        }
        self.add(piece)?;
        Ok(found)
    }

    /// The value of the line that is not ended, if it is one.
    pub(super) fn end(&mut self) -> Option<Value> {
        json(&std::mem::take(&mut self.rest)).ok()
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), EngineError> {
        if self.rest.len() + piece.len() > LINE_MAX {
            return Err(EngineError::NoAnswer(format!("a line of more than {LINE_MAX} bytes came")));
        }
        self.rest.extend_from_slice(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_would_fill_the_memory_is_refused_before_it_is_built() {
        let many = |one: &str, times: usize| format!("[{}{one}]", format!("{one},").repeat(times));
        for (refused, text) in [
            (false, many("{\"\":0}", 1_000)),
            (true, many("{\"\":0}", OBJECTS_MAX)),
            (true, many("0", VALUES_MAX)),
            (true, many("[]", VALUES_MAX)),
            (false, format!("\"{}\"", "{,[\\\"".repeat(OBJECTS_MAX))),
            (true, "[".repeat(100_000)),
        ] {
            assert_eq!(json(text.as_bytes()).is_err(), refused, "{text:.40}");
        }
    }

    #[test]
    fn lines_come_in_any_pieces_and_one_without_end_is_not_taken_into_memory() {
        let text = b"{\"a\":1}\r\n\nnonsense\n{\"b\":2}\n{\"c\":3}";
        for size in 1..text.len() {
            let mut lines = JsonLines::default();
            let mut found: Vec<Value> = text.chunks(size).flat_map(|piece| lines.take(piece).unwrap()).collect();
            found.extend(lines.end());
            assert_eq!(found.len(), 3, "in pieces of {size}: {found:?}");
        }
        let mut lines = JsonLines::default();
        lines.take(&vec![b'x'; LINE_MAX]).unwrap();
        assert!(lines.take(b"x").is_err());
        assert!(lines.rest.len() <= LINE_MAX);
    }
}
