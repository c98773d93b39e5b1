"""Stage `sheets`: contact sheets of what the trainings see, for people to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from runner import Context
from training.pictures import Glyphs
from world.scene import Variety
from world.words import caption, instruction

VERSION = 1
INPUTS = ["glyphs", "split"]
_ROWS, _COLUMNS = 8, 12


def settings(smoke: bool) -> dict[str, Any]:
    """The seed of what is drawn."""
    return {"seed": 3, "smoke": smoke}


def sheet(pictures: list[np.ndarray], columns: int, gap: int = 2) -> Image.Image:
    """Pictures (H, W, 3) u8 of one size, side by side, twice as large."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * (height + gap), columns * (width + gap), 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        canvas[top:top + height, left:left + width] = picture
    return Image.fromarray(canvas).resize((canvas.shape[1] * 2, canvas.shape[0] * 2), Image.Resampling.NEAREST)


def build(context: Context) -> None:
    """Write `scenes.png` with `scenes.txt`, and `pairs.png`: references above what is made of them."""
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], "base")
    rng = np.random.default_rng(context.settings["seed"])
    scenes = [glyphs.scene(rng, Variety()) for _ in range(_ROWS * _COLUMNS)]
    sheet([glyphs.render(scene) for scene in scenes], _COLUMNS).save(context.out / "scenes.png", optimize=True)
    words = [f"{caption(scene, rng)} | {instruction(scene, rng)}" for scene in scenes]
    (context.out / "scenes.txt").write_text("\n".join(words) + "\n")
    chosen = [glyphs.draw(rng) for _ in range(2 * _COLUMNS)]
    rows: list[np.ndarray] = []
    for start in range(0, len(chosen), _COLUMNS):
        part = chosen[start:start + _COLUMNS]
        rows += [glyphs.render(glyphs.reference(rng, index)) for index in part]
        rows += [glyphs.render(glyphs.scene(rng, Variety(), index)) for index in part]
    sheet(rows, _COLUMNS).save(context.out / "pairs.png", optimize=True)
