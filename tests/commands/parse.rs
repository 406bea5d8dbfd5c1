//! What people type, and what is understood.

use sternway::command::{Request, show_duration};

use super::{ours, with};

/// One line that says all of a request: `rollback image {service=api, to=rel17} because slow`.
pub(super) fn told(request: &Request) -> String {
    let given: Vec<String> = request.arguments.to_texts().into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    let dry = if request.dry_run { " (dry run)" } else { "" };
    let reason = request.reason.as_ref().map(|r| format!(" because {r}")).unwrap_or_default();
    format!("{}{dry} {{{}}}{reason}", request.command, given.join(", "))
}

fn check(line: &str, expected: &str) -> Option<String> {
    let found = match ours().parse(line) {
        Ok(request) => told(&request),
        Err(trouble) => format!("trouble: {trouble}"),
    };
    (found != expected).then(|| format!("{line:?}\n  expected: {expected}\n  found:    {found}"))
}

fn check_all(table: &[(&str, &str)]) {
    let failures: Vec<String> = table.iter().filter_map(|(line, expected)| check(line, expected)).collect();
    assert!(failures.is_empty(), "{} of {} lines:\n{}", failures.len(), table.len(), failures.join("\n"));
}

#[test]
fn what_people_type_is_understood() {
    check_all(&[
        // The front: slash, no slash, behind the product's name or a mention.
        ("/rollback image api", "rollback image {service=api}"),
        ("rollback image api", "rollback image {service=api}"),
        ("/sternway rollback image api", "rollback image {service=api}"),
        ("/sternway /rollback image api", "rollback image {service=api}"),
        ("sternway rollback image api", "rollback image {service=api}"),
        ("@sternway rollback image api", "rollback image {service=api}"),
        ("@Sternway: rollback image api", "rollback image {service=api}"),
        ("<@U0123ABC> rollback image api", "rollback image {service=api}"),
        ("<@U0123ABC>: /rollback image api", "rollback image {service=api}"),
        ("<@!8123> rollback image api", "rollback image {service=api}"),
        ("<@U0123ABC|sternway> status", "status {}"),
        ("<@U1> sternway status", "status {}"),
        ("/ rollback image api", "rollback image {service=api}"),
        ("`/rollback image api`", "rollback image {service=api}"),
        ("```/rollback image api```", "rollback image {service=api}"),
        ("/sternway", "help {}"),
        ("@sternway", "help {}"),
        ("<@U0123ABC>", "help {}"),
        // Case: phones capitalise. Names stay as typed.
        ("Rollback Image api", "rollback image {service=api}"),
        ("/ROLLBACK IMAGE API TO REL17", "rollback image {service=API, to=rel17}"),
        ("/rollback image api To rel17 Because slow", "rollback image {service=api, to=rel17} because slow"),
        ("/rollback image Api", "rollback image {service=Api}"),
        // Blanks of every kind.
        ("  /rollback   image\tapi  ", "rollback image {service=api}"),
        ("/rollback\u{a0}image\u{202f}api", "rollback image {service=api}"),
        ("/rollback\u{3000}image\u{2003}api", "rollback image {service=api}"),
        ("/rollback image\napi", "rollback image {service=api}"),
        ("/rollback image \u{200b}api\u{feff}", "rollback image {service=api}"),
        // Direction marks between words, also around copied ids.
        ("\u{200f}/rollback\u{200e} image \u{2068}api\u{2069}", "rollback image {service=api}"),
        ("/rollback image api to \u{2068}rel17\u{2069}.", "rollback image {service=api, to=rel17}"),
        ("\u{202a}/rollback image api\u{202c}", "rollback image {service=api}"),
        ("/approve \u{200f}a45\u{200f}", "approve {approval=a45}"),
        // The target: with and without its keyword, however it is joined.
        ("/rollback image api rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api to rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api to: rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api to:rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api to=rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api --to rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api --to=rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api -to rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api —to rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image api –to rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image to rel17 api", "rollback image {service=api, to=rel17}"),
        ("/rollback image --service api --to rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image service:api to:rel17", "rollback image {service=api, to=rel17}"),
        ("/rollback image service=\"api\" to=“rel17”", "rollback image {service=api, to=rel17}"),
        ("/rollback image api TO:REL17", "rollback image {service=api, to=rel17}"),
        // The target's kinds.
        ("/rollback image api 1.4.2", "rollback image {service=api, to=1.4.2}"),
        ("/rollback image api to v0.0.1", "rollback image {service=api, to=v0.0.1}"),
        ("/rollback image api to shop/api:1.4", "rollback image {service=api, to=shop/api:1.4}"),
        ("/rollback image api to ghcr.io/shop/api:1.4", "rollback image {service=api, to=ghcr.io/shop/api:1.4}"),
        ("/rollback image api to sha256:0123abcd", "rollback image {service=api, to=sha256:0123abcd}"),
        ("/rollback image api sha256:0123ABCD", "rollback image {service=api, to=sha256:0123abcd}"),
        ("/rollback image api to:sha256:0123abcd", "rollback image {service=api, to=sha256:0123abcd}"),
        ("/rollback image api to deadbeef", "rollback image {service=api, to=deadbeef}"),
        ("/rollback image api to 17", "rollback image {service=api, to=17}"),
        ("/rollback image api to @02:10", "rollback image {service=api, to=@02:10}"),
        ("/rollback image api @2:10", "rollback image {service=api, to=@02:10}"),
        ("/rollback image api 02:10", "rollback image {service=api, to=@02:10}"),
        ("/rollback image api to @02:10z", "rollback image {service=api, to=@02:10Z}"),
        ("/rollback image api to @2026-11-21T02:10", "rollback image {service=api, to=@2026-11-21T02:10}"),
        ("/rollback image api to @2026-11-21 02:10", "rollback image {service=api, to=@2026-11-21T02:10}"),
        ("/rollback image api to @yesterday 23:50", "rollback image {service=api, to=@yesterdayT23:50}"),
        ("/rollback image api to @2026-11-21T02:10Z", "rollback image {service=api, to=@2026-11-21T02:10:00Z}"),
        ("/rollback image api to @٠٢:١٠", "rollback image {service=api, to=@02:10}"),
        ("/rollback image api to rel١٧", "rollback image {service=api, to=rel17}"),
        ("/rollback image api to ｒｅｌ１７", "rollback image {service=api, to=rel17}"),
        // Another stack than the channel's.
        ("/rollback image api@shop", "rollback image {service=api@shop}"),
        ("/rollback image api@shop rel17", "rollback image {service=api@shop, to=rel17}"),
        ("/releases api@shop", "releases list {service=api@shop}"),
        ("/releases web-1", "releases list {service=web-1}"),
        ("/releases web‑1", "releases list {service=web-1}"),
        // Recorded settings.
        ("/rollback image api with recorded settings", "rollback image {service=api, with=recorded settings}"),
        ("/rollback image api With Recorded Settings", "rollback image {service=api, with=recorded settings}"),
        ("/rollback image api with recorded", "rollback image {service=api, with=recorded settings}"),
        ("/rollback image api with:\"recorded settings\"", "rollback image {service=api, with=recorded settings}"),
        (
            "/rollback image api with recorded because slow",
            "rollback image {service=api, with=recorded settings} because slow",
        ),
        (
            "/rollback image api rel17 with recorded settings because slow",
            "rollback image {service=api, to=rel17, with=recorded settings} because slow",
        ),
        (
            "/rollback image api with recorded settings to rel17",
            "rollback image {service=api, to=rel17, with=recorded settings}",
        ),
        // Reasons: the rest of the line, any script, kept as typed.
        (
            "/rollback image api because slow after the deploy",
            "rollback image {service=api} because slow after the deploy",
        ),
        ("/rollback image api reason: slow", "rollback image {service=api} because slow"),
        ("/rollback image api reason slow", "rollback image {service=api} because slow"),
        ("/rollback image api --because slow", "rollback image {service=api} because slow"),
        ("/rollback image api because: slow", "rollback image {service=api} because slow"),
        ("/rollback image api because it's slow", "rollback image {service=api} because it's slow"),
        ("/rollback image api because “it’s” slow", "rollback image {service=api} because “it’s” slow"),
        ("/rollback image api because \"slow\"", "rollback image {service=api} because slow"),
        ("/rollback image api because “slow” to rel17", "rollback image {service=api, to=rel17} because slow"),
        (
            "/rollback image api because we want back to the old one",
            "rollback image {service=api} because we want back to the old one",
        ),
        (
            "/rollback image api because we go to rel17 as told",
            "rollback image {service=api} because we go to rel17 as told",
        ),
        (
            "/rollback image api to rel17 because better than to rel18",
            "rollback image {service=api, to=rel17} because better than to rel18",
        ),
        ("/rollback image api because بطء في الواجهة", "rollback image {service=api} because بطء في الواجهة"),
        ("/rollback image api because \u{200f}بطء\u{200f}", "rollback image {service=api} because بطء"),
        ("/rollback image api because a\u{202e}b", "rollback image {service=api} because a⟨U+202E⟩b"),
        ("/rollback image api because two\nlines", "rollback image {service=api} because two lines"),
        ("/rollback image api because $(reboot); `id`", "rollback image {service=api} because $(reboot); `id`"),
        ("/rollback image api because slow!!!", "rollback image {service=api} because slow!!!"),
        // Trailing punctuation of a sentence; quotes keep it.
        ("/rollback image api.", "rollback image {service=api}"),
        ("/status!", "status {}"),
        ("/status ?", "status {}"),
        ("/approve a45؟", "approve {approval=a45}"),
        ("/rollback image \"api.\"", "rollback image {service=api.}"),
        // A quoted word is never a keyword.
        ("/rollback image \"to\"", "rollback image {service=to}"),
        ("/rollback image 'api' “rel17”", "rollback image {service=api, to=rel17}"),
        ("/rollback image `api`", "rollback image {service=api}"),
        // Dry runs.
        ("/rollback plan image api", "rollback image (dry run) {service=api}"),
        (
            "/rollback plan image api to rel17 because asked",
            "rollback image (dry run) {service=api, to=rel17} because asked",
        ),
        ("Rollback Plan Image api", "rollback image (dry run) {service=api}"),
        // The others.
        ("/status", "status {}"),
        ("/releases api", "releases list {service=api}"),
        ("/runs", "runs list {}"),
        ("/runs list", "runs list {}"),
        ("/runs show r42", "runs show {run=r42}"),
        ("/runs show R42", "runs show {run=r42}"),
        ("/runs show", "runs show {}"),
        ("/runs retry r42", "runs retry {run=r42}"),
        ("/runs retry because there is room again", "runs retry {} because there is room again"),
        ("/runs undo r42", "runs undo {run=r42}"),
        ("/runs accept r42 because repaired by hand", "runs accept {run=r42} because repaired by hand"),
        ("/approve a45", "approve {approval=a45}"),
        ("/approve", "approve {}"),
        ("/approve because looked at it", "approve {} because looked at it"),
        ("/approve a45 because looked at it", "approve {approval=a45} because looked at it"),
        ("/deny a45 reason: too risky", "deny {approval=a45} because too risky"),
        ("/cancel r42 because it was the network", "cancel {run=r42} because it was the network"),
        ("/cancel", "cancel {}"),
        ("/audit", "audit show {}"),
        ("/audit r42", "audit show {run=r42}"),
        ("/audit show r42", "audit show {run=r42}"),
        ("/audit verify", "audit verify {}"),
        ("/audit export", "audit export {}"),
        ("/help", "help {}"),
        ("/help rollback", "help {command=rollback}"),
        ("/help /rollback image", "help {command=rollback image}"),
        ("/help rollback plan image", "help {command=rollback plan image}"),
        ("help Rollback", "help {command=rollback}"),
    ]);
}

