//! What is offered to somebody who was not understood.

use super::ours;
use super::parse::told;

/// The first line to type that the trouble offers.
fn offered(line: &str) -> String {
    match ours().parse(line) {
        Ok(request) => format!("(understood: {})", told(&request)),
        Err(trouble) => trouble.commands().next().unwrap_or("(nothing)").to_owned(),
    }
}

#[test]
fn trouble_offers_the_very_line_that_was_meant() {
    for (line, expected) in [
        ("/rolback image api to rel17", "/rollback image api to rel17"),
        ("rollback imgae api", "/rollback image api"),
        ("/rollback api", "/rollback image api"),
        ("/rollback api rel17", "/rollback image api to rel17"),
        ("/rollback plan api", "/rollback plan image api"),
        ("/rollback undo r42", "/runs undo r42"),
        ("/undo r42", "/runs undo r42"),
        ("/runs r42", "/runs show r42"),
        ("/rollback image api becuase slow", "/rollback image api because slow"),
        ("/rollback image api slow since noon", "/rollback image api because slow since noon"),
        ("/rollback image api 1.4 since noon", "/rollback image api to 1.4 because since noon"),
        ("/rollback image api rel17 too slow", "/rollback image api to rel17 because too slow"),
        ("/deny a45 — too risky", "/deny a45 because too risky"),
        ("/rollback image api because slow to rel17", "/rollback image api to rel17 because slow"),
        ("/rollback image api rel17 times out", "/rollback image api to rel17 because times out"),
        ("/approve a45 looks good", "/approve a45 because looks good"),
        ("/help rolback", "/help rollback"),
        ("/rollback plan", "/help rollback plan"),
        ("/rollback plan image", "/rollback plan image api"),
        ("/releases", "/releases api"),
        ("/rollback image api rel17 rel18", "/help rollback image"),
        ("/rollback image api to the one before", "/help rollback image"),
        ("/runs accept r42", "/runs accept r42 because …"),
        ("", "/help"),
    ] {
        assert_eq!(offered(line), expected, "for {line:?}");
    }
}

#[test]
fn no_offered_line_acts_on_what_was_not_named() {
    let catalogue = ours();
    for line in [
        "/rollback",
        "/rollback image",
        "/rollback image to",
        "/rollback image api to",
        "/rollback image --x",
        "/rollback plan",
        "/approve r42",
        "/approve it",
        "/deny x because y",
        "/cancel it",
        "/runs undo a45",
        "/runs accept",
        "/rollback $(id)",
    ] {
        let trouble = catalogue.parse(line).unwrap_err();
        for command in trouble.commands() {
            let Ok(request) = catalogue.parse(command) else { continue };
            let named = request.arguments.iter().all(|(_, value)| line.contains(&value.to_string()));
            let looks = request.policy.risk == sternway::command::Risk::Look;
            assert!(looks || named, "{line:?} is answered with {command:?}");
        }
    }
}

#[test]
fn every_offered_line_is_understood() {
    let catalogue = ours();
    for line in [
        "/rolback image api",
        "/rollback",
        "/rollback api",
        "/rollback image",
        "/undo r42",
        "/runs r42",
        "/deny",
        "/rollback image api a b",
        "/rollback image api --x",
    ] {
        let Err(trouble) = catalogue.parse(line) else { continue };
        for command in trouble.commands() {
            assert!(
                catalogue.parse(command).is_ok(),
                "{line:?} is answered with {command:?}: {:?}",
                catalogue.parse(command)
            );
        }
    }
}

#[test]
fn the_error_points_at_the_word_in_the_original_text() {
    for (line, word) in [
        ("/rollback imgae api", "imgae"),
        ("/rolback image api", "/rolback"),
        ("\u{200f}/rollback\u{a0}image api —froce", "—froce"),
        ("<@U1> rollback image api to sha256:12.", "sha256:12"),
        ("/rollback image api because بطء to rel17", "to rel17"),
        ("/approve ｒ４２", "ｒ４２"),
        ("/rollback image \"api", "\"api"),
        ("/rollback image", ""),
    ] {
        let trouble = ours().parse(line).unwrap_err();
        let span = trouble.span().unwrap_or_else(|| panic!("{line:?} points nowhere: {trouble}"));
        assert_eq!(&line[span.clone()], word, "for {line:?}: {trouble}");
    }
}

#[test]
fn the_card_of_a_slip_fits_a_phone() {
    let card = ours().parse("/rollback imgae api").unwrap_err().to_card();
    insta::assert_snapshot!("slip", card.plain());
    let card = ours().parse("/rollback image").unwrap_err().to_card();
    insta::assert_snapshot!("missing_service", card.plain());
    let card = ours().parse("/rollback image api because slow to rel17").unwrap_err().to_card();
    insta::assert_snapshot!("swallowed_target", card.plain());
}
