"""Vision transformers that tell drawings apart: two views of one drawing are near, any other drawing is far.

Nothing but the drawings is known to the loss: no codepoint, no noun. The condition encoder also has to draw what its
patches hold, without the background, so that its tokens keep what a generator needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from runner import Context
from training.loop import Plan, train
from training.pictures import Glyphs, draw_variant, pixels, scaled
from training.processor import write_processor
from world.backgrounds import paint
from world.scene import Variety, render


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
    steps: int = 3000
    drawings: int = 96
    learning_rate: float = 1e-3
    temperature: float = 0.1
    variety: Variety = Variety(style=0.25, turn=0.1, several=0.1)


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
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], "base", plan.half)
    torch.manual_seed(plan.seed)
    modules = torch.nn.ModuleDict({"dino": network(plan)})
    if plan.draws:
        modules["draw"] = torch.nn.Linear(plan.width, 4 * 64)

    def make(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        # Half of the batch shares four nouns: the negatives that matter are those of one's own category.
        nouns = rng.choice(list(glyphs.by_noun), 4, replace=False)
        views: list[list[np.ndarray]] = [[], []]
        covers: list[np.ndarray] = []
        for index in range(plan.drawings):
            near = index % 2 == 0
            drawn = int(rng.choice(glyphs.by_noun[str(nouns[index % 4])])) if near else glyphs.draw(rng)
            variant = draw_variant(rng)
            for view in views:
                cropped = rng.random() < 0.4
                scene = glyphs.reference(rng, drawn) if cropped else glyphs.scene(rng, plan.variety, drawn)
                scene = replace(scene, variant=variant)
                view.append(glyphs.render(scene))
                if plan.draws:
                    covers.append(_cover(scene, glyphs))
        seen = pixels([picture for view in views for picture in view])
        order = [*range(0, 2 * plan.drawings, 2), *range(1, 2 * plan.drawings, 2)]
        wanted = torch.from_numpy(np.stack([covers[i] for i in order])) if plan.draws else torch.zeros(0)
        return seen, wanted

    def loss_of(batch: Any, _: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        pictures, covers = batch
        states = modules["dino"](pixel_values=scaled(pictures)).last_hidden_state
        classes = torch.nn.functional.normalize(states[:, 0].float(), dim=-1)
        first, second = classes.chunk(2)
        scores = torch.cat([first, second]) @ torch.cat([first, second]).T / plan.temperature
        scores = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -1e4)
        wanted = torch.arange(len(scores)).roll(plan.drawings)
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


def _cover(scene: Any, glyphs: Glyphs) -> np.ndarray:
    """What of the picture is not background, premultiplied, with its alpha: (64, 64, 4) u8.

    Alpha is what a change of the background leaves: of two renderings, over black and over white.
    """
    black = replace(scene.background, main=(0.0, 0.0, 0.0), second=(0.0, 0.0, 0.0))
    white = replace(scene.background, main=(1.0, 1.0, 1.0), second=(1.0, 1.0, 1.0))
    assert paint(black).max() == 0
    over_black, over_white = (render(replace(scene, background=b), glyphs.pictures) for b in (black, white))
    alpha = 255 - (over_white.astype(np.int16) - over_black).mean(-1, keepdims=True)
    return np.concatenate([over_black, alpha.clip(0, 255).astype(np.uint8)], -1)
