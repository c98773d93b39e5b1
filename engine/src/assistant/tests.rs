use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use serde::Deserialize;

use super::*;
use crate::golden::{Golden, assert_close};
use crate::language::{Finish, Message, Sampling};
use crate::noise::Noise;
use crate::train::{AdamW, AdamWConfig, Gradients, clip_grad_norm};
use crate::weights::Weights;

/// What the reference made of texts.
#[derive(Deserialize)]
struct Facts {
    dialogues: Vec<(Vec<(String, String)>, String)>,
    replies: BTreeMap<String, Vec<Replied>>,
    prompts: Vec<Prompted>,
}

#[derive(Deserialize)]
struct Replied {
    ids: Vec<u32>,
    is_ended: bool,
    text: String,
}

#[derive(Deserialize)]
struct Prompted {
    before: Vec<u32>,
    after: Vec<u32>,
}

const PLACES: [(TokenAfter, &str); 2] = [(TokenAfter::Prompt, "prompt"), (TokenAfter::Response, "response")];
const DISTANCES: [(Distance, &str); 2] = [(Distance::Mse, "mse"), (Distance::Cosine, "cosine")];

fn mllm() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/family/mllm")
}

fn base() -> Base {
    Base::load(&mllm().join("base"), &Device::Cpu).unwrap()
}

fn facts(golden: &Golden) -> Facts {
    serde_json::from_slice(&std::fs::read(golden.folder().join("facts.json")).unwrap()).unwrap()
}

impl Facts {
    fn conversation(&self, index: usize) -> Vec<Message> {
        self.dialogues[index].0.iter().map(|(role, content)| Message::new(role, content)).collect()
    }

    fn dialogue(&self, assistant: &Assistant, index: usize) -> Dialogue {
        assistant.dialogue(&self.conversation(index), &self.dialogues[index].1).unwrap()
    }

    fn batch(&self, assistant: &Assistant, golden: &Golden, rows: &[usize]) -> DialogueBatch {
        let stacked = |name: &str| {
            let rows: Vec<Tensor> = rows.iter().map(|row| golden.case(name).get(*row).unwrap()).collect();
            Tensor::stack(&rows, 0).unwrap()
        };
        let dialogues = rows.iter().map(|row| self.dialogue(assistant, *row)).collect();
        DialogueBatch { dialogues, dino: stacked("dino"), clip: stacked("clip") }
    }
}

/// The assistant of the goldens, all of its adapter variables.
fn assistant(golden: &Golden, token_after: TokenAfter, distance: Distance) -> (Assistant, BTreeMap<String, Var>) {
    let config = AdapterConfig { token_after, distance, ..AdapterConfig::read(&mllm().join("config.json")).unwrap() };
    let names = ["image_projection.weight", "image_projection.bias", "token"];
    let names = names.into_iter().chain(["condition_projection.weight", "condition_projection.bias"]);
    let tensors = names.map(|name| (name.to_owned(), golden.case(&format!("adapter.{name}")).clone())).collect();
    let weights = Weights::from_tensors(tensors, golden.folder());
    let (adapter, variables) = Adapter::for_training(config, &weights, &Device::Cpu).unwrap();
    (Assistant::new(adapter, base(), golden.folder()).unwrap(), variables.all())
}

fn number(tensor: &Tensor) -> f32 {
    tensor.to_scalar().unwrap()
}

#[test]
fn prompts_are_the_references() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    let (assistant, _) = assistant(&golden, TokenAfter::Response, Distance::Mse);
    for (index, expected) in facts.prompts.iter().enumerate() {
        let prompt = assistant.prompt(&facts.conversation(index)).unwrap();
        assert_eq!((&prompt.before, &prompt.after), (&expected.before, &expected.after), "prompt {index}");
        // What is trained on begins as what is asked later.
        let dialogue = facts.dialogue(&assistant, index);
        assert_eq!(dialogue.prompt, prompt);
        let (end, said) = dialogue.reply.split_last().unwrap();
        assert_eq!(*end, assistant.end);
        assert_eq!(assistant.tokenizer.decode(said).unwrap(), facts.dialogues[index].1);
    }
}

