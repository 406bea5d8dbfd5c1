//! The paths that a Rust file uses, read without a compiler: `use` trees spelled out, and every `a::b` in the code.
//!
//! Comments, texts and what stands behind `#[cfg(test)]` do not count. Good enough for who-knows-whom: a path
//! that a macro puts together is not seen.

use std::collections::BTreeSet;

/// A path in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Used {
    /// Its segments; from the crate's root when `root`.
    pub(crate) path: Vec<String>,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Whether it is of this crate.
    pub(crate) root: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    PathSep,
    Mark(char),
}

type At = (Token, usize);

/// The paths in use in `file` (its path in `src/`).
pub(crate) fn used_paths(file: &str, text: &str) -> Vec<Used> {
    let tokens = split_tests(&tokens(text)).0;
    let mut used = Vec::new();
    // The module we are in, and for each inline module the depth of braces at which it ends.
    let mut module = module_of(file);
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut i = 0;
    while i < tokens.len() {
        let line = tokens[i].1;
        match (&tokens[i].0, tokens.get(i + 1).map(|t| &t.0)) {
            // `use<…>` in a return type names lifetimes.
            (Token::Word(w), Some(next)) if w == "use" && *next != Token::Mark('<') => {
                let end = i + tokens[i..].iter().position(|t| t.0 == Token::Mark(';')).unwrap_or(tokens.len() - i);
                let mut paths = Vec::new();
                use_tree(&tokens[i + 1..end], &[], &mut paths);
                used.extend(paths.into_iter().filter_map(|(path, line)| placed(path, line, &module)));
                i = end + 1;
            }
            (Token::Word(w), Some(Token::Word(name)))
                if w == "mod" && tokens.get(i + 2).is_some_and(|t| t.0 == Token::Mark('{')) =>
            {
                module.push(name.clone());
                inline.push(depth);
                depth += 1;
                i += 3;
            }
            (Token::Word(_), _) => {
                let mut path = Vec::new();
                while let Some((Token::Word(w), _)) = tokens.get(i) {
                    path.push(w.clone());
                    i += 1;
                    if tokens.get(i).is_none_or(|t| t.0 != Token::PathSep) {
                        break;
                    }
                    i += 1;
                }
                if path.len() > 1 {
                    used.extend(placed(path, line, &module));
                }
            }
            (Token::Mark('{'), _) => {
                depth += 1;
                i += 1;
            }
            (Token::Mark('}'), _) => {
                depth = usize::saturating_sub(depth, 1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
                i += 1;
            }
            _ => i += 1,
        }
    }
    used
}

/// The files that are only compiled for tests: declared behind `#[cfg(test)]`, or beneath one that is.
pub(crate) fn files_for_tests(files: &[(String, String)]) -> BTreeSet<String> {
    let mut modules: Vec<String> = Vec::new();
    for (file, text) in files {
        let mut folder = module_of(file).join("/");
        if !folder.is_empty() {
            folder.push('/');
        }
        for part in split_tests(&tokens(text)).1 {
            for three in part.windows(3) {
                if let [(Token::Word(w), _), (Token::Word(name), _), (Token::Mark(';'), _)] = three
                    && w == "mod"
                {
                    modules.push(format!("{folder}{name}"));
                }
            }
        }
    }
    let is_of = |file: &str, module: &String| file == format!("{module}.rs") || file.starts_with(&format!("{module}/"));
    files.iter().map(|(file, _)| file).filter(|f| modules.iter().any(|m| is_of(f, m))).cloned().collect()
}

/// The module that a file is: `chat/console/mod.rs` is `chat::console`.
fn module_of(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// A path as seen from the crate's root, or as it is when it is of something else.
fn placed(path: Vec<String>, line: usize, module: &[String]) -> Option<Used> {
    let first = path.first()?.as_str();
    match first {
        "crate" | "sternway" => Some(Used { path: path[1..].to_vec(), line, root: true }),
        "self" => Some(Used { path: module.iter().chain(&path[1..]).cloned().collect(), line, root: true }),
        "super" => {
            let ups = path.iter().take_while(|s| *s == "super").count();
            let above = &module[..module.len().saturating_sub(ups)];
            Some(Used { path: above.iter().chain(&path[ups..]).cloned().collect(), line, root: true })
        }
        _ => Some(Used { path, line, root: false }),
    }
}

/// Spells out what stands between `use` and `;`.
fn use_tree(tokens: &[At], before: &[String], out: &mut Vec<(Vec<String>, usize)>) {
    for part in split_at_commas(tokens) {
        let mut path = before.to_vec();
        let mut inner = None;
        for (i, (token, _)) in part.iter().enumerate() {
            match token {
                Token::Word(w) if w == "as" => break,
                Token::Word(w) if w == "self" && !path.is_empty() => {}
                Token::Word(w) => path.push(w.clone()),
                Token::Mark('*') => path.push("*".to_owned()),
                Token::Mark('{') => {
                    inner = Some(&part[i + 1..part.len() - 1]);
                    break;
                }
                _ => {}
            }
        }
        match (inner, part.first()) {
            (Some(inner), _) => use_tree(inner, &path, out),
            (None, Some((_, line))) => out.push((path, *line)),
            (None, None) => {}
        }
    }
}

fn split_at_commas(tokens: &[At]) -> Vec<&[At]> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (i, (token, _)) in tokens.iter().enumerate() {
        match token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => depth = depth.saturating_sub(1),
            Token::Mark(',') if depth == 0 => {
                parts.push(&tokens[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts
}

/// What counts, and each item that stands behind `#[cfg(test)]`.
fn split_tests(tokens: &[At]) -> (Vec<At>, Vec<&[At]>) {
    let (mut counts, mut tests) = (Vec::new(), Vec::new());
    let mut i = 0;
    while i < tokens.len() {
        match attribute(&tokens[i..]) {
            Some(length) if is_for_tests(&tokens[i..i + length]) => {
                i += length;
                while let Some(more) = attribute(&tokens[i..]) {
                    i += more;
                }
                let end = i + item(&tokens[i..]);
                tests.push(&tokens[i..end]);
                i = end;
            }
            _ => {
                counts.push(tokens[i].clone());
                i += 1;
            }
        }
    }
    (counts, tests)
}

/// How many tokens the attribute has that begins here.
fn attribute(tokens: &[At]) -> Option<usize> {
    let [(Token::Mark('#'), _), (Token::Mark('['), _), ..] = tokens else { return None };
    let mut depth = 0usize;
    for (i, (token, _)) in tokens.iter().enumerate() {
        match token {
            Token::Mark('[') => depth += 1,
            Token::Mark(']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_for_tests(attribute: &[At]) -> bool {
    let has = |word: &str| attribute.iter().any(|(t, _)| *t == Token::Word(word.to_owned()));
    has("cfg") && has("test") && !has("not")
}

/// How many tokens the item has that begins here: up to its `;`, or to the end of its braces.
fn item(tokens: &[At]) -> usize {
    let is_use = tokens.iter().find_map(|(t, _)| match t {
        Token::Word(w) if w == "use" => Some(true),
        Token::Word(w) if !["pub", "crate", "super", "in"].contains(&w.as_str()) => Some(false),
        _ => None,
    });
    let mut depth = 0usize;
    for (i, (token, _)) in tokens.iter().enumerate() {
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']') => depth = depth.saturating_sub(1),
            Token::Mark('}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 && is_use != Some(true) {
                    return i + 1;
                }
            }
            Token::Mark(';') if depth == 0 => return i + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The code without comments, texts, characters and lifetimes.
fn tokens(text: &str) -> Vec<At> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(&c) = chars.get(i) {
        let start = i;
        let began = line;
        i += match (c, chars.get(i + 1).copied()) {
            ('/', Some('/')) => chars[i..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - i),
            ('/', Some('*')) => block_comment(&chars[i..]),
            ('"', _) => quoted(&chars[i..]),
            ('r', Some('"' | '#')) if raw_text(&chars[i..]).is_some() => raw_text(&chars[i..]).unwrap_or(1),
            ('b' | 'c', Some('"')) => 1 + quoted(&chars[i + 1..]),
            ('b' | 'c', Some('r')) if raw_text(&chars[i + 1..]).is_some() => 1 + raw_text(&chars[i + 1..]).unwrap_or(1),
            ('\'', Some('\\')) => 3 + chars[i + 3..].iter().position(|c| *c == '\'').unwrap_or(0) + 1,
            ('\'', Some(_)) if chars.get(i + 2) == Some(&'\'') => 3,
            // A lifetime: its name is no path.
            ('\'', _) => 1 + chars[i + 1..].iter().take_while(|c| is_word(**c)).count(),
            (':', Some(':')) => {
                tokens.push((Token::PathSep, line));
                2
            }
            (c, _) if is_word(c) => {
                let length = chars[i..].iter().take_while(|c| is_word(**c)).count();
                let word: String = chars[i..i + length].iter().collect();
                tokens.push((if c.is_numeric() { Token::Mark('0') } else { Token::Word(word) }, line));
                length
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push((Token::Mark(c), line));
                }
                1
            }
        };
        i = i.min(chars.len());
        line = began + chars[start..i].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn block_comment(chars: &[char]) -> usize {
    let (mut depth, mut i) = (0usize, 0);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => i += 1,
        }
    }
    i
}

fn quoted(chars: &[char]) -> usize {
    let mut i = 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// The length of `r"…"` or `r#"…"#`; `None` when it is none (`r#type` is a word).
fn raw_text(chars: &[char]) -> Option<usize> {
    let marks = chars[1..].iter().take_while(|c| **c == '#').count();
    if chars[0] != 'r' || chars.get(1 + marks) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', marks));
    let from = 2 + marks;
    chars[from..].windows(end.len()).position(|w| w == end).map(|at| from + at + end.len())
}
