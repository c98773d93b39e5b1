"""Stage `clip_judge`: CLIP for evaluation only: other drawings, seed and widths."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from runner import Context
from training import clip

VERSION = 1
BUNDLED = {"family/clip_judge": "model"}
INPUTS = ["scenes", "tokenizer"]
_PLAN = clip.ClipPlan(width=144, layers=3, heads=6, text_width=96, text_layers=3, projection=96, seed=42, half=1,
                     steps=1000)


def settings(smoke: bool) -> dict[str, Any]:
    """The plan; a smoke run takes a few small steps."""
    return asdict(replace(_PLAN, steps=10, batch=16) if smoke else _PLAN)


def build(context: Context) -> None:
    """Train and write it."""
    clip.build(context, replace(_PLAN, steps=context.settings["steps"], batch=context.settings["batch"]))
