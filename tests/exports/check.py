"""Opens what `cafe-data export` wrote with the libraries that it is for: Hugging Face's `datasets` and `webdataset`.

    cafe-data export -m cafe.toml --format parquet -o out/parquet     # and hf, and webdataset
    python tests/exports/check.py out

Last run: 28 November 2026, datasets 5.2.0, webdataset 1.0.2, on seven quadruplets. All three must show the same rows, with pictures that decode and the same pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import webdataset
from datasets import Image, load_dataset

PICTURES = {"reference_image": "reference.png", "target_image": "target.png"}


def pixels(row: dict[str, Any]) -> tuple[Any, ...]:
    """Sizes and bytes of a row's two pictures, as PIL gives them."""
    return tuple((row[name].size, row[name].convert("RGBA").tobytes()) for name in PICTURES)


def by_datasets(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of a folder by their id; the pictures' columns must be known as such."""
    loaded = load_dataset(str(folder))
    rows = {}
    for split in loaded.values():
        for name in PICTURES:
            assert isinstance(split.features[name], Image), f"{folder}: {name} is {split.features[name]}"
        rows |= {row["quadruplet_id"]: row for row in split}
    return rows


def by_webdataset(folder: Path) -> dict[str, dict[str, Any]]:
    """The same of tars; what is no picture is in the sample's JSON."""
    rows = {}
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    for sample in webdataset.WebDataset(tars, shardshuffle=False).decode("pilrgba"):
        rows[sample["__key__"]] = {**sample["json"], **{name: sample[member] for name, member in PICTURES.items()}}
    return rows


def tars_by_datasets(folder: Path) -> int:
    """`datasets` reads tars too: how many samples it finds."""
    loaded = load_dataset("webdataset", data_files={"train": str(folder / "train-*.tar")}, split="train", streaming=True)
    return sum(1 for _ in loaded)


def main() -> int:
    """Compare the three."""
    root = Path(sys.argv[1])
    known = {name: read(root / name) for name, read in
             [("parquet", by_datasets), ("hf", by_datasets), ("webdataset", by_webdataset)]}
    expected = known["parquet"]
    assert expected, "a release without rows shows nothing"
    for name, rows in known.items():
        assert rows.keys() == expected.keys(), f"{name}: {len(rows)} rows, {len(expected)} wanted"
        for key, row in rows.items():
            assert pixels(row) == pixels(expected[key]), f"{name}: pictures of {key}"
            for text in ("y", "y_tilde"):
                assert row[text] == expected[key][text], f"{name}: {text} of {key}"
    assert tars_by_datasets(root / "webdataset") == len(expected)
    print(f"{len(expected)} rows, the same in all three")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
