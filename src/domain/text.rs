//! Text from outside, made safe to show and to hash (decisions 12 and 28).

/// Combining marks in a row that are shown as such; no script in use needs more on one letter, and a flood of them is
/// drawn over the lines above and below.
const MARKS_MAX: usize = 4;

/// Replaces what could disguise or steer a terminal or a line of text by a visible form: control
/// characters (escapes included), bidirectional overrides and isolates, zero-width and tag characters, fillers that are
/// drawn as nothing, and floods of combining marks. Said twice it changes nothing more.
///
/// Zero-width joiners and non-joiners stay where Arabic, Persian, Indic scripts and emoji need them: behind a character
/// beyond ASCII. Behind an ASCII one they only make two names that look like one.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut marks = 0;
    for c in text.chars() {
        marks = if is_mark(c) { marks + 1 } else { 0 };
        let joins_nothing = is_joiner(c) && before.is_none_or(|b: char| b.is_ascii() || is_joiner(b));
        if is_hidden(c) || joins_nothing || marks > MARKS_MAX {
            out.push_str(&format!("⟨U+{:04X}⟩", c as u32));
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    out
}

/// The same for text of several lines that are ours: the line ends stay.
pub fn visible_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(visible).collect();
    lines.join("\n")
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// The blocks of combining marks that belong to no script of their own.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
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
            // Drawn as nothing: the grapheme joiner, Hangul and Khmer fillers, Mongolian and musical controls, the empty
            // Braille cell, variation selectors that no emoji has, and the rest of the block of tags.
            | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{1d173}'..='\u{1d17a}' | '\u{2800}' | '\u{fe00}'..='\u{fe0d}'
            | '\u{e0000}'..='\u{e0fff}')
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
    fn a_joiner_stays_where_a_script_needs_it_and_is_shown_where_it_only_disguises() {
        for kept in ["می\u{200c}روم", "👩\u{200d}🚒", "❤\u{fe0f}", "क\u{94d}\u{200d}ष", "e\u{301}\u{323}"]
        {
            assert_eq!(visible(kept), kept);
        }
        assert_eq!(visible("ap\u{200d}i"), "ap⟨U+200D⟩i");
        assert_eq!(visible("\u{200c}\u{200c}api"), "⟨U+200C⟩⟨U+200C⟩api");
        assert_eq!(visible("a\u{3164}\u{e0100}b"), "a⟨U+3164⟩⟨U+E0100⟩b");
    }

    #[test]
    fn a_flood_of_marks_is_cut_and_what_was_made_visible_stays() {
        let shown = visible(&format!("a{}b", "\u{301}".repeat(100)));
        assert_eq!(shown.matches('\u{301}').count(), MARKS_MAX);
        assert_eq!(visible(&shown), shown);
        assert_eq!(visible_lines("a\u{1b}\nb\r"), "a⟨U+001B⟩\nb⟨U+000D⟩");
    }

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(shorten("مرحبا", 3), "مر…");
        assert_eq!(shorten("abc", 3), "abc");
    }
}
