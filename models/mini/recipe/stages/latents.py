"""Stage `latents`: the VAE's mean latents of all scenes of the stage `subjects`, scaled: each is read many times."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from runner import Context
from training.corpus import Subjects
from training.tensors import pixels, scaled, use_cores

VERSION = 1
INPUTS = ["subjects", "vae"]


def settings(smoke: bool) -> dict[str, Any]:
    """Nothing to set."""
    return {}


def build(context: Context) -> None:
    """Write `latents.npy`, (N, C, 16, 16) f16, in the order of `Subjects.scene_rows`."""
    use_cores()
    subjects = Subjects(context.inputs["subjects"])
    vae = AutoencoderKL.from_pretrained(context.inputs["vae"] / "vae").eval()
    rows = subjects.scene_rows
    found = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(rows), 64):
            part = scaled(pixels(subjects.pictures[rows[start:start + 64]]))
            found.append((vae.encode(part).latent_dist.mean.float() * vae.config.scaling_factor).half().numpy())
    np.save(context.out / "latents.npy", np.concatenate(found))
