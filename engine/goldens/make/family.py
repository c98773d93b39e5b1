"""A whole family of tiny models with random weights, and what Eq. 4 and text-to-image make of it in PyTorch: the path
of an image through all of the engine at once. The pictures are noise over gradients; what comes out is no better."""

import json

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil as CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)

import common
from cafe_unet import CLIP_DIM, CONFIG, DINO_DIM, CafeUNet

N_STEPS, ALPHA, DINO_SCALE, CLIP_SCALE, TEXT_SCALE = 6, 0.4, 1.5, 3.0, 2.5
EDIT_STEPS, STRENGTH = 8, 0.7
PROMPT = "a fox on the beach"
MERGES = ["f o", "fo x</w>", "o n</w>", "t h", "th e</w>", "b e", "be a", "c h</w>", "bea ch</w>"]


def tokenizer(path):
    """CLIP's byte-level vocabulary with a handful of merges."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    units = list(bytes_to_unicode().values())
    words = ["!"] + [unit for unit in units if unit != "!"] + [unit + "</w>" for unit in units]
    words += ["".join(merge.split()) for merge in MERGES] + ["<|startoftext|>", "<|endoftext|>"]
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}, ensure_ascii=False))
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    facts = dict(
        tokenizer_class="CLIPTokenizer", model_max_length=16, bos_token="<|startoftext|>", eos_token="<|endoftext|>",
        unk_token="<|endoftext|>", pad_token="!", do_lower_case=True,
    )
    (path / "tokenizer_config.json").write_text(json.dumps(facts, indent=2) + "\n")
    return CLIPTokenizer(str(path / "vocab.json"), str(path / "merges.txt"), pad_token="!", model_max_length=16), len(words)


def picture(path, height, width, seed):
    source = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    base = np.stack([rows * 255 / height, columns * 255 / width, (rows + columns) * 127 / max(height, width)], axis=-1)
    pixels = np.clip(base + source.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return Image.open(path)


def processor(size):
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return CLIPImageProcessor(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, image_mean=mean, image_std=std
    )


def main():
    root = common.folder("family")
    cases = {}
    clip = common.randomize(
        CLIPModel(
            CLIPConfig(
                projection_dim=CLIP_DIM,
                text_config=dict(vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                                 num_attention_heads=2, max_position_embeddings=12),
                vision_config=dict(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
                                   image_size=16, patch_size=4),
            )
        ),
        seed=10,
    )
    clip.save_pretrained(root / "clip_condition")
    clip_processor = processor(16)
    clip_processor.save_pretrained(root / "clip_condition")
    dino = common.randomize(
        Dinov2Model(Dinov2Config(hidden_size=DINO_DIM, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                                 patch_size=8)),
        seed=11,
    )
    dino.save_pretrained(root / "dino_condition")
    dino_processor = processor(16)
    dino_processor.save_pretrained(root / "dino_condition")

    base = root / "text_to_image"
    tokens, n_words = tokenizer(base / "tokenizer")
    text_encoder = common.randomize(
        CLIPTextModel(
            CLIPTextConfig(vocab_size=n_words, hidden_size=24, intermediate_size=48, num_hidden_layers=2,
                           num_attention_heads=2, max_position_embeddings=16, hidden_act="gelu", projection_dim=24,
                           bos_token_id=n_words - 2, eos_token_id=n_words - 1, pad_token_id=0)
        ),
        seed=12,
    )
    text_encoder.save_pretrained(base / "text_encoder")
    unet = common.randomize(UNet2DConditionModel(**CONFIG), seed=13)
    unet.save_pretrained(base / "unet")
    vae = common.randomize(
        AutoencoderKL(block_out_channels=(8, 8, 16), down_block_types=("DownEncoderBlock2D",) * 3,
                      up_block_types=("UpDecoderBlock2D",) * 3, norm_num_groups=4, layers_per_block=1,
                      latent_channels=4, scaling_factor=0.18215),
        seed=14,
    )
    vae.save_pretrained(base / "vae")
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                              set_alpha_to_one=False, clip_sample=False, prediction_type="epsilon")
    scheduler.save_pretrained(base / "scheduler")
    cafe = common.randomize(CafeUNet(n_clip_tokens=1), seed=15)
    cafe.save(common.folder("family/cafe_unet"))

    x, w = picture(root / "x.png", 20, 28, 1), picture(root / "w.png", 33, 24, 2)

    def embed(image):
        pixels = clip_processor(image, return_tensors="pt").pixel_values
        return clip.visual_projection(clip.vision_model(pixels).pooler_output)

    clip_x, clip_w = embed(x), embed(w)
    dino_x = dino(dino_processor(x, return_tensors="pt").pixel_values).last_hidden_state
    condition = ALPHA * clip_w + (1 - ALPHA) * clip_x
    cases |= {"clip_x": clip_x, "clip_w": clip_w, "dino_x": dino_x}

    latents = torch.randn(1, 4, 8, 8, generator=common.generator(16))
    cases["latents"] = latents

    def sample(predict):
        scheduler.set_timesteps(N_STEPS)
        z = latents
        for t in scheduler.timesteps:
            z = scheduler.step(predict(z, t[None]), t, z).prev_sample
        return z, vae.decode(z / vae.config.scaling_factor).sample

    # Equation 4 under nested guidance, DINO first.
    def cafe_predict(z, t):
        def at(has_clip, has_dino):
            return cafe.predict(z, t, condition * has_clip, dino_x * has_dino)

        none, with_dino, both = at(0, 0), at(0, 1), at(1, 1)
        return none + DINO_SCALE * (with_dino - none) + CLIP_SCALE * (both - with_dino)

    cases["cafe.latents"], cases["cafe.pixels"] = sample(cafe_predict)

    # DPM-Solver++ from a noised picture of which a part stays, under SynCD's normalised guidance.
    def normalised_predict(z, t):
        def at(has_clip, has_dino):
            return cafe.predict(z, t, condition * has_clip, dino_x * has_dino)

        none, with_dino, both = at(0, 0), at(0, 1), at(1, 1)
        to_dino, to_both = with_dino - none, both - with_dino
        least = torch.minimum(to_dino.norm(), to_both.norm())
        to_dino, to_both = to_dino * (least / to_dino.norm()), to_both * (least / to_both.norm())
        return with_dino + (DINO_SCALE - 1) * to_dino + CLIP_SCALE * to_both

    pixels = VaeImageProcessor().preprocess(w, height=32, width=32, resize_mode="crop")
    source = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
    mask = torch.rand(1, 1, 8, 8, generator=common.generator(17)).mul(1.5).clamp(max=1)
    solver = DPMSolverMultistepScheduler.from_config(scheduler.config, timestep_spacing="leading")
    solver.set_timesteps(EDIT_STEPS)
    first = EDIT_STEPS - int(EDIT_STEPS * STRENGTH)
    solver.set_begin_index(first)
    z = solver.add_noise(source, latents, solver.timesteps[first : first + 1])
    for index in range(first, EDIT_STEPS):
        t = solver.timesteps[index]
        z = solver.step(normalised_predict(z, t[None]), t, z).prev_sample
        last = index + 1 == EDIT_STEPS
        kept = source if last else solver.add_noise(source, latents, solver.timesteps[index + 1][None])
        z = (1 - mask) * kept + mask * z
    cases |= {"edit.source": source, "edit.mask": mask, "edit.latents": z}
    cases["edit.pixels"] = vae.decode(z / vae.config.scaling_factor).sample

    def states(text):
        ids = tokens(text, padding="max_length", truncation=True, max_length=16, return_tensors="pt").input_ids
        return ids, text_encoder(ids).last_hidden_state

    (ids, with_text), (_, without) = states(PROMPT), states("")
    cases["ids"] = ids.to(torch.uint32)

    def text_predict(z, t):
        empty, guided = unet(z, t, without).sample, unet(z, t, with_text).sample
        return empty + TEXT_SCALE * (guided - empty)

    cases["text.latents"], cases["text.pixels"] = sample(text_predict)
    common.save_cases("family", cases)
    print({key: tuple(value.shape) for key, value in cases.items()}, ids)


if __name__ == "__main__":
    main()
