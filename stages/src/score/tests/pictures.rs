//! Pictures and rows that cannot be scored.

use cafe_pipeline::stage::{ErrorClass, QuarantinedRow};

use super::*;

/// Good rows, with others between that are at fault.
fn hostile(name: &str) -> Option<Vec<u8>> {
    let whole = picture("animal/penguin.png");
    Some(match name {
        "truncated" => whole[..whole.len() / 2].to_vec(),
        "empty" => Vec::new(),
        "text" => b"<html>not a picture</html>".to_vec(),
        // A header that claims more than any limit.
        "huge" => {
            let mut bytes = b"BM".to_vec();
            bytes.extend([0; 8]);
            bytes.extend([54, 0, 0, 0, 40, 0, 0, 0]);
            bytes.extend(40_000_i32.to_le_bytes());
            bytes.extend(40_000_i32.to_le_bytes());
            bytes.extend([1, 0, 24, 0]);
            bytes.extend([0; 24]);
            bytes
        }
        "tiny" => {
            let mut bytes = Cursor::new(Vec::new());
            DynamicImage::new_rgb8(3, 200).write_to(&mut bytes, ImageFormat::Png).unwrap();
            bytes.into_inner()
        }
        "null" => return None,
        name => picture(name),
    })
}

fn row(candidate: &str, reference: &str) -> Row {
    Row {
        candidate: candidate.to_owned(),
        reference: reference.to_owned(),
        instruction: Some("on red".to_owned()),
        caption: None,
    }
}

fn told(quarantined: &[QuarantinedRow]) -> Vec<(u32, ErrorClass, &str)> {
    quarantined.iter().map(|row| (row.row, row.class, row.message.as_str())).collect()
}

#[test]
fn hostile_pictures_are_quarantined_and_the_others_scored() {
    let good = "animal/penguin.png";
    let names = [good, "truncated", "empty", "text", "huge", "tiny", "null", "gradient"];
    let mut rows: Vec<Row> = names.iter().map(|name| row(name, "food/pizza.png")).collect();
    rows.push(row(good, "truncated"));
    let mut bench = bench(&rows, hostile);
    let (scores, ran) = score(&mut bench, &compile(json!({})));
    let candidates = [
        (1, ErrorClass::Corrupt, "the candidate: cannot be decoded"),
        (2, ErrorClass::Corrupt, "the candidate: the file is empty"),
        (3, ErrorClass::Corrupt, "the candidate: is not a picture in JPEG, PNG, WebP, GIF or BMP"),
        (4, ErrorClass::TooLarge, "the candidate: 40000×40000 px, limits.max_side_px is 16384"),
        (5, ErrorClass::Invalid, "the candidate: 3×200 px, limits.min_side_px is 16"),
        (6, ErrorClass::Invalid, "the candidate has no image"),
    ];
    let reference = [(8, ErrorClass::Corrupt, "the reference: cannot be decoded")];
    let needs_reference = [true, true, true, false, false];
    assert_eq!(ran.len(), needs_reference.len());
    for (ran, needs_reference) in ran.iter().zip(needs_reference) {
        let told = told(&ran.quarantined);
        let wanted = candidates.iter().chain(if needs_reference { &reference[..] } else { &[] });
        let wanted: Vec<_> = wanted.collect();
        assert_eq!(told.len(), wanted.len(), "{told:?}");
        for ((row, class, message), (wanted_row, wanted_class, begin)) in told.iter().zip(wanted) {
            assert_eq!((row, class), (wanted_row, wanted_class));
            assert!(message.starts_with(begin), "{message}");
        }
    }
    // Rows are those of the first scorer, which could do nothing with the last.
    let ids: Vec<_> = scores.column("candidate_id").unwrap().str().unwrap().iter().flatten().collect();
    assert_eq!(ids, ["c0", "c7"]);
    for name in ["clip", "clip_image", "dino"] {
        assert!(floats(&scores, name).iter().all(Option::is_some));
    }
    assert_eq!(floats(&scores, "clip_caption"), [None, None], "a text that is missing has no score");
}

#[test]
fn what_the_first_scorer_has_and_another_has_not_is_null() {
    let mut bench = bench(&[row("animal/penguin.png", "truncated"), row("food/pizza.png", "gradient")], hostile);
    let (scores, _) = score(&mut bench, &compile(json!({"scorers": ["sharpness", "background"]})));
    assert_eq!(scores.height(), 1, "background comes first, in whatever order they are written");
    let mut bench = self::bench(&[row("animal/penguin.png", "gradient")], hostile);
    let nodes = compile(json!({"scorers": ["sharpness", "phash"]}));
    bench.run_on(&nodes[0]);
    bench.put("phash_scores", vec![df!("candidate_id" => [""; 0], "phash" => [""; 0]).unwrap()]);
    let scores = &bench.run(&nodes[2]).unwrap().tables[tables::SCORES];
    assert_eq!((scores.height(), scores.column("phash").unwrap().null_count()), (1, 1));
}

#[test]
fn a_row_whose_pair_is_elsewhere_is_quarantined() {
    let mut bench = bench(&rows(), |name| Some(picture(name)));
    let pairs = df!(
        "pair_id" => ["p0", "p1"],
        "reference_id" => [Some("animal/elephant.png"), Some("gone")],
        "instruction" => ["a", "b"],
        "caption" => ["a", "b"],
    );
    bench.put(tables::PAIRS, vec![pairs.unwrap()]);
    let ran = bench.run(&compile(json!({}))[0]).unwrap();
    let told = told(&ran.quarantined);
    assert_eq!(told.len(), 4);
    assert_eq!(told[0], (1, ErrorClass::Invalid, "its reference gone has no image in the table `references`"));
    assert_eq!(told[1], (2, ErrorClass::Invalid, "its pair p2 is not in the table `pairs`"));
}

/// Texts of any kind and length are scored: what is too long is cut off.
#[test]
fn hostile_texts_are_scored() {
    let texts =
        ["", "\u{0}\u{1b}[31m\r\n", &"long ".repeat(10_000), "日本語 🎉 \u{202e}", "<|endoftext|><|endoftext|>"];
    let rows: Vec<Row> = texts
        .iter()
        .map(|text| Row { instruction: Some((*text).to_owned()), ..row("animal/penguin.png", "food/pizza.png") })
        .collect();
    let mut bench = bench(&rows, |name| Some(picture(name)));
    let (scores, ran) = score(&mut bench, &compile(json!({"scorers": ["clip"]})));
    assert_eq!(ran[0].quarantined, []);
    let scores = floats(&scores, "clip");
    assert!(scores.iter().all(|score| score.is_some_and(|score| score.abs() <= 1.0)), "{scores:?}");
}