fn losses_and_gradients_are_the_references() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    for (token_after, place) in PLACES {
        for (distance, name) in DISTANCES {
            let (assistant, variables) = assistant(&golden, token_after, distance);
            let batch = facts.batch(&assistant, &golden, &[0, 1, 2]);
            let loss = assistant_loss(&assistant, &batch, CONDITION_WEIGHT).unwrap();
            for (part, loss) in [("total", &loss.total), ("language", &loss.language), ("condition", &loss.condition)] {
                golden.assert_close(&format!("{place}.{name}.{part}"), loss);
            }
            let gradients = loss.total.backward().unwrap();
            assert_eq!(variables.len(), 5);
            golden.assert_gradients(&format!("{place}.{name}.gradient."), &variables, &gradients);
        }
    }
}

#[test]
fn eq_2_and_the_gradient_of_every_variable_are_the_references() {
    losses_and_gradients_are_the_references();
}

#[test]
fn eq_2_of_composed_operations_is_the_references() {
    crate::op::composed(losses_and_gradients_are_the_references);
}

#[test]
fn a_short_training_follows_pytorch() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    for (token_after, place) in PLACES {
        let (assistant, variables) = assistant(&golden, token_after, Distance::Mse);
        let config = AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() };
        let mut optimizer = AdamW::new(variables.clone(), config).unwrap();
        let expected = golden.case(&format!("{place}.losses")).to_vec1::<f32>().unwrap();
        for (step, expected) in expected.into_iter().enumerate() {
            let batch = facts.batch(&assistant, &golden, &[step % 3, (step + 1) % 3]);
            let loss = assistant_loss(&assistant, &batch, CONDITION_WEIGHT).unwrap().total;
            let gradients = Gradients::of(&variables, &loss.backward().unwrap());
            optimizer.step(&clip_grad_norm(gradients, 1.0).unwrap().0, 2e-3).unwrap();
            let loss = number(&loss);
            assert!((loss - expected).abs() <= 1e-4 * expected, "{place}, step {step}: {loss}, PyTorch's {expected}");
        }
    }
}

#[test]
fn a_batch_is_its_rows() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    for (token_after, _) in PLACES {
        let (assistant, _) = assistant(&golden, token_after, Distance::Mse);
        let loss = |rows: &[usize]| {
            let batch = facts.batch(&assistant, &golden, rows);
            let n_said: Vec<usize> = batch.dialogues.iter().map(|dialogue| dialogue.reply.len()).collect();
            let loss = assistant_loss(&assistant, &batch, CONDITION_WEIGHT).unwrap();
            (number(&loss.language), number(&loss.condition), n_said)
        };
        let (language, condition, n_said) = loss(&[0, 1, 2]);
        let rows: Vec<_> = (0..3).map(|row| loss(&[row])).collect();
        let n_all: usize = n_said.iter().sum();
        let of_rows: f32 = rows.iter().map(|(language, _, n_said)| language * n_said[0] as f32 / n_all as f32).sum();
        assert!((language - of_rows).abs() < 1e-5, "{language} of the batch, {of_rows} of its rows");
        let of_rows = rows.iter().map(|(_, condition, _)| condition / 3.0).sum::<f32>();
        assert!((condition - of_rows).abs() < 1e-5, "{condition} of the batch, {of_rows} of its rows");
    }
}

fn requests(facts: &Facts, golden: &Golden, sampling: &Sampling) -> Vec<AssistantRequest> {
    let request = |index: usize| AssistantRequest {
        conversation: facts.conversation(index),
        dino: golden.case("dino").get(index).unwrap(),
        sampling: sampling.clone(),
        noise: Noise::new(5).at(index as u64),
        max_new_tokens: 24,
    };
    (0..facts.dialogues.len()).map(request).collect()
}

