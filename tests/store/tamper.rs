//! What somebody with the files can do to a long history, and what notices it.

use sternway::domain::ids::Position;
use sternway::store::Log;
use sternway::store::files::IndexOutcome;
use sternway::store::verify::verify;

use super::history;
use super::world::Folder;

#[tokio::test]
async fn a_long_history_is_one_that_the_bot_could_have_written() {
    let folder = Folder::new();
    let written = history::write(&folder.path(), 2_000, 7).expect("written");
    let verified = verify(&folder.path()).expect("it is whole");
    assert_eq!((verified.records, verified.head.hash), (written.records, written.head));
    let (log, report) = folder.reopen();
    assert_eq!(report.warnings, Vec::<String>::new());
    assert!(matches!(report.index, IndexOutcome::Rebuilt { .. }), "{:?}", report.index);
    assert_eq!(log.runs(1).expect("the index answers")[0].last.0 + 1, written.records);
    assert!(log.head().position > Position(2_000));
}
