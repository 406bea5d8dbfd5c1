//! One history in a folder, and what somebody who has its files can do to them. Each harm says which line it has to be
//! named by; each is undone.

use std::fs;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use sternway::domain::event::{Event, Subject};
use sternway::store::Hash;
use sternway::store::checkpoint::Signer;
use sternway::store::line::{Line, write as write_line};
use sternway::store::merkle::Tree;
use sternway::store::record::{decode, encode};

use super::history::Written;

/// Small, seeded, good enough to choose places.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }
}

/// What is done to the files of a log by somebody without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// One byte of a line is another.
    Byte,
    /// A line is gone.
    Removed,
    /// Two lines of a file have changed places.
    Swapped,
    /// A line from elsewhere is put in.
    Inserted,
    /// A line stands twice.
    Repeated,
    /// A made-up line with a right hash of its own is put in after a line that it names.
    Forged,
    /// A file that is not the last ends in the middle of a line.
    CutInside,
    /// A file that is not the last ends early, at the end of a line.
    CutBetween,
    /// A file that is not the last is gone.
    FileGone,
    /// A line is another and everything after it is chained anew, in every file.
    Rechained,
    /// The same, and the checkpoints after it are signed with another key.
    Resigned,
}

pub const HARMS: [Harm; 11] = [
    Harm::Byte,
    Harm::Removed,
    Harm::Swapped,
    Harm::Inserted,
    Harm::Repeated,
    Harm::Forged,
    Harm::CutInside,
    Harm::CutBetween,
    Harm::FileGone,
    Harm::Rechained,
    Harm::Resigned,
];

/// Where a harm has to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub file: PathBuf,
    pub line: u64,
}

/// The segment files of a log.
pub struct Files {
    pub written: Written,
    paths: Vec<PathBuf>,
    folder: PathBuf,
    /// What was changed, and where it lies as it was.
    before: Vec<(PathBuf, PathBuf)>,
}

