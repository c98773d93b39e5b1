"""Stage `dino_judge`: identity as nobody in the pipeline sees it: other drawings, seed, width and variety; for evaluation only."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from runner import Context
from training import dino

VERSION = 1
BUNDLED = {"family/dino_judge": "model"}
INPUTS = ["subjects"]
_PLAN = dino.DinoPlan(width=144, layers=3, heads=6, seed=41, half=1)


def settings(smoke: bool) -> dict[str, Any]:
    """The plan; a smoke run takes a few small steps."""
    return asdict(replace(_PLAN, steps=10, drawings=8) if smoke else _PLAN)


def build(context: Context) -> None:
    """Train and write it."""
    dino.build(context, replace(_PLAN, steps=context.settings["steps"], drawings=context.settings["drawings"]))
