"""Pictures as tensors, and the cores that work on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def use_cores() -> None:
    """As many threads as `CAFE_RECIPE_THREADS` says: two trainings of one thread each get more done than one of two."""
    torch.set_num_threads(int(os.environ.get("CAFE_RECIPE_THREADS", os.cpu_count() or 1)))


def fused(function: Callable[..., Any], n_calls: int) -> Callable[..., Any]:
    """Compiled, where it is called often enough: a UNet's step is 1.6 times as fast, after two minutes of compiling."""
    return torch.compile(function) if n_calls > 500 else function


def pixels(pictures: list[np.ndarray] | np.ndarray) -> torch.Tensor:
    """Pictures as (B, 3, H, W) u8."""
    return torch.from_numpy(np.stack(pictures) if isinstance(pictures, list) else pictures).permute(0, 3, 1, 2).contiguous()


def scaled(batch: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) u8 as f32 in -1..1."""
    return (batch.float() / 127.5 - 1).contiguous()
