"""The family's UNets: SD2's, small, and CAFE's of the same widths, whose condition is a pair (arXiv 2312.03045, Eq. 1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

# Latents are 16 x 16, of 8 channels. The finest resolution has no attention: it costs most there, and what is seen of the
# conditions at 8 x 8 is as fine as E's tokens are.
SIDE = 16
CHANNELS = (64, 128)


def unet_config(in_channels: int, width: int) -> dict[str, Any]:
    """SD2's layout. `width` is of the text states."""
    return {
        "sample_size": SIDE, "in_channels": in_channels, "out_channels": in_channels, "block_out_channels": CHANNELS,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1,
        # The number of heads: diffusers named it wrongly.
        "attention_head_dim": tuple(c // 32 for c in CHANNELS), "cross_attention_dim": width, "norm_num_groups": 16,
        "use_linear_projection": True,
    }


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of (B, N, C) to (B, M, C) by plain products: fused attention has a slow gradient in bfloat16 on the CPU."""
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    shares = ((query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)).softmax(-1).to(value.dtype)
    return (shares @ value).transpose(1, 2).flatten(2)


class PlainProcessor:
    """Attention to oneself, or to text states (B, T, D)."""

    def __call__(self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None,
                 attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        """(B, N, C) to (B, N, C)."""
        states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        attended = attend(attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states), attn.heads)
        return attn.to_out[0](attended)


class DecoupledProcessor:
    """Attention to F's embedding and to E's tokens, with keys and values of their own and one query, summed."""

    def __init__(self, clip_dim: int) -> None:
        """`clip_dim` is the width of F(x)."""
        self.clip_dim = clip_dim

    def __call__(self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None,
                 attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        """The states are F(x~), padded to E's width, then E(x): (B, 1 + N, D_dino)."""
        clip, dino = encoder_hidden_states[:, :1, :self.clip_dim], encoder_hidden_states[:, 1:]
        query = attn.to_q(hidden_states)
        attended = attend(query, attn.to_k_clip(clip), attn.to_v_clip(clip), attn.heads)
        attended = attended + attend(query, attn.to_k_dino(dino), attn.to_v_dino(dino), attn.heads)
        return attn.to_out[0](attended)


def sd_unet(in_channels: int, width: int) -> UNet2DConditionModel:
    """A UNet conditioned on text states of `width`."""
    unet = UNet2DConditionModel(**unet_config(in_channels, width))
    unet.set_attn_processor(PlainProcessor())
    return unet


class CafeUNet(UNet2DConditionModel):
    """`predict(x_t, t, F(x~), E(x))`; its weights have the engine's names."""

    def __init__(self, in_channels: int, clip_dim: int, dino_dim: int) -> None:
        """As the base model, with new keys and values in each `attn2`."""
        self.own_config = unet_config(in_channels, dino_dim)
        super().__init__(**self.own_config)
        self.cafe = {"clip_dim": clip_dim, "dino_dim": dino_dim, "n_clip_tokens": 1}
        self.set_attn_processor(PlainProcessor())
        for module in self.modules():
            if getattr(module, "is_cross_attention", False):
                width = module.to_q.out_features
                del module.to_k, module.to_v
                for name, dim in (("clip", clip_dim), ("dino", dino_dim)):
                    setattr(module, f"to_k_{name}", torch.nn.Linear(dim, width, bias=False))
                    setattr(module, f"to_v_{name}", torch.nn.Linear(dim, width, bias=False))
                module.set_processor(DecoupledProcessor(clip_dim))

    def predict(self, latents: torch.Tensor, timesteps: torch.Tensor, clip: torch.Tensor, dino: torch.Tensor) -> torch.Tensor:
        """What the model predicts; a dropped condition is zeros. `clip` is (B, D_clip), `dino` (B, 1 + N, D_dino)."""
        padded = torch.nn.functional.pad(clip, (0, dino.shape[-1] - clip.shape[-1]))
        return self(latents, timesteps, torch.cat([padded[:, None], dino], 1)).sample

    def save(self, folder: Path) -> None:
        """The folder `cafe_unet` as the engine reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {key: value for key, value in self.own_config.items() if key != "cross_attention_dim"}
        (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel", **config, "cafe": self.cafe}, indent=2) + "\n")
        save_file({key: value.float().contiguous() for key, value in self.state_dict().items()},
                  folder / "diffusion_pytorch_model.safetensors")
