"""The loop that all PyTorch trainings run: AdamW, a cosine, a running mean of the weights, and a state to go on from."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.tensors import use_cores

# "cuda" trains there; what is drawn is drawn on the CPU all the same, so that a seed means the same batches and noise.
DEVICE = torch.device(os.environ.get("CAFE_RECIPE_DEVICE", "cpu"))


def on_device(batch: Any) -> Any:
    """A batch's tensors where the model is."""
    if isinstance(batch, torch.Tensor):
        return batch.to(DEVICE)
    if isinstance(batch, dict):
        return {name: on_device(value) for name, value in batch.items()}
    return tuple(on_device(value) for value in batch)


@dataclass(frozen=True)
class Plan:
    """How long and how fast. `seconds` is said in the log beside the estimate, and limits nothing."""

    steps: int
    learning_rate: float
    seed: int
    warm_up: int = 200
    weight_decay: float = 0.01
    ema: float = 0.999
    save_seconds: float = 120.0


def _rate(plan: Plan, step: int) -> float:
    if step < plan.warm_up:
        return plan.learning_rate * (step + 1) / plan.warm_up
    done = (step - plan.warm_up) / max(1, plan.steps - plan.warm_up)
    return float(plan.learning_rate * 0.5 * (1 + np.cos(np.pi * done)))


def _write(path: Path, state: dict[str, Any]) -> None:
    """The state whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    os.replace(partial, path)


def train(
    modules: torch.nn.ModuleDict,
    make: Callable[[np.random.Generator, int], Any],
    loss_of: Callable[[Any, torch.Generator], tuple[torch.Tensor, dict[str, float]]],
    plan: Plan,
    state: Path,
    measure: Callable[[], dict[str, float]] | None = None,
    measure_every: int = 0,
) -> list[dict[str, float]]:
    """Train what `modules` holds until `plan.steps`; in the end its weights are the running means.

    Goes on from `state` where it was stopped, and keeps `log.jsonl` there. Returns what was logged.
    """
    use_cores()
    modules.to(DEVICE)
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=plan.weight_decay)
    means = [p.detach().clone() for p in parameters]
    saved, log_path = state / "state.pt", state / "log.jsonl"
    start, spent, log = 0, 0.0, []
    if saved.is_file():
        known = torch.load(saved, weights_only=True, map_location=DEVICE)
        modules.load_state_dict(known["modules"])
        optimiser.load_state_dict(known["optimiser"])
        means, start, spent, log = known["means"], known["step"], known["seconds"], known["log"]
        print(f"goes on at step {start} of {plan.steps}", file=sys.stderr)
    begun, kept = time.monotonic(), time.monotonic()

    def keep(step: int) -> None:
        seconds = spent + time.monotonic() - begun
        _write(saved, {"modules": modules.state_dict(), "optimiser": optimiser.state_dict(), "means": means,
                       "step": step, "seconds": seconds, "log": log})
        log_path.write_text("".join(json.dumps(row) + "\n" for row in log))

    modules.train()
    for step in range(start, plan.steps):
        # What a batch shows depends on the seed and its number only, so that a training can go on.
        batch = on_device(make(np.random.default_rng([plan.seed, step]), step))
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = _rate(plan, step)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss, parts = loss_of(batch, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        # A mean over few steps in the beginning, over many in the end.
        decay = min(plan.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(means, [p.detach() for p in parameters], 1 - decay)
        n_done = step + 1
        measured = measure is not None and measure_every and n_done % measure_every == 0
        if n_done % 50 == 0 or measured or n_done == plan.steps:
            seconds = spent + time.monotonic() - begun
            row = {"step": n_done, "seconds": round(seconds, 1), "loss": float(loss.detach()), **parts}
            if measured:
                row |= with_means(parameters, means, modules, measure)
            log.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
        if time.monotonic() - kept > plan.save_seconds or n_done == plan.steps:
            keep(n_done)
            kept = time.monotonic()
    with torch.no_grad():
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.copy_(mean)
    modules.eval().to("cpu")
    return log


def with_means(parameters: list[torch.Tensor], means: list[torch.Tensor], modules: torch.nn.Module,
               measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What `measure` says of the running means; the weights themselves are put back."""
    own = [p.detach().clone() for p in parameters]
    modules.eval()
    with torch.no_grad():
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.copy_(mean)
        found = measure()
        for parameter, value in zip(parameters, own, strict=True):
            parameter.copy_(value)
    modules.train()
    return found
