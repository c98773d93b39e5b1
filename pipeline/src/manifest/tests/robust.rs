//! Files that are no manifests at all.

use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::{GOOD, Manifest, ManifestErrors, Rules, errors, kinds, parse};
use crate::digest::Seed;

fn render(errors: &ManifestErrors) -> String {
    let mut seen = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).render_report(&mut seen, errors).unwrap();
    seen
}

#[test]
fn lines_and_columns_count_as_editors_do() {
    let at = |text: &str| {
        let errors = errors(text);
        let error = &errors.errors()[0];
        (error.line().unwrap(), error.column().unwrap())
    };
    let stage = "[[stage]]\r\nname = \"a\"\r\nkind = \"mend\"\r\nmode = \"hand\"\r\nwho = \"I\"\r\n";
    assert_eq!(at(&format!("version = 1\r\n\r\n{stage}shard_rows = 0\r\n")), (8, 14), "CRLF");
    assert_eq!(at(&format!("version = 1\n{stage}\t\tshard_rows =\t0\n")), (7, 16), "tabs");
    let accents = "labels = { größe = \"日本\", n = 1 }";
    let text = format!(
        "version = 1\n[[stage]]\nname = \"a\"\nkind = \"gather\"\nroot = \"ü\"\nsource = {{ type = \"folder\" }}\n{accents}\n"
    );
    // TOML's bare keys are ASCII, so that the first form is a fault of syntax, in the same line.
    assert_eq!(at(&text).0, 7);
    let text = text.replace("größe", "\"größe\"");
    assert_eq!(at(&text), (7, 32), "characters, not bytes");
    assert_eq!(at(&format!("\u{feff}version = 1\n{stage}shard_rows = 0\n")), (7, 14), "byte-order mark");
    assert_eq!(at("\u{feff}verson = 1\n"), (1, 1), "byte-order mark in the same line");
}

/// Thousands of damaged manifests: none may make the program panic, and each error must have a place in the text.
#[test]
fn damaged_manifests_never_panic() {
    let rules = Rules::new(&kinds::registry()).unwrap();
    let mut draws = 0_u64;
    let mut draw = |below: usize| {
        draws += 1;
        (Seed(42).child(&draws.to_string()).0 % below.max(1) as u64) as usize
    };
    let scraps = [
        "\"",
        "[",
        "]]",
        "=",
        "\n",
        "\r\n",
        "{",
        "}",
        "ü",
        "\u{feff}",
        "\0",
        "'''",
        "1e999",
        "-",
        "nan",
        "2026-01-01",
        ".",
        "#",
        "[[stage]]",
        "99999999999999999999",
        "\\u",
        "true",
        "[]",
        "{}",
    ];
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..5000 {
        let mut lines: Vec<String> = GOOD.lines().map(ToOwned::to_owned).collect();
        for _ in 0..=draw(3) {
            let line = draw(lines.len());
            let scrap = scraps[draw(scraps.len())];
            match draw(6) {
                0 => drop(lines.remove(line)),
                1 => lines.insert(line, lines[draw(lines.len())].clone()),
                2 => lines.swap(line, 0),
                3 => {
                    // The value of a key.
                    let key = lines[line].split('=').next().unwrap_or_default().to_owned();
                    lines[line] = format!("{key}= {scrap}");
                }
                4 => {
                    let mut chars: Vec<char> = lines[line].chars().collect();
                    let at = draw(chars.len());
                    if at < chars.len() {
                        chars.remove(at);
                    }
                    lines[line] = chars.into_iter().collect();
                }
                _ => {
                    let at = (0..=draw(lines[line].len())).rev().find(|at| lines[line].is_char_boundary(*at)).unwrap();
                    lines[line].insert_str(at, scrap);
                }
            }
            if lines.is_empty() {
                lines.push(String::new());
            }
        }
        let text = lines.join(if draw(2) == 0 { "\n" } else { "\r\n" });
        match Manifest::parse_with(Path::new("cafe.toml"), &text, &rules) {
            Ok(_) => accepted += 1,
            Err(errors) => {
                refused += 1;
                for error in errors.errors() {
                    let span = error.span().unwrap_or(0..0);
                    assert!(text.get(span).is_some(), "round {round}: {error:?} in {text}");
                }
                // Drawing is the slow part.
                if round % 20 == 0 {
                    assert!(render(&errors).contains("cafe.toml"), "round {round}");
                }
            }
        }
    }
    assert!(accepted > 10 && refused > 1000, "{accepted} accepted, {refused} refused: the mutations are too weak");
}

#[test]
fn odd_texts_are_refused_politely() {
    for text in [
        "",
        "\n",
        "\u{feff}",
        "\0",
        "=",
        "[[stage]]",
        "[[stage]]\n[[stage]]",
        "version = 1\n[stage.a.b]\nx = 1",
        "\"\" = 1",
        "version = 1\n\"a/b~c\" = 1",
    ] {
        let errors = errors(text);
        assert!(!errors.errors().is_empty());
        assert!(!render(&errors).is_empty());
    }
    let odd = errors("version = 1\n\"a/b~c d\" = 1");
    assert!(odd.errors().iter().any(|error| error.key() == "\"a/b~c d\"" && error.line() == Some(2)), "{odd:?}");
}

#[test]
fn unreadable_files_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| Manifest::read(&folder.path().join(name), &kinds::registry()).unwrap_err();
    let said = |name: &str| read(name).errors()[0].message().to_owned();
    assert_eq!(said("none.toml"), "there is no such file");
    assert!(read("none.toml").errors()[0].help().unwrap().contains("cafe-data init"));
    assert_eq!(said("."), "this is a folder");
    std::fs::write(folder.path().join("latin.toml"), b"version = 1\n# gr\xf6\xdfer\n").unwrap();
    assert_eq!(said("latin.toml"), "not UTF-8 text: the first damaged character is in line 2");
    let large = std::fs::File::create(folder.path().join("large.toml")).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    assert_eq!(said("large.toml"), "larger than 16 MiB, which no manifest is");
    assert!(render(&read("none.toml")).contains("there is no such file"));

    std::fs::write(folder.path().join("cafe.toml"), GOOD).unwrap();
    let manifest = Manifest::read(&folder.path().join("cafe.toml"), &kinds::registry()).unwrap();
    assert_eq!(manifest.folder(), folder.path());
    std::fs::write(folder.path().join("data"), "in the way").unwrap();
    assert_eq!(said("cafe.toml"), "\"data\" is a file, and a folder is needed");
}

#[test]
fn the_same_text_gives_the_same_manifest() {
    assert_eq!(parse(GOOD).unwrap(), parse(GOOD).unwrap());
    let windows = parse(&GOOD.replace('\n', "\r\n")).unwrap();
    assert_eq!(windows.stages, parse(GOOD).unwrap().stages, "whatever the line ends");
}
