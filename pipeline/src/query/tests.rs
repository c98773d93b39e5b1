use std::io::{self, Write};

use polars::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::storage::{LocalStorage, write_once};

struct Project {
    _folder: tempfile::TempDir,
    storage: LocalStorage,
    files: Vec<InputShard>,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = LocalStorage::create(folder.path().join("a=b[1]*")).unwrap();
        Self { _folder: folder, storage, files: Vec::new() }
    }

    fn add(&mut self, node: &str, table: &str, mut rows: DataFrame) -> &mut Self {
        let shard_index = self.files.iter().filter(|file| file.node == node && file.table == table).count();
        let path = format!("shards/{node}/{table}-{shard_index:05}.1.parquet");
        let bytes = crate::frame::to_parquet(&mut rows, &[]).unwrap();
        write_once(&self.storage, &path, &bytes).unwrap();
        self.files.push(InputShard {
            shard_id: self.files.len() as i64,
            node: node.to_owned(),
            shard_index: shard_index as u32,
            table: table.to_owned(),
            path,
            digest: Digest::of(&bytes),
            content: Digest::of(&bytes),
            n_bytes: bytes.len() as u64,
            n_rows: rows.height() as u64,
        });
        self
    }

    fn source(&self) -> QuerySource {
        QuerySource::new(self.storage.root(), self.files.clone())
    }

    fn ask(&self, sql: &str) -> Result<String, QueryError> {
        run_sql(&self.source(), sql).map(|rows| written(&rows, Format::Csv))
    }
}

fn written(rows: &DataFrame, format: Format) -> String {
    let mut out = Vec::new();
    write(rows, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn dataset() -> Project {
    let image = |bytes: &[u8]| {
        let fields = [Series::new("bytes".into(), [bytes]), Series::new("path".into(), ["a.png"])];
        StructChunked::from_series("image".into(), 1, fields.iter()).unwrap().into_series()
    };
    let references = |id: &str, class: &str, bytes: &[u8]| {
        df!("reference_id" => [id], "class" => [class], "image" => [image(bytes)].concat_one()).unwrap()
    };
    let mut project = Project::new();
    project
        .add("collect", "references", references("r1", "dog", &[1, 2]))
        .add("collect", "references", references("r2", "cat", &[0; 1234]))
        .add("sharp", "scores", df!("reference_id" => ["r1", "r2"], "sharpness" => [0.5, 0.1]).unwrap())
        .add("clip", "scores", df!("reference_id" => ["r2"], "clip" => [0.3]).unwrap())
        .add("strict", "verdicts", df!("reference_id" => ["r1", "r2"], "accepted" => [true, false]).unwrap())
        .add("loose.one", "verdicts", df!("reference_id" => ["r1", "r2"], "accepted" => [true, true]).unwrap())
        .add("x", "odd", df!("odd_id" => ["a"], "shared" => [1_i64], "left" => [1_i64]).unwrap())
        .add("y", "odd", df!("odd_id" => ["b"], "shared" => [2_i64], "right" => ["z"]).unwrap());
    project
}

trait One {
    fn concat_one(self) -> Series;
}

impl One for [Series; 1] {
    fn concat_one(self) -> Series {
        let [series] = self;
        series
    }
}

#[test]
fn references_is_a_table_like_any_other() {
    let project = dataset();
    assert_eq!(project.ask("SELECT count(*) AS n FROM references").unwrap(), "n\n2\n");
    let sql = "SELECT references.class, s.sharpness FROM references JOIN scores_sharp AS s USING (reference_id)
               ORDER BY references.class";
    assert_eq!(project.ask(sql).unwrap(), "class,sharpness\ncat,0.1\ndog,0.5\n");
    let sql =
        "SELECT r.class FROM references r WHERE r.reference_id IN (SELECT reference_id FROM references) ORDER BY 1";
    assert_eq!(project.ask(sql).unwrap(), "class\ncat\ndog\n");
    assert_eq!(project.ask("WITH c AS (SELECT * FROM references) SELECT count(*) n FROM c").unwrap(), "n\n2\n");
    assert_eq!(project.ask("SELECT \"class\" FROM \"references\" ORDER BY class LIMIT 1").unwrap(), "class\ncat\n");
}

#[test]
fn a_plan_is_explained_and_nothing_is_written() {
    let project = dataset();
    assert!(project.ask("EXPLAIN SELECT class FROM references").unwrap().contains("PROJECT"));
    let refused = [
        "DROP TABLE references",
        "CREATE TABLE x AS SELECT 1 AS a",
        "DELETE FROM references",
        "TRUNCATE TABLE references",
    ];
    for sql in refused {
        assert!(matches!(project.ask(sql), Err(QueryError::ReadOnly { .. })), "{sql}");
    }
    assert_eq!(project.ask("SELECT count(*) AS n FROM references").unwrap(), "n\n2\n");
}

#[test]
fn scores_of_several_nodes_are_one_wide_table() {
    let project = dataset();
    let wide = project.ask("SELECT * FROM scores ORDER BY reference_id").unwrap();
    assert_eq!(wide, "reference_id,sharpness,clip\nr1,0.5,\nr2,0.1,0.3\n");
    assert_eq!(project.ask("SELECT * FROM scores_clip").unwrap(), "reference_id,clip\nr2,0.3\n");
    assert_eq!(project.ask("SELECT count(*) AS n FROM scores WHERE clip IS NULL").unwrap(), "n\n1\n");
}

#[test]
fn equal_tables_stand_one_below_the_other_and_unequal_ones_with_nulls() {
    let project = dataset();
    assert_eq!(project.ask("SELECT count(*) AS n FROM verdicts WHERE accepted").unwrap(), "n\n3\n");
    assert_eq!(project.ask("SELECT count(*) AS n FROM verdicts_loose_one WHERE accepted").unwrap(), "n\n2\n");
    let sql =
        "SELECT count(*) AS n FROM (SELECT class FROM references UNION ALL SELECT reference_id FROM verdicts) AS u";
    assert_eq!(project.ask(sql).unwrap(), "n\n6\n");
    let odd = project.ask("SELECT * FROM odd ORDER BY odd_id").unwrap();
    assert_eq!(odd, "odd_id,shared,left,right\na,1,1,\nb,2,,z\n");
}

#[test]
fn pixels_of_other_columns_are_never_read() {
    let mut project = dataset();
    // A file whose pixels are gone: the bytes of its first column are overwritten.
    let mut random = 1_u64;
    let mut noise = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 56) as u8
    };
    let noise: Vec<u8> = (0..60_000).map(|_| noise()).collect();
    let rows = df!("image" => [noise.as_slice()], "reference_id" => ["r3"]).unwrap();
    project.add("more", "pictures", rows);
    let path = project.storage.root().join(&project.files.last().unwrap().path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4..30_000].fill(0);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(project.ask("SELECT reference_id FROM pictures").unwrap(), "reference_id\nr3\n");
    let error = project.ask("SELECT image FROM pictures").unwrap_err().to_string();
    assert!(error.contains("audit --verify"), "{error}");
}

