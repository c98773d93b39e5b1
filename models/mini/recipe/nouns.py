"""Words name classes, not subjects: one generic noun per subcategory, and never an emoji's name.

A name in a caption would tell the text tower which glyph it is, and identity would leak through the words. What
has no noun here is left out: flags, symbols, bare skin tones, and what is a sign rather than a thing.
"""

from __future__ import annotations

_BY_NOUN = {
    "animal": ["animal-amphibian", "animal-mammal", "animal-reptile", "cat-face", "monkey-face", "animal-bird",
               "animal-bug", "animal-marine"],
    "plant": ["plant-flower", "plant-other"],
    "fruit": ["food-fruit"],
    "vegetable": ["food-vegetable"],
    "dish": ["food-asian", "food-prepared", "food-sweet"],
    "drink": ["drink", "dishware"],
    "vehicle": ["transport-ground", "transport-air", "transport-water"],
    "building": ["place-building", "place-religious", "hotel"],
    "landscape": ["place-geographic", "place-other"],
    "weather sign": ["sky & weather"],
    "clock": ["time"],
    "garment": ["clothing"],
    "tool": ["tool", "science", "medical", "lock"],
    "device": ["computer", "phone", "light & video"],
    "instrument": ["musical-instrument"],
    "toy": ["game", "sport", "event", "arts & crafts", "award-medal"],
    "household thing": ["household", "office", "writing", "book-paper", "mail", "money"],
    "hand": ["hand-fingers-closed", "hand-fingers-open", "hand-fingers-partial", "hand-prop", "hand-single-finger",
             "hands"],
    "person": ["person", "person-activity", "person-fantasy", "person-gesture", "person-resting", "person-role",
               "person-sport"],
    "face": ["face-affection", "face-concerned", "face-costume", "face-glasses", "face-hand", "face-hat",
             "face-negative", "face-neutral-skeptical", "face-sleepy", "face-smiling", "face-tongue", "face-unwell"],
}

NOUN_OF = {subcategory: noun for noun, members in _BY_NOUN.items() for subcategory in members}
NOUNS = tuple(_BY_NOUN)


def noun_of(category: str, subcategory: str) -> str | None:
    """The generic noun of a subcategory, or None where its glyphs are left out."""
    return None if category in ("Flags", "Symbols", "Component") else NOUN_OF.get(subcategory)
