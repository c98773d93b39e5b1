//! What a stage is, seen from the pipeline: a [`StageKind`] checks the keys of a `[[stage]]` table and compiles it into
//! nodes; a node's [`Work`] turns input tables into output tables. Kinds live in other crates and are registered by the
//! program, so that the pipeline checks what they declare without knowing them.

mod context;
mod error;
mod node;
mod registry;
mod rejects;
mod work;

pub use context::{Cancel, InputShard, WorkContext};
pub use error::{ConfigIssue, ErrorClass, WorkError};
pub use node::{Bounds, FanOut, Mapping, NodeDecl, Read, ReadFrom, TableDecl, Work};
pub use registry::{CompileContext, StageDecl, StageKind, StageRegistry};
pub use rejects::{Kept, Rejects};
pub use work::{
    BatchOutcome, Cost, DuplicateRow, Lister, QuarantinedRow, ROW, RowWork, WholeOutcome, WholeWork, id_text,
};
