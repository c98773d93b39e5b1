"""Stage `subjects`: pictures for identity: of each drawing references, as people crop their subjects, and scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from runner import Context
from training.corpus import SIDE, written
from training.pictures import Glyphs, half_of
from world.scene import Variant, Variety, cover, over

VERSION = 1
INPUTS = ["glyphs", "split"]


def settings(smoke: bool) -> dict[str, Any]:
    """References and scenes of a drawing as it is, and of each drawing made of it; how often a scene is harder."""
    return {"plain": [1, 2] if smoke else [6, 12], "made": [0, 0] if smoke else [2, 3],
            "variety": {"style": 0.2, "turn": 0.08, "several": 0.06}, "seed": 72}


def build(context: Context) -> None:
    """Write `pictures.npy` (N, 64, 64, 3), `covers.npy` (N, 64, 64, 4) premultiplied, `scenes.json` and `subjects.json`."""
    chosen = context.settings
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], "base")
    variety = Variety(**chosen["variety"])
    variants = [(Variant(s, m), chosen["made" if s or m else "plain"]) for s in range(6) for m in (False, True)]
    count = len(glyphs.members) * sum(sum(numbers) for _, numbers in variants)
    pictures = np.lib.format.open_memmap(context.out / "pictures.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    covers = np.lib.format.open_memmap(context.out / "covers.npy", "w+", np.uint8, (count, SIDE, SIDE, 4))
    rows: list[dict[str, Any]] = []
    scenes: list[dict[str, Any]] = []
    for glyph in glyphs.members:
        for variant, (n_references, n_scenes) in variants:
            if n_references + n_scenes == 0:
                continue
            rng = np.random.default_rng([chosen["seed"], glyph, variant.sixths, int(variant.mirrored)])
            rows.append({"glyph": glyph, "noun": glyphs.noun(glyph), "half": half_of(glyphs.group[glyph]),
                         "sixths": variant.sixths, "mirrored": variant.mirrored, "start": len(scenes),
                         "references": n_references, "pictures": n_references + n_scenes})
            for number in range(n_references + n_scenes):
                scene = glyphs.reference(rng, glyph) if number < n_references else glyphs.scene(rng, variety, glyph)
                scene = replace(scene, variant=variant)
                covered = cover(scene, glyphs.pictures)
                covers[len(scenes)] = covered.clip(0, 255).round()
                pictures[len(scenes)] = over(covered, scene.background)
                scenes.append(written(scene))
    pictures.flush()
    covers.flush()
    (context.out / "scenes.json").write_text(json.dumps(scenes))
    (context.out / "subjects.json").write_text(json.dumps(rows))
