"""Stage `dino_filter`: the encoder that decides whether the subject was kept."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from runner import Context
from training import dino

VERSION = 1
BUNDLED = {"family/dino_filter": "model"}
INPUTS = ["subjects"]
_PLAN = dino.DinoPlan(width=160, layers=4, heads=5, seed=31, half=0, draws=True, steps=2000)


def settings(smoke: bool) -> dict[str, Any]:
    """The plan; a smoke run takes a few small steps."""
    return asdict(replace(_PLAN, steps=10, drawings=8) if smoke else _PLAN)


def build(context: Context) -> None:
    """Train and write it."""
    dino.build(context, replace(_PLAN, steps=context.settings["steps"], drawings=context.settings["drawings"]))
