#!/usr/bin/env python3
"""A minimal `oneshot` program: mean colour of each picture, with pyarrow and Pillow.

    [[stage]]
    kind = "command"
    name = "colour"
    needs = ["collect"]
    argv = ["python3", "color_stats.py", "{input}", "{output}"]
    reads = "references"
    columns = ["image"]
    writes = "scores"
    output = { mean_red = "float64", mean_green = "float64", mean_blue = "float64" }
"""

import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageStat

ID = "reference_id"

# Written out, so that a batch without a single value has the same types as any other.
SCHEMA = pa.schema(
    [
        (ID, pa.string()),
        ("mean_red", pa.float64()),
        ("mean_green", pa.float64()),
        ("mean_blue", pa.float64()),
        ("_error", pa.string()),
    ]
)


def measure(row):
    result = {ID: row[ID]}
    try:
        picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
    except Exception as error:  # One bad picture must not cost the others their result.
        # Not the error's text: Pillow puts memory addresses into it, and the same row must give the same result.
        return {**result, "_error": f"cannot decode the image: {type(error).__name__}"}
    red, green, blue = (mean / 255 for mean in ImageStat.Stat(picture).mean)
    return {**result, "mean_red": red, "mean_green": green, "mean_blue": blue}


def main(input_path, output_path):
    rows = pq.read_table(input_path, columns=[ID, "image"]).to_pylist()
    pq.write_table(pa.Table.from_pylist([measure(row) for row in rows], schema=SCHEMA), output_path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
