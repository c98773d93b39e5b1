"""Stage `cafe_start`: CAFE's UNet by Eq. 3 on true pairs of the base split, in bfloat16: the long part of its training.

The engine's own step, in float32, ends it (stage `cafe_unet`). The same loss but for one thing: where the drawing is counts
more than where the background is. Targets are plain (`Subjects.plain`): what stands where it stood is copied soonest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import torch

from runner import Context
from training.corpus import Subjects
from training.diffusion import noise_scheduler, noised
from training.loop import Plan, train
from training.pictures import noun_shares
from training.tensors import fused
from training.unet import SIDE, CafeUNet

VERSION = 2
INPUTS = ["subjects", "latents", "conditions"]


def settings(smoke: bool) -> dict[str, Any]:
    """Lengths, the probability of dropping a condition, and how much more the drawing counts."""
    return {"steps": 10 if smoke else 6500, "batch": 8 if smoke else 64, "learning_rate": 8e-4, "drop": 0.1,
            "cover": 2.0, "seed": 62}


class Pairs:
    """References and scenes of one drawing, by number, as the networks see them."""

    def __init__(self, context: Context) -> None:
        """Read what the stages before have encoded."""
        self.subjects = Subjects(context.inputs["subjects"])
        self.dino = np.load(context.inputs["conditions"] / "dino.npy", mmap_mode="r")
        self.clip = np.load(context.inputs["conditions"] / "clip.npy")
        self.latents = np.load(context.inputs["latents"] / "latents.npy")
        n_pictures = len(self.subjects.pictures)
        self.reference_at, self.scene_at = np.full(n_pictures, -1), np.full(n_pictures, -1)
        for at, rows in ((self.reference_at, self.subjects.reference_rows), (self.scene_at, self.subjects.scene_rows)):
            at[rows] = np.arange(len(rows))
        # Nouns by the root of their number, then a drawing; as often as it is as one made of it.
        self.by_glyph: dict[int, list[dict[str, Any]]] = defaultdict(list)
        by_noun: dict[str, list[int]] = defaultdict(list)
        for row in self.subjects.rows:
            if row["glyph"] not in self.by_glyph:
                by_noun[row["noun"]].append(row["glyph"])
            self.by_glyph[row["glyph"]].append(row)
        self.glyphs, self.shares = list(by_noun.values()), noun_shares(by_noun.values())

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Numbers of a reference and of a scene of one drawing."""
        while True:
            glyphs = self.glyphs[rng.choice(len(self.glyphs), p=self.shares)]
            rows = self.by_glyph[glyphs[rng.integers(len(glyphs))]]
            row = rows[0] if len(rows) == 1 or rng.random() < 0.5 else rows[rng.integers(1, len(rows))]
            scenes = np.arange(row["start"] + row["references"], row["start"] + row["pictures"])
            scenes = scenes[self.subjects.plain[scenes]]
            if len(scenes):
                return int(row["start"] + rng.integers(row["references"])), int(rng.choice(scenes))


def build(context: Context) -> None:
    """Write `cafe_unet/` as the engine reads it, and `log.json`."""
    chosen = context.settings
    pairs = Pairs(context)
    torch.manual_seed(chosen["seed"])
    unet = CafeUNet(pairs.latents.shape[1], pairs.clip.shape[1], pairs.dino.shape[2])
    assert sum(p.numel() for p in unet.parameters()) <= 5_000_000
    alphas = noise_scheduler().alphas_cumprod
    predict = fused(unet.predict, chosen["steps"])

    def make(rng: np.random.Generator, _: int) -> dict[str, torch.Tensor]:
        drawn = [pairs.draw(rng) for _ in range(chosen["batch"])]
        references, scenes = (np.array(rows) for rows in zip(*drawn, strict=True))
        targets = pairs.scene_at[scenes]
        alpha = torch.from_numpy(pairs.subjects.covers[scenes][..., 3]).float()[:, None] / 255
        keep = torch.from_numpy(rng.random((2, chosen["batch"])) >= chosen["drop"]).float()
        return {"latents": torch.from_numpy(pairs.latents[targets]).float(),
                "clip": torch.from_numpy(pairs.clip[targets]) * keep[0][:, None],
                "dino": torch.from_numpy(pairs.dino[pairs.reference_at[references]]).float() * keep[1][:, None, None],
                "cover": torch.nn.functional.adaptive_avg_pool2d(alpha, SIDE)}

    def loss_of(batch: dict[str, torch.Tensor], generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        x_t, t, v, weight = noised(batch["latents"], alphas, generator)
        error = (predict(x_t, t, batch["clip"], batch["dino"]).float() - v).square()
        share = 1 + chosen["cover"] * batch["cover"]
        rows = (error * share).mean((1, 2, 3)) / share.mean((1, 2, 3))
        return (weight * rows).mean(), {"v": float(error.detach().mean())}

    plan = Plan(chosen["steps"], chosen["learning_rate"], chosen["seed"])
    log = train(torch.nn.ModuleDict({"unet": unet}), make, loss_of, plan, context.state)
    unet.save(context.out / "cafe_unet")
    (context.out / "log.json").write_text(json.dumps(log))
