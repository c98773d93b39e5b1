//! The dataset's tables: names, id columns and schemas (DESIGN: data plane). Images are `{bytes, path}` structs, the
//! convention of Hugging Face's `Image` feature.

use std::sync::Arc;

use cafe_pipeline::stage::TableDecl;
use polars::prelude::*;

/// Reference images x.
pub const REFERENCES: &str = "references";
/// What a detector finds in references that were made.
pub const SUBJECTS: &str = "subjects";
/// Instructions drawn for references.
pub const PAIRS: &str = "pairs";
/// The images w of Eq. 4.
pub const DONORS: &str = "donors";
/// Unfiltered target images x~.
pub const CANDIDATES: &str = "candidates";
/// Reference images of a candidate; one today, several later.
pub const CANDIDATE_REFERENCES: &str = "candidate_references";
/// What the assistant said before a candidate was drawn.
pub const CANDIDATE_REPLIES: &str = "candidate_replies";
/// One column per scorer.
pub const SCORES: &str = "scores";
/// What a filter decided.
pub const VERDICTS: &str = "verdicts";
/// What people said of candidates, each of them.
pub const REVIEWS: &str = "reviews";
/// What user and assistant say about a candidate: y and y~.
pub const DIALOGUES: &str = "dialogues";
/// Replies of language models that were asked for dialogues, usable or not.
pub const DIALOGUE_TRIES: &str = "dialogue_tries";
/// Accepted units as they are published.
pub const QUADRUPLETS: &str = "quadruplets";

/// What was published.
pub const RELEASES: &str = "releases";
/// Models that were trained.
pub const WEIGHTS: &str = "weights";

/// The id column of a table whose rows can be scored and filtered.
#[must_use]
pub fn id_column(table: &str) -> Option<&'static str> {
    match table {
        REFERENCES => Some("reference_id"),
        PAIRS => Some("pair_id"),
        DONORS => Some("w_id"),
        CANDIDATES => Some("candidate_id"),
        _ => None,
    }
}

/// The type of an image column: encoded bytes, and the path they came from.
#[must_use]
pub fn image_type() -> DataType {
    DataType::Struct(vec![Field::new("bytes".into(), DataType::Binary), Field::new("path".into(), DataType::String)])
}

/// The column `image` of PNG files, each with its name.
///
/// # Errors
/// None that is known: the parts are of one length.
pub(crate) fn images<'a>(files: impl Iterator<Item = (&'a [u8], String)>) -> PolarsResult<Column> {
    let (bytes, paths): (Vec<&[u8]>, Vec<String>) = files.unzip();
    let n = paths.len();
    let bytes = BinaryChunked::from_iter_values("bytes".into(), bytes.into_iter());
    let paths = StringChunked::from_iter_values("path".into(), paths.into_iter());
    let parts = [bytes.into_series(), paths.into_series()];
    Ok(StructChunked::from_series("image".into(), n, parts.iter())?.into_column())
}

/// The declaration of a table with these columns.
pub(crate) fn table(name: &str, columns: impl IntoIterator<Item = (&'static str, DataType)>) -> TableDecl {
    let columns = columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype));
    TableDecl { name: name.to_owned(), columns: Arc::new(Schema::from_iter(columns)) }
}

/// `references`: one row per distinct picture.
#[must_use]
pub fn references() -> TableDecl {
    table(
        REFERENCES,
        [
            // BLAKE3 of (width, height, canonical RGBA after EXIF orientation), 32 hexadecimal digits.
            ("reference_id", DataType::String),
            // BLAKE3 of the encoded bytes, 64 hexadecimal digits.
            ("file_digest", DataType::String),
            // Default: the reference_id.
            ("subject_id", DataType::String),
            ("class", DataType::String),
            ("caption", DataType::String),
            ("source", DataType::String),
            ("licence", DataType::String),
            // train, val or test: a stable hash of the subject, so that a subject is never in two.
            ("split", DataType::String),
            ("width_px", DataType::UInt32),
            ("height_px", DataType::UInt32),
            ("image", image_type()),
        ],
    )
}

/// `pairs`: a reference and an instruction drawn for it.
#[must_use]
pub fn pairs() -> TableDecl {
    table(
        PAIRS,
        [
            ("pair_id", DataType::String),
            ("reference_id", DataType::String),
            ("instruction_id", DataType::String),
            ("family", DataType::String),
            ("class", DataType::String),
            // The command form: "Generate an image of this dog on the beach."
            ("instruction", DataType::String),
            // The caption form: "a dog on the beach".
            ("caption", DataType::String),
        ],
    )
}

/// `donors`: the w of Eq. 4, what a candidate shall be like.
#[must_use]
pub fn donors() -> TableDecl {
    table(
        DONORS,
        [
            ("w_id", DataType::String),
            ("pair_id", DataType::String),
            // generated, or index.
            ("source", DataType::String),
            // 0 is the best of its pair.
            ("rank", DataType::UInt32),
            ("seed", DataType::UInt64),
            ("weights_digest", DataType::String),
            ("settings_digest", DataType::String),
            ("licence", DataType::String),
            // The cosine of the condition encoder's F of picture and caption, which ranked it.
            ("clip_score", DataType::Float32),
            ("image", image_type()),
        ],
    )
}

