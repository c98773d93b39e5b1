"""DuckDB's side of the comparison with `query`: one statement over the same files, as a whole process.

    time python query_duckdb.py FOLDER "SELECT class, count(*) AS n, avg(clip) AS clip FROM scores GROUP BY class"

`scores` stands for all Parquet files of the folder. The time of the query alone goes to stderr; compare whole processes.
"""

import pathlib
import sys
import time

import duckdb


def main() -> None:
    folder, sql = sys.argv[1:3]
    start = time.perf_counter()
    files = sorted(str(path) for path in pathlib.Path(folder).glob("*.parquet"))
    connection = duckdb.connect()
    connection.execute("CREATE VIEW scores AS SELECT * FROM read_parquet([" + ", ".join(f"'{file}'" for file in files) + "])")
    connection.sql(sql).write_csv("/dev/stdout")
    print(f"(DuckDB {duckdb.__version__}: {(time.perf_counter() - start) * 1000:.0f} ms)", file=sys.stderr)


if __name__ == "__main__":
    main()
