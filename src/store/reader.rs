//! Lines out of segment files, one at a time, with the place where each stands. Constant memory.
//!
//! Must never: judge a line (that is `chain`), or read past [`LINE_MAX`] into memory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::{LINE_MAX, Line};
use crate::plain_file;

/// A file of lines, named by the position of its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Position of its first record.
    pub(crate) first: u64,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// File name of the segment that begins at `first`.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:012}.log")
}

/// The segment files in a folder, oldest first. Files with other names are none of ours.
pub(crate) fn segments_in(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".log"));
        let Some(digits) = name.filter(|n| n.len() == 12 && n.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        if let Ok(first) = digits.parse() {
            found.push(Segment { first, path });
        }
    }
    found.sort_by_key(|s| s.first);
    Ok(found)
}

/// One line as it stands in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// Without the newline.
    pub(crate) bytes: &'a [u8],
    /// Counted from 1.
    pub(crate) number: u64,
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// Whether a newline ends it.
    pub(crate) ended: bool,
}

impl Raw<'_> {
    /// Whether this can be what a crash leaves of a write, if nothing stands after it: no newline, or zeros
    /// where the file system had made room but not yet written.
    pub(crate) fn may_be_torn(&self) -> bool {
        !self.ended || self.bytes.contains(&0)
    }
}

/// Reads one file line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    file: BufReader<File>,
    buffer: Vec<u8>,
    number: u64,
    offset: u64,
}

impl Lines {
    /// From the first line on.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::open_at(path, 0)
    }

    /// From the line that begins at `offset`; line numbers then count from there.
    pub(crate) fn open_at(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = plain_file::open(path)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        Ok(Self { file: BufReader::with_capacity(64 * 1024, file), buffer: Vec::new(), number: 0, offset })
    }

    /// The next line, or `None` at the end of the file. A line longer than [`LINE_MAX`] is given as what
    /// fits of it, not ended: it is no record of ours.
    pub(crate) fn next(&mut self) -> io::Result<Option<Raw<'_>>> {
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        (&mut self.file).take(LINE_MAX as u64).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let ended = self.buffer.last() == Some(&b'\n');
        let bytes = if ended { &self.buffer[..self.buffer.len() - 1] } else { &self.buffer[..] };
        Ok(Some(Raw { bytes, number: self.number, offset: self.offset, ended }))
    }

    /// Whether nothing stands after the line given last.
    pub(crate) fn at_end(&mut self) -> io::Result<bool> {
        Ok(self.file.fill_buf()?.is_empty())
    }
}

/// Calls `with` for the last line of a closed segment, cut into parts, without reading the rest of the file.
pub(crate) fn last_line<T>(path: &Path, with: impl FnOnce(Line<'_>) -> T) -> io::Result<Option<T>> {
    let mut file = plain_file::open(path)?;
    let length = file.metadata()?.len();
    let back = length.min(LINE_MAX as u64 + 1);
    file.seek(SeekFrom::Start(length - back))?;
    let mut tail = Vec::new();
    file.take(back).read_to_end(&mut tail)?;
    if tail.pop() != Some(b'\n') {
        return Ok(None);
    }
    let begin = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    Ok(Line::cut(&tail[begin..]).map(with))
}
