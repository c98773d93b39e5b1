"""Backgrounds: a colour that has a name, in a pattern that has one.

What exactly a "striped red" looks like (shade, width, angle) is drawn, and each such instance belongs to one split, by
the digest of its rounded parameters: what is measured on was never a background in training.
"""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import dataclass

import numpy as np

# Ranges of hue, saturation and value; no two colours overlap.
COLOURS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((0.97, 1.01), (0.80, 0.95), (0.70, 0.92)),
    "orange": ((0.065, 0.09), (0.85, 1.00), (0.92, 1.00)),
    "yellow": ((0.14, 0.165), (0.70, 0.95), (0.93, 1.00)),
    "green": ((0.30, 0.39), (0.60, 0.90), (0.45, 0.75)),
    "teal": ((0.48, 0.515), (0.65, 0.90), (0.55, 0.75)),
    "blue": ((0.59, 0.645), (0.70, 0.95), (0.65, 0.95)),
    "purple": ((0.745, 0.79), (0.55, 0.80), (0.45, 0.70)),
    "pink": ((0.90, 0.94), (0.28, 0.50), (0.95, 1.00)),
    "brown": ((0.055, 0.08), (0.60, 0.80), (0.32, 0.48)),
    "grey": ((0.0, 1.0), (0.00, 0.04), (0.45, 0.62)),
    "black": ((0.0, 1.0), (0.00, 0.10), (0.03, 0.12)),
    "white": ((0.0, 1.0), (0.00, 0.02), (0.95, 1.00)),
}
PATTERNS = ("plain", "striped", "dotted", "checkered", "shaded", "cloudy")
# Where a splitting digest falls; the shares of the glyphs' split.
_SPLITS = (("base", 50), ("pool", 75), ("val", 83), ("test", 100))


@dataclass(frozen=True)
class Background:
    """One instance. Lengths in pixels of 64, angle in radians, colours in 0..1."""

    colour: str
    pattern: str
    main: tuple[float, float, float]
    second: tuple[float, float, float]
    period: float
    angle: float
    phase: float
    seed: int

    @property
    def split(self) -> str:
        """Which split this instance belongs to."""
        shade = tuple(round(channel * 24) for channel in self.main)
        key = f"{self.colour} {self.pattern} {shade} {round(self.period)} {round(self.angle * 8)} {self.seed % 64}"
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
        return next(name for name, end in _SPLITS if place < end)


def _second(colour: str, main: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The other colour of a pattern: a tint of the main one, or a shade where that is light already."""
    if colour in ("white", "yellow", "pink"):
        return main * rng.uniform(0.72, 0.82)
    share = rng.uniform(0.25, 0.35) if colour == "black" else rng.uniform(0.45, 0.6)
    return main + (1 - main) * share


def draw_background(rng: np.random.Generator, split: str, colour: str | None = None,
                    pattern: str | None = None) -> Background:
    """An instance of `split`; the colour and the pattern are drawn where they are not given."""
    colour = colour or str(rng.choice(list(COLOURS)))
    pattern = pattern or str(rng.choice(PATTERNS))
    hue, saturation, value = COLOURS[colour]
    while True:
        main = np.array(colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value)))
        second = _second(colour, main, rng)
        made = Background(colour, pattern, tuple(main), tuple(second), float(rng.uniform(8, 16)),
                          float(rng.uniform(0, np.pi)), float(rng.uniform(0, 1)), int(rng.integers(1 << 30)))
        if made.split == split:
            return made


def _clouds(side: int, seed: int) -> np.ndarray:
    """Value noise of three octaves in 0..1: (side, side)."""
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side))
    for cells, weight in ((3, 0.55), (6, 0.3), (12, 0.15)):
        grid = rng.random((cells + 1, cells + 1))
        at = np.linspace(0, cells - 1e-6, side)
        low, part = at.astype(int), at % 1
        part = part * part * (3 - 2 * part)
        rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
        total += weight * (rows[:, low] * (1 - part) + rows[:, low + 1] * part)
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


def _share(background: Background, side: int) -> np.ndarray:
    """How much of the second colour each pixel has: (side, side) in 0..1, with soft edges of about a pixel."""
    if background.pattern == "plain":
        return np.zeros((side, side))
    if background.pattern == "cloudy":
        return _clouds(side, background.seed)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float64) - (side - 1) / 2
    turned = columns * np.cos(background.angle) + rows * np.sin(background.angle)
    across = -columns * np.sin(background.angle) + rows * np.cos(background.angle)
    if background.pattern == "shaded":
        return np.clip(turned / (side * 1.2) + 0.5, 0, 1)
    turns = 2 * np.pi * (turned / background.period + background.phase)
    others = 2 * np.pi * (across / background.period + background.phase)
    slope = background.period / (2 * np.pi)
    if background.pattern == "striped":
        wave = np.sin(turns)
    elif background.pattern == "checkered":
        wave = np.sin(turns / 2) * np.sin(others / 2) * 1.6
    else:
        wave = np.cos(turns) + np.cos(others) - 0.7
    return np.clip(wave * slope + 0.5, 0, 1)


def paint(background: Background, side: int = 64) -> np.ndarray:
    """The pixels: (side, side, 3) f32 in 0..255."""
    share = _share(background, side)[..., None]
    mixed = np.array(background.main) * (1 - share) + np.array(background.second) * share
    return (mixed * 255).astype(np.float32)
