"""Stage `vae`: an AutoencoderKL of factor 4, trained on composites of the base split."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from runner import Context
from training.loop import Plan, train
from training.pictures import Glyphs, pixels, scaled
from world.scene import Variety

VERSION = 1
INPUTS = ["glyphs", "split"]


def settings(smoke: bool) -> dict[str, Any]:
    """Widths, steps and weights of the losses."""
    return {"channels": [32, 64, 80], "latent_channels": 4, "steps": 20 if smoke else 4000,
            "batch": 8 if smoke else 48, "learning_rate": 1.5e-3, "kl": 1e-5, "seed": 11}


def psnr(vae: AutoencoderKL, pictures: torch.Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio of their reconstructions, in dB; clipped to 0..255."""
    with torch.no_grad():
        decoded = vae.decode(vae.encode(scaled(pictures)).latent_dist.mean).sample
    error = ((decoded.clamp(-1, 1) - scaled(pictures)) * 0.5).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())


def build(context: Context) -> None:
    """Write `vae/` by `save_pretrained`, and `log.json`."""
    chosen = context.settings
    glyphs = Glyphs(context.inputs["glyphs"], context.inputs["split"], "base")
    held = Glyphs(context.inputs["glyphs"], context.inputs["split"], "val")
    torch.manual_seed(chosen["seed"])
    vae = AutoencoderKL(
        block_out_channels=chosen["channels"], down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3, layers_per_block=1, latent_channels=chosen["latent_channels"],
        norm_num_groups=8, sample_size=64,
    )
    vae.to(memory_format=torch.channels_last)
    # Set in the end; the losses do not know of it.
    n_parameters = sum(p.numel() for p in vae.parameters())
    assert n_parameters <= 1_500_000, n_parameters
    rng = np.random.default_rng(7)
    measured = pixels([held.render(held.scene(rng, Variety())) for _ in range(128)])

    def make(rng: np.random.Generator) -> torch.Tensor:
        scenes = [glyphs.reference(rng) if rng.random() < 0.3 else glyphs.scene(rng, Variety())
                  for _ in range(chosen["batch"])]
        return pixels([glyphs.render(scene) for scene in scenes])

    def loss_of(batch: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        wanted = scaled(batch)
        posterior = vae.encode(wanted).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = vae.decode(posterior.mean.float() + posterior.std.float() * noise).sample.float()
        difference = decoded - wanted
        absolute, square = difference.abs().mean(), difference.square().mean()
        divergence = posterior.kl().float().mean()
        return absolute + 2 * square + chosen["kl"] * divergence, {"l2": float(square.detach()), "kl": float(divergence.detach())}

    plan = Plan(chosen["steps"], chosen["learning_rate"], chosen["seed"])
    log = train(torch.nn.ModuleDict({"vae": vae}), make, loss_of, plan, context.state,
                lambda: {"psnr": psnr(vae, measured)}, 250)
    with torch.no_grad():
        latents = vae.encode(scaled(measured)).latent_dist.mean
    vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
    vae.save_pretrained(context.out / "vae")
    (context.out / "log.json").write_text(json.dumps(log))
