//! `init`: a project folder with a manifest to edit.

use std::fmt::Write;

use crate::cli::InitArgs;
use crate::embedded;
use crate::failure::Failure;
use crate::format::out;

pub(super) fn run(args: &InitArgs) -> Result<u8, Failure> {
    let Some(dir) = args.dir.as_ref().filter(|_| !args.list) else {
        let mut text = String::new();
        for (name, about) in embedded::manifests() {
            let _ = writeln!(text, "{name:12} {about}");
        }
        out(&text)?;
        return Ok(0);
    };
    let manifest = dir.join("cafe.toml");
    if manifest.try_exists()? {
        return Err(Failure::usage(
            format!("{} is there already", manifest.display()),
            "choose another folder, or edit that manifest",
        ));
    }
    embedded::copy(&args.from, dir)?;
    eprintln!("made {}", manifest.display());
    eprintln!("next: edit it, then  cafe-data plan -m {0}  and  cafe-data run -m {0}", manifest.display());
    Ok(0)
}
