"""Pictures as tensors."""

from __future__ import annotations

import numpy as np
import torch


def pixels(pictures: list[np.ndarray] | np.ndarray) -> torch.Tensor:
    """Pictures as (B, 3, H, W) u8."""
    return torch.from_numpy(np.stack(pictures) if isinstance(pictures, list) else pictures).permute(0, 3, 1, 2).contiguous()


def scaled(batch: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) u8 as f32 in -1..1."""
    return (batch.float() / 127.5 - 1).contiguous()
