//! `chat`: several rounds about one image. E(x) of the image is kept, the transcript is read anew each round, and every round is
//! saved before the next begins.

mod history;
mod lines;
mod show;

use cafe_engine::assistant::Assistant;
use cafe_engine::cafe::{CafeEngine, mix};
use cafe_engine::language::Message;
use cafe_engine::noise::Noise;
use cafe_engine::unet::CafeConditioning;
use cafe_engine::{Device, EngineError, Tensor};

use self::history::{History, Round};
use self::lines::{Line, Lines};
use super::{draw, pictures, speak};
use crate::cli::ChatArgs;
use crate::failure::Failure;
use crate::models::resolve;
use crate::progress::steps;

pub(super) fn run(args: &ChatArgs) -> Result<u8, Failure> {
    let reference = pictures::read(&args.image)?;
    let mut history = History::open(&args.output, &args.image)?;
    let family = resolve::family(args.family.family.as_deref())?;
    let engine = CafeEngine::load(&family, &Device::Cpu)?;
    let assistant = speak::load(&args.speak, &family, &engine)?;
    let dino = engine.encoders().dino(&[reference])?; // (1, 1 + N, D_dino)
    let mut chat = Chat { args, engine, assistant, dino, seed: args.draw.seed, like: None };
    history.rounds().iter().for_each(show::past);
    for said in &args.say {
        chat.round(&mut history, said)?;
    }
    if !args.say.is_empty() {
        return Ok(0);
    }
    show::begin(&args.image);
    let mut lines = Lines::new();
    while let Some(line) = lines.next()? {
        // A person may try again.
        if let Err(failure) = chat.answer(&mut history, line) {
            failure.report();
        }
    }
    Ok(0)
}

struct Chat<'a> {
    args: &'a ChatArgs,
    engine: CafeEngine,
    assistant: Assistant,
    /// E(x).
    dino: Tensor,
    seed: u64,
    /// F(w) of an image that the next ones shall be like, how much, and which file it is.
    like: Option<Like>,
}

struct Like {
    clip: Tensor,
    alpha: f64,
    file: std::path::PathBuf,
}

impl Chat<'_> {
    fn answer(&mut self, history: &mut History, line: Line) -> Result<(), Failure> {
        match line {
            Line::Said(said) => self.round(history, &said)?,
            Line::Seed(seed) => self.seed = seed,
            Line::Like(None) => self.like = None,
            Line::Like(Some((file, alpha))) => {
                let clip = self.engine.encoders().clip(&[pictures::read(&file)?])?;
                self.like = Some(Like { clip, alpha, file });
            }
            Line::Help => show::help(),
        }
        Ok(())
    }

    /// Replies, draws, and saves both.
    fn round(&mut self, history: &mut History, said: &str) -> Result<(), Failure> {
        let args = self.args;
        let mut conversation = history.messages();
        conversation.push(Message::new("user", said));
        let noise = Noise::new(self.seed).of("reply").at(history.rounds().len() as u64);
        let reply = speak::reply(&self.assistant, &args.speak, conversation, &self.dino, &noise)?;
        let image = match args.text_only {
            true => None,
            false => Some(self.draw(&reply.condition)?),
        };
        let drawn = image.is_some();
        let round = Round {
            user: said.to_owned(),
            assistant: reply.text,
            image: None,
            seed: self.seed,
            steps: drawn.then_some(args.draw.steps),
            guidance: drawn.then(|| draw::guidance(&args.draw)),
            like: self.like.as_ref().filter(|_| drawn).map(|like| like.file.clone()),
            alpha: self.like.as_ref().filter(|_| drawn).map(|like| like.alpha),
        };
        let round = history.add(round, image.as_ref())?;
        show::round(round, &args.output, image)
    }

    /// G(E(x), H(s)), or between H(s) and F(w).
    fn draw(&self, condition: &Tensor) -> Result<image::RgbImage, Failure> {
        let said = condition.unsqueeze(0).map_err(EngineError::from)?; // (1, D_clip)
        let clip = match &self.like {
            Some(like) => mix(&like.clip, &said, like.alpha)?,
            None => said,
        };
        let conditions = CafeConditioning { clip, dino: self.dino.clone() };
        let (guidance, settings) = (draw::guidance(&self.args.draw), draw::settings(&self.args.draw));
        let shown = steps("draw");
        let on_step = |done, of| shown.at(done, of);
        let images = self.engine.generate(&conditions, &[self.seed], &guidance, &settings, &on_step)?;
        images.into_iter().next().ok_or_else(|| Failure::Internal("the model drew nothing".to_owned()))
    }
}
