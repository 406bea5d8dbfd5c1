//! `sternway audit verify|export`: on the files alone, beside a running bot or without one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};

use super::shown;
use crate::config::Config;
use crate::domain::ids::Position;
use crate::store::export::{Range, export as export_lines};
use crate::store::verify::{verify as verify_folder, verify_files};

/// The store's folder as the config names it.
fn store_of(config: &Path) -> anyhow::Result<PathBuf> {
    let config = Config::load(config).map_err(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("{}\nName the store's folder instead, if there is no config here.", all.join("\n"))
    })?;
    Ok(config.sternway.store)
}

/// Verifies files or a folder.
///
/// # Errors
/// When the folder cannot be known.
#[allow(clippy::print_stdout, clippy::print_stderr)] // a command of the terminal
pub fn verify(paths: &[PathBuf], config: &Path) -> anyhow::Result<ExitCode> {
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(anyhow!(
            "there is nothing at {}: nothing was verified. Name segment files or the store's folder",
            shown(missing)
        ));
    }
    let outcome = match paths {
        [] => verify_folder(&store_of(config)?),
        [folder] if folder.is_dir() => verify_folder(folder),
        files => verify_files(files, None),
    };
    match outcome {
        Ok(good) => {
            println!("whole: {} records, head {} {}", good.records, good.head.position, good.head.hash);
            if let Some(torn) = good.torn {
                println!("left out: an unfinished write at {}, line {}", shown(&torn.file), torn.line);
            }
            println!("A cut-off end shows only against a copy kept elsewhere: note records and head.");
            Ok(ExitCode::SUCCESS)
        }
        Err(damage) => {
            eprintln!("DAMAGED: {damage}");
            eprintln!("Keep the files as they are; what stands before that line is whole.");
            Ok(ExitCode::FAILURE)
        }
    }
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
