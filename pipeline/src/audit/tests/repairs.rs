//! What is done about damage.

use super::super::report::Repair;
use super::*;

fn repairs(made: &Made) -> Vec<Repair> {
    let mut repairs: Vec<Repair> = made.audit(true).problems.into_iter().flat_map(|problem| problem.repairs).collect();
    repairs.sort();
    repairs.dedup();
    repairs
}

#[test]
fn a_shard_with_several_problems_is_made_again_once() {
    let mut made = Made::new();
    std::fs::remove_file(made.path("scan", 0)).unwrap();
    made.quarantine.clear();
    let shard_id = made.shard("scan", 0).shard_id;
    assert_eq!(made.audit(true).problems.len(), 2);
    assert_eq!(repairs(&made), [Repair::Invalidate { shard_id }]);
}

#[test]
fn readers_of_a_damaged_shard_are_left_alone() {
    let mut made = Made::new();
    std::fs::write(made.path("scan", 1), b"PAR1").unwrap();
    let shard_id = made.shard("scan", 1).shard_id;
    assert_eq!(repairs(&made), [Repair::Invalidate { shard_id }]);
}

#[test]
fn a_damaged_listing_is_taken_away() {
    let made = Made::new();
    let path = made.shards.iter().find_map(|shard| Some(shard.slice.as_ref()?.path.clone())).unwrap();
    std::fs::write(made.storage.root().join(&path), b"PAR1").unwrap();
    assert_eq!(repairs(&made), [Repair::RemoveListing { path }]);
}
