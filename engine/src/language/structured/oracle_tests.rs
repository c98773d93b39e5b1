//! What a real model writes, and how fast. It is too large to keep here: `CAFE_LANGUAGE` names its folder.

use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use serde_json::json;

use super::*;
use crate::language::generate::Work;
use crate::language::{Next, Reply, Request};

/// Limits of strings are those of a chat's turn.
fn schema() -> Value {
    json!({"type": "object", "properties": {
        "user": {"type": "string", "minLength": 1, "maxLength": 200},
        "assistant": {"type": "string", "minLength": 1, "maxLength": 300},
    }, "required": ["user", "assistant"]})
}

const PICTURES: [(&str, &str, &str); 16] = [
    ("dog", "directive", "a dog on the beach at sunset"),
    ("cat", "question", "a cat wearing a red scarf in the snow"),
    ("teapot", "vague wish", "a teapot on a table made of marble"),
    ("backpack", "directive", "a backpack floating in space among stars"),
    ("robot toy", "question", "a robot toy in the style of a watercolour painting"),
    ("sneaker", "directive", "a sneaker made of glass"),
    ("vase", "vague wish", "a vase with sunflowers in a sunny kitchen"),
    ("bear", "question", "a bear reading a book in the library"),
    ("rabbit", "directive", "a rabbit dressed as an astronaut on the moon"),
    ("candle", "vague wish", "a candle in a dark stone cave"),
    ("duck toy", "directive", "a duck toy swimming in a blue pool"),
    ("clock", "question", "a clock in the middle of a busy street in Tokyo"),
    ("fox", "directive", "a fox running through an autumn forest"),
    ("bowl", "vague wish", "a bowl full of strawberries on a wooden board"),
    ("bird", "question", "a bird on the roof of a temple in the rain"),
    ("sunglasses", "directive", "sunglasses on the head of a snowman"),
];

fn prompts(sampling: &Sampling) -> Vec<Prompt> {
    let system = "You write one example of a chat between a user who shows a photo and an assistant who draws pictures. You are \
                  given the class of the photo, how the user speaks, and the caption of the picture that the assistant made. \
                  Return JSON with the keys user and assistant.";
    let ask = |class: &str, act: &str, caption: &str| {
        Message::new("user", format!("Class: {class}. The user's words: {act}. Caption: {caption}."))
    };
    let reply = |user: &str, assistant: &str| {
        Message::new("assistant", json!({"user": user, "assistant": assistant}).to_string())
    };
    let shots = [
        Message::new("system", system),
        ask("dog", "directive", "a dog in a garden full of roses"),
        reply(
            "Put my dog in a garden with lots of roses.",
            "Here is your dog in a garden full of roses, among red flowers.",
        ),
        ask("mug", "question", "a mug on top of a snowy mountain"),
        reply("Could you show this mug on a mountain?", "Sure, your mug now stands on top of a snowy mountain."),
        ask("cat", "vague wish", "a cat sleeping on a sofa by the fire"),
        reply(
            "I would love something cosy with my cat.",
            "I made a picture of your cat, asleep on a sofa by the fire.",
        ),
    ];
    let prompt = |(seed, (class, act, caption)): (usize, &(&str, &str, &str))| Prompt {
        messages: shots.iter().cloned().chain([ask(class, act, caption)]).collect(),
        sampling: sampling.clone(),
        noise: Noise::new(seed as u64),
    };
    PICTURES.iter().enumerate().map(prompt).collect()
}

fn loaded() -> Writer {
    let folder = std::env::var("CAFE_LANGUAGE").unwrap();
    let folder = Path::new(&folder);
    let llama = Llama::load(folder, &Device::Cpu).unwrap();
    let start = Instant::now();
    let writer = Writer::new(llama, ChatTokenizer::load(folder).unwrap(), &schema()).unwrap();
    println!("made in {:.2} s, with the tokenizer", start.elapsed().as_secs_f64());
    writer
}

