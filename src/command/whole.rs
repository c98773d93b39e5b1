//! Files that a person asked for, written in one step.

use std::io::{self, Write};
use std::path::Path;

use crate::failure::Failure;

/// Writes `text` to `path`: whoever reads it meanwhile sees what was there, or all of it. `help` says what to do where that fails.
pub(super) fn write(path: &Path, text: &str, help: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::usage(format!("cannot write {}: {error}", path.display()), help);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".cafe-data-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    readable(file.as_file()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Temporary files are for their owner only; what a person asked for is for others, too.
fn readable(file: &std::fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}
