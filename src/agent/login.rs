//! Logins for registries, read from a Docker config file at the moment of use and handed to the engine alone: entries
//! of `auths`, and credential helpers (`credsStore`, `credHelpers`), which are programs run without a shell.
//!
//! Must never store, log or print one. The engine keeps none either (docker-facts section 4). Sources: `docker login`'s
//! file format, the credential helpers' protocol (`get`, the server on standard input, JSON on standard output), and the
//! Engine API's `X-Registry-Auth`, base64url of JSON.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::registry::HUB;
use crate::domain::text::{shorten, visible};
use crate::plain_file;

/// A helper may ask a key ring or a cloud; a person waits meanwhile.
const HELPER_LIMIT: Duration = Duration::from_secs(10);

/// Largest config file that is read, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Bytes of a helper's answer that are read; a login with the longest of tokens has a few thousand.
const ANSWER_MAX: u64 = 64 * 1024;

/// Longest name of a helper.
const NAME_MAX: usize = 64;

/// The name under which `docker login` keeps the login of Docker's own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a helper gives as user when the secret is a token.
const TOKEN_USER: &str = "<token>";

/// A login as the engine takes it. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Login(String);

impl Login {
    fn of(host: &str, user: &str, secret: &str) -> Self {
        let body = if user == TOKEN_USER {
            json!({"identitytoken": secret, "serveraddress": host})
        } else {
            json!({"username": user, "password": secret, "serveraddress": host})
        };
        Self(encode(body.to_string().as_bytes(), URL_SAFE))
    }

    /// The value of the header `X-Registry-Auth`.
    pub(super) fn header(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The login for a registry, or `None` when the file has none for it.
///
/// # Errors
/// A sentence without any secret: the file cannot be read, or a helper does not give what it should.
pub async fn login_for(file: &Path, host: &str) -> Result<Option<Login>, String> {
    let shown = file.display();
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || plain_file::read(&path, FILE_MAX)).await;
    let bytes = reading.unwrap_or_else(|e| Err(std::io::Error::other(e.to_string()))).map_err(|e| match e.kind() {
        std::io::ErrorKind::FileTooLarge => format!("docker_config {shown}: {e}; is it the right file?"),
        _ => format!("docker_config {shown} cannot be read: {e}"),
    })?;
    // serde's words may quote what they read: only that it is no JSON is told.
    let config: Value = serde_json::from_slice(&bytes).map_err(|_| format!("docker_config {shown} is not JSON"))?;
    let helper = config["credHelpers"].get(key_of(host)).or_else(|| config["credHelpers"].get(host));
    let helper = helper.or_else(|| config.get("credsStore")).and_then(Value::as_str).filter(|h| !h.is_empty());
    if let Some(helper) = helper
        && let Some(found) = ask_helper(helper, key_of(host), host).await?
    {
        return Ok(Some(found));
    }
    in_auths(&config["auths"], host).map_err(|why| format!("docker_config {shown}: {why}"))
}

fn key_of(host: &str) -> &str {
    if host == HUB { HUB_KEY } else { host }
}

/// Keys are host names, sometimes with scheme and path.
fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn in_auths(auths: &Value, host: &str) -> Result<Option<Login>, String> {
    let all = || auths.as_object().into_iter().flatten();
    let exact = all().find(|(key, _)| *key == key_of(host));
    let Some((_, entry)) = exact.or_else(|| all().find(|(key, _)| bare(key) == bare(key_of(host)))) else {
        return Ok(None);
    };
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Login::of(host, TOKEN_USER, token)));
    }
    if let (Some(user), Some(password)) = (text("username"), text("password")) {
        return Ok(Some(Login::of(host, user, password)));
    }
    let Some(auth) = text("auth") else { return Ok(None) };
    let plain = decode(auth).and_then(|bytes| String::from_utf8(bytes).ok());
    match plain.as_deref().and_then(|p| p.split_once(':')) {
        Some((user, password)) => Ok(Some(Login::of(host, user, password.trim_end_matches('\0')))),
        None => Err(format!("the login of {host} in it cannot be read; log in anew with `docker login {host}`")),
    }
}

/// Asks `docker-credential-<name>`; `None` when it has no login for that registry.
async fn ask_helper(name: &str, key: &str, host: &str) -> Result<Option<Login>, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !name.bytes().all(plain) || name.starts_with(['-', '.']) || name.len() > NAME_MAX {
        return Err(format!("“{}” is no name of a credential helper", visible(&shorten(name, NAME_MAX))));
    }
    let program = format!("docker-credential-{name}");
    answer_of(Command::new(&program), &program, key, host).await
}

