#!/usr/bin/env python3
"""End-to-end ingest on a real broker: rows {label: float, features: array<float>[28]}, one row and
64 rows a message. In turn, on the same topic in the same run: librdkafka's own batch consume with
the payload untouched, then `train` with checkpoints, publishes and prequential loss on. The batch
consume runs with the queues of `train` and with unlimited ones, and both with the C library's heap
and with the one of `train`; the fastest counts. Prints rows/s of both, pair by pair, and the median
ratio; behind it the ratio to the fastest reader known, our own consumer with nothing behind it.

usage: ingest.py [ROWS (4000000)] [PAIRS (5)]     $MILLRACE_BUILD: folder of the programs (build)
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "kafka"))
import rig  # noqa: E402

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", os.path.join(HERE, "..", "..", "build")))
QUEUE_MIB = "40"  # what `train` takes with 4 partitions
JOB = """job: {name}
topic: {topic}
algo: linear
input: {{schema: {topic}.avsc}}
options: {{loss: logistic}}
checkpoint: {{every: 1s}}
publish: {{every: 2s}}
"""


def raw(bootstrap, topic, per):
    rates = []
    for program in ("ingest_raw_bench", "ingest_raw_jemalloc"):
        out = subprocess.run([f"{BUILD}/{program}", "read", topic, QUEUE_MIB], check=True,
                             text=True, stdout=subprocess.PIPE,
                             env=dict(os.environ, MILLRACE_BOOTSTRAP=bootstrap)).stdout
        rates += [(m[1], float(m[2]) * 1e6 * per)
                  for m in re.finditer(r"^(\w+) .*?([\d.]+) M records/s", out, re.M)]
    return max(r for how, r in rates if how != "broker"), max(r for _, r in rates)


def train(bootstrap, topic, name):
    with open(f"{name}.yaml", "w", encoding="utf-8") as f:
        f.write(JOB.format(name=name, topic=topic))
    err = subprocess.run([f"{BUILD}/millrace", "train", f"{name}.yaml", "-b", bootstrap,
                          "--until-end"], check=True, text=True, stderr=subprocess.PIPE).stderr
    return float(re.search(r"rows_per_s=(\d+)", err)[1])


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 4000000
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="millrace-ingest.") as folder, rig.Broker() as b:
        os.chdir(folder)
        for per in (1, 64):
            topic = f"rows{per}"
            fill = [f"{BUILD}/ingest_fill_bench", "kafka", topic, "4", str(rows), str(per)]
            subprocess.run([*fill, b.bootstrap], check=True, stdout=subprocess.DEVNULL)
            ratios, strict = [], []
            for i in range(pairs):
                (r, f), t = raw(b.bootstrap, topic, per), train(b.bootstrap, topic, f"i{per}-{i}")
                ratios.append(t / r)
                strict.append(t / f)
                print(f"{per:2} rows a message: raw {r / 1e6:.2f} M rows/s, train {t / 1e6:.2f} M "
                      f"rows/s, ratio {t / r:.2f} ({t / f:.2f})", flush=True)
            print(f"{per:2} rows a message: median ratio {statistics.median(ratios):.2f} "
                  f"({statistics.median(strict):.2f}) of {pairs} pairs (min {min(ratios):.2f}, max "
                  f"{max(ratios):.2f})", flush=True)


if __name__ == "__main__":
    main()
