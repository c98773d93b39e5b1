//! `doctor --scorers`: whether the encoders that filter score as those of the literature do, by the row "Real Images" of
//! DreamBench.

use std::path::{Path, PathBuf};

use cafe_pipeline::digest::Seed;
use cafe_pipeline::manifest::ModelRole;
use cafe_pipeline::stage::CompileContext;
use cafe_pipeline::text::counted;
use cafe_stages::filter::Preset;
use cafe_stages::score::{Encoder, RealImages, RealImagesError, Scorer, Subject, real_images};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::DoctorArgs;
use crate::failure::Failure;
use crate::format::{Align, json as print_json, out, table};
use crate::models::Registry;
use crate::models::resolve::{self, Installed};

/// The row is another than the published one.
const DIFFERS: u8 = 4;

/// How far from it a number may be.
const TOLERANCE: f64 = 0.005;

/// What DreamBench has.
const SUBJECTS: usize = 30;
const PICTURES: usize = 158;

/// A number of the row.
struct Score {
    name: &'static str,
    published: f64,
    scorer: Scorer,
    of: fn(&Subject) -> f64,
    encoder: fn(&RealImages) -> &Encoder,
}

/// The row, of the papers of DreamBooth and of those that compare with it.
static ROW: [Score; 2] = [
    Score {
        name: "DINO",
        published: 0.774,
        scorer: Scorer::Dino,
        of: |subject| subject.dino,
        encoder: |row| &row.dino,
    },
    Score {
        name: "CLIP-I",
        published: 0.885,
        scorer: Scorer::Clip,
        of: |subject| subject.clip_i,
        encoder: |row| &row.clip,
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Reproduced,
    Differs,
    NotComparable,
}

pub(super) fn run(folder: &Path, args: &DoctorArgs) -> Result<u8, Failure> {
    let (clip, dino) = models(args)?;
    let context = CompileContext::new(Path::new("."), Seed(0));
    let row = real_images(folder, (&clip, &dino), &Installed, &context).map_err(failure)?;
    let reasons = reasons(&row);
    let verdict = verdict(&row, &reasons);
    if args.json {
        print_json(&as_json(folder, &row, verdict, &reasons))?;
    } else {
        out(&text(folder, &row, verdict, &reasons))?;
    }
    Ok(if verdict == Verdict::Differs { DIFFERS } else { 0 })
}

fn failure(error: RealImagesError) -> Failure {
    match error {
        RealImagesError::Folder(message) => Failure::usage(
            message,
            "name the folder of google/dreambooth: dataset/SUBJECT/00.jpg and so on, 158 pictures of 30 subjects",
        ),
        RealImagesError::Model(message) => {
            Failure::Plan(message, "see `cafe-data models verify`, or name other models by --family".to_owned())
        }
    }
}

/// The folders of CLIP and DINO: the family's, else those of models that were fetched.
fn models(args: &DoctorArgs) -> Result<(PathBuf, PathBuf), Failure> {
    let family = args.family.as_deref().map(|family| resolve::folder(family, ModelRole::Family)).transpose()?;
    if let Some(family) = family.as_ref().filter(|family| !family.is_dir()) {
        let message = format!("there is no family {}: neither a folder nor a model of this name", family.display());
        return Err(Failure::Plan(message, "`cafe-data models list` shows what there is".to_owned()));
    }
    let registry = Registry::open(args.manifest.as_deref())?;
    let (mut missing, mut help) = (Vec::new(), Vec::new());
    let mut find = |role: ModelRole, published: &str| -> Result<PathBuf, Failure> {
        let own = family.as_ref().map(|family| family.join(role.name())).filter(|folder| folder.is_dir());
        let (fetched, names) = resolve::for_role(role, &registry)?;
        let found = own.or(fetched);
        if found.is_none() {
            missing.push(role.name());
            help.push(match names.first() {
                Some(name) => format!("`cafe-data models fetch {name} --allow-unpinned`"),
                None => converted(role, published),
            });
        }
        Ok(found.unwrap_or_default())
    };
    let clip = find(ModelRole::ClipFilter, "CLIPModel.from_pretrained('openai/clip-vit-base-patch32')")?;
    let dino = find(ModelRole::DinoFilter, "ViTModel.from_pretrained('facebook/dino-vits16')")?;
    if missing.is_empty() {
        return Ok((clip, dino));
    }
    let message = format!("there is no model for {}, with which scores are computed", missing.join(" and "));
    Err(Failure::Plan(message, help.join("; and ")))
}

/// How to get weights that are published in no form that is read here.
fn converted(role: ModelRole, published: &str) -> String {
    let role = role.name();
    format!(
        "convert the published weights once, in Python with transformers: {published}.save_pretrained('filters/{role}'), \
         and add `--family filters`"
    )
}

/// Why the row cannot be compared with the published one; nothing where it can.
fn reasons(row: &RealImages) -> Vec<String> {
    let mut reasons = Vec::new();
    for score in &ROW {
        let encoder = (score.encoder)(row);
        let model = &encoder.model;
        if let Some(name) = Preset::Cafe2023.other_model(score.scorer, model) {
            let found = &model.architecture;
            reasons.push(format!(
                "{} belongs to the weights of {name}; {} is another model: {} layers of {}, patches of {} px, {}",
                score.name,
                model.role,
                found.layers,
                found.width,
                found.patch_px,
                model.digest.to_hex().get(..12).unwrap_or_default(),
            ));
        } else if !encoder.has_usual_preprocessing {
            reasons.push(format!(
                "{}'s preprocessor_config.json prepares pictures otherwise than evaluations do: take it away",
                model.role
            ));
        }
    }
    let (n_subjects, n_pictures) = (row.subjects.len(), row.n_pictures());
    if (n_subjects, n_pictures) != (SUBJECTS, PICTURES) {
        reasons.push(format!(
            "DreamBench has {PICTURES} pictures of {SUBJECTS} subjects; here are {n_pictures} of {n_subjects}"
        ));
    }
    reasons
}

fn verdict(row: &RealImages, reasons: &[String]) -> Verdict {
    let is_near = |score: &Score| (row.mean(score.of) - score.published).abs() <= TOLERANCE;
    match reasons {
        [] if ROW.iter().all(is_near) => Verdict::Reproduced,
        [] => Verdict::Differs,
        _ => Verdict::NotComparable,
    }
}

fn text(folder: &Path, row: &RealImages, verdict: Verdict, reasons: &[String]) -> String {
    let headers = [
        ("", Align::Left),
        ("published", Align::Right),
        ("here", Align::Right),
        ("difference", Align::Right),
        ("model", Align::Left),
        ("runs on", Align::Left),
    ];
    let cells = |score: &Score| {
        let (here, encoder) = (row.mean(score.of), (score.encoder)(row));
        let digest = encoder.model.digest.to_hex();
        vec![
            score.name.to_owned(),
            format!("{:.3}", score.published),
            format!("{here:.3}"),
            format!("{:+.3}", here - score.published),
            format!("{} {}", encoder.model.role, digest.get(..12).unwrap_or_default()),
            encoder.backend.clone(),
        ]
    };
    let mut text = table(&headers, &ROW.iter().map(cells).collect::<Vec<_>>());
    let (pictures, subjects) =
        (counted(row.n_pictures() as u64, "picture"), counted(row.subjects.len() as u64, "subject"));
    text += &format!("{}: {pictures} of {subjects}, {} ignored\n", folder.display(), counted(row.n_ignored, "file"));
    if !row.skipped.is_empty() {
        text += &format!("skipped, since one picture is like no other: {}\n", row.skipped.join(", "));
    }
    text += &match verdict {
        Verdict::Reproduced => format!("reproduced: both are within {TOLERANCE} of the published row\n"),
        Verdict::Differs => format!(
            "not reproduced: {TOLERANCE} were allowed; see whether these are the published weights and pictures\n"
        ),
        Verdict::NotComparable => "not comparable with the published row:\n".to_owned(),
    };
    reasons.iter().fold(text, |text, reason| text + "  " + reason + "\n")
}

fn as_json(folder: &Path, row: &RealImages, verdict: Verdict, reasons: &[String]) -> Value {
    let score = |score: &Score| {
        let (here, encoder) = (row.mean(score.of), (score.encoder)(row));
        json!({
            "name": score.name,
            "published": score.published,
            "here": here,
            "difference": here - score.published,
            "model": encoder.model,
            "backend": encoder.backend,
            "has_usual_preprocessing": encoder.has_usual_preprocessing,
        })
    };
    let subject = |subject: &Subject| {
        json!({
            "subject": subject.name,
            "n_pictures": subject.n_pictures,
            "dino": subject.dino,
            "clip_i": subject.clip_i,
        })
    };
    json!({
        "folder": folder,
        "n_subjects": row.subjects.len(),
        "n_pictures": row.n_pictures(),
        "n_ignored": row.n_ignored,
        "skipped": row.skipped,
        "tolerance": TOLERANCE,
        "scores": ROW.iter().map(score).collect::<Vec<_>>(),
        "subjects": row.subjects.iter().map(subject).collect::<Vec<_>>(),
        "verdict": verdict,
        "reasons": reasons,
    })
}
