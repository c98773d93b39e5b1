"""Stage `family`: the models in the layout that the engine reads, in halves: what is bundled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from runner import Context

VERSION = 1
INPUTS = ["clip_condition", "clip_filter", "dino_condition", "dino_filter", "text_to_image", "cafe_start"]
FILES = {"config.json", "preprocessor_config.json", "scheduler_config.json", "vocab.json", "merges.txt",
         "tokenizer_config.json"}


def settings(smoke: bool) -> dict[str, Any]:
    """Nothing to set."""
    return {}


def halved(source: Path, target: Path) -> None:
    """Copy a model's folder, its weights in f16; what makes other numbers of it (optimisers, pickles) stays behind."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.name in FILES:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        elif path.suffix == ".safetensors":
            place.parent.mkdir(parents=True, exist_ok=True)
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            # `position_ids` are numbers that the config says too.
            kept = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items() if not k.endswith("position_ids")}
            assert all(torch.isfinite(v).all() for v in kept.values() if v.is_floating_point()), path
            save_file(kept, place, metadata={"format": "pt"})


def build(context: Context) -> None:
    """Write a folder for each role."""
    for role in ("clip_condition", "clip_filter", "dino_condition", "dino_filter"):
        halved(context.inputs[role] / "model", context.out / role)
    halved(context.inputs["text_to_image"] / "text_to_image", context.out / "text_to_image")
    halved(context.inputs["cafe_start"] / "cafe_unet", context.out / "cafe_unet")
