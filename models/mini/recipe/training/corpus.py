"""Pictures rendered once and read by all trainings: drawing them anew for each would cost more than learning from them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from training.pictures import Glyphs
from world.backgrounds import COLOURS, PATTERNS, Background, draw_background
from world.scene import POSITIONS, SIZES, STYLES, TINTS, Scene, Variant, arranged

SIDE = 64


KINDS = ("colour", "pattern", "noun", "style", "size", "position")


def changed(scene: Scene, rng: np.random.Generator, split: str, glyphs: Glyphs, among: tuple[str, ...] = KINDS
            ) -> tuple[Scene, str]:
    """The scene with one attribute changed, and its name: a hard negative of its words."""
    cannot = {"size", "position"} if scene.count > 1 else {"position"} if scene.size == "large" else set()
    kind = str(rng.choice([kind for kind in among if kind not in cannot]))
    ground = scene.background
    if kind == "colour":
        other = str(rng.choice([c for c in COLOURS if c != ground.colour]))
        return replace(scene, background=draw_background(rng, split, other, ground.pattern)), kind
    if kind == "pattern":
        other = str(rng.choice([p for p in PATTERNS if p != ground.pattern]))
        return replace(scene, background=draw_background(rng, split, ground.colour, other)), kind
    if kind == "noun":
        noun = str(rng.choice([n for n in glyphs.by_noun if n != scene.noun]))
        return replace(scene, glyph=int(rng.choice(glyphs.by_noun[noun])), noun=noun), kind
    if kind == "style":
        style = str(rng.choice([s for s in STYLES if s != scene.style]))
        return replace(scene, style=style, tint=str(rng.choice(list(TINTS))) if style == "tinted" else ""), kind
    if kind == "size":
        sizes = [s for s in SIZES if s != scene.size and (s != "large" or scene.position == "centre")]
        return arranged(replace(scene, size=str(rng.choice(sizes))), rng), kind
    position = str(rng.choice([p for p in POSITIONS if p != scene.position]))
    return arranged(replace(scene, position=position), rng), kind


def written(scene: Scene) -> dict[str, Any]:
    """The scene as JSON takes it."""
    return asdict(scene)


def read(row: dict[str, Any]) -> Scene:
    """The scene that `written` wrote."""
    ground = {key: tuple(value) if isinstance(value, list) else value for key, value in row["background"].items()}
    return Scene(**{**row, "background": Background(**ground), "variant": Variant(**row["variant"]),
                    "shift": tuple(row["shift"])})


class Scenes:
    """The stage `scenes`: picture 2 i and, with one attribute changed, 2 i + 1."""

    def __init__(self, folder: Path) -> None:
        """Map the pictures, read the words."""
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self.scenes = [read(row) for row in json.loads((folder / "scenes.json").read_text())]

    def pairs(self, half: int | None) -> np.ndarray:
        """The numbers i of the pairs that show drawings of one half, or of both."""
        numbers = np.arange(len(self.scenes) // 2)
        return numbers if half is None else numbers[numbers % 2 == half]


class Subjects:
    """The stage `subjects`: references and scenes of each drawing, in a row for each drawing."""

    def __init__(self, folder: Path) -> None:
        """Map the pictures and what they cover, read the table."""
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self.covers = np.load(folder / "covers.npy", mmap_mode="r")
        self.scenes = [read(row) for row in json.loads((folder / "scenes.json").read_text())]
        # Each row: glyph, noun, variant, first picture, number of references, number of pictures.
        self.rows: list[dict[str, Any]] = json.loads((folder / "subjects.json").read_text())
        spans = [(row["start"], row["start"] + row["references"], row["start"] + row["pictures"]) for row in self.rows]
        # Numbers of the pictures that are references, and of those that are scenes: what is encoded stands in this order.
        self.reference_rows = np.concatenate([np.arange(start, middle) for start, middle, _ in spans])
        self.scene_rows = np.concatenate([np.arange(middle, end) for _, middle, end in spans])
        # What two cores learn to draw: one subject as it is, in the middle and not small. Words, filters and judges know more.
        self.plain = np.array([scene.position == "centre" and scene.size != "small" and scene.style == "plain"
                               and scene.count == 1 and scene.turn == "upright" for scene in self.scenes])
