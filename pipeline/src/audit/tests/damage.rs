//! Each kind of damage is found, and blamed on the shard that has it.

use super::*;
use crate::catalog::{Compacted, OPENING};
use crate::stage::Kept;

fn one(kind: ProblemKind, place: &str) -> Vec<(ProblemKind, String)> {
    vec![(kind, place.to_owned())]
}

#[test]
fn an_undamaged_project_balances() {
    let made = Made::new();
    assert_eq!(made.problems(false), []);
    assert_eq!(made.problems(true), []);
}

#[test]
fn a_truncated_file() {
    let made = Made::new();
    let bytes = std::fs::read(made.path("measure", 1)).unwrap();
    std::fs::write(made.path("measure", 1), &bytes[..bytes.len() - 9]).unwrap();
    assert_eq!(made.problems(false), one(ProblemKind::WrongSize, "measure/1"));
    assert_eq!(made.problems(true), one(ProblemKind::WrongSize, "measure/1"));
}

#[test]
fn an_altered_byte() {
    let made = Made::new();
    let mut bytes = std::fs::read(made.path("scan", 0)).unwrap();
    bytes[40] ^= 1;
    std::fs::write(made.path("scan", 0), bytes).unwrap();
    assert_eq!(made.problems(false), [], "a footer does not show it");
    assert_eq!(made.problems(true), one(ProblemKind::WrongDigest, "scan/0"));
}

#[test]
fn every_altered_byte() {
    let made = Made::new();
    let bytes = std::fs::read(made.path("filter", 1)).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x55;
        std::fs::write(made.path("filter", 1), altered).unwrap();
        assert_eq!(made.problems(true), one(ProblemKind::WrongDigest, "filter/1"), "byte {at}");
    }
}

#[test]
fn a_missing_file() {
    let made = Made::new();
    std::fs::remove_file(made.path("filter", 0)).unwrap();
    assert_eq!(made.problems(false), one(ProblemKind::MissingFile, "filter/0"));
    assert_eq!(made.problems(true), one(ProblemKind::MissingFile, "filter/0"));
}

#[test]
fn a_file_that_is_a_folder() {
    let made = Made::new();
    std::fs::remove_file(made.path("filter", 0)).unwrap();
    std::fs::create_dir(made.path("filter", 0)).unwrap();
    assert_eq!(made.problems(true), one(ProblemKind::Unreadable, "filter/0"));
    assert_eq!(made.problems(false).len(), 1);
}

#[test]
fn rows_added_and_taken_away() {
    for rows in [scanned(&[0, 1, 2, 3]), scanned(&[0, 1])] {
        let mut made = Made::new();
        made.replace("scan", 0, rows, false);
        assert_eq!(made.problems(false), one(ProblemKind::WrongSize, "scan/0"), "only the shard itself is to blame");
        // A file of the size that was committed, with other rows.
        let n_bytes = std::fs::metadata(made.path("scan", 0)).unwrap().len();
        made.shard("scan", 0).files[0].n_bytes = n_bytes;
        assert_eq!(made.problems(false), one(ProblemKind::WrongRows, "scan/0"));
        assert_eq!(made.problems(true), one(ProblemKind::WrongDigest, "scan/0"));
    }
}

#[test]
fn a_row_deleted_from_file_and_books() {
    let mut made = Made::new();
    made.replace("scan", 0, scanned(&[0, 1]), true);
    let found = made.problems(false);
    assert!(found.contains(&(ProblemKind::WrongFanOut, "scan/0".to_owned())), "{found:?}");
    assert!(found.contains(&(ProblemKind::WrongInput, "measure/0".to_owned())), "{found:?}");
}

#[test]
fn a_row_missing_in_the_quarantine() {
    let mut made = Made::new();
    made.quarantine.clear();
    assert_eq!(made.problems(false), one(ProblemKind::WrongQuarantine, "scan/0"));
    let mut made = Made::new();
    made.quarantine[0].shard_index = 1;
    assert_eq!(made.problems(false).len(), 2, "one too few, and one too many");
}

#[test]
fn counts_that_do_not_add_up() {
    let mut made = Made::new();
    made.shard("scan", 1).rows.n_duplicate = 0;
    assert_eq!(made.problems(false), one(ProblemKind::Unbalanced, "scan/1"));
    let mut made = Made::new();
    let rows = &mut made.shard("measure", 1).rows;
    (rows.n_in, rows.n_done) = (3, 3);
    let found = made.problems(false);
    assert_eq!(found, [(ProblemKind::WrongInput, "measure/1".into()), (ProblemKind::WrongFanOut, "measure/1".into())]);
}

#[test]
fn an_id_that_stands_twice() {
    let mut made = Made::new();
    made.replace("scan", 1, scanned(&[4, 1]), true);
    made.lineage.clear();
    assert_eq!(made.problems(false), []);
    let report = made.audit(true);
    let what = "1 row of `references` stand again under an id that another row has: row 1 of shard 1 has the id of row 1 of \
                shard 0";
    assert_eq!(report.problems.len(), 1);
    assert_eq!((report.problems[0].kind, report.problems[0].what.as_str()), (ProblemKind::DuplicateId, what));
    assert_eq!(report.problems[0].repairs, [], "the file is as it was committed: made again, it would be the same");
}

