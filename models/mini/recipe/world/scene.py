"""Scenes: which glyph is shown, how it is drawn and arranged, and over what; and their pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from world.backgrounds import Background, draw_background, paint

SIDE = 64
SIZES = {"small": (26, 30), "medium": (38, 44), "large": (52, 58)}
POSITIONS = ("centre", "left", "right", "top", "bottom")
STYLES = ("plain", "greyscale", "pixelated", "outlined", "tinted")
TURNS = ("upright", "tilted", "upside-down")
# What a tint is of; each is told from a greyscale by its colour.
TINTS = {"red": (0.85, 0.1, 0.1), "green": (0.1, 0.6, 0.2), "blue": (0.15, 0.3, 0.9), "purple": (0.55, 0.2, 0.75)}


@dataclass(frozen=True)
class Variant:
    """Another drawing made of one: its colours turned by sixths, or its mirror image. A subject of its own."""

    sixths: int = 0
    mirrored: bool = False


@dataclass(frozen=True)
class Scene:
    """One picture, in words and numbers. `glyph` is a row of the table of glyphs; `pixels` the glyph's longer side."""

    glyph: int
    noun: str
    background: Background
    size: str = "medium"
    position: str = "centre"
    style: str = "plain"
    tint: str = ""
    turn: str = "upright"
    count: int = 1
    pixels: float = 40.0
    degrees: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    variant: Variant = Variant()


@dataclass(frozen=True)
class Variety:
    """How often a scene has what makes it harder: probabilities of a style, a turn, and of more than one glyph; and which sizes
    there are besides the medium one."""

    style: float = 0.3
    turn: float = 0.15
    several: float = 0.1
    size: float = 0.5
    position: float = 0.4
    sizes: tuple[str, ...] = ("small", "large")


# The part of the world that two cores learn to draw: one subject as it is, upright, in the middle, not small. Generators are
# trained and judged in it, and what decides about their pictures has its thresholds from it.
DRAWN = Variety(style=0.0, turn=0.0, several=0.0, position=0.0, sizes=("large",))


