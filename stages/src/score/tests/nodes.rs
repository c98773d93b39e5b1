//! What the keys compile to.

use super::*;

fn parts(nodes: &[NodeDecl]) -> Vec<Option<&str>> {
    nodes.iter().map(|node| node.part).collect()
}

fn columns(node: &NodeDecl) -> Vec<&str> {
    node.writes[0].columns.iter_names().map(|name| name.as_str()).collect()
}

#[test]
fn there_is_a_node_for_each_scorer_and_one_for_all() {
    let nodes = compile(json!({}));
    assert_eq!(parts(&nodes), [Some("clip"), Some("dino"), Some("background"), Some("sharpness"), Some("phash"), None]);
    let last = nodes.last().unwrap();
    assert_eq!(last.writes[0].name, tables::SCORES);
    assert_eq!(
        columns(last),
        [
            "candidate_id",
            "clip",
            "clip_instruction",
            "clip_caption",
            "clip_image",
            "dino",
            "background_similarity",
            "sharpness",
            "phash"
        ]
    );
}

#[test]
fn another_scorer_or_another_text_leaves_scorers_as_they_are() {
    let settings = |nodes: &[NodeDecl], part: &str| {
        nodes.iter().find(|node| node.part == Some(part)).map(|node| node.settings.clone()).unwrap()
    };
    let one = compile(json!({"scorers": ["dino", "clip"]}));
    let more = compile(json!({"scorers": ["sharpness", "clip", "dino"], "clip_text": "caption", "batch": 3}));
    for part in ["clip", "dino"] {
        assert_eq!(settings(&one, part), settings(&more, part));
    }
    assert_ne!(one.last().unwrap().settings, more.last().unwrap().settings);
    assert_ne!(settings(&one, "clip"), settings(&compile(json!({"limits": {"min_side_px": 1}})), "clip"));
}

#[test]
fn other_weights_are_other_settings_of_their_scorer_only() {
    let family = without_onnx();
    let settings = |nodes: Vec<NodeDecl>| nodes.into_iter().map(|node| node.settings).collect::<Vec<_>>();
    let before = settings(compile_in(family.path(), json!({})).unwrap());
    std::fs::write(family.path().join("dino_filter/preprocessor_config.json"), "{}").unwrap();
    let after = settings(compile_in(family.path(), json!({})).unwrap());
    let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(changed, [1]);
}

#[test]
fn judges_have_columns_of_their_own() {
    let nodes = compile(json!({"roles": "judge"}));
    assert_eq!(parts(&nodes), [Some("clip"), Some("dino"), None]);
    assert_eq!(
        columns(nodes.last().unwrap()),
        [
            "candidate_id",
            "judge_clip",
            "judge_clip_instruction",
            "judge_clip_caption",
            "judge_clip_image",
            "judge_dino"
        ]
    );
    let mut bench = bench(&rows(), |name| Some(picture(name)));
    let (judged, _) = score(&mut bench, &nodes);
    let (filtered, _) = score(&mut bench, &compile(json!({})));
    assert_ne!(floats(&judged, "judge_dino")[1], floats(&filtered, "dino")[1], "a judge is another encoder");
    near(&floats(&judged, "judge_clip")[..1], &floats(&judged, "judge_clip_instruction")[..1], 0.0);
}

#[test]
fn the_text_of_clip_is_chosen() {
    let mut bench = bench(&rows(), |name| Some(picture(name)));
    let (scores, _) = score(&mut bench, &compile(json!({"scorers": ["clip"], "clip_text": "caption"})));
    assert_eq!(floats(&scores, "clip"), floats(&scores, "clip_caption"));
    assert_ne!(floats(&scores, "clip"), floats(&scores, "clip_instruction"));
}

#[test]
fn mistakes_are_named() {
    let cases = [
        (json!({"scorers": []}), "/scorers", "names no scorer"),
        (json!({"scorers": ["dino", "dino"]}), "/scorers/1", "`dino` a second time"),
        (json!({"scorers": ["phash"], "roles": "judge"}), "/scorers/0", "has no model"),
        (json!({"batch": 0}), "/batch", "at least 1"),
        (json!({"family": "maxi"}), "/family", "there is no model maxi"),
    ];
    for (config, pointer, message) in cases {
        let issues = compile_in(&mini(), config.clone()).expect_err(&config.to_string());
        assert_eq!(issues.len(), 1, "{config}: {issues:?}");
        assert_eq!(issues[0].pointer, pointer, "{config}: {issues:?}");
        assert!(issues[0].message.contains(message), "{config}: {issues:?}");
    }
    let all = compile_in(&mini(), json!({"scorers": ["dino", "dino"], "batch": 0, "family": "maxi"})).unwrap_err();
    assert_eq!(all.len(), 3, "all mistakes at once: {all:?}");
    let empty = tempfile::tempdir().unwrap();
    let missing = compile_in(empty.path(), json!({})).unwrap_err();
    assert_eq!(missing.len(), 2, "both roles are missing: {missing:?}");
    // What needs no model asks for none.
    compile_in(empty.path(), json!({"scorers": ["sharpness"]})).unwrap();
}
