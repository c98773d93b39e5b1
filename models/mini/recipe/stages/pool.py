"""Stage `pool`: references of the split `pool`, which no model has seen: what the quickstart makes its dataset of."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
from PIL import Image

from runner import Context
from sources import SOURCES
from training.pictures import Glyphs

VERSION = 1
BUNDLED = {"pool": "pool"}
INPUTS = ["glyphs", "split"]
# Of nouns that have more than a few drawings, and that are told apart at 64 pixels.
_NOUNS = ("animal", "building", "device", "dish", "drink", "fruit", "garment", "instrument", "plant", "tool", "toy", "vehicle",
          "vegetable", "face", "person", "landscape")


def settings(smoke: bool) -> dict[str, Any]:
    """How many references of each noun."""
    return {"each": 1, "seed": 72}


def build(context: Context) -> None:
    """Write `pool/` with `metadata.csv` in the form of Hugging Face's ImageFolder."""
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], "pool")
    packages = {source.folder: f"{source.package} {source.version}" for source in SOURCES}
    folder = context.out / "pool"
    folder.mkdir()
    rows = []
    for number, noun in enumerate(_NOUNS):
        rng = np.random.default_rng([context.settings["seed"], number])
        members = glyphs.by_noun[noun]
        for index in rng.choice(members, min(context.settings["each"], len(members)), replace=False):
            known = glyphs.rows[index]
            subject = f"{known['vendor']}-{known['codepoint']}"
            name = f"{noun}-{subject}.png"
            Image.fromarray(glyphs.render(glyphs.reference(rng, int(index)))).save(folder / name, optimize=True)
            rows.append({"file_name": name, "class": noun, "subject_id": subject, "licence": known["licence"],
                         "source": f"{packages[known['vendor']]}: {known['codepoint']}"})
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
