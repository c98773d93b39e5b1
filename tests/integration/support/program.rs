//! The program itself, in a project of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cafe_pipeline::digest::Digest;
use tempfile::TempDir;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cafe-data");

/// `manifest` with what is usual in it replaced by what is quick.
pub(crate) fn made_small(manifest: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(manifest.to_owned(), |manifest, (usual, small)| {
        assert!(manifest.contains(usual), "the manifest has no `{usual}` any more");
        manifest.replace(usual, small)
    })
}

/// Looks again and again until it is so.
pub(crate) fn wait_for(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "what the test waits for did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Pairs are imported from `pictures`, four a shard, and their candidates measured.
const MEASURED: &str = r#"
version = 1
seed = 7
[[stage]]
kind = "import"
name = "import"
source = { type = "folder", path = "pictures" }
shard_rows = 4
[[stage]]
kind = "command"
name = "measure"
needs = ["import"]
argv = ["{cafe_data}", "measure", "{input}", "{output}"]
reads = "candidates"
columns = ["image"]
writes = "scores"
output = { sharpness = "float64", colourfulness = "float64" }
"#;

/// A manifest of a project whose candidates are measured, with `stages` behind that.
pub(crate) fn measured(stages: &str) -> String {
    format!("{MEASURED}{stages}")
}

/// A project folder.
pub(crate) struct Project {
    pub(crate) dir: TempDir,
}

/// What the program did.
pub(crate) struct Ran {
    /// `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Project {
    /// A project with this manifest, and the bundled templates.
    pub(crate) fn new(manifest: &str) -> Self {
        let project = Self { dir: TempDir::new().unwrap() };
        project.write("cafe.toml", manifest.as_bytes());
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/templates");
        for name in ["paper.toml", "held-out.toml"] {
            project.write(&format!("templates/{name}"), &std::fs::read(templates.join(name)).unwrap());
        }
        project
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The bundled pictures of some classes.
    pub(crate) fn pictures(&self, classes: &[&str]) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/pictures");
        for class in classes {
            for entry in std::fs::read_dir(from.join(class)).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                self.write(&format!("pictures/{class}/{name}"), &std::fs::read(entry.path()).unwrap());
            }
        }
    }

    /// The names of the pictures of a class, in order.
    pub(crate) fn names(&self, class: &str) -> Vec<String> {
        let folder = std::fs::read_dir(self.path("pictures").join(class)).unwrap();
        let mut names: Vec<String> =
            folder.map(|entry| format!("{class}/{}", entry.unwrap().file_name().to_str().unwrap())).collect();
        names.sort();
        names
    }

    /// The first `n` references of the mini family's pool, and the words for its world.
    pub(crate) fn pool(&self, n: usize) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let copy = |from: &Path, to: &str| self.write(to, &std::fs::read(from).unwrap());
        copy(&root.join("manifests/templates/mini.toml"), "templates/mini.toml");
        let pool = root.join("models/mini/pool");
        let metadata = std::fs::read_to_string(pool.join("metadata.csv")).unwrap();
        let lines: Vec<&str> = metadata.lines().take(n + 1).collect();
        for line in &lines[1..] {
            let name = line.split(',').next().unwrap();
            copy(&pool.join(name), &format!("pool/{name}"));
        }
        self.write("pool/metadata.csv", (lines.join("\n") + "\n").as_bytes());
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("CAFE_FAIL")
            .env_remove("RUST_LOG")
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            // What this user has set up is no matter of the tests.
            .env("NO_PROXY", "*")
            .env_remove("HF_ENDPOINT")
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("CAFE_MODELS")
            .env_remove("ORT_DYLIB_PATH")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn cafe(&self, args: &[&str]) -> Ran {
        self.failing("", args)
    }

    /// Runs with armed fail points.
    pub(crate) fn failing(&self, points: &str, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        if !points.is_empty() {
            command.env("CAFE_FAIL", points);
        }
        command.output().unwrap().into()
    }

    /// Table, node and index of each file of the current plan → digest of its bytes, read from disk; and the files of
    /// all releases.
    pub(crate) fn dataset(&self) -> BTreeMap<String, Digest> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let catalog = cafe_catalog::open("sqlite:cafe.db", self.dir.path()).await.unwrap();
            let mut dataset = BTreeMap::new();
            for file in catalog.files().await.unwrap() {
                let bytes = std::fs::read(self.path("data").join(&file.path)).unwrap();
                assert_eq!(Digest::of(&bytes), file.digest, "{}", file.path);
                dataset.insert(format!("{}/{}/{}", file.table, file.node, file.shard_index), file.digest);
            }
            for release in catalog.releases().await.unwrap() {
                let folder = self.path("data").join(&release.path);
                for path in files(&folder) {
                    let name = path.strip_prefix(self.path("data")).unwrap().display().to_string();
                    dataset.insert(name, Digest::of(&std::fs::read(&path).unwrap()));
                }
            }
            catalog.close().await;
            dataset
        })
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Fails the test with all that was said when the exit code is another.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}
