"""The other side of the comparison of `score`: the same scores by Pillow and transformers, batches of 16, as scripts do it.

    python benches/peers/score/score_transformers.py /tmp/score [--threads 2]

Prints seconds and rows per second, models not loaded. Each distinct reference and text is embedded once, as by `score`.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer, ViTModel

BATCH = 16


@torch.no_grad()
def main() -> None:
    """Score all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    family = options.folder / "family"
    clip, dino = CLIPModel.from_pretrained(family / "clip_filter").eval(), ViTModel.from_pretrained(family / "dino_filter").eval()
    of_clip, of_dino = (CLIPImageProcessorPil.from_pretrained(family / name) for name in ("clip_filter", "dino_filter"))
    tokenizer = CLIPTokenizer.from_pretrained(family / "clip_filter")
    unit = torch.nn.functional.normalize

    def embedded(files: list[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
        seen, known = [], []
        for start in range(0, len(files), BATCH):
            pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files[start:start + BATCH]]
            seen.append(clip.get_image_features(**of_clip(pictures, return_tensors="pt")).pooler_output)
            known.append(dino(**of_dino(pictures, return_tensors="pt")).last_hidden_state[:, 0])
        return unit(torch.cat(seen), dim=-1), unit(torch.cat(known), dim=-1)

    began = time.perf_counter()
    table = pq.read_table(options.folder / "pairs.parquet").to_pydict()
    references, texts = list(dict.fromkeys(table["reference"])), list(dict.fromkeys(table["instruction"]))
    targets, originals = embedded(table["target"]), embedded(references)
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    said = unit(clip.get_text_features(input_ids=ids).pooler_output, dim=-1)
    at = torch.tensor([references.index(file) for file in table["reference"]])
    spoken = torch.tensor([texts.index(text) for text in table["instruction"]])
    scores = torch.stack([(targets[0] * said[spoken]).sum(1), (targets[0] * originals[0][at]).sum(1),
                          (targets[1] * originals[1][at]).sum(1)], 1)
    took = time.perf_counter() - began
    print(f"{len(scores)} rows in {took:.2f} s: {len(scores) / took:.1f}/s; mean scores {scores.mean(0).tolist()}")


if __name__ == "__main__":
    main()
