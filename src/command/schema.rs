//! `schema`: the manifest's JSON schema.

use cafe_pipeline::manifest::schema_text;

use crate::failure::Failure;
use crate::format::out;
use crate::kinds;

pub(super) fn run() -> Result<u8, Failure> {
    out(&schema_text(&kinds::registry()))?;
    Ok(0)
}