#[test]
fn what_cannot_be_meant_is_told_and_never_guessed() {
    check_all(&[
        ("", "trouble: No command was given."),
        (" \u{200f} ", "trouble: No command was given."),
        ("/rolback image api", "trouble: There is no command “rolback”."),
        ("/deploy api", "trouble: There is no command “deploy”."),
        ("/rollback", "trouble: /rollback needs to know what to do."),
        ("/rollback imgae api", "trouble: “imgae” is not something /rollback does."),
        ("/rollback api", "trouble: “api” is not something /rollback does."),
        ("/rollback plan", "trouble: /rollback plan needs to know what to do."),
        ("/rollback plan api", "trouble: “api” is not something /rollback plan does."),
        ("/rollback plan plan image api", "trouble: “plan” is not something /rollback plan does."),
        ("/rollback image", "trouble: /rollback image needs a service, such as api or api@shop."),
        ("/rollback image to", "trouble: to is missing: a release: rel17, a tag, sha256:… or a time such as @02:10."),
        (
            "/rollback image api to",
            "trouble: to is missing: a release: rel17, a tag, sha256:… or a time such as @02:10.",
        ),
        (
            "/rollback image api to because slow",
            "trouble: to is missing: a release: rel17, a tag, sha256:… or a time such as @02:10.",
        ),
        ("/rollback image api because", "trouble: A reason follows here, in your own words."),
        ("/rollback image api because \u{200f}", "trouble: A reason follows here, in your own words."),
        (
            "/rollback image api because slow --to rel17",
            "trouble: “--to rel17” stands in the reason, where it changes nothing.",
        ),
        (
            "/rollback image api because slow to rel17",
            "trouble: “to rel17” stands in the reason, where it changes nothing.",
        ),
        (
            "/rollback image api because slow to @02:10",
            "trouble: “to @02:10” stands in the reason, where it changes nothing.",
        ),
        (
            "/rollback image api because slow with recorded settings",
            "trouble: “with recorded settings” stands in the reason, where it changes nothing.",
        ),
        ("/rollback image api rel17 rel18", "trouble: “rel18” is not expected here."),
        ("/rollback image api rel17 to rel18", "trouble: to was given before: “rel17”."),
        ("/rollback image api to rel17 to rel17", "trouble: to was given before: “to rel17”."),
        ("/rollback image api slow after deploy", "trouble: “after” is not expected here."),
        ("/rollback image api becuase slow", "trouble: “becuase” is not understood; did you mean “because”?"),
        ("/rollback image api rel17 becuase slow", "trouble: “becuase” is not understood; did you mean “because”?"),
        ("/rollback image api --froce", "trouble: /rollback image has no option “--froce”."),
        ("/rollback image api --becaus slow", "trouble: “--becaus” is not understood; did you mean “because”?"),
        ("/rollback image -rf", "trouble: /rollback image has no option “-rf”."),
        (
            "/rollback image \"-rf\"",
            "trouble: a service name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “-” is not one of them.",
        ),
        (
            "/rollback image $(reboot)",
            "trouble: a service name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “$” is not one of them.",
        ),
        (
            "/rollback image api;reboot",
            "trouble: a service name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “;” is not one of them.",
        ),
        (
            "/rollback image ../etc",
            "trouble: a service name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “.” is not one of them.",
        ),
        (
            "/rollback image a\u{202e}pi",
            "trouble: a service name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “⟨U+202E⟩” is not one of them.",
        ),
        ("/rollback image api@", "trouble: a stack name cannot be empty."),
        (
            "/rollback image api@shop@x",
            "trouble: a stack name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “@” is not one of them.",
        ),
        ("/rollback image api to sha256:12", "trouble: sha256: is followed by 6 to 64 digits from 0 to 9 and a to f."),
        (
            "/rollback image api to @25:00",
            "trouble: “@25:00” is not a time, which looks like @02:10 or @2026-11-21T02:10.",
        ),
        (
            "/rollback image api to @2026-11-21",
            "trouble: “@2026-11-21” is not a time, which looks like @02:10 or @2026-11-21T02:10.",
        ),
        ("/rollback image api to a|b", "trouble: no tag has a “|” in it."),
        ("/rollback image api with new settings", "trouble: “new” is not one of its choices."),
        ("/rollback image \"api", "trouble: A quote is opened here and never closed."),
        ("/rollback image api —", "trouble: “--” is not expected here."),
        ("/runs show a45", "trouble: “a45” is not a run, which looks like r42."),
        ("/runs r42", "trouble: “r42” is not something /runs does."),
        ("/runs accept r42 because …", "trouble: A reason follows here, in your own words."),
        ("/runs accept r42", "trouble: /runs accept needs a reason: others will ask why."),
        ("/runs retry r42 r43", "trouble: “r43” is not expected here."),
        ("/approve r42", "trouble: “r42” is not an approval, which looks like a45."),
        ("/approve looks good", "trouble: “looks” is not an approval, which looks like a45."),
        ("/status now", "trouble: “now” is not expected here."),
        ("/status because I want", "trouble: “because” is not expected here."),
        ("/help nothing", "trouble: There is no command “nothing”."),
        ("/help rollback imgae", "trouble: “imgae” is not expected here."),
        ("/undo r42", "trouble: There is no command “undo”."),
        ("/rollback image api because /rollback image web", "rollback image {service=api} because /rollback image web"),
    ]);
}

