//! What registries say, in sentences: whose registry a reference names, what an engine's error about it means, and
//! whether another try may help. Pure. Must never repeat an address with its query: signed download links have
//! credentials in it.

use super::engine::EngineError;
use crate::domain::text::{shorten, visible};

/// Docker's own registry, by the name that references leave out.
pub const HUB: &str = "docker.io";

/// Characters of an engine's own words in a sentence.
const WORDS_MAX: usize = 200;

/// The registry that a reference names: what stands before the first slash if it has a dot, a port or is `localhost`,
/// else Docker's own.
pub fn host_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => HUB,
    }
}

/// What kind of no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// It wants a login, or another one.
    Login,
    /// It does not have the image, or hides it from this login.
    Unknown,
    /// Too many requests.
    Limited,
    /// The engine does not get through to it.
    Unreachable,
    /// It does not answer in time.
    Silent,
    /// Its certificate is not trusted, or it speaks no TLS.
    Untrusted,
    /// The host's disk is full.
    NoSpace,
    /// Something else.
    Other,
}

/// Sorts an engine's error about a registry. Engines give the same no as 401, 403, 404, 500 or inside a stream with
/// 200, so the words decide before the status does.
pub fn kind(error: &EngineError) -> No {
    let (status, words) = match error {
        EngineError::Unreachable(why) | EngineError::NoAnswer(why) => (0, why),
        EngineError::NotFound(why) => (404, why),
        EngineError::Conflict(why) => (409, why),
        EngineError::Refused { status, message } => (*status, message),
    };
    let words = words.to_ascii_lowercase();
    let says = |any: &[&str]| any.iter().any(|w| words.contains(w));
    if says(&["toomanyrequests", "too many requests", "rate limit"]) || status == 429 {
        No::Limited
    } else if says(&["no space left"]) {
        No::NoSpace
    } else if says(&["x509", "server gave http response to https", "certificate"]) {
        No::Untrusted
    } else if says(&["timeout", "timed out", "deadline exceeded"]) || status == 504 {
        No::Silent
    } else if says(&[
        "connection refused",
        "no such host",
        "no route to host",
        "network is unreachable",
        "connection reset",
        ": eof",
        "unexpected eof",
        "502 bad gateway",
        "503 service unavailable",
        "temporary failure in name resolution",
        "server misbehaving",
    ]) || matches!(status, 502 | 503)
    {
        No::Unreachable
    } else if says(&["manifest unknown", "manifest for", "name unknown", "blob unknown"]) {
        No::Unknown
    } else if says(&[
        "unauthorized",
        "authentication required",
        "no basic auth",
        "access denied",
        "is denied",
        "denied:",
        "forbidden",
    ]) || matches!(status, 401 | 403)
    {
        No::Login
    } else if status == 404 || says(&["not found"]) {
        No::Unknown
    } else {
        No::Other
    }
}

/// Whether the same question may have another answer in a moment.
pub fn passes(no: No) -> bool {
    matches!(no, No::Unreachable | No::Silent)
}

/// What is in the way, and what to do about it. `with_login` says whether a login was sent.
pub fn sentence(reference: &str, error: &EngineError, with_login: bool) -> String {
    let host = visible(host_of(reference));
    match kind(error) {
        No::Login if with_login => {
            format!("the registry {host} refuses the login it was sent; log in anew with `docker login {host}`")
        }
        No::Login => format!(
            "the registry {host} wants a login; log in with `docker login {host}` and name that config file as \
             docker_config in [sternway]"
        ),
        No::Unknown => {
            format!("the registry {host} does not have {} (any more), or hides it from this login", visible(reference))
        }
        No::Limited => {
            format!("the registry {host} says that too much was asked of it; wait, or log in, and ask again")
        }
        No::Unreachable => format!("the registry {host} cannot be reached from the engine; is it up?"),
        No::Silent => format!("the registry {host} does not answer in time; is it up?"),
        No::Untrusted => {
            format!(
                "the engine does not trust the registry {host}: its certificate, or it speaks no TLS; {}",
                own(error)
            )
        }
        No::NoSpace => "the host's disk is full; make room, docker system df shows where it went".to_owned(),
        No::Other => format!("the registry {host} did not give it: {}", own(error)),
    }
}

/// The engine's own words, without what stands behind a question mark in an address.
fn own(error: &EngineError) -> String {
    let text = error.to_string();
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|w| if w.contains("://") { w.split(['?', '#']).next().unwrap_or(w) } else { w })
        .collect();
    // A user and password in an address are nobody's business either.
    let plain: Vec<String> = words
        .into_iter()
        .map(|w| match (w.find("://"), w.find('@')) {
            (Some(from), Some(at)) if at > from => format!("{}{}", &w[..from + 3], &w[at + 1..]),
            _ => w.to_owned(),
        })
        .collect();
    shorten(&visible(&plain.join(" ")), WORDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, message: &str) -> EngineError {
        EngineError::Refused { status, message: message.to_owned() }
    }

    #[test]
    fn a_reference_names_its_registry() {
        for (reference, host) in [
            ("shop/api@sha256:aa", HUB),
            ("api:1.0", HUB),
            ("registry.example/shop/api@sha256:aa", "registry.example"),
            ("127.0.0.1:5000/shop/api@sha256:aa", "127.0.0.1:5000"),
            ("localhost/api:1", "localhost"),
        ] {
            assert_eq!(host_of(reference), host, "{reference}");
        }
    }

    #[test]
    fn what_engines_say_is_sorted_by_what_can_be_done_next() {
        let cases = [
            (refused(401, "unauthorized: authentication required"), No::Login),
            (refused(500, "Get https://r/v2/: no basic auth credentials"), No::Login),
            (
                EngineError::NotFound(
                    "pull access denied for r/x, repository does not exist or may require 'docker login': denied"
                        .into(),
                ),
                No::Login,
            ),
            (EngineError::NotFound("manifest unknown: manifest unknown".into()), No::Unknown),
            (EngineError::NotFound("manifest for r/x@sha256:aa not found: manifest unknown".into()), No::Unknown),
            (refused(500, "toomanyrequests: You have reached your pull rate limit."), No::Limited),
            (refused(429, ""), No::Limited),
            (
                refused(500, "Get http://127.0.0.1:1/v2/: dial tcp 127.0.0.1:1: connect: connection refused"),
                No::Unreachable,
            ),
            (refused(500, "Get https://r/v2/: dial tcp: lookup r: no such host"), No::Unreachable),
            (
                refused(
                    500,
                    "Get http://r/v2/: net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
                ),
                No::Silent,
            ),
            (refused(504, "nothing came for 60 s"), No::Silent),
            (refused(500, "Get https://r/v2/: x509: certificate signed by unknown authority"), No::Untrusted),
            (refused(500, "write /var/lib/docker/tmp/x: no space left on device"), No::NoSpace),
            (refused(500, "something new"), No::Other),
        ];
        for (error, no) in cases {
            assert_eq!(kind(&error), no, "{error}");
        }
    }

    #[test]
    fn signed_links_and_passwords_in_addresses_are_not_repeated() {
        let error = refused(500, "Get https://robot:hunter2@cdn.example/blob?X-Sig=hunter3#x: odd");
        let told = sentence("cdn.example/a@sha256:aa", &error, true);
        assert!(told.contains("https://cdn.example/blob") && !told.contains("hunter"), "{told}");
    }
}
