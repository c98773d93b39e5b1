"""Stage `clip_condition`: F, whose image embedding is what CAFE is told to draw."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from runner import Context
from training import clip

VERSION = 1
BUNDLED = {"family/clip_condition": "model"}
INPUTS = ["scenes", "tokenizer"]
_PLAN = clip.ClipPlan(width=128, layers=4, heads=4, text_width=128, text_layers=2, projection=128, seed=22, half=None)


def settings(smoke: bool) -> dict[str, Any]:
    """The plan; a smoke run takes a few small steps."""
    return asdict(replace(_PLAN, steps=10, batch=16) if smoke else _PLAN)


def build(context: Context) -> None:
    """Train and write it."""
    clip.build(context, replace(_PLAN, steps=context.settings["steps"], batch=context.settings["batch"]))
