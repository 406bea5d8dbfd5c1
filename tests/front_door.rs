//! What a newcomer meets first: the scripts and the sample product behind `make demo`, and documents that
//! name things which exist. Needs no engine.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen.
const BOUND: Duration = Duration::from_secs(20);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// engine.sh where no engine can be had: the address that it is told to use answers nobody.
fn engine_without_any(arguments: &[&str], required: bool) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(root().join("tests/setup/engine.sh"));
    command.args(arguments).env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    command.env("STERNWAY_ENGINE_DIR", folder.path()).env_remove("STERNWAY_REQUIRE_ENGINE");
    if required {
        command.env("STERNWAY_REQUIRE_ENGINE", "1");
    }
    // A client that reaches nothing, so that none is installed where there is none.
    let client = folder.path().join("docker");
    std::fs::write(&client, "#!/bin/sh\nexit 1\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&client, executable).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    command.env("PATH", path).output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code(), out, err)
}

#[test]
fn without_an_engine_the_demo_is_simulated_and_one_line_says_so() {
    let output = engine_without_any(&["run", "--else-simulated", "--", "echo", "demo", "--play-only"], false);
    let (code, out, err) = told(&output);
    assert_eq!((code, out.as_str()), (Some(0), "demo --play-only --simulated\n"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("does not answer") && err.contains("simulated engine"), "{err}");
}

#[test]
fn without_an_engine_the_tests_run_and_hear_of_it() {
    let (code, out, err) = told(&engine_without_any(&["run", "--else-alone", "--", "echo", "tests"], false));
    assert_eq!((code, out.as_str()), (Some(0), "tests\n"), "{err}");
    assert!(err.contains("skip"), "{err}");
}

#[test]
fn where_an_engine_is_required_its_absence_is_an_error_of_its_own() {
    for arguments in [
        &["run", "--else-simulated", "--", "echo", "no"][..],
        &["run", "--else-alone", "--", "echo", "no"],
        &["run", "--", "echo", "no"],
        &["ensure"],
    ] {
        let (code, out, err) = told(&engine_without_any(arguments, true));
        assert_eq!((code, out.as_str()), (Some(69), ""), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn the_engine_script_explains_itself_when_used_wrongly() {
    for arguments in [&[][..], &["start"], &["run"], &["run", "--"]] {
        let (code, _, err) = told(&engine_without_any(arguments, false));
        assert_eq!(code, Some(64), "{arguments:?}: {err}");
        assert!(err.contains("engine.sh run"), "{arguments:?}: {err}");
    }
}

/// One role of the sample product, killed at the end of the test.
struct Role {
    child: Child,
    port: u16,
}

impl Role {
    fn start(program: &Path, role: &str, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.arg(role).env_clear().env("SHOP_ROLE", role).env("SHOP_LISTEN", format!("127.0.0.1:{port}"));
        let child = command.envs(settings.iter().copied()).stdout(Stdio::null()).spawn().unwrap();
        let role = Self { child, port };
        role.until_it_listens();
        role
    }

    fn until_it_listens(&self) {
        let until = Instant::now() + BOUND;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < until, "nothing listens on {} after {BOUND:?}", self.port);
            std::thread::yield_now();
        }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("half an answer: {answer:?}"));
        format!("{} {}", head.split_whitespace().nth(1).unwrap(), body.trim())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn product(folder: &Path) -> PathBuf {
    let program = folder.join("product");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-D", "warnings", "-C", "panic=abort", "-o"]).arg(&program);
    let output = rustc.arg(root().join("tests/product/product.rs")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

#[test]
fn the_sample_product_serves_and_keeps_its_orders() {
    let folder = tempfile::tempdir().unwrap();
    let program = product(folder.path());
    let data = [("SHOP_DATA", folder.path().to_str().unwrap())];
    let db = Role::start(&program, "db", &data);
    let db_address = format!("127.0.0.1:{}", db.port);
    let api = Role::start(&program, "api", &[("SHOP_VERSION", "1.1"), ("SHOP_DB", &db_address)]);
    let web = Role::start(&program, "web", &[("SHOP_API", &format!("127.0.0.1:{}", api.port))]);

    assert_eq!(web.ask("GET /api/health"), r#"200 {"status":"ok","version":"1.1"}"#);
    assert_eq!(web.ask("POST /api/orders"), r#"200 {"orders":1}"#);
    assert_eq!(api.ask("POST /api/orders"), r#"200 {"orders":2}"#);
    assert!(web.ask("GET /").contains("The shop"));

    let broken = [("SHOP_BEHAVIOUR", "never-healthy"), ("SHOP_VERSION", "1.2"), ("SHOP_DB", &db_address)];
    let broken = Role::start(&program, "api", &broken);
    assert_eq!(broken.ask("GET /api/health"), r#"500 {"status":"error","version":"1.2"}"#);
    assert_eq!(broken.ask("GET /version"), r#"200 {"version":"1.2"}"#);

    drop(db);
    assert!(api.ask("GET /api/health").starts_with("500 "), "well without its database");
    let db = Role::start(&program, "db", &data);
    let another = Role::start(&program, "api", &[("SHOP_DB", &format!("127.0.0.1:{}", db.port))]);
    assert_eq!(another.ask("GET /api/orders"), r#"200 {"orders":2}"#, "orders survive the database's kill");

    drop(api);
    assert!(web.ask("GET /api/health").starts_with("502 "));
}

/// The README and everything beneath `docs/`, by path and text.
fn documents() -> Vec<(String, String)> {
    let mut found = vec!["README.md".to_owned(), "tests/product/README.md".to_owned()];
    for folder in ["docs", "docs/decisions"] {
        let pages = std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().file_name());
        let pages = pages.map(|name| format!("{folder}/{}", name.to_str().unwrap()));
        found.extend(pages.filter(|page| page.ends_with(".md")));
    }
    found.into_iter().map(|page| (page.clone(), file(&page))).collect()
}

#[test]
fn what_the_documents_say_to_type_exists() {
    let makefile = file("Makefile");
    for (document, text) in documents() {
        let typed = ["`make ", "\nmake ", "\n    make "].map(|before| text.split(before).skip(1)).into_iter().flatten();
        for rest in typed {
            let part_of_a_name = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
            let target: String = rest.chars().take_while(part_of_a_name).collect();
            assert!(makefile.contains(&format!("\n{target}:")), "{document} says `make {target}`, no such target");
        }
    }
}

/// All Rust of `tests/`, `src/` and `benches/`, in one.
fn rust_of(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_of(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_tests_and_files_that_documents_name_exist() {
    let mut code = String::new();
    for folder in ["tests", "src", "benches"] {
        rust_of(&root().join(folder), &mut code);
    }
    let mut named = 0;
    for (document, text) in documents() {
        // What stands between backticks on one line.
        for quoted in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let word = quoted.trim_end_matches("()");
            let like_a_test = word.matches('_').count() >= 4
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if like_a_test {
                named += 1;
                assert!(
                    code.contains(&format!("fn {word}(")),
                    "{document} names the test `{word}`, which is not there"
                );
            }
            let path = ["tests/", "src/", "benches/"].iter().any(|folder| word.starts_with(folder));
            if path && word.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.".contains(c)) {
                assert!(root().join(word).exists(), "{document} names `{word}`, which is not there");
            }
        }
    }
    assert!(named > 10, "only {named} tests are named: the pages are read wrongly");
}

#[test]
fn one_rust_version_is_named_everywhere() {
    let manifest = file("Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    for (place, words) in [
        ("Makefile", format!("RUST_MINIMUM = {wanted}.")),
        ("Dockerfile", format!("rust:{wanted}-bookworm")),
        ("README.md", format!("Rust {wanted} or newer")),
        ("rust-toolchain.toml", format!("channel = \"{wanted}.")),
    ] {
        assert!(file(place).contains(&words), "{place} lacks {words:?}");
    }
}