async fn answer_of(mut command: Command, program: &str, key: &str, host: &str) -> Result<Option<Login>, String> {
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| format!("the credential helper {program} cannot be run: {e}"))?;
    let asked = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its question answers it all the same, or not.
            let _ = stdin.write_all(key.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER_MAX).read_to_end(&mut said).await?;
        }
        // One that goes on talking finds its pipe closed.
        Ok::<_, std::io::Error>((child.wait().await?, said))
    };
    let (status, said) = match timeout(HELPER_LIMIT, asked).await {
        Err(_) => {
            return Err(format!("the credential helper {program} gave no answer in {} s", HELPER_LIMIT.as_secs()));
        }
        Ok(done) => done.map_err(|e| format!("the credential helper {program} cannot be asked: {e}"))?,
    };
    if !status.success() {
        // By the protocol these words on standard output; anything else is a helper that could not do its work.
        let none = String::from_utf8_lossy(&said).contains("credentials not found");
        return if none { Ok(None) } else { Err(format!("the credential helper {program} failed")) };
    }
    let answer: Value =
        serde_json::from_slice(&said).map_err(|_| format!("the credential helper {program} gave no JSON"))?;
    match (answer["Username"].as_str(), answer["Secret"].as_str()) {
        (Some(user), Some(secret)) => Ok(Some(Login::of(host, user, secret))),
        _ => Err(format!("the credential helper {program} gave no login")),
    }
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 with padding (RFC 4648).
fn encode(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 63;
            out.push(if place <= group.len() { char::from(alphabet[six as usize]) } else { '=' });
        }
    }
    out
}

/// Base64 in the standard alphabet, padding optional.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let six = STANDARD.iter().position(|a| a == byte)?;
            bits = bits << 6 | u32::try_from(six).ok()?;
        }
        bits <<= 6 * (4 - group.len());
        if group.len() == 1 {
            return None;
        }
        out.extend(bits.to_be_bytes()[1..].iter().take(group.len() - 1));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn body(login: &Login) -> Value {
        let standard = login.header().replace('-', "+").replace('_', "/");
        serde_json::from_slice(&decode(&standard).unwrap()).unwrap()
    }

    async fn login(config: Value, host: &str) -> Result<Option<Login>, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        login_for(&file, host).await
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(plain.as_bytes(), STANDARD), coded);
            assert_eq!(decode(coded).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(encode(&[0xfb, 0xff], URL_SAFE), "-_8=");
        assert_eq!(decode("a"), None);
        assert_eq!(decode("a b="), None);
    }

    #[tokio::test]
    async fn entries_are_found_by_host_with_or_without_scheme() {
        let auth = encode(b"robot:pass:word", STANDARD);
        let auths = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": auth}, "127.0.0.1:5000": {"auth": auth},
            "https://registry.example/v2/": {"identitytoken": "tok"}, "empty.example": {}
        }});
        for host in [HUB, "127.0.0.1:5000"] {
            let found = login(auths.clone(), host).await.unwrap().expect(host);
            assert_eq!(
                (body(&found)["username"].as_str(), body(&found)["password"].as_str()),
                (Some("robot"), Some("pass:word"))
            );
            assert_eq!(format!("{found:?}"), "***");
        }
        assert_eq!(body(&login(auths.clone(), "registry.example").await.unwrap().unwrap())["identitytoken"], "tok");
        for host in ["other.example", "empty.example", "127.0.0.1:5001"] {
            assert_eq!(login(auths.clone(), host).await, Ok(None), "{host}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        assert!(login_for(&file, HUB).await.unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "hunter2 {").unwrap();
        let why = login_for(&file, HUB).await.unwrap_err();
        assert!(why.contains("not JSON") && !why.contains("hunter2"), "{why}");
        let why = login(json!({"auths": {"r.example": {"auth": "aHVudGVyMg"}}}), "r.example").await.unwrap_err();
        assert!(why.contains("docker login r.example") && !why.contains("hunter2"), "{why}");
    }

    #[tokio::test]
    async fn a_helper_is_a_name_and_never_a_path_or_a_flag() {
        for bad in ["../x", "/bin/sh", "x; rm", "-x", "a b", ".x"] {
            let why = login(json!({"credsStore": bad}), "r.example").await.unwrap_err();
            assert!(why.contains("no name of a credential helper"), "{bad}: {why}");
        }
        let why = login(json!({"credHelpers": {"r.example": "not-there-7f3a"}}), "r.example").await.unwrap_err();
        assert!(why.contains("cannot be run"), "{why}");
        // One for another registry is not asked.
        assert_eq!(login(json!({"credHelpers": {"r.example": "not-there-7f3a"}}), "s.example").await, Ok(None));
    }

    #[tokio::test]
    async fn a_helper_is_asked_on_its_standard_input() {
        // Found by PATH, as Docker does; a name with its place in it would be refused, so it is put beside this test.
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread -r host\n[ \"$host\" = r.example ] || { echo 'credentials not found in native keychain'; exit 1; }\n\
                      echo '{\"Username\":\"robot\",\"Secret\":\"s3cret\"}'\n";
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let ask = async |host: &str| {
            let program = helper.display().to_string();
            answer_of(Command::new(&program), "docker-credential-test", host, host).await
        };
        assert_eq!(body(&ask("r.example").await.unwrap().unwrap())["password"], "s3cret");
        assert_eq!(ask("s.example").await, Ok(None));
    }
}
