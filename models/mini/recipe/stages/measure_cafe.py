"""Stage `measure_cafe`: what Eq. 4 makes of `val`: identity against instruction over α, by the filter encoders.

Three things are drawn for each reference: w by the base model, x~ by CAFE at each α, and the share that passes both
thresholds is set beside that of the base model alone (w) and of a copy of x.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, Dinov2Model

from measure.encoders import Clip, Dino
from measure.sample import ddim, decoded, guided
from runner import Context
from stages.sheets import sheet
from training.clip import encode
from training.pictures import Glyphs
from training.tensors import pixels, scaled, use_cores
from training.unet import SIDE, CafeUNet, PlainProcessor
from world.scene import Variety
from world.words import caption

VERSION = 1
INPUTS = ["glyphs", "split", "clip_condition", "dino_condition", "clip_filter", "dino_filter", "vae", "text_to_image", "cafe_start",
          "measure_encoders"]
_VARIETY = Variety(style=0.0, turn=0.0, several=0.0)


def settings(smoke: bool) -> dict[str, Any]:
    """How many pairs, which α, how many steps, and the guidance."""
    return {"split": "val", "pairs": 8 if smoke else 208, "alphas": [0.3, 0.5, 0.7, 0.9, 1.0], "steps": 20,
            "text_scale": 3.0, "dino_scale": 1.5, "clip_scale": 3.0, "seed": 91}


def _told(predict: Any, told: torch.Tensor, untold: torch.Tensor, scale: float) -> Any:
    def guided_by_text(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            both = predict(x.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([untold, told])).sample.float()
        without, with_text = both.chunk(2)
        return without + scale * (with_text - without)

    return guided_by_text


def build(context: Context) -> None:
    """Write `cafe.json` and `grid.png`: x, w, then x~ at each α."""
    use_cores()
    chosen, inputs = context.settings, context.inputs
    glyphs = Glyphs(inputs["glyphs"], inputs["split"], chosen["split"])
    base = inputs["text_to_image"] / "text_to_image"
    vae = AutoencoderKL.from_pretrained(inputs["vae"] / "vae").eval()
    text = CLIPTextModel.from_pretrained(base / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    unet = UNet2DConditionModel.from_pretrained(base / "unet").eval()
    unet.set_attn_processor(PlainProcessor())
    clip = CLIPModel.from_pretrained(inputs["clip_condition"] / "model").eval()
    dino = Dinov2Model.from_pretrained(inputs["dino_condition"] / "model").eval()
    cafe = CafeUNet(vae.config.latent_channels, clip.config.projection_dim, dino.config.hidden_size).eval()
    cafe.load_state_dict(load_file(inputs["cafe_start"] / "cafe_unet" / "diffusion_pytorch_model.safetensors"))
    judge_clip, judge_dino = Clip(inputs["clip_filter"] / "model"), Dino(inputs["dino_filter"] / "model")
    known = json.loads((inputs["measure_encoders"] / "encoders.json").read_text())["filter"]
    clip_min, dino_min = known["clip"]["threshold"], known["dino"]["threshold"]

    references, words = [], []
    for index in range(chosen["pairs"]):
        rng = np.random.default_rng([chosen["seed"], index])
        drawn = glyphs.draw(rng)
        references.append(glyphs.render(glyphs.reference(rng, drawn)))
        words.append(caption(glyphs.scene(rng, _VARIETY, drawn)))
    said = judge_clip.texts(words)
    seen = judge_dino.images(references)

    def judged(pictures: np.ndarray) -> dict[str, Any]:
        right, same = (judge_clip.images(pictures) * said).sum(1), (judge_dino.images(pictures) * seen).sum(1)
        return {"clip": float(right.mean()), "dino": float(same.mean()), "clip_passes": float((right >= clip_min).mean()),
                "dino_passes": float((same >= dino_min).mean()),
                "passes": float(((right >= clip_min) & (same >= dino_min)).mean())}

    def drawn_by(start: int, predict: Any, count: int) -> np.ndarray:
        shape = (count, vae.config.latent_channels, SIDE, SIDE)
        return decoded(vae, ddim(predict, shape, chosen["steps"], chosen["seed"] + start))

    parts: dict[str, list[np.ndarray]] = {"w": [], **{str(alpha): [] for alpha in chosen["alphas"]}}
    with torch.no_grad():
        for start in range(0, chosen["pairs"], 52):
            part, texts = references[start:start + 52], words[start:start + 52]
            told, untold = (text(input_ids=encode(tokenizer, t)).last_hidden_state for t in (texts, [""] * len(texts)))
            w = drawn_by(start, _told(unet, told, untold, chosen["text_scale"]), len(part))
            parts["w"].append(w)
            clip_w, clip_x = (clip.get_image_features(pixel_values=scaled(pixels(p))).pooler_output for p in (w, np.stack(part)))
            tokens = dino(pixel_values=scaled(pixels(part))).last_hidden_state
            for alpha in chosen["alphas"]:
                mixed = alpha * clip_w + (1 - alpha) * clip_x
                predict = guided(cafe.predict, mixed, tokens, chosen["dino_scale"], chosen["clip_scale"])
                parts[str(alpha)].append(drawn_by(start, predict, len(part)))
    made = {name: np.concatenate(part) for name, part in parts.items()}
    found = {"copy": judged(np.stack(references)), **{name: judged(pictures) for name, pictures in made.items()}}
    (context.out / "cafe.json").write_text(json.dumps({"thresholds": {"clip": clip_min, "dino": dino_min}, **found}, indent=1))
    rows = [np.stack(references)[:12], *(pictures[:12] for pictures in made.values())]
    sheet([picture for row in rows for picture in row], 12).save(context.out / "grid.png", optimize=True)
    (context.out / "words.txt").write_text("\n".join(words[:12]) + "\n")
