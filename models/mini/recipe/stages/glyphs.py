"""Stage `glyphs`: one table of all drawings, each cropped to what it shows and brought to one size.

A glyph is one drawing, codepoint and vendor. OpenMoji is left out: its share-alike licence would pass on to every
picture and weight that is bundled, and three vendors already give each concept several drawings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from concepts import concept_of
from nouns import noun_of
from runner import Context
from sources import SOURCES

VERSION = 1
INPUTS = ["fetch"]
SIDE = 64
_FOLDERS = {
    "noto": ("noto/package/img/google/64", "png"),
    "twemoji": ("twemoji/package/img/twitter/64", "png"),
    "fluent": ("fluent/package/assets", "webp"),
}


def settings(smoke: bool) -> dict[str, Any]:
    """A smoke run takes the vendors that it fetched, and every eighth concept."""
    return {"vendors": ["twemoji"] if smoke else list(_FOLDERS), "every": 8 if smoke else 1}


def picture_of(folder: Path, suffix: str, names: list[str]) -> Path | None:
    """The first of `names` that a vendor has: some write the variation selector FE0F, others do not."""
    for name in names:
        path = folder / f"{name}.{suffix}"
        if path.is_file():
            return path
    return None


def normalised(path: Path) -> np.ndarray | None:
    """The drawing cropped to its alpha and centred in SIDE x SIDE: (SIDE, SIDE, 4) u8, colours premultiplied."""
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    box = picture.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 6:
        return None
    cropped = np.asarray(picture.crop(box), dtype=np.float32)
    alpha = cropped[..., 3:] / 255
    premultiplied = np.concatenate([cropped[..., :3] * alpha, cropped[..., 3:]], -1)
    height, width = cropped.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Channel by channel: Pillow's RGBA resize would premultiply again.
    planes = [Image.fromarray(premultiplied[..., c]).resize(size, Image.Resampling.LANCZOS) for c in range(4)]
    resized = np.clip(np.stack([np.asarray(plane) for plane in planes], -1), 0, 255)
    canvas = np.zeros((SIDE, SIDE, 4), np.float32)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    canvas[top:top + size[1], left:left + size[0]] = resized
    return canvas.round().astype(np.uint8)


def build(context: Context) -> None:
    """Write `glyphs.npy`, (N, SIDE, SIDE, 4), and `glyphs.json`, N rows in the same order."""
    fetched = context.inputs["fetch"]
    licences = {source.folder: source.licence for source in SOURCES}
    names_file = next(path for path in fetched.glob("*/package/emoji.json"))
    rows: list[dict[str, Any]] = []
    pictures: list[np.ndarray] = []
    concepts = sorted({concept_of(row["unified"]) for row in json.loads(names_file.read_text())})
    kept = set(concepts[::context.settings["every"]])
    for row in json.loads(names_file.read_text()):
        noun = noun_of(row["category"], row["subcategory"])
        concept = concept_of(row["unified"])
        if noun is None or concept not in kept:
            continue
        unified = row["unified"].lower()
        names = [unified, unified.replace("-fe0f", ""), row["image"].removesuffix(".png")]
        for vendor in context.settings["vendors"]:
            folder, suffix = _FOLDERS[vendor]
            path = picture_of(fetched / folder, suffix, names)
            drawing = normalised(path) if path else None
            if drawing is None:
                continue
            rows.append({"codepoint": unified, "vendor": vendor, "noun": noun, "concept": concept,
                         "subcategory": row["subcategory"], "licence": licences[vendor]})
            pictures.append(drawing)
    np.save(context.out / "glyphs.npy", np.stack(pictures))
    (context.out / "glyphs.json").write_text(json.dumps(rows, indent=0))
