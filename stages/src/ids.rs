//! Ids of rows that are made from text: derived from content, so that the same row has the same id in every run.

use cafe_pipeline::digest::Hasher;

/// The id of an instruction: a pair of templates within a family.
#[must_use]
pub fn instruction_id(family: &str, instruction_template: &str, caption_template: &str) -> String {
    Hasher::new("instruction/v1")
        .text("family", family)
        .text("instruction", instruction_template)
        .text("caption", caption_template)
        .row_id()
}

/// The id of a pair: a reference and an instruction, with the words that the templates became.
#[must_use]
pub fn pair_id(reference_id: &str, instruction_id: &str, instruction: &str, caption: &str) -> String {
    Hasher::new("pair/v1")
        .text("reference_id", reference_id)
        .text("instruction_id", instruction_id)
        .text("instruction", instruction)
        .text("caption", caption)
        .row_id()
}
