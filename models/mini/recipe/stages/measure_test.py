"""Stage `measure_test`: the split `test`, looked at once, with thresholds, α and guidance as `val` has fixed them.

Encoders first, then what CAFE draws; and EfficientNet-Lite2, which knows none of our models, as a judge from outside.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from measure.cafe import drawn_of, judged_by, references_and_words
from measure.encoders import WORLDS, measure_dino, measure_pair
from measure.outside import Outside
from runner import Context
from stages import measure_cafe, measure_encoders
from stages.sheets import sheet
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
    references, words, composites, shown = references_and_words(glyphs, by_cafe["pairs"], by_cafe["seed"])
    made = drawn_of(inputs, references, words, by_cafe)
    pictures = {"copy": references, "composite": composites, **made}
    nouns = [glyphs.noun(glyph) for glyph in shown]
    found["cafe"] = {pair: judged_by(inputs, pair, known["drawn"][pair], references, words, pictures, nouns, by_cafe["alphas"])
                     for pair in ("filter", "judge")}
    # Which of all drawings of `test` does a picture show? The gallery has a reference of each, other than the one that was given.
    rng = np.random.default_rng(by_cafe["seed"])
    gallery = outside.images(np.stack([glyphs.render(glyphs.reference(rng, glyph)) for glyph in glyphs.members]))
    place = {glyph: index for index, glyph in enumerate(glyphs.members)}
    right = np.array([place[glyph] for glyph in shown])
    found["outside"]["retrieval"] = {
        "gallery": len(gallery), "best_alpha_on_val": best,
        **{name: float(((outside.images(part) @ gallery.T).argmax(1) == right).mean()) for name, part in pictures.items()}}
    (context.out / "test.json").write_text(json.dumps(found, indent=1))
    sheet([picture for part in (references, composites, *made.values()) for picture in part[:12]], 12).save(
        context.out / "grid.png", optimize=True)
    (context.out / "words.txt").write_text("\n".join(words[:12]) + "\n")
