//! Whatever arrives, the answer is a request or trouble.

use proptest::prelude::*;

use super::{memory, ours};

/// Lines made of what the grammar knows and what it does not, glued at random.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "rollback",
        "image",
        "plan",
        "api",
        "api@shop",
        "to",
        "to:",
        "--to",
        "rel17",
        "@02:10",
        "@2026-11-21",
        "02:10",
        "@yesterday",
        "sha256:",
        "because",
        "reason:",
        "with",
        "recorded",
        "settings",
        "\"",
        "“",
        "”",
        "'",
        "`",
        "«",
        " ",
        "\u{a0}",
        "\u{200f}",
        "\u{202e}",
        "—",
        "–",
        "：",
        "؟",
        "…",
        "runs",
        "accept",
        "r42",
        "a45",
        "help",
        "status",
        "<@U1>",
        "sternway",
        "\n",
        "é",
        "بطء",
        "\u{1f600}",
        "=",
        "١",
        "！",
        "-5",
        "\u{1b}[2J",
    ]);
    prop::collection::vec((piece, prop::bool::ANY), 0..24).prop_map(|parts| {
        parts.into_iter().map(|(p, blank)| if blank { format!("{p} ") } else { p.to_owned() }).collect()
    })
}

/// Lines whose beginning is right, so that what follows is read to its end.
fn begun() -> impl Strategy<Value = String> {
    let begin = prop::sample::select(vec![
        "/rollback image api ",
        "/rollback image api to rel17 because ",
        "/rollback plan image api because ",
        "/approve a45 because ",
        "/runs accept r42 reason: ",
    ]);
    (begin, prop_oneof![nearly(), any::<String>(), "\\PC{1,60}"]).prop_map(|(begin, rest)| format!("{begin}{rest}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_string_is_understood_or_told(line in prop_oneof![begun(), begun(), nearly(), any::<String>(), "\\PC{0,80}", "/rollback image \\PC{0,60}"]) {
        let catalogue = ours_once();
        match catalogue.parse(&line) {
            Ok(request) => {
                let again = catalogue.parse(&request.line());
                let again = again.unwrap_or_else(|t| panic!("{line:?} became {:?}: {t}", request.line()));
                prop_assert_eq!(&again.arguments, &request.arguments, "through {:?}", request.line());
                prop_assert_eq!(&again.reason, &request.reason, "through {:?}", request.line());
                prop_assert_eq!(again.dry_run, request.dry_run);
                let hidden = request.reason.iter().flat_map(|r| r.chars()).any(sternway::domain::text::is_hidden);
                prop_assert!(!hidden, "hidden characters in the reason of {line:?}");
            }
            Err(trouble) => {
                if let Some(span) = trouble.span() {
                    prop_assert!(line.get(span.clone()).is_some(), "{span:?} cuts {line:?}");
                }
                let card = trouble.to_card();
                let rows: usize = card.plain().lines().map(|l| l.chars().count().div_ceil(40).max(1)).sum();
                prop_assert!(rows <= 12, "{rows} rows:\n{}", card.plain());
                let hidden = card.plain().chars().any(|c| c != '\n' && sternway::domain::text::is_hidden(c));
                prop_assert!(!hidden, "hidden characters on the card of {line:?}");
            }
        }
    }

    #[test]
    fn completion_replaces_what_stands_before_the_cursor(line in prop_oneof![nearly(), any::<String>()], cursor in 0usize..200) {
        for suggestion in ours_once().complete(&line, cursor, &memory()) {
            prop_assert!(line.get(suggestion.replace.clone()).is_some(), "{suggestion:?} cuts {line:?}");
            prop_assert!(suggestion.replace.end <= cursor.min(line.len()));
        }
    }

    #[test]
    fn any_file_is_loaded_or_refused(text in prop_oneof![any::<String>(), "([a-z]{1,8} ?= ?(\"[a-z]{0,6}\"|[0-9]{1,3}|\\[\\]|true)\n){0,8}"]) {
        let refused = super::with(&[("extra.toml", &text)]).unwrap_err();
        prop_assert!(refused.starts_with("extra.toml:"), "{refused}");
    }
}

/// Loading takes longer than one case.
fn ours_once() -> &'static sternway::command::Catalogue {
    static OURS: std::sync::OnceLock<sternway::command::Catalogue> = std::sync::OnceLock::new();
    OURS.get_or_init(ours)
}
