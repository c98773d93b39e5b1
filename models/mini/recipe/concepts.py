"""Concept groups: codepoints that draw one concept, and must not be divided between splits.

Skin tone, gender, hair, direction and the person who does it are variants of one concept. What drawings share
beyond that (two cats, thirty clocks) is found by looking: see `stages/split.py`.
"""

from __future__ import annotations

_SKIN = {f"1F3F{digit}" for digit in "BCDEF"}
_GENDER = {"2640", "2642"}
_HAIR = {"1F9B0", "1F9B1", "1F9B2", "1F9B3"}
_ADULT = {"1F468": "ADULT", "1F469": "ADULT", "1F9D1": "ADULT", "1F9D4": "ADULT", "1F471": "ADULT"}
# Single codepoints that Unicode has for each gender or age.
_SAME = {
    "1F474": "OLD", "1F475": "OLD", "1F9D3": "OLD", "1F466": "CHILD", "1F467": "CHILD", "1F9D2": "CHILD",
    "1F934": "ROYAL", "1F478": "ROYAL", "1F385": "CLAUS", "1F936": "CLAUS", "1F57A": "DANCE", "1F483": "DANCE",
    "1F46B": "PAIR", "1F46C": "PAIR", "1F46D": "PAIR", "1F48F": "PAIR", "1F491": "PAIR", "1F46A": "FAMILY",
}


def concept_of(unified: str) -> str:
    """The concept of a codepoint sequence as `emoji.json` writes it: "1F468-1F3FB-200D-1F373"."""
    points = [p for p in unified.upper().split("-") if p not in _SKIN | _GENDER | _HAIR | {"FE0F", "200D", "27A1"}]
    names = [_SAME.get(point, _ADULT.get(point, point)) for point in points]
    people = [name for name in names if name in ("ADULT", "CHILD", "FAMILY")]
    if len(people) > 1:
        return "PAIR" if "2764" in names or "1F91D" in names else "FAMILY"
    if len(names) == 2 and names[0] == "ADULT" and names[1] == "1F384":
        return "CLAUS"
    return "-".join(names)