def arranged(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same scene with numbers drawn for its words."""
    low, high = SIZES[scene.size]
    pixels = float(rng.uniform(low, high))
    if scene.count > 1:
        pixels = min(pixels, 30.0 if scene.count == 2 else 21.0)
    degrees = {"upright": 0.0, "upside-down": 180.0}.get(scene.turn)
    if degrees is None:
        degrees = float(rng.choice([-1, 1]) * rng.uniform(30, 50))
    room = max(0.0, (SIDE - pixels) / 2 - 1)
    jitter = rng.uniform(-1, 1, 2) * min(2.0, room)
    towards = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}.get(scene.position, (0, 0))
    shift = tuple(float(t * room + (0 if t else j)) for t, j in zip(towards, jitter, strict=True))
    return replace(scene, pixels=pixels, degrees=degrees, shift=shift)


def draw_scene(rng: np.random.Generator, split: str, glyph: int, noun: str, variety: Variety) -> Scene:
    """A scene of the glyph with a background of `split`. A large glyph stays in the middle: there is no room."""
    style = str(rng.choice(STYLES[1:])) if rng.random() < variety.style else "plain"
    size = str(rng.choice(variety.sizes)) if rng.random() < variety.size else "medium"
    count = int(rng.integers(2, 4)) if rng.random() < variety.several else 1
    if count > 1:
        size = "medium"
    moved = size != "large" and count == 1 and rng.random() < variety.position
    scene = Scene(
        glyph, noun, draw_background(rng, split), size,
        str(rng.choice(POSITIONS[1:])) if moved else "centre",
        style, str(rng.choice(list(TINTS))) if style == "tinted" else "",
        str(rng.choice(TURNS[1:])) if rng.random() < variety.turn else "upright", count,
    )
    return arranged(scene, rng)


def reference_scene(rng: np.random.Generator, split: str, glyph: int, noun: str) -> Scene:
    """A picture as people crop their subjects: the glyph as it is, in the middle, filling most of the frame."""
    scene = Scene(glyph, noun, draw_background(rng, split), "large")
    return replace(scene, pixels=float(rng.uniform(52, 58)), shift=tuple(map(float, rng.uniform(-1.5, 1.5, 2))))


def varied(glyph: np.ndarray, variant: Variant) -> np.ndarray:
    """The drawing, (64, 64, 4) f32 premultiplied in 0..255, with its colours turned (in YIQ) and mirrored."""
    if variant.mirrored:
        glyph = glyph[:, ::-1]
    if variant.sixths == 0:
        return glyph
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
    cos, sin = np.cos(variant.sixths * np.pi / 3), np.sin(variant.sixths * np.pi / 3)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)
    matrix = np.linalg.inv(to_yiq) @ turn @ to_yiq
    colours = np.clip(glyph[..., :3] @ matrix.T.astype(np.float32), 0, glyph[..., 3:])
    return np.concatenate([colours, glyph[..., 3:]], -1)


def restyled(glyph: np.ndarray, scene: Scene) -> np.ndarray:
    """The glyph, (64, 64, 4) f32 premultiplied in 0..255, in the scene's style."""
    if scene.style == "plain":
        return glyph
    alpha = glyph[..., 3:] / 255
    if scene.style == "pixelated":
        cells = Image.fromarray(glyph.clip(0, 255).astype(np.uint8), "RGBA").reduce(6)
        return np.asarray(cells.resize((glyph.shape[1], glyph.shape[0]), Image.Resampling.NEAREST), np.float32)
    light = (glyph[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    if scene.style == "greyscale":
        return np.concatenate([light.repeat(3, -1), glyph[..., 3:]], -1)
    if scene.style == "tinted":
        tint = np.array(TINTS[scene.tint], np.float32)
        share = light / 255
        coloured = np.where(share < 0.5, 2 * share * tint, tint + (2 * share - 1) * (1 - tint)) * 255
        return np.concatenate([np.minimum(coloured * alpha ** 0.5, 255 * alpha), glyph[..., 3:]], -1)
    # Outlined: dark lines where light or cover changes, on white.
    edges = np.zeros(light.shape[:2], np.float32)
    for plane in (light[..., 0] / 255, alpha[..., 0]):
        down, across = np.gradient(plane)
        edges = np.maximum(edges, np.hypot(down, across))
    ink = np.clip(edges * 4 - 0.25, 0, 1)[..., None]
    return np.concatenate([((1 - ink) * 255 * alpha).repeat(3, -1), glyph[..., 3:]], -1)


def _placed(glyph: np.ndarray, pixels: float, degrees: float, centre: tuple[float, float]) -> np.ndarray:
    """The glyph scaled, turned and moved to `centre` (x, y) in a frame: (SIDE, SIDE, 4) f32, premultiplied."""
    source = glyph.shape[0]
    scale = source / pixels
    planes = Image.fromarray(glyph.clip(0, 255).astype(np.uint8), "RGBA")
    if scale > 1.15:
        # An affine transform looks at four pixels only: shrink first, so that nothing is skipped.
        side = max(8, round(pixels))
        planes, source, scale = _shrunk(planes, side), side, side / pixels
    cos, sin = np.cos(np.radians(degrees)) * scale, np.sin(np.radians(degrees)) * scale
    x, y = centre
    half = source / 2
    matrix = (cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y)
    return np.asarray(planes.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR),
                      np.float32)


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    bands = [band.resize((side, side), Image.Resampling.BOX if side < 24 else Image.Resampling.BILINEAR)
             for band in picture.split()]
    return Image.merge("RGBA", bands)


def centres(scene: Scene) -> list[tuple[float, float]]:
    """Where the glyphs' middles are, (x, y) in pixels."""
    middle = (SIDE / 2 + scene.shift[0], SIDE / 2 + scene.shift[1])
    if scene.count == 1:
        return [middle]
    step = SIDE / scene.count
    return [(step * (index + 0.5), middle[1]) for index in range(scene.count)]


def cover(scene: Scene, glyphs: np.ndarray) -> np.ndarray:
    """What of the picture is not background: (SIDE, SIDE, 4) f32 in 0..255, premultiplied.

    `glyphs` is the table (N, 64, 64, 4) u8, premultiplied.
    """
    canvas = np.zeros((SIDE, SIDE, 4), np.float32)
    glyph = restyled(varied(glyphs[scene.glyph].astype(np.float32), scene.variant), scene)
    for centre in centres(scene):
        layer = _placed(glyph, scene.pixels, scene.degrees, centre)
        canvas = layer + canvas * (1 - layer[..., 3:] / 255)
    return canvas


def over(covered: np.ndarray, background: Background) -> np.ndarray:
    """What `cover` gave, over its background: (SIDE, SIDE, 3) u8."""
    return (covered[..., :3] + paint(background, SIDE) * (1 - covered[..., 3:] / 255)).clip(0, 255).round().astype(np.uint8)


def render(scene: Scene, glyphs: np.ndarray) -> np.ndarray:
    """The picture: (SIDE, SIDE, 3) u8. `glyphs` is the table (N, 64, 64, 4) u8, premultiplied."""
    return over(cover(scene, glyphs), scene.background)
