"""Stage `measure_test`: the split `test`, looked at once, with thresholds, α and guidance as `val` has fixed them.

Encoders first, then what CAFE draws; and EfficientNet-Lite2, which knows none of our models, as a judge from outside.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from measure.cafe import measure
from measure.encoders import WORLDS, measure_dino, measure_pair
from measure.outside import Outside
from runner import Context
from stages import measure_cafe, measure_encoders
from training.pictures import Glyphs
from training.tensors import use_cores

VERSION = 1
INPUTS = [*measure_cafe.INPUTS, "measure_cafe", "fetch", "features"]


def settings(smoke: bool) -> dict[str, Any]:
    """Those of the measurements on `val`, on pictures of `test`."""
    return {"encoders": {**measure_encoders.settings(smoke), "split": "test"},
            "cafe": {**measure_cafe.settings(smoke), "split": "test", "seed": 92}}


def build(context: Context) -> None:
    """Write `test.json`, `grid.png` and `words.txt`."""
    use_cores()
    inputs, by_encoders, by_cafe = context.inputs, context.settings["encoders"], context.settings["cafe"]
    glyphs = Glyphs(inputs["glyphs"], inputs["split"], "test")
    known = json.loads((inputs["measure_encoders"] / "encoders.json").read_text())
    found: dict[str, Any] = {"settings": context.settings, "encoders": {
        name: {pair: measure_pair(inputs, pair, glyphs, world, by_encoders, known[name][pair])
               for pair in measure_encoders.PAIRS} for name, world in WORLDS.items()}}
    outside = Outside(inputs)
    found["outside"] = {"drawings": {
        name: measure_dino(outside, glyphs, world, by_encoders["scenes"], by_encoders["seed"] + 1)
        for name, world in WORLDS.items()}}

    best = json.loads((inputs["measure_cafe"] / "cafe.json").read_text())["filter"]["best"]["alpha"]
    measured = measure(context, "test", by_cafe)
    found["cafe"] = measured.found
    # Which of all drawings of `test` does a picture show? The gallery has a reference of each, other than the one that was given.
    rng = np.random.default_rng(by_cafe["seed"])
    gallery = outside.images(np.stack([glyphs.render(glyphs.reference(rng, glyph)) for glyph in glyphs.members]))
    place = {glyph: index for index, glyph in enumerate(glyphs.members)}
    right = np.array([place[glyph] for glyph in measured.shown])
    found["outside"]["retrieval"] = {
        "gallery": len(gallery), "best_alpha_on_val": best,
        **{name: float(((outside.images(part) @ gallery.T).argmax(1) == right).mean()) for name, part in measured.pictures.items()}}
    (context.out / "test.json").write_text(json.dumps(found, indent=1))
