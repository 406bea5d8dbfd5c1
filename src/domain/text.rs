//! Text from outside, made safe to show and to hash (decisions 12 and 28).

/// Replaces what could disguise or steer a terminal or a line of text by a visible form: control
/// characters (escapes included), bidirectional overrides and isolates, zero-width and tag characters.
/// Zero-width joiners and non-joiners stay: Arabic, Persian and emoji need them, and they reorder nothing.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            out.push_str(&format!("⟨U+{:04X}⟩", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character is one that [`visible`] spells out.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}' | '\u{00ad}'
            | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// At most `max` characters, cut on a character boundary; a cut text ends in `…`.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// A number of bytes as people say it: `800 kB`, `34 MB`, `1.2 GB`; thousands, as `docker images` counts.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_overrides_become_visible_and_arabic_stays() {
        assert_eq!(visible("a\u{1b}[31mb"), "a⟨U+001B⟩[31mb");
        assert_eq!(visible("api\u{202e}txt"), "api⟨U+202E⟩txt");
        assert_eq!(visible("بطء في الواجهة"), "بطء في الواجهة");
    }

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(shorten("مرحبا", 3), "مر…");
        assert_eq!(shorten("abc", 3), "abc");
    }
}
