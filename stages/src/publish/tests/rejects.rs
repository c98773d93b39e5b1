//! What a release does not take, and a release that needs it again.

use cafe_pipeline::dropped::Dropped;
use cafe_pipeline::stage::{Bounds, Kept, Rejects, Work, WorkContext, WorkError};

use super::*;
use crate::testing::world::noise;

fn rejects(node: &NodeDecl) -> Option<&dyn Rejects> {
    match &node.work {
        Work::Whole(work) => work.rejects(),
        Work::Rows(_) => None,
    }
}

/// What nodes are given once the pictures of all that `release` rejects were dropped.
fn compacted(bench: &Bench, release: &NodeDecl) -> WorkContext {
    let mut context = bench.context();
    let storage = context.storage.clone();
    let rejects = rejects(release).unwrap();
    let ids = rejects.ids(&context).unwrap();
    for shard in context.inputs.get_mut(rejects.table()).unwrap() {
        let rows = frame::read(storage.open(&shard.path).unwrap(), None).unwrap();
        let is_rejected = |id: &str| ids.contains(id);
        let thumbnails = |pictures: &[&[u8]]| rejects.thumbnails(pictures);
        let kept = rejects.kept().unwrap();
        let bytes = Dropped::drop_from(rows, Dropped::default(), kept, is_rejected, thumbnails).unwrap().unwrap();
        shard.path.push_str(".compacted");
        storage.write(&shard.path, &bytes).unwrap();
        (shard.digest, shard.n_bytes) = (Digest::of(&bytes), bytes.len() as u64);
    }
    context
}

fn list(node: &NodeDecl, context: &WorkContext) -> Result<DataFrame, WorkError> {
    let Bounds::Barrier(lister) = &node.bounds else { panic!("{node:?}") };
    lister.list(context)
}

fn pack(node: &NodeDecl, context: &WorkContext, listing: &DataFrame) -> Result<DataFrame, WorkError> {
    let Work::Rows(work) = &node.work else { panic!("{node:?}") };
    work.process(context, listing).map(|mut made| made.tables.remove("quadruplets").unwrap())
}

#[test]
fn rejects_are_what_a_filter_of_candidates_refused() {
    let mut bench = bench(4);
    let release = nodes(json!({"keep_rejects": "scores"})).remove(1);
    let ids = |bench: &Bench| {
        let mut ids: Vec<String> = rejects(&release).unwrap().ids(&bench.context()).unwrap().into_iter().collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&bench), ["c02", "c05", "c08", "c11", "c14", "c17", "c20", "c23"]);
    // Of the second half nobody has said anything; a reference that is refused does not make a reject of its candidates.
    let half = candidates().head(Some(N_REFERENCES));
    let of_references = verdicts("reference_id", &references(), |_| Some("too dark"));
    bench.put("verdicts", vec![verdicts("candidate_id", &half, third), of_references]);
    assert_eq!(ids(&bench), ["c02", "c05", "c08", "c11"]);
}

#[test]
fn a_release_does_not_need_what_it_rejects() {
    let config = json!({"keep_rejects": "scores"});
    let mut bench = bench(4);
    let release = publish(&mut bench, config.clone());
    let nodes = nodes(config);
    let context = compacted(&bench, &nodes[1]);
    let listing = list(&nodes[0], &context).unwrap();
    assert!(listing.equals_missing(&list(&nodes[0], &bench.context()).unwrap()));
    let packed = pack(&nodes[0], &context, &listing).unwrap();
    let packed = packed.drop(cafe_pipeline::stage::ROW).unwrap();
    assert!(packed.equals_missing(&release.packed.tables["quadruplets"]));
    // Nor does what it says of its inputs depend on whether they still are what they were.
    let Work::Whole(work) = &nodes[1].work else { panic!() };
    let again = work.run(&context).unwrap();
    assert_eq!((again.tables, again.effects), (release.ran.tables, release.ran.effects));
}

#[test]
fn what_is_accepted_later_is_asked_for_shard_by_shard_and_all_at_once() {
    let mut bench = bench(4);
    let nodes = nodes(json!({"keep_rejects": "scores"}));
    let mut context = compacted(&bench, &nodes[1]);
    // Accepted now: one of the second shard, two of the third.
    let fewer = |row: usize| third(row).filter(|_| ![11, 17, 20].contains(&row));
    bench.put("verdicts", vec![verdicts("candidate_id", &candidates(), fewer)]);
    let whole = bench.context();
    context.inputs.insert("verdicts".to_owned(), whole.inputs["verdicts"].clone());
    let needed = |error: WorkError| match error {
        WorkError::Dropped { table, shards } => (table, shards),
        other => panic!("{other}"),
    };
    assert_eq!(needed(list(&nodes[0], &context).unwrap_err()), ("candidates".to_owned(), vec![1, 2]));
    // A listing that was made before does not help.
    let listing = list(&nodes[0], &whole).unwrap();
    let error = pack(&nodes[0], &context, &listing).unwrap_err();
    assert!(error.to_string().contains("pictures in 2 shards of `candidates` were dropped"), "{error}");
    assert_eq!(needed(error).1, [1, 2]);
    // Who reads pictures of whole shards needs all of them, who reads none needs none.
    assert_eq!(needed(context.table("candidates", Some(&["image"])).unwrap_err()).1, [0, 1, 2]);
    assert_eq!(context.table("candidates", Some(&["candidate_id"])).unwrap().height(), 24);
}

#[test]
fn a_thumbnail_is_smaller_than_its_picture_or_is_none() {
    let release = nodes(json!({"keep_rejects": "thumbnail"})).remove(1);
    let (large, none) = (noise(200, 1), b"no picture at all".to_vec());
    let small = rejects(&release).unwrap().thumbnails(&[&large, &none]);
    let jpeg = small[0].as_ref().unwrap();
    assert!(jpeg.len() < large.len());
    let read = image::load_from_memory(jpeg).unwrap();
    assert_eq!((read.width(), read.height(), &small[1]), (160, 160, &None));
}

#[test]
fn what_is_kept_changes_no_byte() {
    let usual = nodes(json!({}));
    for (keep, kept) in [("image", None), ("thumbnail", Some(Kept::Thumbnail)), ("scores", Some(Kept::Scores))] {
        let nodes = nodes(json!({"keep_rejects": keep}));
        assert_eq!(rejects(&nodes[1]).unwrap().kept(), kept);
        for (node, usual) in nodes.iter().zip(&usual) {
            assert_eq!(node.settings, usual.settings, "{keep}");
        }
    }
    assert!(rejects(&nodes(json!({"of": "pairs"}))[1]).is_none(), "pairs are no candidates");
}

#[test]
fn only_rejected_candidates_can_be_dropped() {
    let issue = |config| {
        let issues = compile(config).unwrap_err();
        issues.into_iter().map(|issue| format!("{}: {}", issue.pointer, issue.message)).collect::<Vec<_>>()
    };
    assert_eq!(
        issue(json!({"of": "references", "keep_rejects": "scores"})),
        ["/keep_rejects: only candidates can be made again, and `of` is `references`"]
    );
    assert_eq!(
        issue(json!({"filtered": false, "keep_rejects": "thumbnail"})),
        ["/keep_rejects: nothing is rejected where `filtered` is false"]
    );
    assert!(compile(json!({"of": "references", "keep_rejects": "image"})).is_ok());
}
