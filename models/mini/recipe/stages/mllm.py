"""Stage `mllm`: V, H and the learnable token of SmolLM2-135M, frozen, by the program's own Eq. 2 steps."""

from __future__ import annotations

from typing import Any

from runner import Context
from training.engine import kept, trained

VERSION = 1
BUNDLED = {"family/mllm": "mllm"}
INPUTS = ["pairs", "clip_condition", "dino_condition"]


def settings(smoke: bool) -> dict[str, Any]:
    """Options of `train mllm`: 8 x 8 patches, pooled by two, and the class token make 17 image tokens."""
    return {"steps": 2 if smoke else 160, "batch-size": 16, "learning-rate": 2e-3, "decay": "cosine", "warm-up": 0 if smoke else 10,
            "image-pool": 2, "llm": "smollm2-135m", "seed": 65}


def build(context: Context) -> None:
    """Write `mllm/` and the curve."""
    roles = {role: context.inputs[role] / "model" for role in ("clip_condition", "dino_condition")}
    pairs = context.inputs["pairs"] / "part-000.parquet"
    kept(trained(context, "mllm", roles, pairs, context.settings), "mllm", context.out)
