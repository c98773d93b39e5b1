"""Stage `measure_encoders`: what each pair of encoders tells apart on `val`, and the thresholds of the preset `mini-1`."""

from __future__ import annotations

import json
from typing import Any

from measure.encoders import WORLDS, measure_pair
from runner import Context
from training.pictures import Glyphs
from training.tensors import use_cores

VERSION = 2
INPUTS = ["glyphs", "split", "clip_condition", "clip_filter", "dino_condition", "dino_filter", "clip_judge",
          "dino_judge"]
PAIRS = ("condition", "filter", "judge")


def settings(smoke: bool) -> dict[str, Any]:
    """Which split, how many captions, and how many scenes of each drawing."""
    return {"split": "val", "captions": 200 if smoke else 1500, "scenes": 2 if smoke else 4, "seed": 81}


def build(context: Context) -> None:
    """Write `encoders.json`: for each world and pair what was measured. Thresholds of the pair `filter` in the world that is
    drawn are the preset's."""
    use_cores()
    chosen = context.settings
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], chosen["split"])
    found = {name: {pair: measure_pair(context.inputs, pair, glyphs, world, chosen) for pair in PAIRS}
             for name, world in WORLDS.items()}
    (context.out / "encoders.json").write_text(json.dumps(found, indent=1))
