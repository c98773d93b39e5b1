//! The program as it is called: files in, files out, and the conversation.

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

fn png(pixel: [u8; 3]) -> Vec<u8> {
    let mut bytes = io::Cursor::new(Vec::new());
    RgbImage::from_pixel(4, 4, Rgb(pixel)).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A file with a grey, a broken and a missing picture.
fn input(dir: &TempDir, id: &str) -> PathBuf {
    let grey = png([51, 51, 51]);
    let bytes = Series::new("bytes".into(), [Some(grey.as_slice()), Some(b"broken"), None]);
    let path = Series::new("path".into(), ["a.png", "b.png", "c.png"]);
    let image = StructChunked::from_series("image".into(), 3, [bytes, path].iter()).unwrap();
    let columns = vec![Column::new(id.into(), ["a", "b", "c"]), image.into_series().into_column()];
    let file = dir.path().join("input.parquet");
    let mut rows = DataFrame::new_infer_height(columns).unwrap();
    fs::write(&file, frame::to_parquet(&mut rows, &[]).unwrap()).unwrap();
    file
}

fn read(path: &Path) -> DataFrame {
    frame::from_parquet(fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_row_gets_its_statistics_or_its_error() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("output.parquet");
    run(&input(&dir, "pair_id"), &output, None).unwrap();
    let rows = read(&output);
    let names: Vec<&str> = rows.schema().iter_names().map(PlSmallStr::as_str).collect();
    assert_eq!(names[..2], ["pair_id", "sharpness"]);
    assert_eq!(names[9], "_error");
    let brightness: Vec<Option<f64>> = rows.column("brightness").unwrap().f64().unwrap().iter().collect();
    assert_eq!(brightness, [Some(0.2), None, None]);
    let errors: Vec<Option<&str>> = rows.column("_error").unwrap().str().unwrap().iter().collect();
    assert_eq!(errors[0], None);
    assert!(errors[1].unwrap().starts_with("cannot decode the image"));
    assert_eq!(errors[2], Some("has no image"));
}

#[test]
fn what_is_missing_is_said_with_its_exit_code() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("output.parquet");
    let error = run(&input(&dir, "name"), &output, None).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert_eq!(
        error.to_string(),
        "the input has no id column (`candidate_id`, `pair_id`, `reference_id`): it has `name`, `image`"
    );
    run(&input(&dir, "name"), &output, Some("name")).unwrap();
    assert_eq!(run(&dir.path().join("none"), &output, None).unwrap_err().exit_code(), 1);
    let nowhere = dir.path().join("no/folder");
    assert_eq!(run(&input(&dir, "pair_id"), &nowhere, None).unwrap_err().exit_code(), 75);
}

#[test]
fn requests_are_answered_until_stdin_ends() {
    let dir = TempDir::new().unwrap();
    let (good, output) = (input(&dir, "pair_id"), dir.path().join("output.parquet"));
    let request = |id: u64, input: &Path| {
        let request = serde_json::json!({ "id": id, "input": input, "output": output, "n_rows": 3, "seed": 1 });
        format!("{request}\n")
    };
    let stdin = request(1, &good) + &request(2, Path::new("/no/such/file"));
    let mut stdout = Vec::new();
    serve(None, stdin.as_bytes(), &mut stdout).unwrap();
    let said: Vec<Value> =
        String::from_utf8(stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said[0], serde_json::json!({ "ready": true, "protocol": 1 }));
    assert_eq!((&said[1]["id"], &said[1]["ok"]), (&Value::from(1), &Value::from(true)));
    assert_eq!(said[2]["error"]["class"], "poison");
    assert_eq!(said.len(), 3);
    assert_eq!(read(&output).height(), 3);
}
