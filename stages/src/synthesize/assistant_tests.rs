//! The generator, from its keys to its candidates, with the tiny family that the engine's goldens were made with. Its words mean
//! nothing; what is drawn by them can be seen all the same.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cafe_engine::assistant::{Assistant, AssistantRequest, Base};
use cafe_engine::cafe::{CafeEngine, Family, Role, SamplerSettings, mix};
use cafe_engine::language::{Message, Sampling};
use cafe_engine::noise::Noise;
use cafe_engine::unet::CafeConditioning;
use cafe_engine::{Device, op};
use cafe_pipeline::digest::Seed;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::{BatchOutcome, CompileContext, ConfigIssue, NodeDecl, Work};
use polars::prelude::*;
use serde_json::{Value, json};

use super::super::compile::compile;
use crate::drawing::GuidanceConfig;
use crate::models::{ModelStore, NoModel};
use crate::picture;
use crate::tables;
use crate::testing::{Bench, Mini, Ran};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/goldens/family")
}

/// This family, and language models by their folders.
struct At(PathBuf);

impl ModelStore for At {
    fn folder(&self, named: &str, role: ModelRole, _: &CompileContext<'_>) -> Result<PathBuf, NoModel> {
        match role {
            ModelRole::Llm if named == "absent" => {
                Err(NoModel { message: "there is no model absent".to_owned(), help: Some("fetch it".to_owned()) })
            }
            ModelRole::Llm => Ok(PathBuf::from(named)),
            _ => Ok(self.0.clone()),
        }
    }
}

fn in_family(store: &dyn ModelStore, config: Value) -> Result<NodeDecl, Vec<ConfigIssue>> {
    let config = serde_json::from_value(config).unwrap();
    let context = CompileContext::new(Path::new("."), Seed(7));
    compile(&config, store, &context).map(|mut nodes| nodes.remove(0))
}

fn node(config: Value) -> NodeDecl {
    in_family(&At(golden()), config).unwrap()
}

/// The keys of a stage, with some more of its generator.
fn keys(samples: u32, more: &Value) -> Value {
    let mut generator = json!({ "type": "assistant", "sampling": { "steps": 3 }, "reply": { "max_tokens": 6 } });
    for (key, value) in more.as_object().unwrap() {
        generator[key] = value.clone();
    }
    json!({ "generator": generator, "samples": samples })
}

const INSTRUCTIONS: [&str; 2] = ["Put this dog on the beach.", "Show this dog in the snow."];

/// Two pairs of one reference.
fn bench(instructions: [&str; 2]) -> Bench {
    let mut bench = Bench::new();
    let x = std::fs::read(golden().join("x.png")).unwrap();
    let image = tables::images([(x.as_slice(), "x.png".to_owned())].into_iter()).unwrap();
    let references = DataFrame::new(1, vec![Column::new("reference_id".into(), ["r"]), image]).unwrap();
    let pairs = df!(
        "pair_id" => ["p1", "p2"], "reference_id" => ["r", "r"], "instruction" => instructions,
        "caption" => ["a dog on the beach", "a dog in the snow"]
    );
    bench.put(tables::REFERENCES, vec![references]);
    bench.put(tables::PAIRS, vec![pairs.unwrap()]);
    bench
}

fn run(config: Value) -> Ran {
    let ran = bench(INSTRUCTIONS).run(&node(config)).unwrap();
    assert_eq!(ran.quarantined, []);
    ran
}

fn texts(ran: &Ran, table: &str, name: &str) -> Vec<String> {
    let column = ran.tables[table].column(name).unwrap().cast(&DataType::String).unwrap();
    column.str().unwrap().iter().map(|value| value.unwrap_or("null").to_owned()).collect()
}

fn pictures(ran: &Ran) -> Vec<Vec<u8>> {
    let images = ran.tables[tables::CANDIDATES].column("image").unwrap().struct_().unwrap().field_by_name("bytes");
    images.unwrap().binary().unwrap().iter().map(|bytes| bytes.unwrap().to_vec()).collect()
}

fn seeds(ran: &Ran) -> Vec<u64> {
    ran.tables[tables::CANDIDATES].column("seed").unwrap().u64().unwrap().iter().flatten().collect()
}

/// The keys of replies that are left to chance.
fn free() -> Value {
    json!({ "max_tokens": 6, "temperature": 1.0 })
}

#[test]
fn there_is_an_image_for_each_share_and_sample() {
    let ran = run(keys(2, &json!({ "alphas": [1.0, 0.25], "reply": free() })));
    assert_eq!(texts(&ran, tables::CANDIDATES, "alpha"), ["1.0", "1.0", "0.25", "0.25", "1.0", "1.0", "0.25", "0.25"]);
    assert_eq!(texts(&ran, tables::CANDIDATES, "sample_index"), ["0", "1", "0", "1", "0", "1", "0", "1"]);
    assert_eq!(texts(&ran, tables::CANDIDATES, "w_id"), ["null"; 8]);
    assert_eq!(texts(&ran, tables::CANDIDATES, "generator"), ["assistant"; 8]);
    assert_eq!(ran.tables[tables::CANDIDATES].schema().len(), tables::candidates().columns.len());
    assert_eq!(ran.tables[tables::CANDIDATE_REFERENCES].height(), 8);
    // In a sweep nothing but α changes; two samples share nothing.
    let (seeds, made, replies) = (seeds(&ran), pictures(&ran), texts(&ran, tables::CANDIDATE_REPLIES, "reply"));
    assert!(seeds[0] == seeds[2] && seeds[0] != seeds[1] && seeds[0] != seeds[4]);
    assert!(replies[0] == replies[2] && replies[1] == replies[3] && replies[0] != replies[1], "{replies:?}");
    assert!(made[0] != made[2] && made[0] != made[1] && made[0] != made[4]);
}

