"""Stage `neighbours`: for each concept the nearest one of another group, and how near: what shows that the split holds."""

from __future__ import annotations

import json

import numpy as np

from runner import Context
from stages.split import similarities

VERSION = 1
INPUTS = ["glyphs", "features", "split"]


def settings(smoke: bool) -> dict[str, bool]:
    """Nothing to set."""
    return {"smoke": smoke}


def build(context: Context) -> None:
    """Write `neighbours.json`: concept → [nearest concept of another group, cosine of their nearest drawings]."""
    concepts = [row["concept"] for row in json.loads((context.inputs["glyphs"] / "glyphs.json").read_text())]
    table = json.loads((context.inputs["split"] / "split.json").read_text())
    similarity = similarities(np.load(context.inputs["features"] / "features.npy"))
    groups = np.array([table[concept][0] for concept in concepts])
    similarity[groups[:, None] == groups[None]] = -1
    nearest: dict[str, tuple[str, float]] = {}
    for row, concept in enumerate(concepts):
        other = int(similarity[row].argmax())
        if concept not in nearest or similarity[row, other] > nearest[concept][1]:
            nearest[concept] = (concepts[other], float(similarity[row, other]))
    lines = [f"{json.dumps(key)}: [{json.dumps(other)}, {value:.4f}]" for key, (other, value) in sorted(nearest.items())]
    (context.out / "neighbours.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
