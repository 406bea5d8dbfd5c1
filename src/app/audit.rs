//! `sternway audit verify|checkpoint|export`: on the files alone, beside a running bot or without one.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};

use super::shown;
use crate::config::Config;
use crate::domain::ids::Position;
use crate::store::checkpoint::Kept;
use crate::store::compare::verify_against;
use crate::store::export::{Range, export as export_lines};
use crate::store::note::Verifier;
use crate::store::verify::{Damage, Verified, verify_paths};

/// Longest checkpoint that is read; one has some hundred bytes, each witness adds some more.
const NOTE_MAX: u64 = 64 * 1024;

/// The store's folder as the config names it.
fn store_of(config: &Path) -> anyhow::Result<PathBuf> {
    let config = Config::load(config).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("{}\nName the store's folder instead, if there is no config here.", all.join("\n"))
    })?;
    Ok(config.sternway.store)
}

/// What is to be read: what was named, or the store's folder.
fn named_or_store(paths: Vec<PathBuf>, config: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(anyhow!(
            "there is nothing at {}: nothing was verified. Name segment files or the store's folder",
            shown(missing)
        ));
    }
    if paths.is_empty() { Ok(vec![store_of(config)?]) } else { Ok(paths) }
}

/// Verifies files or a folder, and compares them with a checkpoint that was kept elsewhere.
///
/// # Errors
/// When the folder cannot be known or the checkpoint is none.
#[allow(clippy::print_stdout, clippy::print_stderr)] // a command of the terminal
pub fn verify(
    paths: Vec<PathBuf>,
    checkpoint: Option<&str>,
    key: Option<&Verifier>,
    config: &Path,
) -> anyhow::Result<ExitCode> {
    let kept = checkpoint.map(kept).transpose()?;
    let paths = named_or_store(paths, config)?;
    let outcome = match &kept {
        Some(kept) => verify_against(&paths, kept, key).map(|(good, comparison)| (good, Some(comparison))),
        None => verify_paths(&paths).map(|good| (good, None)),
    };
    let (good, comparison) = match outcome {
        Ok(outcome) => outcome,
        Err(damage) => return Ok(damaged(&damage)),
    };
    println!("whole: {} records, head {} {}", good.records, good.head.position, good.head.hash);
    if let Some(torn) = &good.torn {
        println!("left out: an unfinished write at {}, line {}", shown(&torn.file), torn.line);
    }
    if let Some(now) = good.now {
        println!("root: {now}");
    }
    if let Some(comparison) = comparison {
        if !comparison.is_consistent() {
            eprintln!("{comparison}");
            eprintln!("Keep the files as they are, and the checkpoint.");
            return Ok(ExitCode::FAILURE);
        }
        println!("{comparison}");
    } else if key.is_some_and(|key| good.verifier.as_ref() != Some(key)) {
        eprintln!("ANOTHER KEY: the log's first record does not name the key that you gave");
        return Ok(ExitCode::FAILURE);
    } else {
        println!("A cut-off end, or a record written anew by whoever has the key, shows only against a checkpoint");
        println!("that was kept elsewhere: sternway audit verify --checkpoint FILE");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the newest signed checkpoint, or the key.
///
/// # Errors
/// When the folder cannot be known, or there is none.
#[allow(clippy::print_stdout, clippy::print_stderr)] // a command of the terminal
pub fn checkpoint(paths: Vec<PathBuf>, key: bool, config: &Path) -> anyhow::Result<ExitCode> {
    let paths = named_or_store(paths, config)?;
    let Verified { signed, verifier, .. } = match verify_paths(&paths) {
        Ok(good) => good,
        Err(damage) => return Ok(damaged(&damage)),
    };
    let verifier = verifier.ok_or_else(|| anyhow!("the log's first record names no key"))?;
    if key {
        println!("{verifier}");
        return Ok(ExitCode::SUCCESS);
    }
    let signed = signed.ok_or_else(|| {
        anyhow!("there is no checkpoint in it yet: one is written when a run ends, and a minute after anything else")
    })?;
    print!("{}", signed.note);
    eprintln!("key: {verifier}");
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stderr)] // a command of the terminal
fn damaged(damage: &Damage) -> ExitCode {
    eprintln!("DAMAGED: {damage}");
    eprintln!("Keep the files as they are; what stands before that line is whole.");
    ExitCode::FAILURE
}

/// A checkpoint as it was given: a file, standard input, or the short form itself.
fn kept(given: &str) -> anyhow::Result<Kept> {
    let mut text = String::new();
    let from: &mut dyn Read = match given {
        "-" => &mut std::io::stdin().lock(),
        path if Path::new(path).is_file() => &mut std::fs::File::open(path).with_context(|| path.to_owned())?,
        short => return Kept::parse(short).map_err(|e| anyhow!("{e}. There is no such file either")),
    };
    from.take(NOTE_MAX).read_to_string(&mut text).with_context(|| format!("reading the checkpoint {given}"))?;
    Kept::parse(&text).map_err(|e| anyhow!("{given}: {e}"))
}

/// Writes verified lines to standard output.
///
/// # Errors
/// Damage, or a reader that went away.
#[allow(clippy::print_stderr)] // a command of the terminal
pub fn export(store: Option<PathBuf>, from: Option<u64>, to: Option<u64>, config: &Path) -> anyhow::Result<ExitCode> {
    let folder = match store {
        Some(folder) => folder,
        None => store_of(config)?,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let range = Range { from: from.map(Position), to: to.map(Position) };
    let exported = export_lines(&folder, range, &mut out).context("nothing, or not all, was exported")?;
    out.flush().context("the export could not be written")?;
    eprintln!("{} lines of {}", exported.lines, exported.verified.records);
    Ok(ExitCode::SUCCESS)
}
