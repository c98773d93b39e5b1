"""Pictures as tensors, and the cores that work on them."""

from __future__ import annotations

import os

import numpy as np
import torch


def use_cores() -> None:
    """As many threads as `CAFE_RECIPE_THREADS` says: two trainings of one thread each get more done than one of two."""
    torch.set_num_threads(int(os.environ.get("CAFE_RECIPE_THREADS", os.cpu_count() or 1)))


def pixels(pictures: list[np.ndarray] | np.ndarray) -> torch.Tensor:
    """Pictures as (B, 3, H, W) u8."""
    return torch.from_numpy(np.stack(pictures) if isinstance(pictures, list) else pictures).permute(0, 3, 1, 2).contiguous()


def scaled(batch: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) u8 as f32 in -1..1."""
    return (batch.float() / 127.5 - 1).contiguous()
