#!/usr/bin/env python3
"""Does a row cost at the end of a long run what it costs at its beginning? One pass over a topic of
100 million rows {label: float, features: array<float>[28]} on a real broker, 64 a message, logistic
loss with checkpoints, publishes and prequential loss: CPU time a row of the worker's own thread and
of its process in windows of a tenth of the rows, the first from row one million on, and the
resident memory at the end of each; last against first, of RUNS runs. Needs 12 GB of disk.

usage: windows.py [ROWS (100000000)] [RUNS (5)]     $MILLRACE_BUILD: folder of the programs (build)
"""

import os
import statistics
import sys
import tempfile

import ingest
import results
import stages_bench
from results import rig


def windows(w, rows):
    """(first row, main ns a row, process ns a row, resident MiB at the end) of each."""
    seen, size, out = w["windows"], rows // 10, []
    for first in [rows // 100 + i * size for i in range(9)] + [rows - size]:
        a = next(v for v in seen if v["rows"] >= first)
        b = next((v for v in seen if v["rows"] >= first + size), seen[-1])
        n = b["rows"] - a["rows"]
        out.append((a["rows"], (b["main_ns"] - a["main_ns"]) / n,
                    (b["process_ns"] - a["process_ns"]) / n, b["rss_kib"] / 1024))
    return out


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000_000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="millrace-windows.") as folder, rig.Broker() as broker:
        os.chdir(folder)
        ingest.fill(broker, "long", rows, 64)
        got = [windows(stages_bench.run(f"long{i}", ingest.JOB, broker.bootstrap, topic="long",
                                  rows_a_window=rows // 100)[0], rows) for i in range(runs)]
    print(f"{rows} rows, windows of {rows // 10}, medians of {runs} runs; the clocks of the stages "
          "are within\n\n| from row | CPU ns a row, its own thread | the process | resident MiB at "
          "the end |\n|---|---|---|---|")
    for i, (first, *_) in enumerate(got[0]):
        main_ns, process_ns, rss = (statistics.median(g[i][k] for g in got) for k in (1, 2, 3))
        print(f"| {first} | {main_ns:.1f} | {process_ns:.1f} | {rss:.1f} |")
    for k, what in ((1, "CPU of its own thread"), (2, "CPU of the process"), (3, "resident")):
        print(f"{what}, last window / first: "
              f"{results.spread([g[-1][k] / g[0][k] for g in got], 3)}")


if __name__ == "__main__":
    main()
