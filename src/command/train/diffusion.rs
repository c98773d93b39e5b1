//! `train diffusion`: the UNet by Eq. 3.

use cafe_engine::Device;
use cafe_engine::cafe::{Family, ImageEncoders, Role};
use cafe_engine::train::{DiffusionBatch, DiffusionParts, DiffusionSettings, DiffusionTrainer, EncodedRows};
use cafe_engine::unet::Trainable;
use cafe_engine::vae::AutoencoderKl;
use cafe_pipeline::stage::Cancel;
use cafe_stages::training_pairs::Wanted;
use serde_json::json;

use super::encode::{Encoding, Pictures, encode};
use super::initial::parts;
use super::record::keep_settings;
use super::{INTERRUPTED, run_loop};
use crate::cli::{TrainDiffusionArgs, Trains};
use crate::failure::Failure;
use crate::models::resolve;

pub(super) fn run(args: &TrainDiffusionArgs, cancel: &Cancel) -> Result<u8, Failure> {
    let common = &args.train;
    let pairs = run_loop::open(common, Wanted::Pairs)?;
    let family = resolve::family(common.family.family.as_deref())?;
    let settings = settings(args);
    let parts = parts(args, &family, &pairs)?;
    let size_px = size_px(args, &parts)?;
    let mut record = run_loop::record(&settings, &pairs, &parts.weights)?;
    record.insert("size_px".to_owned(), json!([size_px.0, size_px.1]));
    record.insert("unet".to_owned(), json!(parts.unet));
    record.insert("from_base".to_owned(), json!(args.from_base));
    record.insert("init".to_owned(), json!(args.init));
    keep_settings(&common.output, &record)?;

    let rows: Vec<usize> = (0..pairs.n_rows()).collect();
    let encoding = Encoding { pairs: &pairs, rows: &rows, size_px: Some(size_px) };
    let made = encode(&encoding, &Encoders::folders(&family), &common.output.join("encoded"), cancel, || {
        Encoders::load(&family, size_px)
    })?;
    let Some(encoded) = made else { return Ok(INTERRUPTED) };
    let mut trainer = DiffusionTrainer::new(parts, settings, &Device::Cpu)?;
    if !run_loop::train(&mut trainer, &encoded, common, cancel)? {
        return Ok(INTERRUPTED);
    }
    let folder = common.output.join(Role::CafeUNet.folder());
    trainer.export(&folder, &run_loop::facts(common))?;
    run_loop::say(&folder)?;
    Ok(0)
}

/// What sees the pictures.
struct Encoders {
    encoders: ImageEncoders,
    vae: AutoencoderKl,
    size_px: (u32, u32),
}

impl Encoders {
    fn folders(family: &Family) -> Vec<std::path::PathBuf> {
        let vae = family.folder(Role::TextToImage).join("vae");
        vec![family.folder(Role::ClipCondition), family.folder(Role::DinoCondition), vae]
    }

    fn load(family: &Family, size_px: (u32, u32)) -> Result<Self, Failure> {
        let encoders = ImageEncoders::load(family, &Device::Cpu)?;
        let vae = family.folder(Role::TextToImage).join("vae");
        Ok(Self { encoders, vae: AutoencoderKl::load(&vae, cafe_engine::DType::F32, &Device::Cpu)?, size_px })
    }
}

impl Pictures for Encoders {
    fn encode(&self, references: &[image::RgbImage], targets: &[image::RgbImage]) -> Result<EncodedRows, Failure> {
        let pictures = (references, targets);
        Ok(DiffusionBatch::encode(&self.encoders, &self.vae, pictures, self.size_px, &Device::Cpu)?)
    }
}

fn settings(args: &TrainDiffusionArgs) -> DiffusionSettings {
    DiffusionSettings {
        train: run_loop::settings(&args.train),
        drop_probability: args.drop,
        min_snr_gamma: args.min_snr_gamma,
        trainable: match args.trainable {
            Trains::All => Trainable::All,
            Trains::Attn2 => Trainable::Attn2,
            Trains::NewKv => Trainable::NewKv,
        },
    }
}

/// Height and width of the images.
fn size_px(args: &TrainDiffusionArgs, parts: &DiffusionParts) -> Result<(u32, u32), Failure> {
    let factor = u32::try_from(parts.vae.factor()).unwrap_or(u32::MAX);
    let trained = parts.unet.sample_size.and_then(|size| u32::try_from(size).ok()?.checked_mul(factor));
    let size = args.size.or(trained.map(|side| (side, side)));
    let (height, width) = size
        .ok_or_else(|| Failure::usage("the UNet's config has no sample_size", "give the images' size: --size HxW"))?;
    let multiple = factor.saturating_mul(u32::try_from(parts.unet.latent_multiple()).unwrap_or(u32::MAX));
    if height % multiple != 0 || width % multiple != 0 {
        let message = format!("images of {height}x{width} px: this model takes multiples of {multiple}");
        return Err(Failure::usage(message, "give another --size"));
    }
    Ok((height, width))
}
