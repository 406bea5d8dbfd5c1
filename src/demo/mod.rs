//! `sternway demo`: a team in a terminal chat meets a bad deploy and rolls it back. The bot, its store, its gate and its
//! agent are the real ones; the product is the sample shop on a real Docker engine, or a simulated engine when there is
//! none. Everything it makes carries one id and is removed at the end, whatever happened.
//!
//! Only here may one terminal speak as several people (decision 30), on a config and store of the demo's own.

mod real;
mod seat;
mod simulated;
mod story;
mod theatre;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use theatre::Theatre;

/// How the image to go back to behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// Well: the demo succeeds.
    Good,
    /// It fails some seconds after every start: the demo has to fail.
    Breaks,
    /// It is deleted after the bad deploy: the demo has to fail.
    Removed,
}

impl Previous {
    /// Reads the word of the command line; unknown words mean `good`.
    pub fn named(word: &str) -> Self {
        match word {
            "breaks" => Self::Breaks,
            "removed" => Self::Removed,
            _ => Self::Good,
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ends after the story.
    pub play_only: bool,
    /// Plays on the simulated engine.
    pub simulated: bool,
    /// Folder with the sample product.
    pub product: PathBuf,
    /// How the image to go back to behaves.
    pub previous: Previous,
    /// The engine's address, if one is set.
    pub docker: Option<String>,
}

/// Plays.
///
/// # Errors
/// What kept the story from its good end; everything was removed all the same.
#[allow(clippy::print_stdout)] // it is a play in a terminal
pub async fn play(options: Options) -> anyhow::Result<ExitCode> {
    let theatre = Theatre::open(&options).await?;
    let stay = !options.play_only && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let played = tokio::select! {
        played = story::play(&theatre, options.previous, stay) => played,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    println!("\nRemoving what the demo made …");
    let removed = theatre.remove().await;
    played?;
    removed?;
    println!("Nothing of it is left.");
    Ok(ExitCode::SUCCESS)
}
