"""The world says what it shows, keeps splits apart, and draws the same picture from the same seed."""

from __future__ import annotations

import colorsys
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from concepts import concept_of  # noqa: E402
from world.backgrounds import COLOURS, draw_background, paint  # noqa: E402
from world.scene import DRAWN, Variety, draw_scene, render  # noqa: E402
from world.words import caption, instruction  # noqa: E402

GLYPHS = np.zeros((1, 64, 64, 4), np.uint8)
GLYPHS[0, 8:56, 16:48] = (200, 40, 30, 255)


def test_variants_of_a_person_are_one_concept() -> None:
    assert concept_of("1F468-200D-1F373") == concept_of("1F469-1F3FB-200D-1F373") == concept_of("1F9D1-200D-1F373")
    assert concept_of("1F3C3-200D-2640-FE0F") == concept_of("1F3C3")
    assert concept_of("1F3C3") != concept_of("1F3CA")


def test_same_seed_same_picture() -> None:
    for seed in range(20):
        first, second = (
            render(draw_scene(np.random.default_rng(seed), "base", 0, "toy", Variety()), GLYPHS) for _ in range(2))
        assert np.array_equal(first, second)


def test_backgrounds_of_two_splits_are_never_alike() -> None:
    rng = np.random.default_rng(0)
    for split in ("base", "val"):
        assert all(draw_background(rng, split).split == split for _ in range(200))


def test_colours_are_what_they_are_called() -> None:
    rng = np.random.default_rng(0)
    for colour, (_, (low, high), (dark, light)) in COLOURS.items():
        pixel = paint(draw_background(rng, "base", colour, "plain"), 4)[0, 0] / 255
        _, saturation, value = colorsys.rgb_to_hsv(*pixel)
        assert low - 0.01 <= saturation <= high + 0.01 and dark - 0.01 <= value <= light + 0.01


def test_words_say_what_differs() -> None:
    rng = np.random.default_rng(4)
    scene = replace(draw_scene(rng, "base", 0, "animal", Variety(0, 0, 0, 0, 0)), style="greyscale", size="small")
    words = caption(scene)
    assert words.startswith("a small greyscale animal on a")
    assert scene.background.colour in words
    assert "animal" not in instruction(scene, rng) and "greyscale" in instruction(scene, rng)


def test_a_scene_stays_in_its_frame() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        scene = draw_scene(rng, "base", 0, "toy", Variety(turn=0, several=0))
        half = scene.pixels / 2
        assert all(half - 2.1 <= 32 + s <= 64 - half + 2.1 for s in scene.shift)


def test_what_is_drawn_is_one_plain_subject_in_the_middle() -> None:
    rng = np.random.default_rng(6)
    scenes = [draw_scene(rng, "base", 0, "toy", DRAWN) for _ in range(300)]
    assert {scene.size for scene in scenes} == {"medium", "large"}
    assert {(s.position, s.style, s.turn, s.count) for s in scenes} == {("centre", "plain", "upright", 1)}
