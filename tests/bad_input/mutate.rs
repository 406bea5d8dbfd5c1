//! Small changes to an input, made by dice whose seed repeats them.

use crate::hostile_words::WORDS;

/// Longest input that is made, in bytes; what is larger is the concern of `readers.rs`.
const LONGEST: usize = 32 * 1024;

/// What stands in the grammars that are fed, so that chance finds more than broken text.
const TOKENS: &[&str] = &[
    "/rollback image api",
    " because ",
    " to rel17",
    "@02:10",
    "sha256:",
    "\"",
    "'",
    "`",
    "\\",
    "\\u001b",
    "\\\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "18446744073709551615",
    "1e999",
    "\n",
    "\r\n",
    "=",
    "#",
    "export ",
    "..",
    "/",
    "//",
    "[[stack]]\n",
    "[[sub]]\n",
    "name = ",
    "\"v\":1",
    "HTTP/1.1 200 OK\r\n",
    "content-length: 5\r\n",
    "\r\n\r\n",
    "{\"type\":\"say\",\"id\":1,\"text\":\"",
    "\u{1e}",
    "API_IMAGE=",
];

/// Numbers by chance (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// One of the inputs with a few changes.
pub(crate) fn mutated(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(input.len() + 1);
        let to = (at + dice.below(16)).min(input.len());
        match dice.below(8) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = u8::try_from(dice.below(256)).unwrap_or(0),
            2 => drop(input.drain(at..to)),
            3 => put(&mut input, at, dice.pick(TOKENS).as_bytes()),
            4 => put(&mut input, at, dice.pick(WORDS).as_bytes()),
            5 => {
                let again = input[at..to].repeat(1 + dice.below(200));
                put(&mut input, at, &again);
            }
            6 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                let end = (from + dice.below(64)).min(other.len());
                put(&mut input, at, &other[from..end]);
            }
            _ => input.truncate(at),
        }
    }
    input.truncate(LONGEST);
    input
}

fn put(input: &mut Vec<u8>, at: usize, what: &[u8]) {
    input.splice(at..at, what.iter().copied());
}