impl Files {
    pub fn of(folder: &Path, written: Written) -> Self {
        let entries = fs::read_dir(folder.join("log")).expect("a log");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
        paths.sort();
        assert!(paths.len() > 2, "there have to be files in the middle: {paths:?}");
        Self { written, paths, folder: folder.to_owned(), before: Vec::new() }
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Puts back what was changed.
    pub fn restore(&mut self) {
        for (path, aside) in self.before.drain(..) {
            fs::rename(aside, path).expect("put back");
        }
    }

    fn put(&mut self, file: usize, lines: &[Vec<u8>]) {
        self.put_bytes(file, &lines.concat());
    }

    pub fn put_bytes(&mut self, file: usize, bytes: &[u8]) {
        self.take_away(file);
        fs::write(&self.paths[file], bytes).expect("written");
    }

    /// A closed segment can only be read; whoever has the folder puts another in its place.
    pub fn take_away(&mut self, file: usize) {
        let aside = self.folder.join(format!("aside-{}", self.before.len()));
        fs::rename(&self.paths[file], &aside).expect("taken away");
        self.before.push((self.paths[file].clone(), aside));
    }

    /// Lines of a file, each with its newline.
    fn lines(&self, file: usize) -> Vec<Vec<u8>> {
        let bytes = fs::read(&self.paths[file]).expect("there");
        bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    }

    /// The line after `index` lines of a file: there, or at the beginning of the next.
    fn named(&self, file: usize, index: usize, lines: usize) -> Named {
        match index < lines {
            true => Named { file: self.paths[file].clone(), line: index as u64 + 1 },
            false => Named { file: self.paths[file + 1].clone(), line: 1 },
        }
    }

    /// Does it at a place that the dice choose, and says where it has to be noticed.
    pub fn harm(&mut self, harm: Harm, dice: &mut Dice) -> Named {
        // The end of the last file is another matter: a write may be going on there, and what is cut there is gone.
        let last = self.paths.len() - 1;
        let file = match harm {
            Harm::CutInside | Harm::CutBetween | Harm::FileGone => dice.below(last),
            _ => dice.below(last + 1),
        };
        let mut lines = self.lines(file);
        let count = lines.len();
        let spare = usize::from(file == last);
        let at = dice.below(count - spare - 1);
        match harm {
            Harm::Byte => {
                let byte = dice.below(lines[at].len());
                lines[at][byte] = lines[at][byte].wrapping_add(1 + u8::try_from(dice.below(255)).expect("a byte"));
                self.put(file, &lines);
                self.named(file, at, count)
            }
            Harm::Removed => {
                lines.remove(at);
                self.put(file, &lines);
                self.named(file, at, lines.len())
            }
            Harm::Swapped => {
                let other = at + 1 + dice.below(count - at - 1);
                lines.swap(at, other);
                self.put(file, &lines);
                self.named(file, at, count)
            }
            Harm::Inserted => {
                let from = dice.below(self.paths.len());
                let foreign = self.lines(from);
                let mut nth = dice.below(foreign.len());
                if from == file && nth == at {
                    nth = (nth + 1) % foreign.len();
                }
                lines.insert(at, foreign[nth].clone());
                self.put(file, &lines);
                self.named(file, at, count + 1)
            }
            Harm::Repeated => {
                lines.insert(at, lines[at].clone());
                self.put(file, &lines);
                self.named(file, at + 1, count + 1)
            }
            Harm::Forged => {
                let before = Line::cut(lines[at].strip_suffix(b"\n").expect("a newline")).expect("a line");
                let event = encode(&{
                    let mut wire = decode(before.event).expect("a record");
                    (wire.subject, wire.prev_of, wire.body) = (None, None, Event::Stopped);
                    wire
                });
                let mut forged = Vec::new();
                write_line(&mut forged, self.written.log, before.seq + 1, before.hash, &event.expect("canonical"));
                lines.insert(at + 1, forged);
                self.put(file, &lines);
                self.named(file, at + 2, count + 1)
            }
            Harm::CutInside => {
                let kept = 1 + dice.below(lines[at].len() - 1);
                lines[at].truncate(kept);
                lines.truncate(at + 1);
                self.put(file, &lines);
                self.named(file, at, count)
            }
            Harm::CutBetween => {
                lines.truncate(at + 1);
                self.put(file, &lines);
                self.named(file, at + 1, at + 1)
            }
            Harm::FileGone => {
                self.take_away(file);
                Named { file: self.paths[file + 1].clone(), line: 1 }
            }
            Harm::Rechained => self.rechain(file, at, None),
            Harm::Resigned => self.rechain(file, at, Some(SigningKey::from_bytes(&[0x66; 32]))),
        }
    }

    /// Changes the first record from there on that a careful forger would: one that is not a checkpoint, before the last
    /// checkpoint. Chains everything after it anew, the subjects' own chains too, and signs the checkpoints with `key`.
    /// Says where the first checkpoint after it stands, which cannot be right.
    pub fn rechain(&mut self, file: usize, at: usize, key: Option<SigningKey>) -> Named {
        let mut tree = Tree::default();
        for path in &self.paths[..file] {
            for line in fs::read(path).expect("there").split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                tree.push(&Line::cut(line).expect("a line").hash.0);
            }
        }
        let signer = key.map(|key| Signer::new(self.written.log, key));
        let mut heads: std::collections::HashMap<Subject, (Hash, Hash)> = std::collections::HashMap::new();
        let mut prev: Option<Hash> = None;
        let mut named = None;
        for nth in file..self.paths.len() {
            let mut out = Vec::new();
            for (index, bytes) in self.lines(nth).iter().enumerate() {
                let line = Line::cut(bytes.strip_suffix(b"\n").expect("a newline")).expect("a line");
                if nth == file && index < at {
                    out.extend_from_slice(bytes);
                    tree.push(&line.hash.0);
                    continue;
                }
                let mut wire = decode(line.event).expect("a record");
                let is_checkpoint = matches!(wire.body, Event::Checkpoint { .. });
                if prev.is_none() && !is_checkpoint && line.seq > 0 {
                    wire.at = wire.at.checked_add(jiff::SignedDuration::from_secs(1)).expect("a time");
                    prev = Some(line.prev);
                }
                let Some(before) = prev else {
                    out.extend_from_slice(bytes);
                    tree.push(&line.hash.0);
                    continue;
                };
                if let (Some(signer), Event::Checkpoint { note, .. }) = (&signer, &mut wire.body) {
                    *note = signer.sign(&tree).expect("a name");
                }
                if let (Some(subject), Some(prev_of)) = (&wire.subject, &mut wire.prev_of)
                    && let Some((old, new)) = heads.get(subject)
                    && *prev_of == old.to_string()
                {
                    *prev_of = new.to_string();
                }
                let hash = write_line(&mut out, self.written.log, line.seq, before, &encode(&wire).expect("canonical"));
                if let Some(subject) = wire.subject {
                    heads.insert(subject, (line.hash, hash));
                }
                tree.push(&hash.0);
                prev = Some(hash);
                if is_checkpoint && named.is_none() {
                    named = Some(Named { file: self.paths[nth].clone(), line: index as u64 + 1 });
                }
            }
            self.put_bytes(nth, &out);
        }
        named.expect("a history ends with a checkpoint")
    }
}