#[test]
fn what_is_understood_is_drawn() {
    // The engine, asked by hand.
    let family = Family::open(&golden()).unwrap();
    let engine = CafeEngine::load(&family, &Device::Cpu).unwrap();
    let folder = family.folder(Role::Mllm);
    let assistant = Assistant::load(&folder, Base::load(&folder.join("base"), &Device::Cpu).unwrap()).unwrap();
    let x = std::fs::read(golden().join("x.png")).unwrap();
    let x = [picture::for_model(Some(&x), "x").unwrap()];
    let settings = SamplerSettings { n_steps: 3, ..SamplerSettings::default() };
    let guidance = GuidanceConfig::default().guidance();
    let by_hand = |told: &str, seed: u64, alpha: f64| {
        let (dino, clip) = (engine.encoders().dino(&x).unwrap(), engine.encoders().clip(&x).unwrap());
        let request = AssistantRequest {
            conversation: vec![Message::new("user", told)],
            dino: dino.get(0).unwrap(),
            sampling: Sampling { temperature: 1.0, ..Sampling::default() },
            noise: Noise::new(seed).of("reply").at(0),
            max_new_tokens: 6,
        };
        let reply = assistant.reply(&[request]).unwrap().remove(0);
        let said = reply.condition.unsqueeze(0).unwrap();
        let conditions = CafeConditioning { clip: mix(&said, &clip, alpha).unwrap(), dino };
        let images = engine.generate(&conditions, &[seed], &guidance, &settings, &|_, _| {}).unwrap();
        (reply.text, picture::png(&images[0]).unwrap())
    };
    for alpha in [1.0, 0.25] {
        let ran = run(keys(1, &json!({ "alphas": [alpha], "reply": free() })));
        let (made, replies) = (pictures(&ran), texts(&ran, tables::CANDIDATE_REPLIES, "reply"));
        for (row, seed) in seeds(&ran).into_iter().enumerate() {
            let (reply, image) = op::on_cores(|| by_hand(INSTRUCTIONS[row], seed, alpha));
            assert_eq!(replies[row], reply, "α = {alpha}, row {row}");
            assert!(made[row] == image, "α = {alpha}, row {row}: another picture");
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    let node = node(keys(1, &json!({})));
    let both = bench(INSTRUCTIONS).run(&node).unwrap();
    let mut one = bench(INSTRUCTIONS);
    let second = df!(
        "pair_id" => ["p2"], "reference_id" => ["r"], "instruction" => [INSTRUCTIONS[1]], "caption" => ["a dog in the snow"]
    );
    one.put(tables::PAIRS, vec![second.unwrap()]);
    let alone = one.run(&node).unwrap();
    assert_eq!(pictures(&alone), pictures(&both)[1..]);
    assert_eq!(
        texts(&alone, tables::CANDIDATES, "candidate_id"),
        texts(&both, tables::CANDIDATES, "candidate_id")[1..]
    );
}

/// All that the executor is given.
fn outcome(config: Value) -> BatchOutcome {
    let (bench, node) = (bench(INSTRUCTIONS), node(config));
    let Work::Rows(work) = &node.work else { panic!("rows are treated") };
    let context = bench.context();
    let columns = work.columns().unwrap();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = work.prepare(&context, context.table(tables::PAIRS, Some(&columns)).unwrap()).unwrap();
    work.process(&context, &rows).unwrap()
}

#[test]
fn replies_are_kept_and_paid_for_once() {
    let sum = |outcome: &BatchOutcome, name: &str| {
        let rows = outcome.tables[tables::CANDIDATE_REPLIES].column(name).unwrap().u64().unwrap().clone();
        rows.iter().flatten().sum::<u64>()
    };
    // The likeliest words are the same for all three samples and both α: they are asked for once.
    let greedy = outcome(keys(3, &json!({ "alphas": [1.0, 0.5] })));
    let replies = &greedy.tables[tables::CANDIDATE_REPLIES];
    let mut names: Vec<&str> = replies.get_column_names().into_iter().map(PlSmallStr::as_str).collect();
    assert_eq!(names.pop(), Some("_row"));
    assert_eq!(names, tables::candidate_replies().columns.iter_names().map(PlSmallStr::as_str).collect::<Vec<_>>());
    assert_eq!(replies.height(), 12);
    let ids = |table: &str| greedy.tables[table].column("candidate_id").unwrap().str().unwrap().clone();
    assert!(ids(tables::CANDIDATES).iter().eq(ids(tables::CANDIDATE_REPLIES).iter()));
    assert_eq!(greedy.cost.prompt_tokens * 6, sum(&greedy, "prompt_tokens"));
    assert_eq!(greedy.cost.completion_tokens * 6, sum(&greedy, "completion_tokens"));
    assert_eq!(greedy.cost.n_tries, 12);

    let free = outcome(keys(3, &json!({ "reply": free() })));
    assert_eq!(free.cost.prompt_tokens, sum(&free, "prompt_tokens"));
    assert_eq!(free.cost.completion_tokens, sum(&free, "completion_tokens"));
    assert!(free.cost.prompt_tokens > greedy.cost.prompt_tokens);
    for is_cut in free.tables[tables::CANDIDATE_REPLIES].column("is_cut").unwrap().bool().unwrap().iter() {
        assert!(is_cut.is_some());
    }
}

#[test]
fn either_text_can_be_told() {
    let told = |more: &Value| texts(&run(keys(1, more)), tables::CANDIDATE_REPLIES, "told");
    assert_eq!(told(&json!({})), INSTRUCTIONS);
    assert_eq!(told(&json!({ "text": "caption" })), ["a dog on the beach", "a dog in the snow"]);
    let read = |more: &Value| node(keys(1, more)).reads[0].columns.clone();
    assert_eq!(read(&json!({ "text": "caption" })), ["pair_id", "reference_id", "caption"]);
}

#[test]
fn words_that_are_too_long_are_one_row_at_fault() {
    let long = "word ".repeat(300);
    let ran = bench([&long, INSTRUCTIONS[1]]).run(&node(keys(1, &json!({})))).unwrap();
    assert_eq!(texts(&ran, tables::CANDIDATES, "pair_id"), ["p2"]);
    let [fault] = ran.quarantined.as_slice() else { panic!("{:?}", ran.quarantined) };
    assert!(fault.row == 0 && fault.message.contains("the language model reads 256"), "{}", fault.message);
}

#[test]
fn what_decides_is_in_the_settings_and_where_models_lie_is_not() {
    let settings = |more: &Value| node(keys(1, more)).settings;
    let usual = settings(&json!({}));
    for more in [
        json!({ "text": "caption" }),
        json!({ "alphas": [0.5] }),
        json!({ "reply": { "max_tokens": 7 } }),
        json!({ "reply": { "max_tokens": 6, "temperature": 0.5 } }),
        json!({ "guidance": { "clip_scale": 3.0 } }),
        json!({ "sampling": { "steps": 4 } }),
    ] {
        assert_ne!(settings(&more), usual, "{more}");
    }
    let base = golden().join("mllm/base");
    let named = settings(&json!({ "llm": base }));
    assert_eq!(named["generator"], usual["generator"]);
    // The same weights at another place are the same weights.
    let folder = tempfile::tempdir().unwrap();
    symlink(&base, folder.path().join("moved")).unwrap();
    assert_eq!(settings(&json!({ "llm": folder.path().join("moved") })), named);
}

#[test]
fn a_family_without_an_assistant_is_told_how_to_get_one() {
    let mistakes = in_family(&Mini, keys(1, &json!({}))).unwrap_err();
    let [issue] = mistakes.as_slice() else { panic!("{mistakes:?}") };
    assert_eq!(issue.pointer, "/family");
    assert!(issue.message.contains("mini has no folder `mllm`"), "{}", issue.message);
    assert!(issue.help.as_ref().unwrap().contains("cafe-data train mllm"));

    // As `train mllm` leaves it: without the language model.
    let folder = tempfile::tempdir().unwrap();
    for role in ["clip_condition", "dino_condition", "text_to_image", "cafe_unet"] {
        symlink(golden().join(role), folder.path().join(role)).unwrap();
    }
    std::fs::create_dir(folder.path().join("mllm")).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden().join("mllm").join(name), folder.path().join("mllm").join(name)).unwrap();
    }
    let store = At(folder.path().to_owned());
    let mistakes = in_family(&store, keys(1, &json!({}))).unwrap_err();
    let [issue] = mistakes.as_slice() else { panic!("{mistakes:?}") };
    assert!(issue.message.contains("no folder `base`") && issue.help.as_ref().unwrap().contains("llm ="), "{issue:?}");
    let node = in_family(&store, keys(1, &json!({ "llm": golden().join("mllm/base") }))).unwrap();
    assert_eq!(bench(INSTRUCTIONS).run(&node).unwrap().tables[tables::CANDIDATES].height(), 2);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let more =
        json!({ "alphas": [1.5], "reply": { "top_p": 0.0 }, "sampling": { "size_px": [4, 64] }, "llm": "absent" });
    let issues = in_family(&At(golden()), keys(1, &more)).unwrap_err();
    let places: Vec<&str> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    let wanted = ["/generator/alphas/0", "/generator/sampling/size_px", "/generator/reply/top_p", "/generator/llm"];
    assert_eq!(places, wanted);
    assert_eq!(issues[3].help.as_deref(), Some("fetch it"));
}
