"""What is bundled comes back as it was, but for what halves cannot say; what does not belong to a model stays behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

torch = pytest.importorskip("torch")
import bundle  # noqa: E402


def _output(folder: Path, value: float) -> Path:
    from safetensors.torch import save_file

    model = folder / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "training_args.bin").write_bytes(b"pickle")
    save_file({"w": torch.full((4,), value), "ids": torch.arange(3)}, model / "model.safetensors")
    return folder


def test_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    monkeypatch.setattr(bundle, "MINI", tmp_path / "mini")
    bundle.bundle(_output(tmp_path / "out", 1 / 3), {"family/eye": "model"})
    kept = tmp_path / "mini" / "family" / "eye"
    assert sorted(path.name for path in kept.iterdir()) == ["config.json", "model.safetensors"]
    assert load_file(kept / "model.safetensors")["w"].dtype == torch.float16
    bundle.restore(tmp_path / "again", {"family/eye": "model"})
    back = load_file(tmp_path / "again" / "model" / "model.safetensors")
    assert back["w"].dtype == torch.float32 and torch.equal(back["w"], torch.full((4,), 1 / 3).half().float())
    assert torch.equal(back["ids"], torch.arange(3))


def test_numbers_that_halves_have_not_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MINI", tmp_path / "mini")
    with pytest.raises(SystemExit, match="f16"):
        bundle.bundle(_output(tmp_path / "out", 1e6), {"family/eye": "model"})


def test_what_is_not_bundled_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MINI", tmp_path / "mini")
    with pytest.raises(SystemExit, match="family/eye"):
        bundle.restore(tmp_path / "again", {"family/eye": "model"})


def test_exports_lie_beside_the_weights_and_are_not_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MINI", tmp_path / "mini")
    kept = tmp_path / "mini" / "family" / "eye"
    bundle.bundle(_output(tmp_path / "out", 1.0), {"family/eye": "model"})
    for name in ("old", "new"):
        exported = tmp_path / name / "eye"
        exported.mkdir(parents=True)
        (exported / f"{name}.onnx").write_bytes(name.encode())
        bundle.bundle(tmp_path / name, {"family/eye": "eye"})
    assert sorted(path.name for path in kept.iterdir()) == ["config.json", "model.safetensors", "new.onnx"]
    bundle.bundle(_output(tmp_path / "later", 2.0), {"family/eye": "model"})
    assert (kept / "new.onnx").read_bytes() == b"new"
    bundle.restore(tmp_path / "again", {"family/eye": "model"})
    assert not list((tmp_path / "again").rglob("*.onnx"))
