//! Eq. 2: the reply is learnt to be said, and H(s) to be F of the picture that was drawn.

use candle_core::{D, Device, Result as TensorResult, Tensor};
use image::RgbImage;

use super::config::{Distance, TokenAfter};
use super::model::Assistant;
use super::prompt::Dialogue;
use crate::cafe::ImageEncoders;
use crate::error::{EngineError, Result};
use crate::op::cross_entropy;
use crate::train::{EncodedRows, EncodedTable};

/// What a step of Eq. 2 trains on.
#[derive(Clone, Debug)]
pub struct DialogueBatch {
    /// B conversations with their replies.
    pub dialogues: Vec<Dialogue>,
    /// E(x), (B, 1 + N, `D_dino`).
    pub dino: Tensor,
    /// F(x~), (B, `D_clip`), as the projection gives it.
    pub clip: Tensor,
}

impl DialogueBatch {
    /// What a step needs of pairs of x and x~: the columns `clip`, F(x~), and `dino`, E(x).
    ///
    /// # Errors
    /// Of the tensors.
    pub fn encode(encoders: &ImageEncoders, (references, targets): (&[RgbImage], &[RgbImage])) -> Result<EncodedRows> {
        Ok(EncodedRows::new([("clip", encoders.clip(targets)?), ("dino", encoders.dino(references)?)]))
    }

    /// The rows `rows` of `table`, with what was said of each.
    ///
    /// # Errors
    /// When a row was not encoded, or its shard is damaged.
    pub fn read(table: &EncodedTable, dialogues: &[Dialogue], rows: &[usize], device: &Device) -> Result<Self> {
        Ok(Self {
            dialogues: rows.iter().filter_map(|row| dialogues.get(*row)).cloned().collect(),
            dino: table.stack(rows, "dino", device)?,
            clip: table.stack(rows, "clip", device)?,
        })
    }
}

/// λ of Eq. 2, the weight of d(H(s), F(x~)), in the paper.
pub const CONDITION_WEIGHT: f64 = 0.2;

/// Eq. 2 and its parts, scalars.
#[derive(Clone, Debug)]
pub struct AssistantLoss {
    /// L_LM + λ·d.
    pub total: Tensor,
    /// L_LM: the mean of −log p over all tokens of all replies of the batch, as `LlamaForCausalLM` has it.
    pub language: Tensor,
    /// d(H(s), F(x~)): its mean over the batch.
    pub condition: Tensor,
}

/// Eq. 2 of a batch, with λ = `condition_weight`.
///
/// # Errors
/// When a conversation is longer than the language model's positions, there are not as many pictures as conversations, or of the
/// tensors.
pub fn assistant_loss(assistant: &Assistant, batch: &DialogueBatch, condition_weight: f64) -> Result<AssistantLoss> {
    let n_rows = batch.dialogues.len();
    if n_rows == 0 || batch.dino.dim(0)? != n_rows || batch.clip.dim(0)? != n_rows {
        return Err(EngineError::argument(format!(
            "{n_rows} conversations, E(x) of shape {:?} and F(x~) of shape {:?}: one of each is wanted",
            batch.dino.dims(),
            batch.clip.dims()
        )));
    }
    let images = assistant.adapter.image_tokens(&batch.dino)?; // (B, N, C)
    let rows = (0..n_rows).zip(&batch.dialogues);
    let rows = rows.map(|(row, dialogue)| Row::new(assistant, dialogue, &images.get(row)?));
    let rows = rows.collect::<TensorResult<Vec<Row>>>()?;
    let longest = rows.iter().map(|row| row.n_tokens).max().unwrap_or_default();
    let n_positions = assistant.llama.config().max_position_embeddings;
    if let Some(row) = rows.iter().position(|row| row.n_tokens > n_positions) {
        return Err(EngineError::argument(format!(
            "conversation {row} of the batch has {longest} tokens with its picture: the language model reads {n_positions}"
        )));
    }
    // Padding stands at the end, where no token sees it.
    let embeddings = rows.iter().map(|row| row.embeddings.pad_with_zeros(0, 0, longest - row.n_tokens));
    let embeddings = Tensor::stack(&embeddings.collect::<TensorResult<Vec<_>>>()?, 0)?; // (B, T, C)
    let hidden = assistant.llama.forward(&embeddings, None)?.flatten(0, 1)?; // (B·T, C)

    let at = |row: usize, position: usize| u32::try_from(row * longest + position).unwrap_or(u32::MAX);
    let before_reply = rows.iter().enumerate().flat_map(|(index, row)| {
        let n_said = row.n_said;
        (0..n_said).map(move |said| at(index, row.first_said + said - 1))
    });
    let before_reply = Tensor::new(before_reply.collect::<Vec<u32>>(), hidden.device())?;
    let logits = assistant.llama.logits(&hidden.index_select(&before_reply, 0)?)?; // (tokens of replies, vocabulary)
    let said: Vec<u32> = batch.dialogues.iter().flat_map(|dialogue| dialogue.reply.iter().copied()).collect();
    let language = cross_entropy(&logits, &said)?.mean_all()?;

    let tokens: Vec<u32> = rows.iter().enumerate().map(|(index, row)| at(index, row.token)).collect();
    let states = hidden.index_select(&Tensor::new(tokens, hidden.device())?, 0)?; // (B, C)
    let condition = distance(assistant.config().distance, &assistant.adapter.project(&states)?, &batch.clip)?;
    let total = (&language + (&condition * condition_weight)?)?;
    Ok(AssistantLoss { total, language, condition })
}

/// d of Eq. 2, of (B, `D_clip`) each: a scalar.
fn distance(distance: Distance, found: &Tensor, wanted: &Tensor) -> TensorResult<Tensor> {
    match distance {
        Distance::Mse => (found - wanted)?.sqr()?.mean_all(),
        Distance::Cosine => {
            let product = (found * wanted)?.sum(D::Minus1)?; // (B)
            let length = |x: &Tensor| x.sqr()?.sum(D::Minus1)?.sqrt()?.clamp(1e-8, f64::MAX);
            (product / (length(found)? * length(wanted)?)?)?.mean_all()?.neg()
        }
    }
}

/// A conversation as embeddings, and what stands where.
struct Row {
    /// (T, C).
    embeddings: Tensor,
    n_tokens: usize,
    /// Where the reply begins.
    first_said: usize,
    n_said: usize,
    /// Where the learnable token stands.
    token: usize,
}

impl Row {
    /// `image` is (N, C).
    fn new(assistant: &Assistant, dialogue: &Dialogue, image: &Tensor) -> TensorResult<Self> {
        let prompt = assistant.embed_prompt(&dialogue.prompt, image)?;
        let (first_said, n_said) = (prompt.dim(0)?, dialogue.reply.len());
        let reply = assistant.llama.embed(&dialogue.reply)?;
        let (embeddings, token) = match assistant.config().token_after {
            TokenAfter::Prompt => (Tensor::cat(&[prompt, reply], 0)?, first_said - 1),
            TokenAfter::Response => {
                let token = assistant.adapter.token().unsqueeze(0)?;
                (Tensor::cat(&[prompt, reply, token], 0)?, first_said + n_said)
            }
        };
        Ok(Self { n_tokens: embeddings.dim(0)?, embeddings, first_said, n_said, token })
    }
}