#[test]
fn replies_and_their_conditions_are_the_references() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    for (token_after, place) in PLACES {
        let (assistant, _) = assistant(&golden, token_after, Distance::Mse);
        let replies = assistant.reply(&requests(&facts, &golden, &Sampling::default())).unwrap();
        for (index, (reply, expected)) in replies.iter().zip(&facts.replies[place]).enumerate() {
            assert_eq!(reply.text, expected.text.trim(), "{place} {index}");
            assert_eq!(reply.n_reply_tokens, expected.ids.len());
            let prompt = &facts.prompts[index];
            let n_prompt = prompt.before.len() + 5 + prompt.after.len() + usize::from(place == "prompt");
            assert_eq!(reply.n_prompt_tokens, n_prompt);
            assert_eq!(matches!(reply.finish, Finish::Stop(_)), expected.is_ended, "{place} {index}");
            golden.assert_close(&format!("{place}.reply.{index}.condition"), &reply.condition);
        }
        // Both ways to end are among them.
        let n_ended = facts.replies[place].iter().filter(|reply| reply.is_ended).count();
        assert!((1..3).contains(&n_ended), "{place}: {n_ended} of 3 ended");
    }
}

#[test]
fn a_reply_does_not_depend_on_its_batch() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    let sampling = Sampling { temperature: 1.0, top_k: 40, top_p: 0.95 };
    for (token_after, _) in PLACES {
        let (assistant, _) = assistant(&golden, token_after, Distance::Mse);
        let requests = requests(&facts, &golden, &sampling);
        let bits = |reply: &AssistantReply| -> (String, Vec<u32>) {
            let condition = reply.condition.to_vec1::<f32>().unwrap();
            (reply.text.clone(), condition.into_iter().map(f32::to_bits).collect())
        };
        let together: Vec<_> = assistant.reply(&requests).unwrap().iter().map(bits).collect();
        let turned: Vec<AssistantRequest> = requests.iter().rev().cloned().collect();
        let turned: Vec<_> = assistant.reply(&turned).unwrap().iter().rev().map(bits).collect();
        let alone = requests.iter().flat_map(|request| assistant.reply(std::slice::from_ref(request)).unwrap());
        assert_eq!(together, turned);
        assert_eq!(together, alone.map(|reply| bits(&reply)).collect::<Vec<_>>());
    }
}

#[test]
fn patches_are_pooled_in_squares() {
    let golden = Golden::open("assistant");
    let (assistant, _) = assistant(&golden, TokenAfter::Response, Distance::Mse);
    let pooled = |pool: usize, n_tokens: usize| {
        let mut adapter = assistant.adapter.clone();
        adapter = adapter.with_pool(pool);
        let dino = Tensor::arange(0.0_f32, (n_tokens * 20) as f32, &Device::Cpu).unwrap();
        adapter.pooled(&dino.reshape((1, n_tokens, 20)).unwrap())
    };
    // Of patches 0 to 15 in rows of four, the first number of each: 20, 40, … 320.
    let numbers = pooled(2, 17).unwrap().get(0).unwrap().narrow(1, 0, 1).unwrap().flatten_all().unwrap();
    let mean = |patches: [f32; 4]| patches.iter().map(|patch| (patch + 1.0) * 20.0).sum::<f32>() / 4.0;
    let squares = [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0], [8.0, 9.0, 12.0, 13.0], [10.0, 11.0, 14.0, 15.0]];
    let expected: Vec<f32> = std::iter::once(0.0).chain(squares.map(mean)).collect();
    assert_close("pooled", &numbers, &Tensor::new(expected, &Device::Cpu).unwrap(), 1e-6);
    assert!(pooled(2, 10).unwrap_err().to_string().contains("9 patches: squares of 2x2"));
    assert!(pooled(2, 1).is_err());
}

