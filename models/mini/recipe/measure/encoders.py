"""How well the encoders tell what fits from what does not: score distributions, hard negatives, thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPModel, CLIPTokenizer, Dinov2Model, ViTModel

from training.clip import encode
from training.corpus import KINDS, changed
from training.pictures import Glyphs
from training.tensors import pixels, scaled
from world.scene import DRAWN, Scene, Variety
from world.words import caption

FALSE_ACCEPTS = 0.05


@dataclass(frozen=True)
class World:
    """What pictures show in a measurement: of words, of drawings, and which attributes captions have wrong."""

    said: Variety
    seen: Variety
    kinds: tuple[str, ...]


# All that encoders were trained on, and the part of it that generators draw: thresholds are of that part.
WORLDS = {
    "whole": World(Variety(), Variety(style=0.2, turn=0.08, several=0.06), KINDS),
    "drawn": World(DRAWN, DRAWN, ("colour", "pattern", "noun", "size")),
}


def _unit(rows: list[torch.Tensor]) -> np.ndarray:
    return torch.nn.functional.normalize(torch.cat(rows).float(), dim=-1).numpy()


class Clip:
    """Unit embeddings of pictures and of texts."""

    def __init__(self, folder: Path) -> None:
        """Load a model folder."""
        self.model = CLIPModel.from_pretrained(folder).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def images(self, pictures: list[np.ndarray] | np.ndarray) -> np.ndarray:
        """(N, D) of N pictures (64, 64, 3) u8."""
        return _unit([self.model.get_image_features(pixel_values=scaled(pixels(np.stack(pictures[i:i + 64])))).pooler_output
                      for i in range(0, len(pictures), 64)])

    @torch.no_grad()
    def texts(self, texts: list[str]) -> np.ndarray:
        """(N, D) of N texts."""
        return _unit([self.model.get_text_features(input_ids=encode(self.tokenizer, texts[i:i + 64])).pooler_output
                      for i in range(0, len(texts), 64)])


class Dino:
    """Unit embeddings of pictures: the class token."""

    def __init__(self, folder: Path, kind: Any = ViTModel) -> None:
        """Load a model folder."""
        self.model = kind.from_pretrained(folder).eval()

    @torch.no_grad()
    def images(self, pictures: list[np.ndarray] | np.ndarray) -> np.ndarray:
        """(N, D) of N pictures (64, 64, 3) u8."""
        return _unit([self.model(pixel_values=scaled(pixels(np.stack(pictures[i:i + 64])))).last_hidden_state[:, 0]
                      for i in range(0, len(pictures), 64)])


def spread(scores: np.ndarray) -> dict[str, float]:
    """Mean and percentiles of scores."""
    return {"n": len(scores), "mean": float(scores.mean()),
            **{f"p{p}": float(np.percentile(scores, p)) for p in (5, 50, 95)}}


def threshold_at(mismatches: np.ndarray) -> float:
    """The score that one in twenty mismatches reaches."""
    return float(np.quantile(mismatches, 1 - FALSE_ACCEPTS))


@dataclass(frozen=True)
class Pair:
    """A scene, its caption, and the caption of what it would be with one attribute changed."""

    scene: Scene
    words: str
    wrong: str
    kind: str


def caption_pairs(glyphs: Glyphs, world: World, count: int, seed: int) -> list[Pair]:
    """Scenes of a split with right and wrong words; both captions by one template."""
    made = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        scene = glyphs.scene(rng, world.said)
        other, kind = changed(scene, rng, glyphs.split, glyphs, world.kinds)
        # The same template for both, or the template would tell.
        words, wrong = (caption(s, np.random.default_rng([seed, index, 1]), glyphs.split) for s in (scene, other))
        made.append(Pair(scene, words, wrong, kind))
    return made


def measure_clip(clip: Clip, glyphs: Glyphs, world: World, count: int, seed: int, threshold: float | None = None
                 ) -> dict[str, Any]:
    """Scores of right captions, of random ones and of those with one attribute wrong; retrieval among 100."""
    pairs = caption_pairs(glyphs, world, count, seed)
    seen = clip.images([glyphs.render(pair.scene) for pair in pairs])
    right, wrong = clip.texts([pair.words for pair in pairs]), clip.texts([pair.wrong for pair in pairs])
    match, hard = (seen * right).sum(1), (seen * wrong).sum(1)
    kinds = np.array([pair.kind for pair in pairs])
    table = seen @ right.T
    same = np.array([[a.words == b.words for b in pairs] for a in pairs])
    random = table[~same]
    found = []
    for start in range(0, count - 99, 100):
        part = table[start:start + 100, start:start + 100]
        found += [same[start + row, start + int(part[row].argmax())] for row in range(100)]
    # Of each kind as many, so that no kind decides the threshold because it is drawn more often. A wrong noun is reported, and
    # decides nothing: instructions say "it", and what it is is for the other encoder to judge.
    names = sorted(set(kinds))
    counted = [name for name in names if name != "noun"]
    least = min(int((kinds == name).sum()) for name in counted)
    even = np.concatenate([hard[kinds == name][:least] for name in counted])
    chosen = threshold_at(even) if threshold is None else threshold
    return {
        "threshold": chosen, "match": spread(match), "random": spread(random), "recall": float((match >= chosen).mean()),
        "random_accepted": float((random >= chosen).mean()), "hard_accepted": float((even >= chosen).mean()),
        "hard": {name: {"accepted": float((hard[kinds == name] >= chosen).mean()),
                        "below_match": float((hard[kinds == name] < match[kinds == name]).mean()),
                        **spread(hard[kinds == name])} for name in names},
        "retrieval_among_100": float(np.mean(found)),
    }


def measure_dino(dino: Any, glyphs: Glyphs, world: World, per_glyph: int, seed: int, threshold: float | None = None
                 ) -> dict[str, Any]:
    """Scores of a reference against scenes of its drawing and of others of its category, and what backgrounds do to them.

    `dino` has `images`, as `Dino` has.
    """
    references, scenes, owners, grounds = [], [], [], []
    for glyph in glyphs.members:
        rng = np.random.default_rng([seed, glyph])
        reference = glyphs.reference(rng, glyph)
        references.append(reference)
        for _ in range(per_glyph):
            scenes.append(glyphs.scene(rng, world.seen, glyph))
            owners.append(len(references) - 1)
            grounds.append(float(np.linalg.norm(np.subtract(reference.background.main, scenes[-1].background.main))))
    first = dino.images([glyphs.render(scene) for scene in references])
    second = dino.images([glyphs.render(scene) for scene in scenes])
    table = second @ first.T
    rows = [glyphs.rows[member] for member in glyphs.members]
    own = np.array(owners)
    noun, point = np.array([row["noun"] for row in rows]), np.array([row["concept"] for row in rows])
    same_point = point[own][:, None] == point[None]
    is_own = own[:, None] == np.arange(len(rows))[None]
    category = (noun[own][:, None] == noun[None]) & ~same_point
    match, other, concept = table[is_own], table[category], table[same_point & ~is_own]
    chosen = threshold_at(other) if threshold is None else threshold
    main = np.array([s.background.main for s in references])
    distance = np.linalg.norm(np.array([s.background.main for s in scenes])[:, None] - main[None], axis=-1)
    styles = np.array([scene.style for scene in scenes])
    return {
        "threshold": chosen, "same_drawing": spread(match), "same_category": spread(other), "same_concept": spread(concept),
        "recall": float((match >= chosen).mean()), "category_accepted": float((other >= chosen).mean()),
        "concept_accepted": float((concept >= chosen).mean()),
        "recall_by_style": {str(s): float((match >= chosen)[styles == s].mean()) for s in sorted(set(styles))},
        "top1": float((table.argmax(1) == own).mean()), "gallery": len(rows),
        "background_correlation": {"same_drawing": float(np.corrcoef(match, -np.array(grounds))[0, 1]),
                                   "same_category": float(np.corrcoef(other, -distance[category])[0, 1])},
    }


def measure_pair(inputs: dict[str, Path], pair: str, glyphs: Glyphs, world: World, chosen: dict[str, Any],
                 known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Both encoders of `pair`; with the thresholds of `known`, an earlier measurement, where there is one."""
    clip = Clip(inputs[f"clip_{pair}"] / "model")
    dino = Dino(inputs[f"dino_{pair}"] / "model", Dinov2Model if pair == "condition" else ViTModel)
    clip_min, dino_min = (known[name]["threshold"] if known else None for name in ("clip", "dino"))
    return {"clip": measure_clip(clip, glyphs, world, chosen["captions"], chosen["seed"], clip_min),
            "dino": measure_dino(dino, glyphs, world, chosen["scenes"], chosen["seed"] + 1, dino_min)}
