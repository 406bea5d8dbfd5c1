//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::domain::text::visible_lines;
use crate::store::note::Verifier;

/// Rolls Docker Compose services back from chat.
#[derive(Debug, Parser)]
#[command(name = "sternway", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one of them
enum Command {
    /// Runs the bot until it is told to stop.
    Serve {
        /// The config file.
        #[arg(long, default_value = "config/sternway.toml")]
        config: PathBuf,
    },
    /// Says exactly what is wrong with the config and the command files, or that nothing is.
    Check {
        /// The config file.
        #[arg(long, default_value = "config/sternway.toml")]
        config: PathBuf,
    },
    /// Opens the chat of a running bot in this terminal; reads commands from a pipe as a script.
    Console {
        /// The bot's socket; by default the one the config names.
        #[arg(long)]
        socket: Option<PathBuf>,
        /// The config file.
        #[arg(long, default_value = "config/sternway.toml")]
        config: PathBuf,
        /// Only asks whether the bot answers; exit code 0 if so. Leaves no record.
        #[arg(long)]
        ping: bool,
    },
    /// Plays a bad night and its rollback, on a real Docker engine if there is one.
    Demo {
        /// Ends after the story instead of leaving you in the chat.
        #[arg(long)]
        play_only: bool,
        /// Plays on the simulated engine.
        #[arg(long)]
        simulated: bool,
        /// Folder with the sample product: the static program `product`, its Dockerfile, compose.yml, example.env.
        #[arg(long, default_value = ".cache/product")]
        product: PathBuf,
        /// How the image to go back to behaves; anything but `good` makes the demo fail, which a test checks.
        #[arg(long, default_value = "good", hide = true)]
        previous: String,
    },
    /// Work on the store itself; the bot must be stopped.
    Store {
        #[command(subcommand)]
        what: Store,
    },
    /// Looks at the record without a running bot or a database.
    Audit {
        #[command(subcommand)]
        what: Audit,
    },
}

#[derive(Debug, Subcommand)]
enum Store {
    /// After the store was restored from a backup: agents have seen newer messages and refuse everything until then.
    NewEpoch {
        /// The config file.
        #[arg(long, default_value = "config/sternway.toml")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one of them
enum Audit {
    /// Says whether the chain of records is whole, and names the first bad line if not.
    Verify {
        /// Segment files, an export, or the store's folder; by default the folder the config names.
        paths: Vec<PathBuf>,
        /// A checkpoint that was kept elsewhere, which shows a cut end and a record written anew: a file with the signed
        /// note, `-` for standard input, or what a thread ends with, such as 412:a1b2c3d4e5f60718.
        #[arg(long)]
        checkpoint: Option<String>,
        /// The verifier key that was kept with it; by default the key that the record itself names is believed.
        #[arg(long)]
        key: Option<Verifier>,
        /// The config file.
        #[arg(long, default_value = "config/sternway.toml")]
        config: PathBuf,
    },
    /// Prints the newest signed checkpoint, to be kept on another machine.
    Checkpoint {
        /// Segment files, an export, or the store's folder; by default the folder the config names.
        paths: Vec<PathBuf>,
        /// Prints the key that signs them instead, to be kept once, with them.
        #[arg(long)]
        key: bool,
        /// The config file.
        #[arg(long, default_value = "config/sternway.toml")]
        config: PathBuf,
    },
    /// Writes verified records to standard output, a line each.
    Export {
        /// The store's folder; by default the one the config names.
        #[arg(long)]
        store: Option<PathBuf>,
        /// First position.
        #[arg(long)]
        from: Option<u64>,
        /// Last position.
        #[arg(long)]
        to: Option<u64>,
        /// The config file.
        #[arg(long, default_value = "config/sternway.toml")]
        config: PathBuf,
    },
}

/// Reads the arguments and does what they say. The exit code is 0 when it went well, 1 when it did not, 2 when it was
/// not understood.
#[allow(clippy::print_stderr)] // a command of the terminal
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // An argument that it quotes may be a file's name, picked by a pattern.
            let words = visible_lines(&told.render().to_string());
            // Nobody may be listening any more; the exit code says it all the same.
            let _ = match told.use_stderr() {
                true => write!(std::io::stderr(), "{words}"),
                false => write!(std::io::stdout(), "{words}"),
            };
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("sternway: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve { config } => super::serve::serve(&config).await,
            Command::Check { config } => super::check::check(&config),
            Command::Console { socket, config, ping } => super::serve::console(socket, &config, ping).await,
            Command::Store { what: Store::NewEpoch { config } } => super::serve::new_epoch(&config).await,
            Command::Demo { play_only, simulated, product, previous } => {
                let previous = crate::demo::Previous::named(&previous);
                crate::demo::play(crate::demo::Options {
                    play_only,
                    simulated,
                    product,
                    previous,
                    docker: docker_host(),
                })
                .await
            }
            Command::Audit { what: Audit::Verify { paths, checkpoint, key, config } } => {
                super::audit::verify(paths, checkpoint.as_deref(), key.as_ref(), &config)
            }
            Command::Audit { what: Audit::Checkpoint { paths, key, config } } => {
                super::audit::checkpoint(paths, key, &config)
            }
            Command::Audit { what: Audit::Export { store, from, to, config } } => {
                super::audit::export(store, from, to, &config)
            }
        }
    });
    // What blocks a thread (a name look-up, a line that is being typed) must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sternway: {}", visible_lines(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// `DOCKER_HOST`, if it is set to something.
#[allow(clippy::disallowed_methods)] // app is where the environment is read
pub(crate) fn docker_host() -> Option<String> {
    std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty())
}

/// A variable of the environment.
#[allow(clippy::disallowed_methods)] // app is where the environment is read
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
