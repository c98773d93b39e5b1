//! Conversations about a picture, as ids.
//!
//! As in LLaVA (`llava/model/llava_arch.py`), the picture's tokens stand before the first thing that the user says; the text
//! before them and the text after them are taken apart each for itself.

use std::borrow::Cow;

use crate::error::{EngineError, Result};
use crate::language::{ChatTokenizer, Message};

/// Stands for the picture while a template is filled in: Unicode's OBJECT REPLACEMENT CHARACTER.
const PICTURE: char = '\u{FFFC}';

/// What is read before a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What stands before the picture.
    pub before: Vec<u32>,
    /// What stands after it.
    pub after: Vec<u32>,
}

/// A prompt, and the reply to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogue {
    /// What is read.
    pub prompt: Prompt,
    /// The reply y~, and the token that ends it: what is learnt to be said.
    pub reply: Vec<u32>,
}

impl Prompt {
    /// Of a conversation whose last message is the user's, in the language model's chat template.
    ///
    /// # Errors
    /// When no user says anything, another has the last word, or the template refuses it.
    pub fn new(tokenizer: &ChatTokenizer, conversation: &[Message]) -> Result<Self> {
        let (before, after) = rendered(tokenizer, conversation)?;
        Ok(Self { before: tokenizer.encode(&before)?, after: tokenizer.encode(&after)? })
    }

    /// How many tokens it has, with a picture of `n_image_tokens`.
    #[must_use]
    pub fn n_tokens(&self, n_image_tokens: usize) -> usize {
        self.before.len() + n_image_tokens + self.after.len()
    }
}

impl Dialogue {
    /// Of a conversation whose last message is the user's, and the reply to it.
    ///
    /// # Errors
    /// As of [`Prompt::new`]; and when the template does not write the reply after what it writes before one, or does not end
    /// it.
    pub fn new(tokenizer: &ChatTokenizer, conversation: &[Message], reply: &str) -> Result<Self> {
        let (before, asked) = rendered(tokenizer, conversation)?;
        let mut answered = conversation.to_vec();
        answered.push(Message::new("assistant", without_marks(reply)));
        let whole = tokenizer.render(&with_picture(&answered)?, false)?;
        let (_, after) = split(&whole)?;
        if !after.starts_with(&asked) {
            return Err(EngineError::argument(
                "the chat template writes a conversation otherwise once there is a reply: it cannot be trained on",
            ));
        }
        // Taken apart with what stands before it, as a reader of the whole would. The first token that goes beyond the prompt is
        // the first of the reply.
        let (prompt, mut reply): (Vec<_>, Vec<_>) =
            tokenizer.encode_with_ends(after)?.into_iter().partition(|(_, end)| *end <= asked.len());
        let Some(last) = reply.iter().rposition(|(id, _)| tokenizer.stop_ids().contains(id)) else {
            return Err(EngineError::argument(format!(
                "the chat template does not end a reply by one of the tokens {:?}, which end replies",
                tokenizer.stop_ids()
            )));
        };
        reply.truncate(last + 1);
        let ids = |tokens: Vec<(u32, usize)>| tokens.into_iter().map(|(id, _)| id).collect();
        Ok(Self { prompt: Prompt { before: tokenizer.encode(&before)?, after: ids(prompt) }, reply: ids(reply) })
    }
}

/// The text before the picture, and after it.
fn rendered(tokenizer: &ChatTokenizer, conversation: &[Message]) -> Result<(String, String)> {
    match conversation.last() {
        Some(last) if last.role == "user" => {}
        Some(last) => {
            let message = format!("the last message is the {}'s: the user must say something", last.role);
            return Err(EngineError::argument(message));
        }
        None => return Err(EngineError::argument("the conversation has no messages: the user must say something")),
    }
    let whole = tokenizer.render(&with_picture(conversation)?, true)?;
    let (before, after) = split(&whole)?;
    Ok((before.to_owned(), after.to_owned()))
}

/// The conversation, the picture before what the user says first.
fn with_picture(conversation: &[Message]) -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = conversation
        .iter()
        .map(|message| Message::new(message.role.clone(), without_marks(&message.content)))
        .collect();
    let first = messages.iter_mut().find(|message| message.role == "user");
    let first = first.ok_or_else(|| EngineError::argument("the conversation has no message of the user's"))?;
    first.content = format!("{PICTURE}\n{}", first.content);
    Ok(messages)
}

/// One who writes the mark does not get a second picture by it.
fn without_marks(text: &str) -> Cow<'_, str> {
    if text.contains(PICTURE) { Cow::Owned(text.replace(PICTURE, "")) } else { Cow::Borrowed(text) }
}

fn split(whole: &str) -> Result<(&str, &str)> {
    whole.split_once(PICTURE).ok_or_else(|| {
        EngineError::argument("the chat template leaves out what the user says first, before which the picture stands")
    })
}