#[test]
fn a_compacted_shard_is_what_its_readers_were_made_from() {
    let mut made = Made::new();
    let committed = made.shard("scan", 1).files[0].clone();
    let mut smaller = scanned(&[4, 5]);
    smaller.replace("n", Column::new("n".into(), [0_u64, 0])).unwrap();
    made.replace("scan", 1, smaller, true);
    assert_eq!(made.problems(true), one(ProblemKind::WrongLineage, "measure/1"), "it was not compacted");
    let compacted = Compacted { kept: Kept::Scores, digest: committed.digest, n_bytes: committed.n_bytes };
    made.shard("scan", 1).files[0].compacted = Some(compacted);
    assert_eq!(made.problems(true), []);
    // What stands in the place of a file can be damaged as well.
    made.replace("scan", 1, scanned(&[4, 6]), false);
    let bytes = std::fs::read(made.path("scan", 1)).unwrap();
    made.shard("scan", 1).files[0].n_bytes = bytes.len() as u64;
    assert_eq!(made.problems(true), one(ProblemKind::WrongDigest, "scan/1"));
}

#[test]
fn a_shard_made_from_other_bytes() {
    let mut made = Made::new();
    let shard_id = made.shard("filter", 0).shard_id;
    made.lineage.get_mut(&shard_id).unwrap()[0].digest = Digest::of(b"old");
    assert_eq!(made.problems(false), [], "lineage is looked at when verifying");
    assert_eq!(made.problems(true), one(ProblemKind::WrongLineage, "filter/0"));
    // The input is being made again: its new digest will tell.
    let state = ShardState::Pending;
    let input = made.shard("measure", 0);
    (input.state, input.files, input.rows) = (state, Vec::new(), RowCounts::default());
    assert_eq!(made.problems(true), []);
}

#[test]
fn a_shard_that_the_catalog_lacks() {
    let mut made = Made::new();
    made.shards.retain(|shard| (shard.key.node.as_str(), shard.key.shard_index) != ("filter", 1));
    assert_eq!(made.problems(false), one(ProblemKind::MissingShard, "filter"));
    let mut made = Made::new();
    made.shards.retain(|shard| shard.key.shard_index != 0);
    assert!(made.problems(false).contains(&(ProblemKind::MissingShard, "scan".to_owned())));
    let mut made = Made::new();
    made.shards.retain(|shard| shard.key.shard_index != 1);
    assert_eq!(made.problems(false), one(ProblemKind::MissingShard, "scan"));
}

#[test]
fn a_damaged_listing() {
    let made = Made::new();
    let path = made.shards.iter().find_map(|shard| Some(shard.slice.as_ref()?.path.clone())).unwrap();
    let file = made.storage.root().join(&path);
    let bytes = frame::to_parquet(&mut df!("path" => ["0.png", "1.png"]).unwrap(), &[]).unwrap();
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(made.problems(false), one(ProblemKind::MissingShard, "scan"), "its rows are not those cut");
    assert_eq!(made.problems(true), one(ProblemKind::DamagedListing, "scan"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(made.problems(false), one(ProblemKind::DamagedListing, "scan"));
}

#[test]
fn an_opening_that_found_other_rows_than_were_cut() {
    let mut made = Made::new();
    let mut opening = made.shard("scan", 0).clone();
    (opening.shard_id, opening.key.shard_index, opening.files, opening.slice) = (99, OPENING, Vec::new(), None);
    opening.rows = RowCounts { n_in: 7, n_done: 7, ..RowCounts::default() };
    made.shards.push(opening);
    assert_eq!(made.problems(false), []);
    let rows = &mut made.shard("scan", OPENING).rows;
    (rows.n_in, rows.n_done) = (8, 8);
    assert_eq!(made.problems(false), one(ProblemKind::WrongInput, "scan/-1"));
}

#[test]
fn a_damaged_release() {
    let mut made = Made::new();
    let storage = Arc::clone(&made.storage);
    let data = write_once(storage.as_ref(), "releases/pets-1/data/train.parquet", b"rows").unwrap();
    let described = serde_json::json!({"files": [{"path": "data/train.parquet", "digest": data.digest, "n_bytes": 4}]});
    let described =
        write_once(storage.as_ref(), "releases/pets-1/release.json", described.to_string().as_bytes()).unwrap();
    made.releases.push(ReleaseRecord {
        release_id: "pets-1".to_owned(),
        name: "pets".to_owned(),
        path: "releases/pets-1".to_owned(),
        digest: described.digest,
        n_rows: 1,
        summary: serde_json::Value::Null,
    });
    assert_eq!(made.problems(true), []);
    let file = storage.root().join("releases/pets-1/data/train.parquet");
    std::fs::write(&file, b"wors").unwrap();
    assert_eq!(made.problems(false), []);
    assert_eq!(made.problems(true), one(ProblemKind::DamagedRelease, ""));
    std::fs::write(&file, b"ro").unwrap();
    assert_eq!(made.problems(false), one(ProblemKind::DamagedRelease, ""));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(made.problems(false), one(ProblemKind::DamagedRelease, ""));
    std::fs::write(storage.root().join("releases/pets-1/release.json"), b"{}").unwrap();
    assert_eq!(made.problems(false), one(ProblemKind::DamagedRelease, ""));
}
