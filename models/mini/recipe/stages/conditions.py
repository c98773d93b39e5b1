"""Stage `conditions`: E of all references and F of all scenes of the stage `subjects`: what CAFE's UNet is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import CLIPModel, Dinov2Model

from runner import Context
from training.corpus import Subjects
from training.tensors import pixels, scaled, use_cores

VERSION = 1
INPUTS = ["subjects", "dino_condition", "clip_condition"]


def settings(smoke: bool) -> dict[str, Any]:
    """Nothing to set."""
    return {}


def build(context: Context) -> None:
    """Write `dino.npy`, (N, 65, D) f16, and `clip.npy`, (M, D) f32, in the order of `Subjects.reference_rows` and `scene_rows`."""
    use_cores()
    subjects = Subjects(context.inputs["subjects"])
    dino = Dinov2Model.from_pretrained(context.inputs["dino_condition"] / "model").eval()
    clip = CLIPModel.from_pretrained(context.inputs["clip_condition"] / "model").eval()
    references, scenes = subjects.reference_rows, subjects.scene_rows
    seen: dict[str, list[np.ndarray]] = {"dino": [], "clip": []}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(references), 128):
            part = scaled(pixels(subjects.pictures[references[start:start + 128]]))
            seen["dino"].append(dino(pixel_values=part).last_hidden_state.half().numpy())
        for start in range(0, len(scenes), 128):
            part = scaled(pixels(subjects.pictures[scenes[start:start + 128]]))
            seen["clip"].append(clip.get_image_features(pixel_values=part).pooler_output.float().numpy())
    for name, parts in seen.items():
        np.save(context.out / f"{name}.npy", np.concatenate(parts))
