"""Stage `scenes`: pictures for what words say of them, each with a neighbour of which one attribute differs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from runner import Context
from training.corpus import SIDE, changed, written
from training.pictures import Glyphs, draw_variant
from world.scene import Variety

VERSION = 1
INPUTS = ["glyphs", "split"]


def settings(smoke: bool) -> dict[str, Any]:
    """How many pairs. Every other pair is of the other half of the drawings."""
    return {"pairs": 200 if smoke else 60000, "seed": 71}


def build(context: Context) -> None:
    """Write `pictures.npy` (2 N, 64, 64, 3) u8 and `scenes.json`."""
    halves = [Glyphs(context.inputs["glyphs"], context.inputs["split"], "base", half) for half in (0, 1)]
    count = context.settings["pairs"]
    pictures = np.lib.format.open_memmap(context.out / "pictures.npy", "w+", np.uint8, (2 * count, SIDE, SIDE, 3))
    rows = []
    for index in range(count):
        glyphs = halves[index % 2]
        rng = np.random.default_rng([context.settings["seed"], index])
        scene = replace(glyphs.scene(rng, Variety()), variant=draw_variant(rng))
        for offset, shown in enumerate((scene, changed(scene, rng, "base", glyphs)[0])):
            pictures[2 * index + offset] = glyphs.render(shown)
            rows.append(written(shown))
    pictures.flush()
    (context.out / "scenes.json").write_text(json.dumps(rows))
