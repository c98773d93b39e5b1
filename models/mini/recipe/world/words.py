"""Words for a scene: exact captions, and instructions that lead to it. Templates are divided between splits too."""

from __future__ import annotations

import numpy as np

from world.scene import Scene

_PLURAL = {"dish": "dishes", "landscape": "landscapes", "drink": "drinks"}
_COUNT = {2: "two", 3: "three"}
_CAPTIONS = {
    "base": ("{subject} {place}on {background}", "a picture of {subject} {place}on {background}",
             "{background} with {subject} {place}", "an image of {subject} {place}over {background}"),
    "held": ("a photo of {subject} {place}on {background}", "{subject} {place}in front of {background}"),
}
_INSTRUCTIONS = {
    "base": ("put {it} {place}on {background}", "make {it} {place}on {background}",
             "draw {it} {place}over {background}", "show {it} {place}on {background}"),
    "held": ("place {it} {place}on {background}", "I want {it} {place}on {background}"),
}


_REPLIES = ("Here is your {noun} {place}on {background}.", "I put your {noun} {place}on {background}.",
            "Sure! Here is your {noun} {place}on {background}.")


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def background_words(scene: Scene) -> str:
    """`"a striped red background"`; a plain one is named by its colour alone."""
    pattern = "" if scene.background.pattern == "plain" else f"{scene.background.pattern} "
    return _article(f"{pattern}{scene.background.colour} background")


def _adjectives(scene: Scene) -> str:
    words = []
    if scene.count == 1 and scene.size != "medium":
        words.append(scene.size)
    if scene.turn != "upright":
        words.append(scene.turn)
    if scene.style != "plain":
        words.append(f"{scene.tint}-tinted" if scene.style == "tinted" else scene.style)
    return " ".join(words)


def subject_words(scene: Scene) -> str:
    """`"a small greyscale animal"`, `"two pixelated fruits"`."""
    words = f"{_adjectives(scene)} {scene.noun}".strip()
    if scene.count == 1:
        return _article(words)
    plural = _PLURAL.get(scene.noun, f"{scene.noun}s")
    return f"{_COUNT[scene.count]} {_adjectives(scene)} {plural}".replace("  ", " ")


def _place(scene: Scene) -> str:
    return {"left": "on the left ", "right": "on the right ", "top": "at the top ",
            "bottom": "at the bottom "}.get(scene.position, "")


def _clean(text: str) -> str:
    return " ".join(text.split())


def caption(scene: Scene, rng: np.random.Generator | None = None, split: str = "base") -> str:
    """Exactly what the picture shows. Without `rng` the first template is taken."""
    known = _CAPTIONS["base" if split == "base" else "held"]
    template = known[0] if rng is None else str(rng.choice(known))
    return _clean(template.format(subject=subject_words(scene), place=_place(scene),
                                  background=background_words(scene)))


def instruction(scene: Scene, rng: np.random.Generator, split: str = "base") -> str:
    """What one would ask for to get the picture from a plain one of the same subject: "put it on a red background"."""
    known = _INSTRUCTIONS["base" if split == "base" else "held"]
    it = "it" if scene.count == 1 else f"{_COUNT[scene.count]} of it"
    adjectives = _adjectives(scene)
    if adjectives:
        it = f"{it} {adjectives}"
    return _clean(str(rng.choice(known)).format(it=it, place=_place(scene), background=background_words(scene)))


def reply(scene: Scene, rng: np.random.Generator) -> str:
    """What an assistant says when it gives the picture: "Here is your large fruit on a red background."."""
    noun = f"{_adjectives(scene)} {scene.noun}".strip()
    return _clean(str(rng.choice(_REPLIES)).format(noun=noun, place=_place(scene), background=background_words(scene)))