#[test]
fn a_line_made_from_a_request_means_the_same_request() {
    let catalogue = ours();
    for line in [
        "/rollback image api@shop to @yesterday 02:10 with recorded settings because “it's” `slow` \"now\"",
        "/rollback plan image api sha256:0123abcd",
        "/rollback image \"to\" because \"slow to rel17\"",
        "/runs retry because there is room",
        "/help runs undo",
        "/status",
    ] {
        let request = catalogue.parse(line).unwrap_or_else(|t| panic!("{line}: {t}"));
        let again = catalogue.parse(&request.line()).unwrap_or_else(|t| panic!("{}: {t}", request.line()));
        assert_eq!(told(&again), told(&request), "through {:?}", request.line());
    }
}

#[test]
fn what_stands_in_a_field_stays_in_its_field() {
    let catalogue = ours();
    let path = match catalogue.find("rollback image") {
        Some(sternway::command::Found::Spec(spec)) => spec.path.clone(),
        other => panic!("{other:?}"),
    };
    let line = catalogue.line_of(&path, &[("service", "api"), ("to", "rel17"), ("because", "slow \"to\" rel18")]);
    assert_eq!(
        told(&catalogue.parse(&line).unwrap()),
        "rollback image {service=api, to=rel17} because slow \"to\" rel18"
    );
    for nasty in
        ["api because x", "api to rel1", "to", "\"api\" to rel1", "--to", "because", "api\nto rel1", "", "`\"«"]
    {
        let line = catalogue.line_of(&path, &[("service", nasty)]);
        match catalogue.parse(&line) {
            Ok(request) => {
                assert_eq!(told(&request), format!("rollback image {{service={nasty}}}"), "through {line:?}")
            }
            Err(trouble) => assert!(trouble.message.contains("service"), "{nasty:?} through {line:?}: {trouble}"),
        }
    }
}

