"""Vision transformers that tell drawings apart: two views of one drawing are near, any other drawing is far.

Nothing but the drawings is known to the loss: no codepoint, no noun. Where a plan says so, an encoder also has to draw what its
patches hold, without the background: E so that its tokens keep what a generator needs, the filter so that it makes more of
half of the drawings.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from runner import Context
from training.corpus import Subjects
from training.loop import Plan, train
from training.pictures import noun_shares
from training.tensors import fused, pixels, scaled
from training.processor import write_processor


@dataclass(frozen=True)
class DinoPlan:
    """Widths and lengths of one encoder, and the part of the data that it learns from."""

    width: int
    layers: int
    heads: int
    seed: int
    half: int | None
    dinov2: bool = False
    draws: bool = False
    steps: int = 1400
    drawings: int = 64
    learning_rate: float = 1e-3
    temperature: float = 0.1


def network(plan: DinoPlan) -> torch.nn.Module:
    """The encoder in the class whose layout the engine reads."""
    sizes = {"hidden_size": plan.width, "num_hidden_layers": plan.layers, "num_attention_heads": plan.heads,
             "image_size": 64, "patch_size": 8}
    if plan.dinov2:
        return Dinov2Model(Dinov2Config(mlp_ratio=4, layerscale_value=1.0, **sizes))
    return ViTModel(ViTConfig(intermediate_size=4 * plan.width, **sizes), add_pooling_layer=False)


def patches(cover: torch.Tensor, size: int = 8) -> torch.Tensor:
    """(B, C, H, W) as patches, row by row: (B, N, C * size * size)."""
    return torch.nn.functional.unfold(cover, size, stride=size).transpose(1, 2)


def build(context: Context, plan: DinoPlan) -> None:
    """Train, and write the model's folder and `log.json`."""
    subjects = Subjects(context.inputs["subjects"])
    rows = [row for row in subjects.rows if plan.half in (None, row["half"])]
    by_noun = defaultdict(list)
    for row in rows:
        by_noun[row["noun"]].append(row)
    names, shares = list(by_noun), noun_shares(by_noun.values())
    torch.manual_seed(plan.seed)
    # Fused attention has a slow gradient in bfloat16 on the CPU.
    modules = torch.nn.ModuleDict({"dino": network(plan)})
    modules["dino"].set_attn_implementation("eager")
    if plan.draws:
        modules["draw"] = torch.nn.Linear(plan.width, 4 * 64)
    seen_by = fused(modules["dino"], plan.steps)

    def make(rng: np.random.Generator, _: int) -> tuple[torch.Tensor, torch.Tensor]:
        # Half of the batch shares four nouns: the negatives that matter are those of one's own category.
        near = rng.choice(names, 4, replace=False)
        others = rng.choice(names, plan.drawings, p=shares)
        views = np.zeros((2, plan.drawings), np.int64)
        for index in range(plan.drawings):
            members = by_noun[str(near[index // 2 % 4] if index % 2 == 0 else others[index])]
            # Two pictures of one drawing never show the same: of each there are some, with backgrounds of their own.
            row = members[rng.integers(len(members))]
            views[:, index] = row["start"] + rng.choice(row["pictures"], 2, replace=False)
        chosen = views.reshape(-1)
        wanted = torch.from_numpy(subjects.covers[chosen]) if plan.draws else torch.zeros(0)
        return pixels(subjects.pictures[chosen]), wanted

    def loss_of(batch: Any, _: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        pictures, covers = batch
        states = seen_by(pixel_values=scaled(pictures)).last_hidden_state
        classes = torch.nn.functional.normalize(states[:, 0].float(), dim=-1)
        first, second = classes.chunk(2)
        scores = torch.cat([first, second]) @ torch.cat([first, second]).T / plan.temperature
        scores = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool, device=scores.device), -1e4)
        wanted = torch.arange(len(scores), device=scores.device).roll(plan.drawings)
        loss = torch.nn.functional.cross_entropy(scores, wanted)
        parts = {"contrast": float(loss.detach()), "top1": float((scores.argmax(1) == wanted).float().mean())}
        if plan.draws:
            drawn = modules["draw"](states[:, 1:]).float()
            error = (drawn - patches(covers.permute(0, 3, 1, 2).float() / 255)).square().mean()
            parts["drawing"] = float(error.detach())
            loss = loss + 20 * error
        return loss, parts

    schedule = Plan(plan.steps, plan.learning_rate, plan.seed, weight_decay=0.05)
    log = train(modules, make, loss_of, schedule, context.state)
    modules["dino"].save_pretrained(context.out / "model")
    write_processor(context.out / "model")
    (context.out / "log.json").write_text(json.dumps(log))
