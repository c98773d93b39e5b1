"""What is bundled of trainings: weights in halves, in the layout that the engine reads, and the way back; and ONNX."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

# `family/` has a folder for each role, `pool/` the references of the quickstart.
MINI = Path(__file__).resolve().parent.parent
FILES = {"config.json", "preprocessor_config.json", "scheduler_config.json", "vocab.json", "merges.txt",
         "tokenizer_config.json", "metadata.csv"}


def _copied(source: Path, target: Path, half: bool) -> None:
    """A model's folder, its weights in f16 or in f32; what is no part of it (model cards, pickles) stays behind.

    ONNX is bundled as it is, and not taken back: it is made of the weights.
    """
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.name in FILES or path.suffix == ".png" or (path.suffix == ".onnx" and half):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            if path.name == "config.json":
                _forget_place(place)
        elif path.suffix == ".safetensors":
            # Not needed where nothing is trained.
            import torch
            from safetensors.torch import load_file, save_file

            place.parent.mkdir(parents=True, exist_ok=True)
            tensors = {key: (value.half() if half else value.float()) if value.is_floating_point() else value
                       for key, value in load_file(path).items()}
            if not all(torch.isfinite(value).all() for value in tensors.values() if value.is_floating_point()):
                raise SystemExit(f"{path} has numbers that f16 has not")
            save_file(tensors, place, metadata={"format": "pt"})


def _forget_place(config: Path) -> None:
    """Take out where diffusers loaded the model from: a folder of the machine that trained it."""
    read = json.loads(config.read_text())
    if read.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(read, indent=2) + "\n")


def bundle(output: Path, places: dict[str, str]) -> None:
    """Copy a training's output to what is bundled."""
    for role, place in places.items():
        # Cards are written by hand, and stay; so do weights of another kind, which another stage brings.
        for suffix in (".safetensors", ".onnx"):
            if any((output / place).rglob(f"*{suffix}")):
                for path in (MINI / role).rglob(f"*{suffix}"):
                    path.unlink()
        _copied(output / place, MINI / role, half=True)


def restore(output: Path, places: dict[str, str]) -> None:
    """Make a training's output of what is bundled."""
    for role, place in places.items():
        if not (MINI / role).is_dir():
            raise SystemExit(f"there is no {MINI / role}: run the training")
        _copied(MINI / role, output / place, half=False)
