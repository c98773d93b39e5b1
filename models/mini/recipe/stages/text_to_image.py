"""Stage `text_to_image`: the base model, a small Stable Diffusion 2: text encoder and UNet, on the stage `vae`'s latents."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from runner import Context
from training.clip import encode
from training.corpus import Subjects
from training.diffusion import noise_scheduler, noised
from training.loop import Plan, train
from training.tensors import fused
from training.unet import sd_unet
from world.words import caption, instruction

VERSION = 2
# The VAE is bundled by the stage `vae`.
BUNDLED = {f"family/text_to_image/{part}": f"text_to_image/{part}" for part in ("unet", "text_encoder", "tokenizer", "scheduler")}
INPUTS = ["subjects", "latents", "vae", "tokenizer"]
_WIDTH = 128


def settings(smoke: bool) -> dict[str, Any]:
    """Widths and lengths."""
    return {"text_layers": 4, "steps": 10 if smoke else 4000, "batch": 8 if smoke else 64,
            "learning_rate": 8e-4, "drop": 0.1, "seed": 51}


def models(chosen: dict[str, Any], tokenizer: CLIPTokenizer, in_channels: int) -> torch.nn.ModuleDict:
    """A text encoder and a UNet of SD2's kind."""
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=_WIDTH, intermediate_size=4 * _WIDTH, num_attention_heads=4,
        num_hidden_layers=chosen["text_layers"], max_position_embeddings=tokenizer.model_max_length, hidden_act="gelu",
        projection_dim=_WIDTH, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=0,
    ))
    text.set_attn_implementation("eager")
    return torch.nn.ModuleDict({"unet": sd_unet(in_channels, _WIDTH), "text": text})


def build(context: Context) -> None:
    """Write `text_to_image/` in diffusers' layout, and `log.json`."""
    chosen = context.settings
    subjects = Subjects(context.inputs["subjects"])
    plain = subjects.plain[subjects.scene_rows]
    rows = subjects.scene_rows[plain]
    known = torch.from_numpy(np.load(context.inputs["latents"] / "latents.npy")[plain])
    tokenizer = CLIPTokenizer.from_pretrained(context.inputs["tokenizer"] / "tokenizer")
    vae = AutoencoderKL.from_pretrained(context.inputs["vae"] / "vae")
    torch.manual_seed(chosen["seed"])
    modules = models(chosen, tokenizer, vae.config.latent_channels)
    n_unet, n_text = (sum(p.numel() for p in modules[name].parameters()) for name in ("unet", "text"))
    assert n_unet <= 5_000_000 and n_text <= 2_000_000, (n_unet, n_text)
    scheduler = noise_scheduler()
    predict = fused(modules["unet"], chosen["steps"])

    def make(rng: np.random.Generator, _: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = rng.choice(len(rows), chosen["batch"], replace=False)
        scenes = [subjects.scenes[row] for row in rows[drawn]]
        words = [instruction(s, rng) if rng.random() < 0.15 else caption(s, rng) for s in scenes]
        words = ["" if rng.random() < chosen["drop"] else text for text in words]
        return known[torch.from_numpy(drawn)].float(), encode(tokenizer, words)

    def loss_of(batch: Any, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        latents, ids = batch
        x_t, t, v, weight = noised(latents, scheduler.alphas_cumprod, generator)
        states = modules["text"](input_ids=ids).last_hidden_state
        error = (predict(x_t, t, states).sample.float() - v).square().mean((1, 2, 3))
        return (weight * error).mean(), {"v": float(error.detach().mean())}

    plan = Plan(chosen["steps"], chosen["learning_rate"], chosen["seed"])
    log = train(modules, make, loss_of, plan, context.state)
    folder = context.out / "text_to_image"
    modules["unet"].save_pretrained(folder / "unet")
    modules["text"].save_pretrained(folder / "text_encoder")
    shutil.copytree(context.inputs["tokenizer"] / "tokenizer", folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
    (context.out / "log.json").write_text(json.dumps(log))
