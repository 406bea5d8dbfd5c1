//! The bot under strace, which counts the calls that make files durable or put them in place, and holds the bot for a
//! moment after each, so that it can be killed at exactly that one. Per process, not per thread as strace's own
//! counting is: a log writer and an agent share the numbers.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use crate::bot::STERNWAY;

/// What is counted: durable on disk, put in place, taken away.
const CALLS: &str = "fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat";

/// Microseconds that strace holds a thread after each. A kill takes far less, also on a machine that is busy.
const HELD_US: u32 = 10_000;

#[derive(Default)]
struct State {
    /// Calls since the last `arm`.
    calls: Vec<String>,
    /// Whom to kill after which call, counted from 1.
    kill: Option<(usize, Pid)>,
    killed: Option<String>,
}

/// What strace tells of one bot.
#[derive(Clone, Default)]
pub(crate) struct Trace {
    state: Arc<Mutex<State>>,
}

impl Trace {
    /// Whether there is a strace that may trace; says so loudly where not, and fails where `CI` is set.
    pub(crate) fn can() -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/strace.sh");
        let made = Command::new("sh").arg(script).arg("ensure").stdin(Stdio::null()).status();
        let can = made.is_ok_and(|status| status.success());
        if !can {
            assert!(std::env::var_os("CI").is_none(), "CI must kill at each sync: strace cannot be had");
            eprintln!("SKIPPED, NOT TESTED: kills at each sync: strace cannot be had");
        }
        can
    }

    /// The program under strace, which tells in a pipe in that folder. The child is the program; strace goes with it.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut random = [0; 4];
        getrandom::fill(&mut random).expect("random numbers");
        let pipe = folder.join(format!("strace-{}", hex::encode(random)));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe of ours");
        self.listen(pipe.clone());
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-y", "-e", "signal=none", "-e"]);
        command.arg(format!("trace={CALLS}")).arg("-e").arg(format!("inject={CALLS}:delay_exit={HELD_US}"));
        command.arg("-o").arg(&pipe).arg("--").arg(STERNWAY);
        command
    }

    /// A thread of its own, so that nothing delays it; it ends with strace.
    fn listen(&self, pipe: PathBuf) {
        let state = Arc::clone(&self.state);
        std::thread::spawn(move || {
            let Ok(file) = File::open(&pipe) else { return };
            let _ = std::fs::remove_file(&pipe);
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                // What failed has changed nothing; what is unfinished tells its end in a line of its own.
                if !line.contains(") = 0") {
                    continue;
                }
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.calls.push(line.trim_end_matches("(DELAYED)").trim_end().to_owned());
                if let Some((nth, pid)) = state.kill
                    && nth == state.calls.len()
                {
                    let _ = kill_process(pid, Signal::KILL);
                    state.kill = None;
                    state.killed = Some(line);
                }
            }
        });
    }

    /// Counts from 1 again, and kills after that call if asked to.
    pub(crate) fn arm(&self, kill: Option<(usize, Pid)>) {
        *self.state.lock().unwrap() = State { kill, ..State::default() };
    }

    /// The calls since then.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// After which call the bot was killed, if it was.
    pub(crate) fn killed(&self) -> Option<String> {
        self.state.lock().unwrap().killed.clone()
    }
}
