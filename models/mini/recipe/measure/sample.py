"""Pictures by the family's models, as the engine makes them: DDIM, trailing timesteps, nested guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from training.diffusion import noise_scheduler


@torch.no_grad()
def ddim(predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], shape: tuple[int, ...], steps: int,
         seed: int) -> torch.Tensor:
    """Latents (B, C, H, W), scaled; `predict(x_t, t)` is the guided v."""
    scheduler = noise_scheduler()
    scheduler.set_timesteps(steps)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    for t in scheduler.timesteps:
        x = scheduler.step(predict(x, t.repeat(len(x))).float(), t, x).prev_sample
    return x


@torch.no_grad()
def decoded(vae: AutoencoderKL, latents: torch.Tensor) -> np.ndarray:
    """Pictures (B, 64, 64, 3) u8 of scaled latents."""
    with torch.autocast("cpu", torch.bfloat16):
        made = vae.decode(latents / vae.config.scaling_factor).sample
    return ((made.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def guided(forward: Callable[..., torch.Tensor], clip: torch.Tensor, dino: torch.Tensor, dino_scale: float,
           clip_scale: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Nested guidance, E first: e_oo + s_E (e_oe - e_oo) + s_F (e_ce - e_oe), each branch of all rows at once."""
    no_clip, no_dino = torch.zeros_like(clip), torch.zeros_like(dino)

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            parts = forward(x.repeat(3, 1, 1, 1), t.repeat(3), torch.cat([no_clip, no_clip, clip]),
                            torch.cat([no_dino, dino, dino]))
        nothing, subject, both = parts.float().chunk(3)
        return nothing + dino_scale * (subject - nothing) + clip_scale * (both - subject)

    return predict


def told(predict: Any, with_text: torch.Tensor, without: torch.Tensor, scale: float
         ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Classifier-free guidance of the base model; states are (B, T, D)."""

    def guided_by_text(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            both = predict(x.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([without, with_text])).sample.float()
        first, second = both.chunk(2)
        return first + scale * (second - first)

    return guided_by_text
