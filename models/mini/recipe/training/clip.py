"""CLIP on scenes and their words: which texts a picture fits is known exactly, so a batch may hold several that do."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from runner import Context
from training.corpus import Scenes
from training.loop import Plan, train
from training.tensors import pixels, scaled
from training.processor import write_processor
from world.scene import Scene
from world.words import caption, instruction


@dataclass(frozen=True)
class ClipPlan:
    """Widths and lengths of one CLIP, and the part of the data that it learns from."""

    width: int
    layers: int
    heads: int
    text_width: int
    text_layers: int
    projection: int
    seed: int
    half: int | None
    steps: int = 1400
    batch: int = 128
    learning_rate: float = 1e-3


def meaning(scene: Scene) -> tuple[Any, ...]:
    """What words can say of a scene; the noun first."""
    return (scene.noun, scene.background.colour, scene.background.pattern, scene.size, scene.position, scene.style,
            scene.tint, scene.turn, scene.count)


def encode(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids, padded to the longest text that is allowed: (B, T)."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def build(context: Context, plan: ClipPlan) -> None:
    """Train, and write the model's folder and `log.json`."""
    stored = Scenes(context.inputs["scenes"])
    pairs = stored.pairs(plan.half)
    tokenizer = CLIPTokenizer.from_pretrained(context.inputs["tokenizer"] / "tokenizer")
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    torch.manual_seed(plan.seed)
    model = CLIPModel(CLIPConfig(
        projection_dim=plan.projection,
        text_config={"vocab_size": len(tokenizer), "hidden_size": plan.text_width, "num_hidden_layers": plan.text_layers,
                     "intermediate_size": 4 * plan.text_width, "num_attention_heads": plan.text_width // 32,
                     "max_position_embeddings": tokenizer.model_max_length, "projection_dim": plan.projection, **ends},
        vision_config={"hidden_size": plan.width, "num_hidden_layers": plan.layers, "num_attention_heads": plan.heads,
                       "intermediate_size": 4 * plan.width, "image_size": 64, "patch_size": 8,
                       "projection_dim": plan.projection},
    ))
    # Fused attention has a slow gradient in bfloat16 on the CPU.
    model.set_attn_implementation("eager")

    def make(rng: np.random.Generator, _: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        drawn = np.sort(rng.choice(pairs, plan.batch // 2, replace=False))
        rows = np.stack([2 * drawn, 2 * drawn + 1], 1).reshape(-1)
        scenes = [stored.scenes[row] for row in rows]
        bare = rng.random(len(scenes)) < 0.2
        texts = [instruction(s, rng) if b else caption(s, rng) for s, b in zip(scenes, bare, strict=True)]
        meanings = [meaning(s) for s in scenes]
        fits = [[a[1:] == b[1:] and (bare[i] or a[0] == b[0]) for b in meanings] for i, a in enumerate(meanings)]
        return pixels(stored.pictures[rows]), encode(tokenizer, texts), torch.tensor(fits)

    def loss_of(batch: Any, _: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        images, ids, fits = batch
        seen = model.get_image_features(pixel_values=scaled(images)).pooler_output.float()
        said = model.get_text_features(input_ids=ids).pooler_output.float()
        seen, said = (torch.nn.functional.normalize(x, dim=-1) for x in (seen, said))
        logits = model.logit_scale.exp().clamp(max=100) * said @ seen.T
        loss = logits.new_zeros(())
        for scores, wanted in ((logits, fits), (logits.T, fits.T)):
            share = wanted.float() / wanted.sum(1, keepdim=True)
            loss = loss - (share * scores.log_softmax(1)).sum(1).mean() / 2
        right = fits.gather(1, logits.argmax(1, keepdim=True)).float().mean()
        return loss, {"top1": float(right), "scale": float(model.logit_scale.detach().exp())}

    schedule = Plan(plan.steps, plan.learning_rate, plan.seed, weight_decay=0.05)
    log = train(torch.nn.ModuleDict({"clip": model}), make, loss_of, schedule, context.state)
    model.save_pretrained(context.out / "model")
    write_processor(context.out / "model")
    shutil.copytree(context.inputs["tokenizer"] / "tokenizer", context.out / "model", dirs_exist_ok=True)
    (context.out / "log.json").write_text(json.dumps(log))
