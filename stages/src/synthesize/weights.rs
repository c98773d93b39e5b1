//! Which models make the images, where they are, and by which digest they are known.

use std::path::PathBuf;

use cafe_engine::cafe::Role;
use cafe_pipeline::digest::Hasher;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{CompileContext, ConfigIssue};

use super::config::{GeneratorConfig, SynthesizeConfig, WeightsConfig};
use crate::models::{self, DEFAULT_FAMILY, ModelStore};

/// The models of a stage.
pub(super) struct Weights {
    pub(super) family: PathBuf,
    /// The assistant's language model; that of the family, where no assistant is asked.
    pub(super) llm: PathBuf,
    /// Of all that decide what is made.
    pub(super) digest: String,
}

/// Finds the models of `config`.
pub(super) fn find(
    config: &SynthesizeConfig,
    store: &dyn ModelStore,
    context: &CompileContext<'_>,
) -> Result<Weights, ConfigIssue> {
    let family = models::family(store, config.family.as_deref(), "/family", context)?;
    let mllm = family.join(Role::Mllm.folder());
    let own = mllm.join("base");
    let GeneratorConfig::Assistant { llm: named, .. } = &config.generator else {
        let digest = models::roles_digest(&family, roles(config), "/family")?;
        return Ok(Weights { family, llm: own, digest });
    };
    if !mllm.is_dir() {
        return Err(no_assistant(config.family.as_deref().or(context.model_family).unwrap_or(DEFAULT_FAMILY)));
    }
    let llm = named.as_deref().map(|named| language_model(named, store, context)).transpose()?;
    if llm.is_none() && !own.is_dir() {
        let message = "the family's `mllm` has no folder `base` with the language model that it was trained with";
        return Err(ConfigIssue::new("/generator", message)
            .with_help("name the language model: llm = \"smollm2-135m\", or a folder"));
    }
    let digest = models::roles_digest(&family, roles(config), "/family")?;
    let digest = match &llm {
        None => digest,
        Some(folder) => {
            let of_llm = models::digest(folder, "/generator/llm")?;
            let hasher = Hasher::new("roles-and-llm/v1").text("roles", &digest);
            hasher.bytes("llm", of_llm.as_bytes()).digest().to_hex()
        }
    };
    Ok(Weights { family, llm: llm.unwrap_or(own), digest })
}

/// The models of the family that decide what is made.
fn roles(config: &SynthesizeConfig) -> &'static [Role] {
    match config.generator {
        GeneratorConfig::Sid { weights: WeightsConfig::Family, .. } => {
            &[Role::ClipCondition, Role::DinoCondition, Role::CafeUNet, Role::TextToImage]
        }
        // The UNet's are known when it was trained; by what, the stage upstream says.
        GeneratorConfig::Sid { weights: WeightsConfig::Trained, .. } => {
            &[Role::ClipCondition, Role::DinoCondition, Role::TextToImage]
        }
        GeneratorConfig::Profusion { .. } => &[Role::PromptNet, Role::TextToImage],
        GeneratorConfig::Assistant { .. } => {
            &[Role::ClipCondition, Role::DinoCondition, Role::CafeUNet, Role::TextToImage, Role::Mllm]
        }
    }
}

fn language_model(named: &str, store: &dyn ModelStore, context: &CompileContext<'_>) -> Result<PathBuf, ConfigIssue> {
    store.folder(named, ModelRole::Llm, context).map_err(|missing| {
        let issue = ConfigIssue::new("/generator/llm", missing.message);
        missing.help.into_iter().fold(issue, ConfigIssue::with_help)
    })
}

fn no_assistant(family: &str) -> ConfigIssue {
    let message = format!("the model family {family} has no folder `mllm`: there is no assistant in it");
    ConfigIssue::new("/family", message).with_help(
        "`cafe-data train mllm` makes one: put it into a folder beside the family's other roles, and name that folder as `family`",
    )
}
