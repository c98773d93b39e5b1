"""What diffusion training needs of a noise schedule: v-prediction with zero terminal signal, and min-SNR weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler

# At 64 pixels noise at t = 999 of the usual schedule still shows a picture's mean colour: the last step must be all
# noise (arXiv 2305.08891), which only v-prediction can start from, and only trailing timesteps reach.
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
}


def noise_scheduler() -> DDIMScheduler:
    """The schedule of the family, as `scheduler_config.json` has it."""
    return DDIMScheduler(**NOISE)


def noised(latents: torch.Tensor, alphas: torch.Tensor, generator: torch.Generator, gamma: float = 5.0
           ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x_t, t, v and the weight of each row: min(SNR, gamma) / (SNR + 1), as arXiv 2303.09556 has it for v.

    `latents` is (B, C, H, W), `alphas` the cumulated products (1000,).
    """
    rows = len(latents)
    # One t from each of B equal parts of the time: the loss of a batch varies less.
    t = ((torch.arange(rows) + torch.rand(rows, generator=generator)) / rows * len(alphas)).long().clamp(max=999)
    t, alphas = t.to(latents.device), alphas.to(latents.device)
    alpha = alphas[t].view(-1, 1, 1, 1)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    x_t = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    v = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    ratio = alphas[t] / (1 - alphas[t]).clamp(min=1e-8)
    return x_t, t, v, ratio.clamp(max=gamma) / (ratio + 1)
