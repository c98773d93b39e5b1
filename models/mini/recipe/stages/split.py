"""Stage `split`: which concepts train the base models, which are kept for the pipeline, and which only measure.

Concepts whose drawings look alike go together: joined are all that have two drawings, of any vendors, whose features
are nearer than `SIMILARITY`. So no drawing outside a split is nearer than that to one inside.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from runner import Context

VERSION = 1
INPUTS = ["glyphs", "features"]
# Cosine of pooled features, after the mean of all glyphs was taken off. At 0.8 clocks, moons, smiling faces and clothes
# on hangers are joined; one concept by two vendors is at 0.35 in the median, so vendors do not join by style.
SIMILARITY = 0.8
SHARES = {"base": 0.50, "pool": 0.25, "val": 0.08, "test": 0.17}
_FROZEN = Path(__file__).resolve().parent.parent.parent / "split.json"


def settings(smoke: bool) -> dict[str, Any]:
    """Threshold and shares."""
    return {"similarity": SIMILARITY, "shares": SHARES, "smoke": smoke}


def similarities(features: np.ndarray) -> np.ndarray:
    """Cosines of centred features: (N, N)."""
    centred = features - features.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    return centred @ centred.T


def groups_of(concepts: list[str], similarity: np.ndarray, threshold: float) -> dict[str, str]:
    """The group of each concept, named by its first member: connected components of what is nearer than `threshold`."""
    parent = {concept: concept for concept in concepts}

    def root(concept: str) -> str:
        while parent[concept] != concept:
            parent[concept] = parent[parent[concept]]
            concept = parent[concept]
        return concept

    for first, second in np.argwhere(np.triu(similarity > threshold, 1)):
        low, high = sorted((root(concepts[first]), root(concepts[second])))
        parent[high] = low
    return {concept: root(concept) for concept in sorted(parent)}


def assign(groups: dict[str, str], nouns: dict[str, str]) -> dict[str, str]:
    """The split of each group: within a noun the largest groups train, the others are dealt in order of their digest."""
    members = defaultdict(list)
    for concept, group in groups.items():
        members[group].append(concept)
    by_noun = defaultdict(list)
    for group in members:
        by_noun[nouns[group]].append(group)
    split: dict[str, str] = {}
    for noun in sorted(by_noun):
        total = sum(len(members[group]) for group in by_noun[noun])
        filled = dict.fromkeys(SHARES, 0)
        large = [group for group in by_noun[noun] if len(members[group]) > 0.1 * total and len(members[group]) > 3]
        small = sorted(set(by_noun[noun]) - set(large), key=lambda group: hashlib.sha256(group.encode()).digest())
        for group in [*sorted(large), *small]:
            # The split that is furthest from its share takes the next group.
            chosen = "base" if group in large else min(SHARES, key=lambda name: filled[name] / SHARES[name])
            split[group] = chosen
            filled[chosen] += len(members[group])
    return split


def build(context: Context) -> None:
    """Write `split.json`: concept → [group, split]; it must be the committed one."""
    rows = json.loads((context.inputs["glyphs"] / "glyphs.json").read_text())
    similarity = similarities(np.load(context.inputs["features"] / "features.npy"))
    groups = groups_of([row["concept"] for row in rows], similarity, SIMILARITY)
    nouns: dict[str, str] = {}
    for row in rows:
        nouns.setdefault(row["concept"], row["noun"])
    split = assign(groups, nouns)
    table = {concept: [group, split[group]] for concept, group in groups.items()}
    text = "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()) + "\n}\n"
    (context.out / "split.json").write_text(text)
    if not context.settings["smoke"] and _FROZEN.is_file() and _FROZEN.read_text() != text:
        raise SystemExit(f"the split is not the frozen one in {_FROZEN.name}: what was trained on would be tested")