#[test]
fn unknown_names_are_met_with_those_there_are() {
    let project = dataset();
    let error = project.ask("SELECT * FROM reference").unwrap_err().to_string();
    assert!(error.starts_with("there is no table `reference`; did you mean `references`?"), "{error}");
    assert!(error.contains("`scores`") && error.contains("`quarantine`"), "{error}");
    let error = project.ask("SELECT sharpnes FROM scores").unwrap_err().to_string();
    assert!(error.contains("did you mean `sharpness`?"), "{error}");
    assert!(error.contains("`scores` has `reference_id`, `sharpness` and `clip`"), "{error}");
    let error = project.ask("SELECT * FROM references WHERE clas = 'dog'").unwrap_err().to_string();
    assert!(error.contains("did you mean `class`?"), "{error}");
}

#[test]
fn a_with_name_never_hides_behind_a_table() {
    let project = dataset();
    let error = project.ask("WITH scores AS (SELECT 1 AS a) SELECT * FROM scores").unwrap_err();
    assert!(matches!(error, QueryError::ShadowedTable { .. }), "{error}");
    assert_eq!(project.ask("WITH mine AS (SELECT 1 AS a) SELECT * FROM mine").unwrap(), "a\n1\n");
}

#[test]
fn a_clash_of_names_is_resolved_as_documented() {
    let mut project = dataset();
    project.add("own", "shards", df!("shards_id" => ["mine"]).unwrap());
    let mut source = project.source();
    source.control.insert("shards", df!("node" => ["collect"]).unwrap());
    let ask = |sql: &str| written(&run_sql(&source, sql).unwrap(), Format::Csv);
    assert_eq!(ask("SELECT * FROM shards"), "shards_id\nmine\n");
    assert_eq!(ask("SELECT * FROM catalog_shards"), "node\ncollect\n");
    let all = ask("SHOW TABLES");
    assert!(all.contains("\nreferences,dataset,2,2\n"), "{all}");
    assert!(all.contains("\nscores_clip,node,1,1\n"), "{all}");
    assert!(all.contains("\nquarantine,catalog,,\n") && all.contains("\ncatalog_shards,catalog,,\n"), "{all}");
}

