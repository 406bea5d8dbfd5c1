//! What only the compose file says of a service and no container tells: hooks, and secrets and configs whose content
//! Compose copies into the container at start. Found in the file's text, as far as a reader of lines can: what may
//! concern the service is said rather than passed over.

/// Keys of a service that Compose itself acts on, beside the engine.
const HOOKS: [&str; 2] = ["post_start", "pre_stop"];

/// Where a file's content is given without a file that could be mounted.
const COPIED: [&str; 2] = ["content", "environment"];

/// The first API version that tells a generated MAC address and one that was asked for alike (Engine API history).
pub const TELLS_MAC_BEFORE: (u32, u32) = (1, 52);

/// A key with all lines beneath it.
struct Block<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Block<'a> {
    /// Whether a key of this name stands anywhere in it, on a line of its own or within braces.
    fn has_key(&self, key: &str) -> bool {
        self.lines.iter().any(|line| {
            line.match_indices(key).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
                before.is_none_or(|c| " \t{,-\"'".contains(c)) && after.starts_with(':')
            })
        })
    }

    fn beneath(&self) -> &[&'a str] {
        self.lines.get(1..).unwrap_or_default()
    }

    fn mentions_path(&self) -> bool {
        self.lines.iter().any(|line| line.contains('/'))
    }

    fn mentions(&self, word: &str) -> bool {
        let of_word = |c: char| c.is_alphanumeric() || "_.-".contains(c);
        self.lines.iter().any(|line| line.split(|c| !of_word(c)).any(|part| part == word))
    }
}

/// Sentences about what a swap of this service would lose; empty when the file gives no reason for one. `file` is its
/// name, for people. `tells_mac`: whether the engine tells which MAC address was asked for ([`TELLS_MAC_BEFORE`]).
pub fn only_in_file(text: &str, file: &str, service: &str, tells_mac: bool) -> Vec<String> {
    let sections = blocks(&text.lines().collect::<Vec<_>>());
    let services = beneath(&sections, "services");
    let own: Vec<&Block<'_>> = services.iter().filter(|s| s.name == service).collect();
    // What it takes over from elsewhere may come from anywhere.
    let merges = own.iter().any(|s| s.has_key("<<") || s.has_key("extends"));
    let elsewhere = || services.iter().chain(sections.iter().filter(|s| s.name.starts_with("x-")));
    let mut found = Vec::new();
    for hook in HOOKS {
        if own.iter().any(|s| s.has_key(hook)) || (merges && elsewhere().any(|s| s.has_key(hook))) {
            found.push(format!(
                "{service} has the hook {hook} in {file}: Compose runs it, and nothing on the container tells of it. \
                 Roll back with `docker compose up -d {service}`, or do without the hook."
            ));
        }
    }
    let has_mac = |s: &Block<'_>| s.has_key("mac_address");
    if !tells_mac && (own.iter().any(|s| has_mac(s)) || (merges && elsewhere().any(has_mac))) {
        found.push(format!(
            "{service} has a mac_address in {file}, and this engine (API 1.52 and newer) tells of no running container which \
             one was asked for: the new one would get another. Roll back with `docker compose up -d {service}`, or do \
             without it."
        ));
    }
    for (section, kind) in [("configs", "config"), ("secrets", "secret")] {
        for entry in beneath(&sections, section).iter().filter(|entry| COPIED.iter().any(|key| entry.has_key(key))) {
            let used = own.iter().flat_map(|s| blocks(s.beneath())).any(|block| {
                // A secret in its usual place is found in the container and carried as a file (`copied_files`).
                let elsewhere = kind == "config" || (block.has_key("target") && block.mentions_path());
                block.name == section && block.mentions(entry.name) && elsewhere
            });
            if used || merges {
                found.push(format!(
                    "the {kind} {} of {service} has its content in {file} or in a variable: Compose copies it into the \
                     container, where it looks like any other file, and it would be lost. Give it a `file:`, or roll back \
                     with `docker compose up -d {service}`.",
                    entry.name
                ));
            }
        }
    }
    found
}

