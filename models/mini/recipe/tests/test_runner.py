"""A stage is built once, again when a setting changes, and never left half done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runner import Context, StageSpec, run_stage  # noqa: E402


def _spec(value: int, fail: bool = False, inputs: tuple[str, ...] = ()) -> StageSpec:
    def build(context: Context) -> None:
        (context.out / "value").write_text(str(context.settings["value"]))
        if fail:
            raise RuntimeError("killed")

    return StageSpec("made", 1, inputs, lambda smoke: {"value": value}, build)


def test_same_fingerprint_is_skipped_and_another_is_built(tmp_path: Path) -> None:
    assert [run_stage(_spec(value), tmp_path, False) for value in (1, 1, 2)] == ["built", "skipped", "built"]
    assert (tmp_path / "made" / "value").read_text() == "2"


def test_failed_build_keeps_the_old_output(tmp_path: Path) -> None:
    run_stage(_spec(1), tmp_path, False)
    with pytest.raises(RuntimeError):
        run_stage(_spec(2, fail=True), tmp_path, False)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "value").read_text() == "1"


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="absent"):
        run_stage(_spec(1, inputs=("absent",)), tmp_path, False)
