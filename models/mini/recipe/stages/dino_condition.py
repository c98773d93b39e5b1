"""Stage `dino_condition`: E, which CAFE sees the reference with: DINOv2 layout, tokens that can be drawn from."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from runner import Context
from training import dino

VERSION = 1
BUNDLED = {"family/dino_condition": "model"}
INPUTS = ["subjects"]
_PLAN = dino.DinoPlan(width=160, layers=4, heads=5, seed=21, half=None, dinov2=True, draws=True)


def settings(smoke: bool) -> dict[str, Any]:
    """The plan; a smoke run takes a few small steps."""
    return asdict(replace(_PLAN, steps=10, drawings=8) if smoke else _PLAN)


def build(context: Context) -> None:
    """Train and write it."""
    dino.build(context, replace(_PLAN, steps=context.settings["steps"], drawings=context.settings["drawings"]))
