"""Stage `measure_encoders`: what each pair of encoders tells apart on `val`, and the thresholds of the preset `mini-1`."""

from __future__ import annotations

import json
from typing import Any

from transformers import Dinov2Model, ViTModel

from measure.encoders import Clip, Dino, measure_clip, measure_dino
from runner import Context
from training.pictures import Glyphs
from training.tensors import use_cores

VERSION = 1
INPUTS = ["glyphs", "split", "clip_condition", "clip_filter", "dino_condition", "dino_filter", "clip_judge",
          "dino_judge"]
PAIRS = ("condition", "filter", "judge")


def settings(smoke: bool) -> dict[str, Any]:
    """Which split, how many captions, and how many scenes of each drawing."""
    return {"split": "val", "captions": 200 if smoke else 1500, "scenes": 2 if smoke else 4, "seed": 81}


def build(context: Context) -> None:
    """Write `encoders.json`: for each pair what was measured; the thresholds of the pair `filter` are the preset's."""
    use_cores()
    chosen = context.settings
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], chosen["split"])
    found: dict[str, Any] = {}
    for pair in PAIRS:
        clip = Clip(context.inputs[f"clip_{pair}"] / "model")
        kind = Dinov2Model if pair == "condition" else ViTModel
        dino = Dino(context.inputs[f"dino_{pair}"] / "model", kind)
        found[pair] = {"clip": measure_clip(clip, glyphs, chosen["captions"], chosen["seed"]),
                       "dino": measure_dino(dino, glyphs, chosen["scenes"], chosen["seed"] + 1)}
    (context.out / "encoders.json").write_text(json.dumps(found, indent=1))
