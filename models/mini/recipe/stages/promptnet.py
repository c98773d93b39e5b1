"""Stage `promptnet`: ProFusion's encoder, made of the base model's UNet and trained by the program."""

from __future__ import annotations

import shutil
from typing import Any

from runner import Context
from training.engine import base, kept, trained

VERSION = 1
BUNDLED = {"family/promptnet": "promptnet"}
INPUTS = ["pairs", "text_to_image", "vae", "clip_condition"]


def settings(smoke: bool) -> dict[str, Any]:
    """Options of `train promptnet`."""
    return {"steps": 4 if smoke else 500, "batch-size": 16, "learning-rate": 5e-4, "decay": "cosine",
            "warm-up": 0 if smoke else 50, "ema": 0.99, "seed": 64, "from-unet": True}


def build(context: Context) -> None:
    """Write `promptnet/` and the curve."""
    inputs = context.inputs
    encoder = inputs["clip_condition"] / "model"
    roles = {**base(inputs), "promptnet/image_encoder": encoder}
    pairs = inputs["pairs"] / "part-000.parquet"
    kept(trained(context, "promptnet", roles, pairs, context.settings), "promptnet", context.out)
    # Which it sees pictures with belongs to it: ProFusion's folders are laid out so.
    (context.out / "promptnet" / "image_encoder").mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        shutil.copyfile(encoder / name, context.out / "promptnet" / "image_encoder" / name)
