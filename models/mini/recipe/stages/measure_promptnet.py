"""Stage `measure_promptnet`: what ProFusion makes of drawings of `val`, through the program: tuned to each, and not.

The same references, captions and noise twice: so that what tuning does to identity is seen pair by pair.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from runner import Context
from stages.sheets import sheet
from training.engine import base, family, program
from training.pictures import Glyphs

VERSION = 1
INPUTS = ["glyphs", "split", "text_to_image", "vae", "promptnet", "clip_filter", "dino_filter",
          "onnx_filters", "measure_encoders"]
_TEMPLATES = Path(__file__).resolve().parents[4] / "manifests" / "templates" / "mini.toml"
_MANIFEST = """version = 1
seed = 95
model_family = "family"

[[stage]]
kind = "collect"
name = "collect"
source = {{ type = "folder", path = "references" }}

[[stage]]
kind = "instruct"
name = "instruct"
needs = ["collect"]
templates = ["templates.toml"]
per_reference = {per_reference}
pairing = "balanced"

[[stage]]
kind = "synthesize"
name = "fuse"
needs = ["instruct"]
generator = {{ type = "profusion", iterations = {iterations}, augmentations = 7, fusion = {{ steps = {steps} }} }}

[[stage]]
kind = "score"
name = "score"
needs = ["fuse"]
clip_text = "caption"
"""


def settings(smoke: bool) -> dict[str, Any]:
    """How many references and captions of each, how long it is tuned, and the steps of fusion sampling."""
    return {"references": 4 if smoke else 24, "per_reference": 4, "iterations": 2 if smoke else 10, "steps": 10, "seed": 95}


def _asked(folder: Path, sql: str) -> list[dict[str, Any]]:
    said = subprocess.run([program(), "query", "-m", "cafe.toml", "--format", "json", sql], cwd=folder, check=True,
                          stdout=subprocess.PIPE)
    rows: list[dict[str, Any]] = json.loads(said.stdout)
    return rows


def _scored(folder: Path, inputs: dict[str, Path], references: Path, iterations: int, chosen: dict[str, Any]
            ) -> list[dict[str, Any]]:
    """Run the program in `folder` to its end; scores by pair."""
    folder.mkdir(parents=True, exist_ok=True)
    roles = {**base(inputs), "promptnet": inputs["promptnet"] / "promptnet"}
    place = family(folder / "family", roles)
    for name in ("clip_filter", "dino_filter"):
        shutil.copytree(inputs[name] / "model", place / name)
        shutil.copytree(inputs["onnx_filters"] / name, place / name, dirs_exist_ok=True)
    shutil.copytree(references, folder / "references", dirs_exist_ok=True)
    shutil.copyfile(_TEMPLATES, folder / "templates.toml")
    (folder / "cafe.toml").write_text(_MANIFEST.format(iterations=iterations, **{
        key: chosen[key] for key in ("per_reference", "steps")}))
    subprocess.run([program(), "run", "-m", "cafe.toml"], cwd=folder, check=True)
    return _asked(folder, "SELECT c.pair_id, s.clip, s.dino FROM candidates c JOIN scores s ON c.candidate_id = s.candidate_id "
                          "ORDER BY c.pair_id")


def build(context: Context) -> None:
    """Write `promptnet.json` and `grid.png`: references, then what was drawn of each without and with tuning."""
    chosen, inputs = context.settings, context.inputs
    glyphs = Glyphs(inputs["glyphs"], inputs["split"], "val")
    references = context.out / "references"
    references.mkdir()
    with (references / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["file_name", "class", "licence"])
        for index in range(chosen["references"]):
            rng = np.random.default_rng([chosen["seed"], index])
            glyph = glyphs.draw(rng)
            Image.fromarray(glyphs.render(glyphs.reference(rng, glyph))).save(references / f"{index:03}.png")
            rows.writerow([f"{index:03}.png", glyphs.noun(glyph), glyphs.rows[glyph]["licence"]])
    known = json.loads((inputs["measure_encoders"] / "encoders.json").read_text())["drawn"]["filter"]
    clip_min, dino_min = known["clip"]["threshold"], known["dino"]["threshold"]
    found: dict[str, Any] = {"settings": chosen, "thresholds": {"clip": clip_min, "dino": dino_min}}
    dino = {}
    for name, iterations in (("untuned", 0), ("tuned", chosen["iterations"])):
        scored = _scored(context.state / name, inputs, references, iterations, chosen)
        right, same = (np.array([row[key] for row in scored]) for key in ("clip", "dino"))
        dino[name] = {row["pair_id"]: row["dino"] for row in scored}
        found[name] = {"n": len(scored), "clip": float(right.mean()), "dino": float(same.mean()),
                       "clip_passes": float((right >= clip_min).mean()), "dino_passes": float((same >= dino_min).mean()),
                       "passes": float(((right >= clip_min) & (same >= dino_min)).mean())}
    gaps = np.array([dino["tuned"][pair] - dino["untuned"][pair] for pair in dino["untuned"]])
    found["tuning_adds_to_dino"] = {"mean": float(gaps.mean()), "n": len(gaps),
                                    "ci95": float(1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5)}
    (context.out / "promptnet.json").write_text(json.dumps(found, indent=1))
    untuned, tuned = (context.state / name for name in ("untuned", "tuned"))
    # A pair each of twelve references.
    pairs = {row["reference_id"]: row["pair_id"] for row in _rows(tuned, "instruct", "pairs")}
    shown = sorted(pairs)[:12]
    originals = {row["reference_id"]: row["image"] for row in _rows(tuned, "collect", "references")}
    drawn = [{row["pair_id"]: row["image"] for row in _rows(folder, "fuse", "candidates")} for folder in (untuned, tuned)]
    pictures = [originals[name] for name in shown] + [some[pairs[name]] for some in drawn for name in shown]
    sheet([np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in pictures], 12).save(
        context.out / "grid.png", optimize=True)


def _rows(folder: Path, node: str, table: str) -> list[dict[str, Any]]:
    files = sorted((folder / "data" / "shards" / node).glob(f"{table}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]
