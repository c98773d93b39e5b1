"""What makes the recipe resumable: fingerprints, and outputs that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "fingerprint.json"


@dataclass(frozen=True)
class StageSpec:
    """One stage as the runner sees it."""

    name: str
    version: int
    inputs: tuple[str, ...]
    settings: Callable[[bool], dict[str, Any]]
    build: Callable[[Context], None]


@dataclass(frozen=True)
class Context:
    """What a stage may touch: its inputs' folders to read, one new folder to write, and one that outlives a stop."""

    out: Path
    state: Path
    inputs: dict[str, Path]
    settings: dict[str, Any]
    downloads: Path


def cache_root() -> Path:
    """The folder of everything fetched and built, outside the repository: it is large and can be made again."""
    named = os.environ.get("CAFE_RECIPE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cafe-data" / "recipe"


def _mark(folder: Path) -> str | None:
    """The fingerprint that a finished output carries, or None where there is no finished output."""
    path = folder / MARK
    return json.loads(path.read_text())["fingerprint"] if path.is_file() else None


def fingerprint(spec: StageSpec, inputs: dict[str, str], settings: dict[str, Any]) -> str:
    """Of inputs, settings and code version: equal fingerprints mean that nothing has to be made again."""
    facts = {"name": spec.name, "version": spec.version, "inputs": inputs, "settings": settings}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def run_stage(spec: StageSpec, root: Path, smoke: bool) -> str:
    """Build a stage unless its output is there; return "built" or "skipped"."""
    folders = {name: root / name for name in spec.inputs}
    marks = {name: _mark(folder) for name, folder in folders.items()}
    missing = [name for name, mark in marks.items() if mark is None]
    if missing:
        raise SystemExit(f"stage {spec.name} needs {', '.join(missing)}: run that first")
    settings = spec.settings(smoke)
    wanted = fingerprint(spec, {name: mark for name, mark in marks.items() if mark}, settings)
    final = root / spec.name
    if _mark(final) == wanted:
        return "skipped"
    work = root / f".{spec.name}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        # Named by the fingerprint: a training never goes on from the state of another one.
        state = root / ".state" / f"{spec.name}-{wanted[:16]}"
        spec.build(Context(work, state, folders, settings, root.parent / "downloads"))
        (work / MARK).write_text(json.dumps({"fingerprint": wanted}))
        shutil.rmtree(final, ignore_errors=True)
        work.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return "built"
