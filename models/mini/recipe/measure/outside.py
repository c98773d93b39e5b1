"""EfficientNet-Lite2 as a judge from outside: it was trained on photographs by others, and no model of ours has seen it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.features import features_of, load


class Outside:
    """Unit features of pictures, less the mean of all drawings, as the split was made by."""

    def __init__(self, inputs: dict[str, Path]) -> None:
        """Load the network, and the features of the drawings on grey."""
        self.network = load(inputs["fetch"])
        self.mean = np.load(inputs["features"] / "features.npy").mean(0)

    def images(self, pictures: list[np.ndarray] | np.ndarray) -> np.ndarray:
        """(N, 1280) of N pictures (64, 64, 3) u8."""
        found = features_of(self.network, np.stack(list(pictures))) - self.mean
        return found / np.linalg.norm(found, axis=1, keepdims=True)