#[test]
#[ignore = "wants the folder of an instructed Llama: CAFE_LANGUAGE"]
fn dialogues() {
    let mut writer = loaded();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for temperature in [0.0, 0.8] {
        let sampling = Sampling { temperature, top_k: 40, top_p: 0.95 };
        let prompts = prompts(&sampling);
        writer.batch = 8;
        let together = writer.write(&prompts).unwrap();
        for (written, picture) in together.iter().zip(PICTURES) {
            let written = written.as_ref().unwrap();
            println!("{temperature} {picture:?}\n    {} of {} tokens", written.text, written.n_written);
            let Outcome::Complete(value) = &written.outcome else { panic!("out of tokens") };
            assert!(validator.is_valid(value));
        }
        for batch in [1, 16] {
            writer.batch = batch;
            for (left, right) in writer.write(&prompts).unwrap().iter().zip(&together) {
                assert_eq!(left.as_ref().unwrap(), right.as_ref().unwrap());
            }
        }
    }
}

/// Requests without a schema.
struct Free(std::vec::IntoIter<Request>);

impl Work for Free {
    fn next(&mut self) -> Option<Result<Request>> {
        self.0.next().map(Ok)
    }

    fn constrain(&mut self, _: usize, _: &[u32], _: &mut [f32]) -> Result<Next> {
        Ok(Next::Choose)
    }

    fn done(&mut self, _: usize, _: Reply) {}
}

#[test]
#[ignore = "wants the folder of an instructed Llama: CAFE_LANGUAGE"]
fn speed() {
    let mut writer = loaded();
    let prompts = prompts(&Sampling { temperature: 0.8, top_k: 40, top_p: 0.95 });
    let mut least: Vec<(String, f64)> = Vec::new();
    for _ in 0..2 {
        let mut note = |name: String, seconds: f64| match least.iter_mut().find(|(found, _)| *found == name) {
            Some((_, least)) => *least = least.min(seconds),
            None => least.push((name, seconds)),
        };
        for batch in [1, 8, 16] {
            writer.batch = batch;
            let start = Instant::now();
            let written = writer.write(&prompts).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            let lengths: Vec<usize> = written.iter().map(|written| written.as_ref().unwrap().n_written).collect();
            let n: usize = lengths.iter().sum();
            note(format!("guided, {batch} at once, {n} tokens: seconds"), seconds);
            // The same tokens' number without a schema, from the same shared beginning.
            let start = Instant::now();
            let ready: Vec<Ready> =
                prompts.iter().map(|prompt| Ready { index: 0, ids: writer.ids(prompt).unwrap() }).collect();
            let shared = writer.read_shared(&ready).unwrap();
            let request = |(ready, n): (&Ready, &usize)| Request {
                prompt: writer.llama.embed(&ready.ids[shared.len()..]).unwrap(),
                sequence: shared.clone(),
                sampling: prompts[0].sampling.clone(),
                noise: Noise::new(*n as u64),
                max_new_tokens: *n,
                stop: Vec::new(),
            };
            let requests: Vec<Request> = ready.iter().zip(&lengths).map(request).collect();
            writer.llama.generate_all(&mut Free(requests.into_iter()), batch).unwrap();
            note(format!("free, {batch} at once, {n} tokens: seconds"), start.elapsed().as_secs_f64());
        }
        // The masks alone.
        let mut logits = vec![0.0; writer.llama.config().vocab_size];
        for written in writer.write(&prompts[..1]).unwrap() {
            let ids = writer.tokenizer.encode(&written.unwrap().text).unwrap();
            let start = Instant::now();
            let mut guided = writer.guide.begin();
            note("to begin a reply's guide: seconds".to_owned(), start.elapsed().as_secs_f64());
            let mut worst = 0.0_f64;
            for n in 0..ids.len() {
                let start = Instant::now();
                guided.take(&ids[..n]).unwrap();
                guided.mask(&mut logits).unwrap();
                worst = worst.max(start.elapsed().as_secs_f64());
            }
            note(format!("{} masks: seconds", ids.len()), start.elapsed().as_secs_f64());
            note("the slowest mask: seconds".to_owned(), worst);
        }
    }
    for (name, seconds) in least {
        println!("{name} {seconds:.4}");
    }
}
