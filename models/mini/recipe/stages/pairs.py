"""Stage `pairs`: true pairs of the base split, in a release's columns: what the engine trains CAFE's UNet on.

x is a drawing as people crop their subjects, x~ the same drawing as generators learn to draw it: in the middle, over another
background, large or as it is.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from runner import Context
from training.pictures import Glyphs, draw_variant
from world.scene import DRAWN
from world.words import caption, instruction, reply

VERSION = 2
INPUTS = ["glyphs", "split"]
_PART = 4000


def settings(smoke: bool) -> dict[str, Any]:
    """How many pairs."""
    return {"pairs": 64 if smoke else 12000, "seed": 61}


def png(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) u8 as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def build(context: Context) -> None:
    """Write `part-*.parquet`."""
    chosen = context.settings
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], "base")
    for start in range(0, chosen["pairs"], _PART):
        rows = []
        for index in range(start, min(start + _PART, chosen["pairs"])):
            rng = np.random.default_rng([chosen["seed"], index])
            drawn, variant = glyphs.draw(rng), draw_variant(rng)
            reference = replace(glyphs.reference(rng, drawn), variant=variant)
            target = replace(glyphs.scene(rng, DRAWN, drawn), variant=variant)
            known = glyphs.rows[drawn]
            rows.append({
                "reference_image": {"bytes": png(glyphs.render(reference)), "path": None},
                "target_image": {"bytes": png(glyphs.render(target)), "path": None},
                "caption": caption(target, rng), "y": instruction(target, rng), "y_tilde": reply(target, rng),
                "subject_id": f"{known['codepoint']}-{known['vendor']}-{variant.sixths}{'m' * variant.mirrored}",
                "licence": known["licence"],
            })
        pq.write_table(pa.Table.from_pylist(rows), context.out / f"part-{start // _PART:03}.parquet", compression="zstd")
