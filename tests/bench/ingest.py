#!/usr/bin/env python3
"""End-to-end ingest on a real broker: rows {label: float, features: array<float>[28]}, one row and
64 rows a message, of topics that are not compressed, by lz4 and by zstd. In turn, on the same topic
in the same run: librdkafka's own batch consume with the payload untouched, then `train` with
checkpoints, publishes and prequential loss on. The batch consume runs with the queues of `train`
and with unlimited ones, and both with the C library's heap and with the one of `train`; the fastest
counts. Time runs from the first record to the last; of `train`, to the end of its last publish.
Prints rows/s of both, pair by pair, and the median ratio; behind it the ratio to the fastest reader
known, our own consumer with nothing behind it.

usage: ingest.py [ROWS (8000000; of 64 a message 4 times as many)] [PAIRS (5)] [CODEC,...]
$MILLRACE_BUILD: folder of the programs (build)
"""

import os
import re
import subprocess
import sys
import tempfile

import results
from results import BUILD, rig

QUEUE_MIB = "40"  # what `train` takes with 4 partitions
MORE = {1: 1, 64: 4}  # rows of a message: times as many rows, so that a run takes seconds
JOB = """job: {job}
topic: {topic}
algo: linear
input: {{schema: {topic}.avsc}}
options: {{loss: logistic}}
checkpoint: {{every: 1s}}
publish: {{every: 2s}}
"""


def fill(broker, topic, rows, per, codec="none", partitions=4, width=28):
    """The topic and, in this folder, its schema."""
    subprocess.run([f"{BUILD}/ingest_fill_bench", "kafka", topic, str(partitions), str(rows),
                    str(per), broker.bootstrap, codec, str(width)], check=True,
                   stdout=subprocess.DEVNULL)


def log_bytes(broker, topic):
    return sum(os.path.getsize(os.path.join(at, name))
               for at, _, names in os.walk(broker.dir) for name in names
               if name.endswith(".log") and os.path.basename(at).rsplit("-", 1)[0] == topic)


def raw(bootstrap, topic, per):
    """Rows/s of the best batch consume and of the fastest reader, CPU ns a row of the former."""
    runs = []
    for program in ("ingest_raw_bench", "ingest_raw_jemalloc"):
        out = subprocess.run([f"{BUILD}/{program}", "read", topic, QUEUE_MIB], check=True,
                             text=True, stdout=subprocess.PIPE,
                             env=dict(os.environ, MILLRACE_BOOTSTRAP=bootstrap)).stdout
        runs += [(float(m[2]) * 1e6 * per, float(m[3]) * 1e3 / per, m[1]) for m in
                 re.finditer(r"^(\w+) .*?([\d.]+) M records/s.*cpu ([\d.]+) s/M", out, re.M)]
    best = max(r for r in runs if r[2] != "broker")
    return {"best": best[0], "cpu_ns": best[1], "fastest": max(runs)[0]}


def train(bootstrap, topic, name):
    with open(f"{name}.yaml", "w", encoding="utf-8") as f:
        f.write(JOB.format(job=name, topic=topic))
    err = subprocess.run([f"{BUILD}/millrace", "train", f"{name}.yaml", "-b", bootstrap,
                          "--until-end"], check=True, text=True, stderr=subprocess.PIPE).stderr
    return float(re.search(r"rows_per_s=(\d+)", err)[1])


def pairs_of(broker, rows, per, codec, pairs):
    topic = f"rows{per}-{codec}"
    fill(broker, topic, rows, per, codec)
    size = log_bytes(broker, topic) / rows
    rates, trained, ratios, strict = [], [], [], []
    for i in range(pairs):
        r, t = raw(broker.bootstrap, topic, per), train(broker.bootstrap, topic, f"{topic}-{i}")
        rates.append(r["best"] / 1e6)
        trained.append(t / 1e6)
        ratios.append(t / r["best"])
        strict.append(t / r["fastest"])
        print(f"{per} a message, {codec}: batch consume {rates[-1]:.2f} M rows/s, train "
              f"{trained[-1]:.2f} M rows/s, ratio {ratios[-1]:.2f} ({strict[-1]:.2f})", flush=True)
    broker.delete_topic(topic)
    return (f"| {per} | {codec}, {size:.0f} bytes a row | {results.spread(rates)} | "
            f"{results.spread(trained)} | {results.spread(ratios)} | {results.spread(strict)} |")


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 8000000
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    codecs = sys.argv[3].split(",") if len(sys.argv) > 3 else ("none", "lz4", "zstd")
    with tempfile.TemporaryDirectory(prefix="millrace-ingest.") as folder, rig.Broker() as broker:
        os.chdir(folder)
        lines = [pairs_of(broker, rows * MORE[per], per, codec, pairs)
                 for per in (1, 64) for codec in codecs]
    print(f"Medians and ranges of {pairs} pairs.\n\n| rows a message | topic | batch consume, M "
          "rows/s | train, M rows/s | ratio | ratio to the fastest reader |\n|---|---|---|---|---|"
          "---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