/// `candidates`: unfiltered pairs (x, x~).
#[must_use]
pub fn candidates() -> TableDecl {
    table(
        CANDIDATES,
        [
            ("candidate_id", DataType::String),
            ("pair_id", DataType::String),
            ("w_id", DataType::String),
            // What made x~: profusion, sid, assistant, import, or a command's own name.
            ("generator", DataType::String),
            ("weights_digest", DataType::String),
            ("settings_digest", DataType::String),
            ("round", DataType::UInt32),
            // The mixing weight of Eq. 4, the share of F(w), or of the assistant's H(s); null where there is none.
            ("alpha", DataType::Float64),
            ("sample_index", DataType::UInt32),
            ("seed", DataType::UInt64),
            ("image", image_type()),
        ],
    )
}

/// `candidate_references`: which references a candidate shows.
#[must_use]
pub fn candidate_references() -> TableDecl {
    table(
        CANDIDATE_REFERENCES,
        [("candidate_id", DataType::String), ("slot", DataType::UInt32), ("reference_id", DataType::String)],
    )
}

/// `candidate_replies`: what the assistant was told and what it replied, where it made the candidate. A table of its own, because
/// other candidates have no such words.
#[must_use]
pub fn candidate_replies() -> TableDecl {
    table(
        CANDIDATE_REPLIES,
        [
            ("candidate_id", DataType::String),
            ("told", DataType::String),
            ("reply", DataType::String),
            // Whether the reply was as long as it may be, and had no end.
            ("is_cut", DataType::Boolean),
            // With the picture's. Several candidates may have one reply: these are not what was spent, the ledger is.
            ("prompt_tokens", DataType::UInt64),
            ("completion_tokens", DataType::UInt64),
        ],
    )
}

/// `verdicts` over the rows of `subject` (a table with an id column).
#[must_use]
pub fn verdicts(id_column: &'static str) -> TableDecl {
    table(
        VERDICTS,
        [
            (id_column, DataType::String),
            ("accepted", DataType::Boolean),
            // The first rule that failed; null for an accepted row.
            ("reason", DataType::String),
            // The rules as text, with their thresholds.
            ("thresholds", DataType::String),
        ],
    )
}

/// `reviews`: what people said of candidates. A table of its own, because a candidate may have several reviewers, and because
/// the ledger counts what machines spend.
#[must_use]
pub fn reviews() -> TableDecl {
    table(
        REVIEWS,
        [
            ("candidate_id", DataType::String),
            // Null where nobody put down a name.
            ("reviewer", DataType::String),
            ("accepted", DataType::Boolean),
            ("reason", DataType::String),
            // How long the person took.
            ("secs", DataType::Float64),
        ],
    )
}

/// `dialogues`: what user and assistant say; a candidate may have several.
#[must_use]
pub fn dialogues() -> TableDecl {
    table(
        DIALOGUES,
        [
            // The id that the quadruplet has in a release.
            ("quadruplet_id", DataType::String),
            ("candidate_id", DataType::String),
            ("dialogue_index", DataType::UInt32),
            // How the user speaks: directive, question or vague_wish.
            ("speech_act", DataType::String),
            ("y", DataType::String),
            ("y_tilde", DataType::String),
            // The conversation as JSON: a list of messages with `role` and `content`.
            ("turns", DataType::String),
            ("model", DataType::String),
            ("template_version", DataType::String),
            // BLAKE3 of the request whose reply this is, 64 hexadecimal digits; it was the request's idempotency key.
            ("request_digest", DataType::String),
            // Replies that were needed, the last one included.
            ("n_tries", DataType::UInt32),
            // Of the last reply, where the server counts them.
            ("prompt_tokens", DataType::UInt64),
            ("completion_tokens", DataType::UInt64),
            // What the model wrote.
            ("raw_reply", DataType::String),
        ],
    )
}

/// `dialogue_tries`: every reply. A table of its own, because the dialogue that no try led to has no row in `dialogues`.
#[must_use]
pub fn dialogue_tries() -> TableDecl {
    table(
        DIALOGUE_TRIES,
        [
            ("candidate_id", DataType::String),
            ("dialogue_index", DataType::UInt32),
            // From 0.
            ("try", DataType::UInt32),
            ("seed", DataType::UInt32),
            ("request_digest", DataType::String),
            // Why the reply was not used; null where it was.
            ("error", DataType::String),
            ("raw_reply", DataType::String),
            ("prompt_tokens", DataType::UInt64),
            ("completion_tokens", DataType::UInt64),
            // What went wrong on the way to this reply (busy server, broken connection), a line each; null where nothing did.
            ("faults", DataType::String),
        ],
    )
}

/// `weights`: models that were trained, a row each.
#[must_use]
pub fn weights() -> TableDecl {
    table(
        WEIGHTS,
        [
            // BLAKE3 of what decides the model's numbers, 64 hexadecimal digits.
            ("weights_digest", DataType::String),
            // What it is for: the name of its folder in a family.
            ("role", DataType::String),
            // Its folder, relative to the storage root.
            ("path", DataType::String),
            ("n_steps", DataType::UInt64),
            ("n_pairs", DataType::UInt64),
        ],
    )
}