#[test]
fn a_direction_is_given_its_length() {
    let golden = Golden::open("assistant");
    let (assistant, _) = assistant(&golden, TokenAfter::Response, Distance::Cosine);
    let states = Noise::new(3).normal((2, 32), &Device::Cpu).unwrap();
    let lengths = |adapter: &Adapter| {
        let found = adapter.condition(&states).unwrap();
        found.sqr().unwrap().sum(1).unwrap().sqrt().unwrap().to_vec1::<f32>().unwrap()
    };
    let raw = lengths(&assistant.adapter);
    assert!((raw[0] - raw[1]).abs() > 1e-3);
    let scaled = lengths(&assistant.adapter.with_norm(7.5));
    assert!(scaled.iter().all(|length| (length - 7.5).abs() < 1e-4), "{scaled:?}");
}

#[test]
fn what_does_not_fit_is_told() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    let loaded = Assistant::load(&mllm(), base()).unwrap();
    let said = |message: Message| loaded.prompt(&[message]).unwrap_err().to_string();
    assert!(said(Message::new("assistant", "Hello.")).contains("the last message is the assistant's"));
    assert!(loaded.prompt(&[]).unwrap_err().to_string().contains("no messages"));

    let mut other = base();
    other.digest = "0".repeat(64);
    let refused = Assistant::load(&mllm(), other).unwrap_err().to_string();
    assert!(refused.contains("config.json: key `base_digest`") && refused.contains("train mllm"), "{refused}");

    let mut long = requests(&facts, &golden, &Sampling::default());
    long[1].conversation = vec![Message::new("user", "a b ".repeat(200))];
    assert!(loaded.reply(&long).unwrap_err().to_string().contains("the language model reads 256"));
    let mut batch = facts.batch(&loaded, &golden, &[0, 1]);
    batch.dialogues[1] = loaded.dialogue(&long[1].conversation, "No.").unwrap();
    let refused = assistant_loss(&loaded, &batch, CONDITION_WEIGHT).unwrap_err().to_string();
    assert!(refused.contains("conversation 1 of the batch"), "{refused}");
    batch.dialogues.pop();
    assert!(assistant_loss(&loaded, &batch, CONDITION_WEIGHT).is_err());
}

#[test]
fn a_mark_in_a_text_is_no_second_picture() {
    let assistant = Assistant::load(&mllm(), base()).unwrap();
    let plain = [Message::new("user", "a picture")];
    let marked = [Message::new("user", "a \u{FFFC}picture\u{FFFC}")];
    assert_eq!(assistant.prompt(&plain).unwrap(), assistant.prompt(&marked).unwrap());
    let reply = |text: &str| assistant.dialogue(&plain, text).unwrap().reply;
    assert_eq!(reply("Yes."), reply("\u{FFFC}Yes."));
}

#[test]
fn a_reply_is_cut_where_the_positions_end() {
    let golden = Golden::open("assistant");
    let facts = facts(&golden);
    let assistant = Assistant::load(&mllm(), base()).unwrap();
    let mut request = requests(&facts, &golden, &Sampling { temperature: 2.0, ..Sampling::default() }).remove(1);
    request.max_new_tokens = 10_000;
    let replies = assistant.reply(&[request]).unwrap();
    assert!(replies[0].n_prompt_tokens + replies[0].n_reply_tokens <= 254);
    assert_eq!(replies[0].condition.dims(), [12]);
}

#[test]
fn an_initial_adapter_is_reproducible_and_can_be_saved() {
    let base = base();
    let config = AdapterConfig::new(base.digest.clone(), 32, (12, 20));
    let std = base.embedding_std().unwrap();
    let initial = |seed| Adapter::initial(&config, std, &Noise::new(seed)).unwrap();
    let values = |tensors: &BTreeMap<String, Tensor>| -> Vec<Vec<f32>> {
        tensors.values().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    assert_eq!(values(&initial(1)), values(&initial(1)));
    assert_ne!(values(&initial(1)), values(&initial(2)));
    let folder = tempfile::tempdir().unwrap();
    Adapter::save(&config, &initial(1), &crate::weights::Metadata::new(), folder.path()).unwrap();
    let loaded = Assistant::load(folder.path(), base).unwrap();
    assert_eq!(loaded.config(), &config);
    assert_close("token", loaded.adapter.token(), &initial(1)["token"], 0.0);
}
