"""Stage `measure_cafe`: what Eq. 4 makes of `val`: identity against instruction over α, by filters and judges side by side."""

from __future__ import annotations

import json
from typing import Any

from measure.cafe import measure
from runner import Context
from training.tensors import use_cores

VERSION = 2
INPUTS = ["glyphs", "split", "clip_condition", "dino_condition", "clip_filter", "dino_filter", "clip_judge", "dino_judge",
          "vae", "text_to_image", "cafe_unet", "measure_encoders"]


def settings(smoke: bool) -> dict[str, Any]:
    """How many pairs, which α, how many steps, and the guidance."""
    return {"split": "val", "pairs": 8 if smoke else 208, "alphas": [0.3, 0.5, 0.7, 0.9], "steps": 20,
            "text_scale": 3.0, "dino_scale": 1.5, "clip_scale": 3.0, "seed": 91}


def build(context: Context) -> None:
    """Write `cafe.json`, `grid.png` and `words.txt`."""
    use_cores()
    chosen = context.settings
    measured = measure(context, chosen["split"], chosen)
    (context.out / "cafe.json").write_text(json.dumps({"settings": chosen, **measured.found}, indent=1))
