"""The noun table is one noun per subcategory, and leaves out flags and symbols."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nouns import _BY_NOUN, NOUN_OF, noun_of  # noqa: E402


def test_each_subcategory_has_one_noun() -> None:
    assert sum(map(len, _BY_NOUN.values())) == len(NOUN_OF)


def test_flags_and_symbols_are_left_out() -> None:
    assert noun_of("Flags", "country-flag") is None
    assert noun_of("Symbols", "time") is None
    assert noun_of("Food & Drink", "food-fruit") == "fruit"
