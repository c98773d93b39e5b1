"""Stage `onnx_filters`: the encoders that filter, as ONNX, compared with their weights on pictures and words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from transformers import CLIPModel, CLIPTokenizer, ViTModel

from runner import Context
from training.clip import encode
from training.corpus import Scenes
from training.onnx import ClipImage, ClipText, Dino, check, export, halved
from training.tensors import pixels, scaled, use_cores
from world.words import caption

VERSION = 1
# Made of what is bundled anyway: copied to it, never taken back.
EXPORTED = {"family/clip_filter": "clip_filter", "family/dino_filter": "dino_filter"}
INPUTS = ["clip_filter", "dino_filter", "scenes"]


def settings(smoke: bool) -> dict[str, Any]:
    """How many pictures and captions are compared."""
    return {"rows": 8 if smoke else 64}


def build(context: Context) -> None:
    """Write the graphs, and what they differ by from the weights in `errors.json`."""
    use_cores()
    stored = Scenes(context.inputs["scenes"])
    n_rows = context.settings["rows"]
    images = scaled(pixels(stored.pictures[:n_rows])).float()
    words = [caption(scene, np.random.default_rng(index)) for index, scene in enumerate(stored.scenes[:n_rows])]
    folder = context.inputs["clip_filter"] / "model"
    clip = halved(CLIPModel.from_pretrained(folder))
    ids = encode(CLIPTokenizer.from_pretrained(folder), words)
    dino = halved(ViTModel.from_pretrained(context.inputs["dino_filter"] / "model", add_pooling_layer=False))
    errors = {}
    for name, module, rows, called in [("clip_filter/image", ClipImage(clip), images, "pixel_values"),
                                       ("clip_filter/text", ClipText(clip), ids, "input_ids"),
                                       ("dino_filter/model", Dino(dino), images, "pixel_values")]:
        path = context.out / f"{name}.onnx"
        path.parent.mkdir(exist_ok=True)
        export(module, rows[:2].to(torch.int64) if called == "input_ids" else rows[:2], called, path)
        errors[name] = check(module, rows, path)
    (context.out / "errors.json").write_text(json.dumps(errors, indent=1))