/// The keys within the sections of this name.
fn beneath<'a>(sections: &[Block<'a>], name: &str) -> Vec<Block<'a>> {
    sections.iter().filter(|s| s.name == name).flat_map(|s| blocks(s.beneath())).collect()
}

/// The keys of the outermost level with the lines beneath them. Lines before the first key are no part of any.
fn blocks<'a>(lines: &[&'a str]) -> Vec<Block<'a>> {
    let meaningful = |line: &&&str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    let indent = |line: &str| line.len() - line.trim_start().len();
    let Some(outer) = lines.iter().filter(meaningful).map(|line| indent(line)).next() else { return Vec::new() };
    let mut found: Vec<Block<'a>> = Vec::new();
    for line in lines.iter().filter(meaningful) {
        match key(line).filter(|_| indent(line) <= outer) {
            Some(name) => found.push(Block { name, lines: vec![line] }),
            None => {
                if let Some(last) = found.last_mut() {
                    last.lines.push(line);
                }
            }
        }
    }
    found
}

/// The key that a line begins with.
fn key(line: &str) -> Option<&str> {
    let (name, rest) = line.trim_start().split_once(':')?;
    let plain = name.trim().trim_matches(['"', '\'']);
    (!plain.is_empty() && !plain.starts_with('-') && (rest.is_empty() || rest.starts_with([' ', '\t'])))
        .then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# post_start: in a comment
x-base: &base
  pre_stop: [{command: /bye}]
services:
  api:
    image: shop/api   # no hook here
    command: echo post_start
    configs: [plain, settings]
    secrets:
      - source: token
        target: /etc/token
      - usual
  web:
    secrets: [usual]
    post_start:
      - command: /hello
  worker:
    <<: *base
  "flow": {image: x, post_start: [{command: a}]}
configs:
  plain: {file: ./a}
  settings:
    content: |
      a: b
  other:
    content: x
secrets:
  token: {environment: TOKEN}
  lone: {environment: LONE}
"#;

    fn found(service: &str) -> String {
        only_in_file(FILE, "compose.yml", service, true).join("\n")
    }

    #[test]
    fn hooks_are_found_in_the_service_and_in_what_it_takes_over() {
        assert!(found("web").contains("hook post_start in compose.yml"), "{}", found("web"));
        assert!(found("flow").contains("hook post_start"), "{}", found("flow"));
        assert!(found("worker").contains("hook pre_stop"), "{}", found("worker"));
        assert!(!found("api").contains("hook"), "{}", found("api"));
        assert_eq!(found("unknown"), "");
    }

    #[test]
    fn content_that_is_copied_is_found_where_it_is_used() {
        let api = only_in_file(FILE, "compose.yml", "api", true);
        assert_eq!(api.len(), 2, "{api:?}");
        assert!(api[0].contains("the config settings of api"), "{api:?}");
        assert!(api[1].contains("the secret token of api"), "{api:?}");
        assert!(!found("web").contains("content"), "{}", found("web"));
    }

    #[test]
    fn a_mac_address_is_found_where_the_engine_does_not_tell_it() {
        let file = "x-far: &far {mac_address: \"02:00:00:00:00:01\"}\nservices:\n  api:\n    networks:\n      back:\n        \
                    mac_address: 02:00:00:00:00:02\n  web: {image: x}\n  worker:\n    <<: *far\n";
        for (service, tells_mac, sentences) in
            [("api", false, 1), ("worker", false, 1), ("web", false, 0), ("api", true, 0), ("worker", true, 0)]
        {
            let found = only_in_file(file, "compose.yml", service, tells_mac);
            assert_eq!(found.len(), sentences, "{service}, told {tells_mac}: {found:?}");
            assert!(found.iter().all(|s| s.contains("mac_address in compose.yml")), "{found:?}");
        }
    }

    #[test]
    fn what_is_no_compose_file_says_nothing() {
        for text in ["", "\n\n", "services", "services:\n", ":\n:", "services:\n\tapi:\n", "- a\n- b: c\n"] {
            assert_eq!(only_in_file(text, "f", "api", false), Vec::<String>::new(), "{text:?}");
        }
    }
}
