//! "Did you mean": the nearest of the words that would have been valid.

/// Words longer than this are not compared: the answer would be no use and the comparing is quadratic.
const COMPARE_MAX: usize = 64;
/// More suggestions than this are no help on a phone.
const SUGGESTIONS_MAX: usize = 3;

/// The candidates that a word was probably meant to be, the likeliest first.
pub(crate) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    if word.is_empty() || word.len() > COMPARE_MAX {
        return Vec::new();
    }
    let word = word.to_lowercase();
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| distance(&word, &candidate.to_lowercase()).map(|d| (d, candidate)))
        .collect();
    found.sort();
    found.dedup_by_key(|(_, candidate)| *candidate);
    found.into_iter().map(|(_, candidate)| candidate).take(SUGGESTIONS_MAX).collect()
}

/// How far apart, if near enough: one slip in three letters, or one word begins the other.
fn distance(word: &str, candidate: &str) -> Option<usize> {
    let begins =
        word.len() >= 3 && candidate.len() >= 3 && (candidate.starts_with(word) || word.starts_with(candidate));
    let slips = strsim::osa_distance(word, candidate);
    let letters = word.chars().count().max(candidate.chars().count());
    if begins { Some(slips.min(1)) } else { (slips <= (letters / 3).max(1) && slips < letters).then_some(slips) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_forgiven_and_other_words_are_not() {
        let commands = ["rollback", "releases", "runs", "status", "approve", "help"];
        for (word, expected) in [
            ("rolback", &["rollback"][..]),
            ("RollBakc", &["rollback"]),
            ("release", &["releases"]),
            ("stauts", &["status"]),
            ("deploy", &[]),
            ("x", &[]),
            ("", &[]),
        ] {
            assert_eq!(closest(word, commands), expected, "{word}");
        }
        assert!(closest(&"r".repeat(10_000), commands).is_empty());
    }
}
