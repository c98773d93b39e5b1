"""What Eq. 4 makes of a split: identity against instruction over α, as filters, judges and an outsider see it.

For each reference there are w by the base model, x~ by CAFE at each α, and two things to compare with: a copy of x, and the
true composite, which is what a perfect model would draw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, Dinov2Model

from measure.encoders import Clip, Dino
from measure.sample import ddim, decoded, guided, told
from runner import Context
from stages.sheets import sheet
from training.clip import encode
from training.pictures import Glyphs
from training.tensors import pixels, scaled
from training.unet import SIDE, CafeUNet, PlainProcessor
from world.scene import DRAWN
from world.words import caption

_AT_ONCE = 52


class Family:
    """The models that draw."""

    def __init__(self, inputs: dict[str, Path]) -> None:
        """Load what the stages have written."""
        base = inputs["text_to_image"] / "text_to_image"
        self.vae = AutoencoderKL.from_pretrained(inputs["vae"] / "vae").eval()
        self.text = CLIPTextModel.from_pretrained(base / "text_encoder").eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
        self.unet = UNet2DConditionModel.from_pretrained(base / "unet").eval()
        self.unet.set_attn_processor(PlainProcessor())
        self.clip = CLIPModel.from_pretrained(inputs["clip_condition"] / "model").eval()
        self.dino = Dinov2Model.from_pretrained(inputs["dino_condition"] / "model").eval()
        sizes = self.vae.config.latent_channels, self.clip.config.projection_dim, self.dino.config.hidden_size
        self.cafe = CafeUNet(*sizes).eval()
        self.cafe.load_state_dict(load_file(inputs["cafe_unet"] / "cafe_unet" / "diffusion_pytorch_model.safetensors"))

    @torch.no_grad()
    def draw(self, references: np.ndarray, words: list[str], chosen: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
        """w of the words, and x~ at each α: pictures (B, 64, 64, 3) u8."""
        shape = (len(words), self.vae.config.latent_channels, SIDE, SIDE)

        def drawn(predict: Any) -> np.ndarray:
            return decoded(self.vae, ddim(predict, shape, chosen["steps"], seed))

        with_text, without = (self.text(input_ids=encode(self.tokenizer, texts)).last_hidden_state
                              for texts in (words, [""] * len(words)))
        made = {"w": drawn(told(self.unet, with_text, without, chosen["text_scale"]))}
        of_w, of_x = (self.clip.get_image_features(pixel_values=scaled(pixels(p))).pooler_output
                      for p in (made["w"], references))
        tokens = self.dino(pixel_values=scaled(pixels(references))).last_hidden_state
        for alpha in chosen["alphas"]:
            mixed = alpha * of_w + (1 - alpha) * of_x
            made[str(alpha)] = drawn(guided(self.cafe.predict, mixed, tokens, chosen["dino_scale"], chosen["clip_scale"]))
        return made


def references_and_words(glyphs: Glyphs, count: int, seed: int) -> tuple[np.ndarray, list[str], np.ndarray, list[int]]:
    """References (N, 64, 64, 3), captions of the world that is drawn, their true composites, and which glyphs they show."""
    references, words, composites, shown = [], [], [], []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        glyph = glyphs.draw(rng)
        references.append(glyphs.render(glyphs.reference(rng, glyph)))
        scene = glyphs.scene(rng, DRAWN, glyph)
        words.append(caption(scene))
        composites.append(glyphs.render(scene))
        shown.append(glyph)
    return np.stack(references), words, np.stack(composites), shown


def drawn_of(inputs: dict[str, Path], references: np.ndarray, words: list[str], chosen: dict[str, Any]) -> dict[str, np.ndarray]:
    """All that the family draws of all references, part by part."""
    family, parts = Family(inputs), []
    for start in range(0, len(words), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        parts.append(family.draw(references[part], words[part], chosen, chosen["seed"] + start))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ranks(values: list[float]) -> np.ndarray:
    """0 for the least."""
    return np.argsort(np.argsort(values)).astype(float)


def judged_by(inputs: dict[str, Path], pair: str, known: dict[str, Any], references: np.ndarray, words: list[str],
              pictures: dict[str, np.ndarray], nouns: list[str], alphas: list[float]) -> dict[str, Any]:
    """Means and passes of each kind of picture by the encoders `pair`, with their own thresholds; what α does; the control."""
    clip, dino = Clip(inputs[f"clip_{pair}"] / "model"), Dino(inputs[f"dino_{pair}"] / "model")
    clip_min, dino_min = known["clip"]["threshold"], known["dino"]["threshold"]
    said, seen = clip.texts(words), dino.images(references)
    found: dict[str, Any] = {"thresholds": {"clip": clip_min, "dino": dino_min}}
    for name, part in pictures.items():
        right, same = (clip.images(part) * said).sum(1), (dino.images(part) * seen).sum(1)
        found[name] = {"clip": float(right.mean()), "dino": float(same.mean()),
                       "clip_passes": float((right >= clip_min).mean()), "dino_passes": float((same >= dino_min).mean()),
                       "passes": float(((right >= clip_min) & (same >= dino_min)).mean())}
    swept = [found[str(alpha)] for alpha in alphas]
    order = np.arange(len(alphas), dtype=float)
    found["spearman"] = {name: float(np.corrcoef(ranks([row[name] for row in swept]), order)[0, 1]) for name in ("clip", "dino")}
    best = max(alphas, key=lambda alpha: found[str(alpha)]["passes"])
    found["best"] = {"alpha": best, "passes": found[str(best)]["passes"],
                     "better_of_w_and_copy": max(found["w"]["passes"], found["copy"]["passes"])}
    # If words told which drawing is meant, w would be nearer to its own x than to another of the category.
    of_w = dino.images(pictures["w"])
    others = [[j for j in range(len(nouns)) if nouns[j] == nouns[i] and j != i] for i in range(len(nouns))]
    gaps = np.array([of_w[i] @ seen[i] - (seen[some] @ of_w[i]).mean() for i, some in enumerate(others) if some])
    found["w_is_nearer_to_its_x_by"] = {"mean": float(gaps.mean()), "n": len(gaps),
                                        "ci95": float(1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5)}
    return found


@dataclass(frozen=True)
class Measured:
    """What was drawn of a split, by kind of picture, which glyphs it should show, and what encoders say of it."""

    pictures: dict[str, np.ndarray]
    shown: list[int]
    found: dict[str, Any]


def measure(context: Context, split: str, chosen: dict[str, Any]) -> Measured:
    """Draw references, w and x~ of `split`, and have filters and judges look, with the thresholds that `val` gave them.

    Writes `grid.png`, a row each of x, the composite, w, then x~ at each α, and the captions of its columns.
    """
    inputs = context.inputs
    glyphs = Glyphs(inputs["glyphs"], inputs["split"], split)
    references, words, composites, shown = references_and_words(glyphs, chosen["pairs"], chosen["seed"])
    pictures = {"copy": references, "composite": composites, **drawn_of(inputs, references, words, chosen)}
    known = json.loads((inputs["measure_encoders"] / "encoders.json").read_text())["drawn"]
    nouns = [glyphs.noun(glyph) for glyph in shown]
    found = {pair: judged_by(inputs, pair, known[pair], references, words, pictures, nouns, chosen["alphas"])
             for pair in ("filter", "judge")}
    sheet([picture for part in pictures.values() for picture in part[:12]], 12).save(context.out / "grid.png", optimize=True)
    (context.out / "words.txt").write_text("\n".join(words[:12]) + "\n")
    return Measured(pictures, shown, found)