#[test]
fn a_damaged_file_is_an_error_with_advice() {
    let project = dataset();
    let path = project.storage.root().join(&project.files[2].path);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = project.ask("SELECT * FROM scores_sharp").unwrap_err().to_string();
    assert!(error.contains("audit --verify"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = project.ask("SELECT * FROM scores_sharp").unwrap_err().to_string();
    assert!(error.contains("audit --verify"), "{error}");
}

#[test]
fn formats_show_every_kind_of_value() {
    let project = dataset();
    let rows = run_sql(&project.source(), "SELECT * FROM references ORDER BY reference_id DESC").unwrap();
    let table = written(&rows, Format::Table);
    assert!(table.contains("{bytes: <1.2 KB>, path: a.png}"), "{table}");
    let rows = rows.tail(Some(1));
    let wanted = "reference_id,class,image\nr1,dog,\"{\"\"bytes\"\":\"\"0102\"\",\"\"path\"\":\"\"a.png\"\"}\"\n";
    assert_eq!(written(&rows, Format::Csv), wanted);
    let json: serde_json::Value = serde_json::from_str(&written(&rows, Format::Json)).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{"reference_id": "r1", "class": "dog", "image": {"bytes": "0102", "path": "a.png"}}])
    );
    let lists = Series::new("tags".into(), [Series::new("".into(), ["a", "b"])]);
    let rows = df!(
        "tags" => lists, "text" => ["a \"b\",\nc"], "empty" => [""], "none" => [None::<&str>], "f" => [0.1_f32],
        "big" => [1e300], "nan" => [f64::NAN], "id" => [u64::MAX], "neg" => [-3_i8]
    )
    .unwrap();
    let wanted = "tags,text,empty,none,f,big,nan,id,neg\n\"[\"\"a\"\",\"\"b\"\"]\",\"a \"\"b\"\",\nc\",\"\",,0.1,1e300,NaN,\
                  18446744073709551615,-3\n";
    assert_eq!(written(&rows, Format::Csv), wanted);
    let json: serde_json::Value = serde_json::from_str(&written(&rows, Format::Json)).unwrap();
    let wanted = serde_json::json!([{"tags": ["a", "b"], "text": "a \"b\",\nc", "empty": "", "none": null, "f": 0.1,
        "big": 1e300, "nan": null, "id": u64::MAX, "neg": -3}]);
    assert_eq!(json, wanted);
    let none = rows.head(Some(0));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&written(&none, Format::Json)).unwrap(),
        serde_json::json!([])
    );
}

#[test]
fn a_long_answer_is_cut_in_a_table_only() {
    let rows = df!("n" => (0..1000_i64).collect::<Vec<_>>()).unwrap();
    let table = written(&rows, Format::Table);
    assert!(table.ends_with("(200 of 1,000 rows; --format csv or json writes them all)\n"), "{table}");
    assert_eq!(table.lines().count(), 203);
    assert_eq!(written(&rows, Format::Csv).lines().count(), 1001);
}

struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
    let rows = df!("n" => (0..100_000_i64).collect::<Vec<_>>()).unwrap();
    for format in [Format::Table, Format::Csv, Format::Json] {
        assert!(write(&rows, format, &mut Closed(io::ErrorKind::BrokenPipe)).is_ok());
        assert!(write(&rows, format, &mut Closed(io::ErrorKind::StorageFull)).is_err());
    }
}

#[tokio::test]
async fn queries_run_beside_an_async_runtime() {
    let source = dataset().source();
    let project = dataset();
    let source = QuerySource { root: project.storage.root().to_owned(), ..source };
    let rows = tokio::task::spawn_blocking(move || run_sql(&source, "SELECT count(*) AS n FROM references")).await;
    assert_eq!(written(&rows.unwrap().unwrap(), Format::Csv), "n\n2\n");
}

/// Times one query in this process: QUERY_ROOT is a folder of Parquet files, QUERY_SQL asks of the table `scores`,
/// QUERY_ENGINE is `streaming` or `memory`.
#[test]
#[ignore = "a measurement, for benches/peers/query_duckdb.py to compare with"]
fn speed() {
    let root = PathBuf::from(std::env::var("QUERY_ROOT").unwrap());
    let sql = std::env::var("QUERY_SQL").unwrap();
    let engine = if std::env::var("QUERY_ENGINE").is_ok_and(|name| name == "memory") {
        Engine::InMemory
    } else {
        Engine::Streaming
    };
    let mut paths: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    paths.sort();
    let file = |(index, path): (usize, &std::ffi::OsString)| InputShard {
        shard_id: index as i64,
        node: "score".to_owned(),
        shard_index: index as u32,
        table: "scores".to_owned(),
        path: path.to_string_lossy().into_owned(),
        digest: Digest::of(b""),
        content: Digest::of(b""),
        n_bytes: 0,
        n_rows: 0,
    };
    let source = QuerySource::new(root, paths.iter().enumerate().map(file).collect());
    let start = std::time::Instant::now();
    let rows = run_with_engine(&source, &sql, engine).unwrap();
    let mut out = Vec::new();
    write(&rows, Format::Csv, &mut out).unwrap();
    let text = format!("{}({engine:?}: {} ms)\n", String::from_utf8(out).unwrap(), start.elapsed().as_millis());
    io::stderr().write_all(text.as_bytes()).unwrap();
}
