"""Stage `measure_cafe`: what Eq. 4 makes of `val`: identity against instruction over α, by filters and judges side by side."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from measure.cafe import drawn_of, judged_by, references_and_words
from runner import Context
from stages.sheets import sheet
from training.pictures import Glyphs
from training.tensors import use_cores

VERSION = 2
INPUTS = ["glyphs", "split", "clip_condition", "dino_condition", "clip_filter", "dino_filter", "clip_judge", "dino_judge",
          "vae", "text_to_image", "cafe_unet", "measure_encoders"]


def settings(smoke: bool) -> dict[str, Any]:
    """How many pairs, which α, how many steps, and the guidance."""
    return {"split": "val", "pairs": 8 if smoke else 208, "alphas": [0.3, 0.5, 0.7, 0.9], "steps": 20,
            "text_scale": 3.0, "dino_scale": 1.5, "clip_scale": 3.0, "seed": 91}


def build(context: Context) -> None:
    """Write `cafe.json`, `grid.png` (a row each: x, the composite, w, then x~ at each α) and the captions of its columns."""
    use_cores()
    chosen = context.settings
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], chosen["split"])
    references, words, composites, shown = references_and_words(glyphs, chosen["pairs"], chosen["seed"])
    made = drawn_of(context.inputs, references, words, chosen)
    known = json.loads((context.inputs["measure_encoders"] / "encoders.json").read_text())["drawn"]
    pictures = {"copy": references, "composite": composites, **made}
    nouns = [glyphs.noun(glyph) for glyph in shown]
    found = {pair: judged_by(context.inputs, pair, known[pair], references, words, pictures, nouns, chosen["alphas"])
             for pair in ("filter", "judge")}
    (context.out / "cafe.json").write_text(json.dumps({"settings": chosen, **found}, indent=1))
    rows = [part[:12] for part in (references, composites, *made.values())]
    sheet([picture for row in rows for picture in row], 12).save(context.out / "grid.png", optimize=True)
    (context.out / "words.txt").write_text("\n".join(words[:12]) + "\n")
    np.savez_compressed(context.out / "pictures.npz", **pictures)
