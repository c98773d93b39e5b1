//! `models fetch` of files in wheels, by a pip that is none.

use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::hub::{bytes, listed, project, sha256};
use crate::support::program::{Project, Ran};

const WHEEL: &str = "some_lib-1.2-cp311-cp311-manylinux_2_28_x86_64.whl";

/// A wheel with these files.
fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, body) in files {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(body).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A project whose model `lib` is the file `lib/a.so` of the wheel `made`; pip does what the script says.
fn with_pip(body: &[u8], made: &[u8], more: &str, script: &str) -> Project {
    let project = project(&format!(
        "[models.lib]\nrole = \"library\"\nfiles = [{{ path = \"a.so\", sha256 = \"{}\", bytes = {} }}]\n[[models.lib.sources]]\ntype = \"wheel\"\npackage = \"some-lib\"\nversion = \"1.2\"\nfile = \"{WHEEL}\"\nfolder = \"lib\"\n{more}",
        sha256(body),
        body.len()
    ));
    project.write("index/made.whl", made);
    let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho \"$@\" >> asked\n{script}");
    project.write("bin/pip", script.as_bytes());
    std::fs::set_permissions(project.path("bin/pip"), std::fs::Permissions::from_mode(0o755)).unwrap();
    project
}

/// What pip does where all is well: after `--dest` comes the folder.
const BRINGS: &str = r#"
while [ "$1" != --dest ]; do shift; done
cp index/made.whl "$2/some_lib-1.2-cp311-cp311-manylinux_2_28_x86_64.whl"
"#;

fn fetch(project: &Project, path: &str, more: &[&str]) -> Ran {
    let mut command = project.command(&[&["models", "fetch", "lib"], more].concat());
    command.env("PATH", path).output().unwrap().into()
}

fn path(project: &Project) -> String {
    format!("{}:/usr/bin:/bin", project.path("bin").display())
}

#[test]
fn a_file_comes_out_of_a_wheel_that_pip_brings() {
    let body = bytes(40_000);
    let made = wheel(&[("lib/a.so", &body), ("lib/other", b"x")]);
    let project = with_pip(&body, &made, &format!("sha256 = \"{}\"", sha256(&made)), BRINGS);
    let ran = fetch(&project, &path(&project), &[]).ends(0);
    let folder = project.dir.path().join(ran.stdout.trim());
    assert!(std::fs::read(folder.join("a.so")).unwrap() == body);
    assert!(!folder.join("other").is_file(), "what nobody asked for was unpacked");
    let asked = std::fs::read_to_string(project.path("asked")).unwrap();
    for wanted in ["download --no-deps", "some-lib==1.2", "--python-version=311", "--platform=manylinux_2_28_x86_64"] {
        assert!(asked.contains(wanted), "{asked}");
    }
    fetch(&project, &path(&project), &[]).ends(0);
    assert_eq!(std::fs::read_to_string(project.path("asked")).unwrap(), asked, "pip was asked twice");
}

#[test]
fn without_pip_the_wheel_to_bring_is_named_and_taken_when_it_is_there() {
    let body = bytes(500);
    let made = wheel(&[("lib/a.so", &body)]);
    let pin = sha256(&made);
    let project = with_pip(&body, &made, &format!("sha256 = \"{pin}\""), BRINGS);
    let nowhere = project.path("empty").display().to_string();
    let said = fetch(&project, &nowhere, &[]).ends(3).stderr;
    assert!(said.contains("there is no pip on PATH") && said.contains(&format!("{WHEEL} (SHA-256 {pin})")), "{said}");
    let said = fetch(&project, &path(&project), &["--offline"]).ends(3).stderr;
    assert!(said.contains("--offline") && !project.path("asked").is_file(), "{said}");

    project.write(&format!("brought/{WHEEL}"), &wheel(&[("lib/a.so", b"other")]));
    assert!(fetch(&project, &nowhere, &["--from", "brought"]).ends(3).stderr.contains("is another file"));
    project.write(&format!("brought/{WHEEL}"), &made);
    fetch(&project, &nowhere, &["--from", "brought"]).ends(0);
}

#[test]
fn what_pip_says_is_passed_on() {
    let project =
        with_pip(b"x", b"", "", "echo 'ERROR: No matching distribution found for some-lib==1.2' >&2; exit 1\n");
    let said = fetch(&project, &path(&project), &[]).ends(3).stderr;
    assert!(said.contains("No matching distribution found for some-lib==1.2"), "{said}");
    let project =
        with_pip(b"x", b"x", "", "while [ \"$1\" != --dest ]; do shift; done\ncp index/made.whl \"$2/other.whl\"\n");
    let said = fetch(&project, &path(&project), &[]).ends(3).stderr;
    assert!(said.contains("pip brought other.whl in place of"), "{said}");
}

#[test]
fn a_wheel_that_is_not_what_it_should_be_is_refused() {
    let body = bytes(500);
    let said = |made: &[u8]| {
        let project = with_pip(&body, made, "", BRINGS);
        let said = fetch(&project, &path(&project), &[]).ends(3).stderr;
        assert!(!project.path("evil").is_file());
        assert!(listed(&project, "lib").contains("not fetched"));
        said
    };
    assert!(said(&wheel(&[("lib/a.so", &body), ("../../../evil", b"x")])).contains("leaves the folder"));
    assert!(said(&wheel(&[("lib/a.so", &bytes(501))])).contains("more than 500 bytes"));
    assert!(said(&wheel(&[("lib/a.so", &bytes(499))])).contains("a.so has 499 bytes"));
    assert!(said(&wheel(&[("lib/b.so", &body)])).contains("lib/a.so"));
    assert!(said(b"no zip").contains("is no wheel"));
}

#[test]
fn what_cannot_be_converted_is_no_model() {
    let (body, manifest) = (b"no GGUF".to_vec(), "role = \"llm\"\nprepare = \"gguf\"");
    let project = project(&format!(
        "[models.lib]\n{manifest}\nfiles = [{{ path = \"a.gguf\", sha256 = \"{}\" }}]\nsources = [{{ type = \"path\", path = \"here\" }}]",
        sha256(&body)
    ));
    project.write("here/a.gguf", &body);
    let said = project.cafe(&["models", "fetch", "lib"]).ends(3).stderr;
    assert!(said.contains("a.gguf"), "{said}");
}
