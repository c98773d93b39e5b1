"""Stage `vae_decoder`: the VAE's decoder trained on, its latents as they are: what reads them need not wait for it.

As Stability AI's `sd-vae-ft-mse` is Stable Diffusion's decoder trained on.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL

from runner import Context
from stages.vae import held_out, psnr, some_pictures
from training.corpus import Scenes
from training.loop import Plan, train
from training.tensors import scaled

VERSION = 1
BUNDLED = {"family/text_to_image/vae": "vae"}
INPUTS = ["glyphs", "split", "scenes", "vae"]


def settings(smoke: bool) -> dict[str, Any]:
    """Steps and pictures, as the stage `vae` means them."""
    return {"steps": 20 if smoke else 3200, "batch": 8 if smoke else 24, "crops_until": 0.9, "learning_rate": 1e-3,
            "seed": 12}


def build(context: Context) -> None:
    """Write `vae/` by `save_pretrained`, and `log.json`."""
    chosen = context.settings
    scenes, measured = Scenes(context.inputs["scenes"]), held_out(context)
    vae = AutoencoderKL.from_pretrained(context.inputs["vae"] / "vae")
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)

    def loss_of(batch: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        wanted = scaled(batch)
        with torch.no_grad():
            posterior = vae.encode(wanted).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator).to(wanted.device)
            latents = posterior.mean.float() + posterior.std.float() * noise
        difference = vae.decode(latents).sample.float() - wanted
        absolute, square = difference.abs().mean(), difference.square().mean()
        return absolute + 2 * square, {"l2": float(square.detach())}

    plan = Plan(chosen["steps"], chosen["learning_rate"], chosen["seed"])
    log = train(torch.nn.ModuleDict({"vae": vae}), partial(some_pictures, scenes, chosen), loss_of, plan, context.state,
                lambda: {"psnr": psnr(vae, measured)}, 500)
    vae.save_pretrained(context.out / "vae")
    (context.out / "log.json").write_text(json.dumps(log))
