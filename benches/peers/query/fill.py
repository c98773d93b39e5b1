"""Makes 50,000 rows for each row of its input: a `command` stage that fills a table to be queried."""

import random
import sys

import pyarrow
import pyarrow.parquet

CLASSES = ["dog", "cat", "toy", "bag", "shoe", "vase", "clock", "car"]
N_ROWS = 50_000

ids = pyarrow.parquet.read_table(sys.argv[1], columns=["reference_id"]).column(0).to_pylist()
columns = {"reference_id": [], "candidate_id": [], "class": [], "round": [], "clip": [], "dino": []}
for reference_id in ids:
    draw = random.Random(reference_id)
    columns["reference_id"] += [reference_id] * N_ROWS
    columns["candidate_id"] += [f"{draw.getrandbits(128):032x}" for _ in range(N_ROWS)]
    columns["class"] += [draw.choice(CLASSES) for _ in range(N_ROWS)]
    columns["round"] += [draw.randrange(4) for _ in range(N_ROWS)]
    columns["clip"] += [draw.gauss(0.3, 0.05) for _ in range(N_ROWS)]
    columns["dino"] += [draw.gauss(0.6, 0.1) for _ in range(N_ROWS)]
types = {"round": pyarrow.uint32(), "clip": pyarrow.float64(), "dino": pyarrow.float64()}
fields = [(name, types.get(name, pyarrow.string())) for name in columns]
pyarrow.parquet.write_table(pyarrow.table(columns, schema=pyarrow.schema(fields)), sys.argv[2])
