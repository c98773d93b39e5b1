"""Make what the comparison of `score` needs: encoders of the published sizes with random weights, pictures, a manifest.

    python benches/peers/score/make.py /tmp/score --count 256

with the versions of models/mini/recipe/requirements.txt. The weights mean nothing; what they cost is that of CLIP ViT-B/32
and DINO ViT-S/16.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageFilter
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "models" / "mini" / "recipe"))

from training.onnx import ClipImage, ClipText, Dino, check, export, halved  # noqa: E402

SIDE_PX = 512
PER_REFERENCE = 16
MANIFEST = """version = 1
seed = 1
model_family = "family"
[[stage]]
kind = "import"
name = "import"
source = { type = "parquet", files = ["pairs.parquet"], columns = { reference = "reference", target = "target", instruction = "instruction" } }
shard_rows = 128
[[stage]]
kind = "score"
name = "score"
needs = ["import"]
scorers = ["clip", "dino"]
"""
MEANS = {"clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]), "dino": ([0.5] * 3, [0.5] * 3)}


def processor(folder: Path, kind: str) -> None:
    """Write what the encoder wants of pictures."""
    mean, std = MEANS[kind]
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True,
        "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": mean, "image_std": std}))


def encoders(family: Path) -> None:
    """Write both encoders, as weights and as ONNX."""
    torch.manual_seed(0)
    # The mini family's tokenizer: its vocabulary is small, and the tower's size does not depend on which ids it is given.
    tokenizer = ROOT / "models" / "mini" / "family" / "clip_filter"
    config = CLIPConfig()
    ends = json.loads((tokenizer / "config.json").read_text())["text_config"]
    config.text_config.bos_token_id, config.text_config.eos_token_id = ends["bos_token_id"], ends["eos_token_id"]
    clip = halved(CLIPModel(config))
    dino = halved(ViTModel(ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536), add_pooling_layer=False))
    for name, model in (("clip_filter", clip), ("dino_filter", dino)):
        model.save_pretrained(family / name)
        processor(family / name, name.split("_")[0])
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(tokenizer / name, family / "clip_filter" / name)
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text()) | {"model_max_length": 77}
    (family / "clip_filter" / "tokenizer_config.json").write_text(json.dumps(settings))
    images, ids = torch.randn(2, 3, 224, 224), torch.full((2, 77), ends["eos_token_id"])
    for module, rows, called, path in ((ClipImage(clip), images, "pixel_values", "clip_filter/image.onnx"),
                                       (ClipText(clip), ids, "input_ids", "clip_filter/text.onnx"),
                                       (Dino(dino), images, "pixel_values", "dino_filter/model.onnx")):
        export(module, rows, called, family / path)
        print(f"{path}: differs by {check(module, rows, family / path):.1e}", file=sys.stderr)


def picture(rng: np.random.Generator) -> bytes:
    """A JPEG that costs as much to decode as a photograph: smooth parts, edges, some noise."""
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 8, (SIDE_PX, SIDE_PX, 3))
    whole = Image.fromarray(np.clip(np.asarray(coarse.filter(ImageFilter.SHARPEN)) + noise, 0, 255).astype(np.uint8))
    bytes_ = io.BytesIO()
    whole.save(bytes_, "JPEG", quality=92)
    return bytes_.getvalue()


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=256)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    encoders(options.folder / "family")
    rng = np.random.default_rng(0)
    references = [picture(rng) for _ in range(-(-options.count // PER_REFERENCE))]
    rows = range(options.count)
    table = pa.table({
        "reference": [references[row // PER_REFERENCE] for row in rows],
        "target": [picture(rng) for _ in rows],
        "instruction": [f"put it on a red background {row % 8}" for row in rows],
    })
    pq.write_table(table, options.folder / "pairs.parquet", row_group_size=64)
    (options.folder / "cafe.toml").write_text(MANIFEST)


if __name__ == "__main__":
    main()
