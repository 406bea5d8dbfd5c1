//! `sternway audit` as a person at a terminal meets it: words and exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::history;
use super::world::Folder;

/// What it said on standard output and on standard error, and whether it was content.
fn audit(arguments: &[&str], input: &str) -> (String, String, bool) {
    use std::io::Write;
    let mut command = Command::new(env!("CARGO_BIN_EXE_sternway"));
    command.arg("audit").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // It may have no use for its input.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let said = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(said.stdout), text(said.stderr), said.status.success())
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_checkpoint_that_was_printed_and_kept_is_what_the_record_is_compared_with() {
    let folder = Folder::new();
    history::write_in_segments(&folder.path(), 300, 7, 50_000).expect("written");
    let store = folder.path();
    let store = path(&store);

    let (note, told, well) = audit(&["checkpoint", store], "");
    assert!(well && note.starts_with("sternway/") && note.ends_with("=\n"), "{note}{told}");
    let (key, _, well) = audit(&["checkpoint", "--key", store], "");
    assert!(well && told.contains(key.trim()), "{key}{told}");
    let size = note.lines().nth(1).expect("a size");

    let kept = folder.path().join("kept.note");
    fs::write(&kept, &note).expect("written");
    let consistent = format!("consistent: the log begins with the very {size} records of the checkpoint\n");
    for arguments in [
        vec!["verify", store, "--checkpoint", path(&kept)],
        vec!["verify", store, "--checkpoint", "-"],
        vec!["verify", store, "--checkpoint", path(&kept), "--key", key.trim()],
    ] {
        let (told, wrong, well) = audit(&arguments, &note);
        assert!(well && told.ends_with(&consistent), "{arguments:?}: {told}{wrong}");
    }

    // The short form stands in what `verify` prints, as the chat shows it.
    let (told, _, _) = audit(&["verify", store], "");
    let root = told.lines().find_map(|line| line.strip_prefix("root: ")).expect("it says the root");
    let (told, wrong, well) = audit(&["verify", store, "--checkpoint", root], "");
    assert!(well && told.contains("consistent"), "{told}{wrong}");

    // Somebody cuts the last file off.
    let mut files: Vec<_> =
        fs::read_dir(folder.path().join("log")).expect("there").map(|e| e.expect("a file").path()).collect();
    files.sort();
    fs::remove_file(files.last().expect("a file")).expect("removed");
    let (told, _, well) = audit(&["verify", store], "");
    assert!(well && told.contains("whole"), "alone it does not show: {told}");
    for checkpoint in [path(&kept), root] {
        let (_, wrong, well) = audit(&["verify", store, "--checkpoint", checkpoint], "");
        assert!(!well && wrong.starts_with("CUT: the log has ") && wrong.contains("its end was removed"), "{wrong}");
    }
}

#[test]
fn what_is_no_checkpoint_no_key_or_no_log_is_told_and_nothing_is_said_to_be_well() {
    let folder = Folder::new();
    history::write(&folder.path(), 50, 7).expect("written");
    let store = folder.path();
    let store = path(&store);
    for (arguments, wanted) in [
        (vec!["verify", store, "--checkpoint", "nonsense"], "is no checkpoint, which looks like 412:"),
        (vec!["verify", store, "--checkpoint", "/nonexistent/note"], "There is no such file either"),
        (vec!["verify", store, "--key", "nonsense"], "that is no verifier key"),
        (vec!["verify", "/nonexistent"], "nothing was verified"),
        (vec!["checkpoint", "/nonexistent"], "nothing was verified"),
        (vec!["verify", store, "--checkpoint", "40:0000000000000000"], "REWRITTEN"),
    ] {
        let (told, wrong, well) = audit(&arguments, "");
        assert!(!well && wrong.contains(wanted), "{arguments:?}: {told}{wrong}");
    }
    let fresh = Folder::new();
    fresh.open().close();
    let (_, wrong, well) = audit(&["checkpoint", path(&fresh.path())], "");
    assert!(!well && wrong.contains("there is no checkpoint in it yet"), "{wrong}");
}