#[test]
fn text_integer_and_duration_arguments_are_read() {
    let file = r#"
name = "note"
short = "a note"
kind = "query"
does = "status"
risk = "look"
roles = ["anyone"]
reason = "optional"
[[argument]]
name = "count"
type = "integer"
[[argument]]
name = "for"
type = "duration"
keyword = "for"
required = false
[[argument]]
name = "words"
type = "text"
required = false
"#;
    let catalogue = with(&[("note.toml", file)]).unwrap();
    let request = catalogue.parse("/note -3 for 2h30m the disk: is “full” because of logs").unwrap();
    assert_eq!(request.arguments.integer("count"), Some(&-3));
    assert_eq!(request.arguments.duration("for").map(|d| show_duration(d.as_secs())).as_deref(), Some("2h30m"));
    assert_eq!(request.arguments.text("words").map(String::as_str), Some("the disk: is “full”"));
    assert_eq!(request.reason.as_deref(), Some("of logs"));
    let again = catalogue.parse(&request.line()).unwrap();
    assert_eq!(told(&again), told(&request));
    for (line, trouble) in [("/note x", "“x” is not a whole number."), ("/note 1 for 5", "“5” is not a duration.")]
    {
        assert_eq!(catalogue.parse(line).unwrap_err().message, trouble);
    }
}

#[test]
fn too_long_a_line_or_reason_is_refused_with_its_limit() {
    let catalogue = ours();
    let long = format!("/rollback image api because {}", "x".repeat(501));
    assert_eq!(catalogue.parse(&long).unwrap_err().message, "The reason has 501 characters; at most 500 are kept.");
    let longer = "x".repeat(5_000);
    assert_eq!(catalogue.parse(&longer).unwrap_err().message, "A command has at most 4096 bytes; this has 5000.");
}
