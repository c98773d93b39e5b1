"""Trainings by the project's own program: what it says is what a user would see, and it goes on where it was stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from runner import Context


def program() -> str:
    """`CAFE_DATA`, else what is on the path."""
    found = os.environ.get("CAFE_DATA") or shutil.which("cafe-data")
    if not found:
        raise SystemExit("this stage trains by the program: cargo build --release, then CAFE_DATA=target/release/cafe-data")
    return found


def family(place: Path, roles: dict[str, Path]) -> Path:
    """A model family of other stages' folders: a name may be of a part, `text_to_image/vae`."""
    shutil.rmtree(place, ignore_errors=True)
    for role, folder in roles.items():
        target = place / role
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder.resolve(), target_is_directory=True)
    return place


def base(inputs: dict[str, Path]) -> dict[str, Path]:
    """The base model's parts, of the two stages that make them."""
    made = inputs["text_to_image"] / "text_to_image"
    parts = {f"text_to_image/{part}": made / part for part in ("unet", "text_encoder", "tokenizer", "scheduler")}
    return {**parts, "text_to_image/vae": inputs["vae"] / "vae"}


def trained(context: Context, what: str, roles: dict[str, Path], pairs: Path, options: dict[str, Any]) -> Path:
    """Run `train WHAT` to its end in the stage's state; its output folder. `options` are named as on the command line."""
    given = [part for name, value in options.items() for part in ([f"--{name}"] if value is True else [f"--{name}", str(value)])]
    context.state.mkdir(parents=True, exist_ok=True)
    output = context.state / "trained"
    threads = ["--threads", os.environ["CAFE_RECIPE_THREADS"]] if "CAFE_RECIPE_THREADS" in os.environ else []
    command = [program(), "train", what, "--family", str(family(context.state / "family", roles)), "--pairs", str(pairs),
               "-o", str(output), *threads, *given]
    subprocess.run(command, check=True)
    return output


def kept(output: Path, role: str, place: Path) -> None:
    """Copy the trained model, and its curve beside it."""
    shutil.copytree(output / role, place / role)
    shutil.copyfile(output / "loss.csv", place / "loss.csv")
