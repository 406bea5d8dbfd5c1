//! `kill -9` under load: whatever was acknowledged is there afterwards, in order, and nothing half.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sternway::domain::event::Event;
use sternway::domain::ids::Position;
use sternway::store::files::FileLog;
use sternway::store::verify::verify;
use sternway::store::{About, Log};

use super::samples::*;
use super::world::{Folder, options};

/// Names the folder to the child process; without it the child's entry does nothing.
const CHILD: &str = "STERNWAY_TEST_CRASH_FOLDER";

const ROUNDS: u64 = 20;

/// Entry of the child process: writes for ever and tells each acknowledged record.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(write_for_ever(PathBuf::from(folder)));
}

async fn write_for_ever(folder: PathBuf) {
    let mut options = options();
    // Small segments, so that kills fall on their change too.
    options.segment_bytes = 40_000;
    let (log, _) = FileLog::open(folder, options).expect("it opens");
    let log = Arc::new(log);
    let begin = log.head().position.0;
    let tasks = (0..8).map(|task| {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let mut batch = vec![new_run(&format!("{begin}-{task}-{n}"), "shop")];
                if n % 2 == 0 {
                    batch.push(draft(About::Log, n, Event::Stopped));
                    batch.push(release_seen("shop", 'a', "1.4"));
                }
                let records = log.append(None, batch).await.expect("the disk is well");
                let mut out = std::io::stdout().lock();
                for record in records {
                    let _ = writeln!(out, "acked {} {}", record.position, record.hash);
                }
                let _ = out.flush();
            }
        })
    });
    futures_util::future::join_all(tasks).await;
}

#[test]
fn twenty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let mut folder = Folder::new();
    let mut acked = BTreeMap::<u64, String>::new();
    for round in 0..ROUNDS {
        if round % 5 == 0 {
            // Now and then from the beginning: creation can be interrupted too.
            (folder, acked) = (Folder::new(), BTreeMap::new());
        }
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "crash::child_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        // Another moment each round: counted in acknowledgements, not in time.
        let until = 3 + (round * 37) % 90;
        let mut told = 0;
        let mut killed = false;
        while let Some(Ok(line)) = lines.next() {
            let mut words = line.split_whitespace().skip_while(|w| !w.ends_with("acked")).skip(1);
            if let (Some(Ok(position)), Some(hash)) = (words.next().map(str::parse), words.next())
                && hash.len() == 64
            {
                acked.insert(position, hash.to_owned());
                told += 1;
            }
            if told >= until && !killed {
                child.kill().expect("it is killed");
                killed = true;
            }
        }
        child.wait().expect("it is gone");
        assert!(killed, "round {round}: the child ended by itself after {told} acknowledgements");

        let (log, report) = folder.reopen();
        assert!(
            !matches!(report.index, sternway::store::files::IndexOutcome::InMemory { .. }),
            "round {round}: {report:?}"
        );
        let read = log.read(Position(0), usize::MAX).expect("it is read");
        for (position, hash) in &acked {
            let found = read.get(usize::try_from(*position).expect("small")).map(|r| r.hash.to_string());
            assert_eq!(found.as_ref(), Some(hash), "round {round}: record {position} was acknowledged");
        }
        let requests = read.iter().filter(|r| matches!(r.event, Event::Invoked { .. })).count();
        assert_eq!(
            log.runs(usize::MAX).expect("the index answers").len(),
            requests,
            "round {round}: runs in the index"
        );
        log.close();
        let verified = verify(&folder.path()).expect("the chain holds");
        assert_eq!((verified.records, verified.torn), (read.len() as u64, None), "round {round}");
    }
}
