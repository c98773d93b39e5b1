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

from bundle import bundle, restore

MARK = "fingerprint.json"


@dataclass(frozen=True)
class StageSpec:
    """One stage as the runner sees it."""

    name: str
    version: int
    inputs: tuple[str, ...]
    settings: Callable[[bool], dict[str, Any]]
    build: Callable[[Context], None]
    # What of a training is bundled, and where its output has that: "family/clip_filter" → "model".
    bundled: dict[str, str] | None = None
    # The same of what is made of other stages' weights: it is bundled too, but never taken back.
    exported: dict[str, str] | None = None


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


def _prepared(spec: StageSpec, root: Path, smoke: bool, all_there: bool = True) -> tuple[dict[str, Path], dict[str, Any], str]:
    """Folders of the inputs, settings, and the fingerprint that the output will have."""
    folders = {name: root / name for name in spec.inputs}
    marks = {name: _mark(folder) for name, folder in folders.items()}
    missing = [name for name, mark in marks.items() if mark is None]
    if missing and all_there:
        raise SystemExit(f"stage {spec.name} needs {', '.join(missing)}: run that first")
    settings = spec.settings(smoke)
    return folders, settings, fingerprint(spec, {name: mark for name, mark in marks.items() if mark}, settings)


def _finish(work: Path, final: Path, mark: str) -> None:
    (work / MARK).write_text(json.dumps({"fingerprint": mark}))
    shutil.rmtree(final, ignore_errors=True)
    work.rename(final)


def restore_stage(spec: StageSpec, root: Path) -> str:
    """Take a training's output from what is bundled, so that later stages go on where it was not run."""
    if spec.exported:
        raise SystemExit(f"stage {spec.name} is made of other stages' weights: run it")
    if not spec.bundled:
        raise SystemExit(f"nothing of stage {spec.name} is bundled")
    # What it was made of need not be there: only the end of a long training is bundled.
    _, _, wanted = _prepared(spec, root, False, all_there=False)
    work = root / f".{spec.name}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    restore(work, spec.bundled)
    _finish(work, root / spec.name, wanted)
    return "restored"


def bundle_stage(spec: StageSpec, root: Path) -> str:
    """Copy a finished training's output to what is bundled."""
    places = spec.bundled or spec.exported
    if not places or _mark(root / spec.name) is None:
        raise SystemExit(f"stage {spec.name} has nothing to bundle")
    bundle(root / spec.name, places)
    return "bundled"


def run_stage(spec: StageSpec, root: Path, smoke: bool) -> str:
    """Build a stage unless its output is there; return "built" or "skipped"."""
    folders, settings, wanted = _prepared(spec, root, smoke)
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
        _finish(work, final, wanted)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return "built"
