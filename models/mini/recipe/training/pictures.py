"""The glyphs of a split. Nothing here needs torch: what draws pictures runs where nothing is trained."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Any

import numpy as np

from world.scene import Scene, Variant, Variety, draw_scene, reference_scene, render


def half_of(group: str) -> int:
    """Which half of the data a group is in: encoders that judge learn of other drawings than those that filter."""
    return hashlib.sha256(f"half {group}".encode()).digest()[0] & 1


def draw_variant(rng: np.random.Generator) -> Variant:
    """A drawing as it is or, as often, another made of it: four times as many subjects to tell apart."""
    if rng.random() < 0.5:
        return Variant()
    return Variant(int(rng.integers(6)), bool(rng.integers(2)))


def noun_shares(members: Iterable[Sized]) -> np.ndarray:
    """How often each noun is drawn: between one vote for each and one for each of its members, for faces and people are a
    third of all."""
    sizes = np.sqrt([len(some) for some in members])
    return sizes / sizes.sum()


class Glyphs:
    """The glyphs of one split. Rows keep their number in the whole table."""

    def __init__(self, glyphs: Path, split: Path, name: str, half: int | None = None) -> None:
        """Read the table and keep what belongs to the split `name`; of its groups one `half`, 0 or 1, or all."""
        self.pictures = np.load(glyphs / "glyphs.npy", mmap_mode="r")
        self.rows: list[dict[str, Any]] = json.loads((glyphs / "glyphs.json").read_text())
        self.split = name
        table = json.loads((split / "split.json").read_text())
        self.group = [table[row["concept"]][0] for row in self.rows]
        self.members = [i for i, row in enumerate(self.rows)
                        if table[row["concept"]][1] == name and half in (None, half_of(self.group[i]))]
        self.by_noun: dict[str, list[int]] = defaultdict(list)
        for index in self.members:
            self.by_noun[self.rows[index]["noun"]].append(index)
        self._nouns, self._shares = list(self.by_noun), noun_shares(self.by_noun.values())

    def noun(self, index: int) -> str:
        """The generic noun of a glyph."""
        return str(self.rows[index]["noun"])

    def draw(self, rng: np.random.Generator) -> int:
        """Some glyph of the split: a noun first, then one of its glyphs."""
        noun = self._nouns[rng.choice(len(self._nouns), p=self._shares)]
        return int(rng.choice(self.by_noun[noun]))

    def scene(self, rng: np.random.Generator, variety: Variety, index: int | None = None) -> Scene:
        """A scene of a glyph of the split, over one of its backgrounds."""
        index = self.draw(rng) if index is None else index
        return draw_scene(rng, self.split, index, self.noun(index), variety)

    def reference(self, rng: np.random.Generator, index: int | None = None) -> Scene:
        """A glyph as people crop their subjects."""
        index = self.draw(rng) if index is None else index
        return reference_scene(rng, self.split, index, self.noun(index))

    def render(self, scene: Scene) -> np.ndarray:
        """The pixels of a scene: (64, 64, 3) u8."""
        return render(scene, self.pictures)
