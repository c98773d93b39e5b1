"""The world of the mini family: one glyph or a few, restyled and arranged, over a background, and words for it."""
