"""datatrove's side of the comparison with `cargo bench --bench executor`: tasks that each write a one-row shard.

    python datatrove_commits.py [--work parquet|jsonl|nothing] [--tasks 1000] [--workers 4] [--folder FOLDER]

datatrove's local executor runs each task in a pool of processes, as its users would: the task's log, its statistics and
an empty completion marker are written as always. `nothing` leaves out the shard, to show what the executor alone costs.
What a figure here promises about a power cut is told in README.md: nothing.
"""

import argparse
import importlib.metadata
import os
import pathlib
import sys
import tempfile
import time

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter


def one_row(data, rank: int, world_size: int):
    """The rows of a task."""
    yield Document(text=f"row {rank} of {world_size}", id=f"{rank:08}")


def no_rows(data, rank: int, world_size: int):
    """A task that does nothing at all."""
    return None


def pipeline(work: str, shards: pathlib.Path) -> list:
    if work == "nothing":
        return [no_rows]
    writer = ParquetWriter if work == "parquet" else JsonlWriter
    return [one_row, writer(str(shards))]


def files(folder: pathlib.Path) -> list[os.stat_result]:
    return [path.stat() for path in folder.iterdir()] if folder.is_dir() else []


def measure(work: str, n_tasks: int, n_workers: int, folder: pathlib.Path) -> None:
    shards, logs = folder / "shards", folder / "logs"
    executor = LocalPipelineExecutor(
        pipeline=pipeline(work, shards), tasks=n_tasks, workers=n_workers, logging_dir=str(logs)
    )
    began = time.perf_counter()
    executor.run()
    took = time.perf_counter() - began

    completed = sorted(stat.st_mtime for stat in files(logs / "completions"))
    n_shards = sum(stat.st_size > 0 for stat in files(shards))
    wanted = 0 if work == "nothing" else n_tasks
    if len(completed) != n_tasks or n_shards != wanted:
        sys.exit(f"{n_tasks} tasks were to be done: {len(completed)} are marked as completed, {n_shards} wrote a shard")
    # Without the start of the pool's processes, which a longer run would not notice.
    steady = (n_tasks - 1) / (completed[-1] - completed[0]) if n_tasks > 1 else float("nan")
    version = importlib.metadata.version("datatrove")
    print(
        f"datatrove {version}, Python {sys.version.split()[0]}, {work}: {n_tasks} tasks by {n_workers} workers "
        f"in {took:.1f} s, {n_tasks / took:.1f}/s; {steady:.1f}/s between the first and the last completion"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=["parquet", "jsonl", "nothing"], default="parquet")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--folder", type=pathlib.Path, help="where to write; the file system is measured with it")
    given = parser.parse_args()
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="datatrove-") as folder:
        measure(given.work, given.tasks, given.workers, pathlib.Path(folder))


if __name__ == "__main__":
    main()
