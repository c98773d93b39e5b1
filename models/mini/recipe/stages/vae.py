"""Stage `vae`: an AutoencoderKL of factor 4, trained on composites of the base split."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from runner import Context
from training.corpus import SIDE, Scenes
from training.loop import Plan, train
from training.pictures import Glyphs
from training.tensors import pixels, scaled
from world.scene import Variety

VERSION = 2
BUNDLED = {"family/text_to_image/vae": "vae"}
INPUTS = ["glyphs", "split", "scenes"]


def settings(smoke: bool) -> dict[str, Any]:
    """Widths, steps and weights of the losses."""
    return {"channels": [32, 64, 64], "latent_channels": 8, "steps": 20 if smoke else 3000,
            "batch": 8 if smoke else 24, "crops_until": 0.85, "learning_rate": 2e-3, "kl": 1e-6, "seed": 11}


def psnr(vae: AutoencoderKL, pictures: torch.Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio of their reconstructions, in dB; clipped to 0..255."""
    wanted = scaled(pictures).to(vae.device)
    with torch.no_grad():
        decoded = vae.decode(vae.encode(wanted).latent_dist.mean).sample
    error = ((decoded.clamp(-1, 1) - wanted) * 0.5).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())


def held_out(context: Context) -> torch.Tensor:
    """128 pictures of drawings that no training saw, (128, 3, 64, 64) u8."""
    held = Glyphs(context.inputs["glyphs"], context.inputs["split"], "val")
    rng = np.random.default_rng(7)
    return pixels([held.render(held.scene(rng, Variety())) for _ in range(128)])


def some_pictures(scenes: Scenes, chosen: dict[str, Any], rng: np.random.Generator, step: int) -> torch.Tensor:
    """A batch: quarters of pictures first, twice as many. What a pixel teaches does not depend on what is far from it."""
    crops = step < chosen["crops_until"] * chosen["steps"]
    count = chosen["batch"] * (2 if crops else 1)
    pictures = scenes.pictures[np.sort(rng.choice(len(scenes.pictures), count, replace=False))]
    if not crops:
        return pixels(pictures)
    corners = rng.integers(0, SIDE // 2 + 1, (count, 2))
    return pixels([picture[y:y + SIDE // 2, x:x + SIDE // 2] for picture, (y, x) in zip(pictures, corners, strict=True)])


def build(context: Context) -> None:
    """Write `vae/` by `save_pretrained`, and `log.json`."""
    chosen = context.settings
    scenes, measured = Scenes(context.inputs["scenes"]), held_out(context)
    torch.manual_seed(chosen["seed"])
    vae = AutoencoderKL(
        block_out_channels=chosen["channels"], down_block_types=["DownEncoderBlock2D"] * len(chosen["channels"]),
        up_block_types=["UpDecoderBlock2D"] * len(chosen["channels"]), layers_per_block=1, latent_channels=chosen["latent_channels"],
        norm_num_groups=8, sample_size=64,
    )
    # Set in the end; the losses do not know of it.
    n_parameters = sum(p.numel() for p in vae.parameters())
    assert n_parameters <= 1_500_000, n_parameters

    def loss_of(batch: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        wanted = scaled(batch)
        posterior = vae.encode(wanted).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(wanted.device)
        decoded = vae.decode(posterior.mean.float() + posterior.std.float() * noise).sample.float()
        difference = decoded - wanted
        absolute, square = difference.abs().mean(), difference.square().mean()
        divergence = posterior.kl().float().mean()
        return absolute + 2 * square + chosen["kl"] * divergence, {"l2": float(square.detach()), "kl": float(divergence.detach())}

    plan = Plan(chosen["steps"], chosen["learning_rate"], chosen["seed"])
    log = train(torch.nn.ModuleDict({"vae": vae}), partial(some_pictures, scenes, chosen), loss_of, plan, context.state,
                lambda: {"psnr": psnr(vae, measured)}, 500)
    with torch.no_grad():
        latents = vae.encode(scaled(measured)).latent_dist.mean
    vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
    vae.save_pretrained(context.out / "vae")
    (context.out / "log.json").write_text(json.dumps(log))
