//! `sternway check`: says exactly what is wrong, by file, line and column, or that nothing is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::shown;
use crate::command::{COMMANDS_MAX, Catalogue, CommandFile, Waived, Who};
use crate::config::Config;
use crate::config::approvals::{ApprovalNeeds, Waive};
use crate::config::check::CommandFacts;
use crate::domain::text::visible;

/// Config and catalogue, both good, with what is worth a warning.
pub struct Checked {
    /// The config.
    pub config: Config,
    /// The catalogue.
    pub catalogue: Catalogue,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// Reads and checks everything that sets rights.
///
/// # Errors
/// Everything that is wrong, a line or more each.
pub fn load(path: &Path) -> Result<Checked, Vec<String>> {
    let config = Config::load(path).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    with_commands(config)
}

/// Loads the commands that a config names and checks both together.
///
/// # Errors
/// Everything that is wrong, a line or more each.
pub fn with_commands(config: Config) -> Result<Checked, Vec<String>> {
    let team = match &config.sternway.commands {
        Some(folder) => team_files(folder)?,
        None => Vec::new(),
    };
    let catalogue = Catalogue::load(&team).map_err(|bad| vec![bad.to_string()])?;
    let findings = config.check(&facts(&catalogue));
    if !findings.problems.is_empty() {
        return Err(findings.problems.iter().map(ToString::to_string).collect());
    }
    Ok(Checked { config, catalogue, warnings: findings.warnings })
}

fn team_files(folder: &Path) -> Result<Vec<CommandFile>, Vec<String>> {
    let cannot = |what: &Path, error: &dyn std::fmt::Display| vec![format!("{}: {error}", shown(what))];
    let entries = std::fs::read_dir(folder).map_err(|e| cannot(folder, &e))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| cannot(folder, &e))?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    if paths.len() > COMMANDS_MAX {
        let why =
            format!("{} command files, and there can be {COMMANDS_MAX} commands: is it the right folder?", paths.len());
        return Err(cannot(folder, &why));
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        // A command file sets rights, so it has to be as well kept as the config.
        let file = crate::config::file::read_rights_file(&path)
            .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        files.push(CommandFile { name: file.name, text: file.text });
    }
    Ok(files)
}

fn facts(catalogue: &Catalogue) -> Vec<CommandFacts> {
    let one = |spec: &std::sync::Arc<crate::command::CommandSpec>| CommandFacts {
        name: spec.path.to_string(),
        roles: match &spec.who {
            Who::Anyone => Vec::new(),
            Who::Roles(roles) => roles.iter().cloned().collect(),
        },
        approval: spec.approval.as_ref().map(|rule| ApprovalNeeds {
            count: rule.count,
            from: rule.from.clone(),
            waive: match rule.waived {
                Waived::Never => Waive::Never,
                Waived::ProvenRelease => Waive::ProvenRelease,
            },
            expires: std::time::Duration::from_secs(rule.expires_s),
        }),
    };
    catalogue.specs().map(one).collect()
}

/// `sternway check`.
///
/// # Errors
/// None; what is wrong is printed.
#[allow(clippy::print_stdout, clippy::print_stderr)] // a command of the terminal
pub fn check(path: &Path) -> anyhow::Result<ExitCode> {
    match load(path) {
        Ok(good) => {
            for warning in &good.warnings {
                println!("warning: {}", visible(warning));
            }
            let commands = good.catalogue.specs().count();
            println!(
                "{}: good. {} people, {} stacks, {commands} commands.",
                shown(path),
                good.config.people.len(),
                good.config.stacks.len()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            eprintln!("{}: nothing is started with this.", shown(path));
            Ok(ExitCode::FAILURE)
        }
    }
}
