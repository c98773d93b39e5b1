"""Make golden.json again: the same scores by transformers, Pillow and numpy. Run it when the bundled filters were trained anew:

    python stages/src/score/tests/golden.py

with the versions of models/mini/recipe/requirements.txt.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer, ViTModel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
PICTURES = ROOT / "manifests" / "pictures"
FAMILY = ROOT / "models" / "mini" / "family"
ROWS = [
    ("animal/elephant.png", "animal/elephant.png", "put it on a red background", "an animal on a red background"),
    ("animal/penguin.png", "animal/elephant.png", "make it small", "a small animal on a white background"),
    ("gradient", "building/church.png", "a building", "a building on a striped green background"),
    ("toy/teddy_bear.png", "gradient", "", None),
]


def picture(name: str) -> Image.Image:
    """A bundled picture on white, or one that is larger than the models take and not square."""
    if name == "gradient":
        x, y = np.meshgrid(np.arange(120), np.arange(90))
        return Image.fromarray(np.stack([x * 2, y * 2, x * y // 50], -1).astype(np.uint8))
    rgba = np.asarray(Image.open(PICTURES / name).convert("RGBA")).astype(np.uint32)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return Image.fromarray(((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8))


def dct(values: np.ndarray, axis: int) -> np.ndarray:
    """The cosine transform of type II along `axis`."""
    n = values.shape[axis]
    waves = 2 * np.cos(np.pi * np.arange(n)[:, None] * (2 * np.arange(n)[None] + 1) / (2 * n))
    return np.moveaxis(np.tensordot(waves, values, (1, axis)), 0, axis)


def phash(image: Image.Image) -> str:
    """imagehash.phash."""
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)).astype(float)
    low = dct(dct(grey, 0), 1)[:8, :8]
    bits = (low > np.median(low)).flatten()
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"


def border(image: Image.Image) -> np.ndarray:
    """What is within 4 of 32 pixels of an edge, in 0..1."""
    values = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).astype(float) / 255
    mask = np.ones((32, 32), bool)
    mask[4:-4, 4:-4] = False
    return values[mask]


def sharpness(image: Image.Image) -> float:
    """The variance of the Laplacian of luma, borders mirrored."""
    luma = np.asarray(image).astype(float) @ [0.299, 0.587, 0.114]
    p = np.pad(luma, 1, mode="reflect")
    return float((p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * luma).var())


@torch.no_grad()
def main() -> None:
    """Write golden.json."""
    clip = CLIPModel.from_pretrained(FAMILY / "clip_filter").float().eval()
    dino = ViTModel.from_pretrained(FAMILY / "dino_filter", add_pooling_layer=False).float().eval()
    tokenizer = CLIPTokenizer.from_pretrained(FAMILY / "clip_filter")
    unit = torch.nn.functional.normalize

    def pixels(name: str, role: str) -> torch.Tensor:
        return CLIPImageProcessorPil.from_pretrained(FAMILY / role)(picture(name), return_tensors="pt").pixel_values

    def seen(name: str) -> torch.Tensor:
        return unit(clip.get_image_features(pixel_values=pixels(name, "clip_filter")).pooler_output, dim=-1)

    def said(text: str) -> torch.Tensor:
        ids = tokenizer([text], padding="max_length", truncation=True, return_tensors="pt").input_ids
        return unit(clip.get_text_features(input_ids=ids).pooler_output, dim=-1)

    def known(name: str) -> torch.Tensor:
        return unit(dino(pixel_values=pixels(name, "dino_filter")).last_hidden_state[:, 0], dim=-1)

    rows = []
    for candidate, reference, instruction, caption in ROWS:
        x = seen(candidate)
        of = [None if text is None else float((x * said(text)).sum()) for text in (instruction, caption)]
        difference = np.sqrt(((border(picture(candidate)) - border(picture(reference))) ** 2).mean())
        rows.append({
            "candidate": candidate, "reference": reference, "instruction": instruction, "caption": caption,
            "clip_instruction": of[0], "clip_caption": of[1], "clip_image": float((x * seen(reference)).sum()),
            "dino": float((known(candidate) * known(reference)).sum()),
            "background_similarity": float(1 - difference), "sharpness": sharpness(picture(candidate)),
            "phash": phash(picture(candidate)),
        })
    (HERE / "golden.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
