"""Makes the files that `query` and DuckDB are compared on: scores of 3,000,000 candidates in 60 shards.

    python make_query_data.py FOLDER [ROWS] [SHARDS] [ROW_GROUP_ROWS]

Row groups and compression are those of the pipeline's own shards (1024 rows, zstd); pass another fourth number to see
what row groups of another size would cost.
"""

import pathlib
import random
import sys

import pyarrow
import pyarrow.parquet

CLASSES = ["dog", "cat", "toy", "bag", "shoe", "vase", "clock", "car"]


def shard(index: int, n_rows: int) -> pyarrow.Table:
    draw = random.Random(index)
    return pyarrow.table(
        {
            "candidate_id": [f"{draw.getrandbits(128):032x}" for _ in range(n_rows)],
            "class": [draw.choice(CLASSES) for _ in range(n_rows)],
            "round": pyarrow.array([draw.randrange(4) for _ in range(n_rows)], pyarrow.uint32()),
            "clip": [draw.gauss(0.3, 0.05) for _ in range(n_rows)],
            "dino": [draw.gauss(0.6, 0.1) for _ in range(n_rows)],
        }
    )


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    n_rows, n_shards, group = (int(text) for text in [*sys.argv[2:], *["3000000", "60", "1024"][len(sys.argv) - 2 :]])
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(n_shards):
        path = folder / f"scores-{index:05}.parquet"
        table = shard(index, n_rows // n_shards)
        pyarrow.parquet.write_table(table, path, compression="zstd", row_group_size=group)


if __name__ == "__main__":
    main()
