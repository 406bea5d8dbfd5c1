//! Replays what is kept in `tests/corpus/`, and changes of it. Every input is watched: its time on the processor, whether
//! it comes back at all, and that nothing panics, in whatever task.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::mutate::{Dice, mutated};
use crate::targets::{ALL, Target};

/// Time on the processor that one input may take, unoptimised.
const PROCESSOR_MAX: Duration = Duration::from_secs(5);

/// After this an input is given up, and the process with it: a loop cannot be stopped from outside.
const WALL_MAX: Duration = Duration::from_secs(120);

/// Seeds that every run has.
const SEEDS: [u64; 2] = [20_261_128, 7];

/// Names one seed to repeat, instead of all of them.
const SEED: &str = "STERNWAY_BAD_INPUT_SEED";

/// Inputs for each seed, instead of the target's own number.
const ROUNDS: &str = "STERNWAY_BAD_INPUT_ROUNDS";

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var_os(variable)?.into_string().unwrap_or_default();
    Some(text.parse().unwrap_or_else(|why| panic!("{variable}: {why}")))
}

/// Panics of threads that are no test's: a log's writer, a console's input.
static PANICS: AtomicUsize = AtomicUsize::new(0);

thread_local! { static OWN_PANICS: Cell<usize> = const { Cell::new(0) }; }

/// Panics that may be of this thread's input; a test that runs beside it counts its own.
fn panics() -> usize {
    PANICS.load(Ordering::SeqCst) + OWN_PANICS.get()
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |what| {
            // The names of tests are paths.
            if std::thread::current().name().is_some_and(|name| name.contains("::")) {
                OWN_PANICS.set(OWN_PANICS.get() + 1);
            } else {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(what);
        }));
    });
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The kept inputs of a target, by name.
fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut all: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    assert!(!all.is_empty(), "{} is empty", folder.display());
    all
}

/// Time that this thread had on the processor.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

/// Feeds one input; `from` says where it comes from.
fn feed(target: &Target, input: &[u8], from: &str) {
    let before = (panics(), processor());
    let (done, waiting) = channel::<()>();
    let watched = (target.name, input.to_vec(), from.to_owned());
    let watch = std::thread::spawn(move || {
        if waiting.recv_timeout(WALL_MAX) == Err(RecvTimeoutError::Timeout) {
            let (name, input, from) = watched;
            eprintln!("{name} does not come back, {from}: {}", put_aside(name, &input));
            std::process::abort();
        }
    });
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.feed)(input)));
    drop(done);
    watch.join().expect("the watch only waits");
    let used = processor().saturating_sub(before.1);
    let panicked = panics() > before.0;
    if outcome.is_err() || panicked || used > PROCESSOR_MAX {
        panic!(
            "{} does not stand it ({used:?} on the processor), {from}: {}",
            target.name,
            put_aside(target.name, input)
        );
    }
}

/// Writes an input where it can be looked at, and says how it is kept.
fn put_aside(name: &str, input: &[u8]) -> String {
    let mut hash = std::hash::DefaultHasher::new();
    hash.write(input);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:016x}", hash.finish()));
    std::fs::write(&path, input).expect("a failing input is kept");
    format!("keep it with: cp {} {}/", path.display(), folder().join(name).display())
}

pub(crate) fn replay(target: &Target) {
    count_panics();
    for (name, input) in kept(target) {
        feed(target, &input, &format!("tests/corpus/{}/{name}", target.name));
    }
}

pub(crate) fn mutations(target: &Target) {
    count_panics();
    let corpus: Vec<Vec<u8>> = kept(target).into_iter().map(|(_, input)| input).collect();
    let fresh = std::hash::RandomState::new().build_hasher().finish();
    let seeds = number(SEED).map_or_else(|| vec![SEEDS[0], SEEDS[1], fresh], |seed| vec![seed]);
    let rounds = number(ROUNDS).map_or(target.rounds.div_ceil(3).into(), |rounds| rounds);
    for seed in seeds {
        println!("{}: {SEED}={seed} cargo test --test bad_input -- {}::mutations", target.name, target.name);
        let mut dice = Dice(seed);
        for round in 0..rounds {
            let input = mutated(&mut dice, &corpus);
            feed(target, &input, &format!("{SEED}={seed}, round {round}"));
        }
    }
}

/// The list of targets, the tests of `bad_input.rs` and the folders are the same.
#[test]
fn every_target_is_replayed_and_has_a_corpus() {
    let mut folders: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(folders, names);
    let mut tested = crate::TESTED.to_vec();
    tested.sort_unstable();
    assert_eq!(tested, names);
}
