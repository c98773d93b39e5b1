"""Stage `cafe_unet`: the program's own Eq. 3 steps, in float32, end what `cafe_start` began in bfloat16."""

from __future__ import annotations

from typing import Any

from runner import Context
from training.engine import base, kept, trained

VERSION = 1
BUNDLED = {"family/cafe_unet": "cafe_unet"}
INPUTS = ["pairs", "cafe_start", "text_to_image", "vae", "clip_condition", "dino_condition"]


def settings(smoke: bool) -> dict[str, Any]:
    """Options of `train diffusion`."""
    return {"steps": 4 if smoke else 300, "batch-size": 16, "learning-rate": 5e-5, "decay": "cosine", "warm-up": 0 if smoke else 20,
            "ema": 0.98, "min-snr-gamma": 5, "drop": 0.1, "seed": 63}


def build(context: Context) -> None:
    """Write `cafe_unet/` and the curve."""
    inputs = context.inputs
    roles = {**base(inputs), "clip_condition": inputs["clip_condition"] / "model",
             "dino_condition": inputs["dino_condition"] / "model", "cafe_unet": inputs["cafe_start"] / "cafe_unet"}
    # One part of the pairs: more than these steps look at.
    pairs = inputs["pairs"] / "part-000.parquet"
    kept(trained(context, "diffusion", roles, pairs, context.settings), "cafe_unet", context.out)
