#!/usr/bin/env python3
"""What a team costs and brings, on a real broker: bytes of the parameter topic as a share of the
data's, at defaults, and of the demo's softmax at defaults and in step; a compute-bound job
(k-means, k 1,000 at defaults, which is 10,000 centres of 784 numbers, random rows) by one worker
and by two, in turn, each from its first record to its last; and what `staleness: 2` and 0 cost
against async: three workers, each of another speed (10,000 to 100,000 rows a second,
tests/tools/throttle.c) every half second, and two at full speed.

usage: elastic.py [ROWS (10000000)] [PAIRS (3)]     $MILLRACE_BUILD: folder of the programs (build)
"""

import datetime
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile

import ingest
import stages_bench
from results import BUILD, rig

PARTITIONS, DISTINCT, TIMES, D = 4, 8000, 15, 784
LINEAR = """job: share
topic: rows
algo: linear
input: {schema: rows.avsc}
options: {loss: logistic}
"""
PICTURES = "/usr/share/datasets/fashion-mnist"
CLOTHES = """job: {job}
topic: images
algo: linear
input: {{schema: images.avsc}}
options: {{loss: softmax, classes: 10, learning_rate: [0.05, 0.1, 0.2]}}
staleness: {staleness}
"""
STEPS = """job: {job}
topic: steps
algo: linear
input: {{schema: steps.avsc}}
options: {{loss: logistic}}
staleness: {staleness}
state_dir: {state}
snapshot: {{every: 1h}}
"""
STEP_PARTITIONS, STEP_ROWS = 12, 3_000_000
MEANS = """job: {job}
topic: points
algo: kmeans
input: {{format: csv, label: '', width: {d}}}
options: {{k: 1000}}
state_dir: {state}
snapshot: {{every: 1h}}
"""


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def train(bootstrap, *files, speed=None):
    """Seconds of a job, from the first record at any of its workers to the end of the last."""
    program = f"{BUILD}/{'millrace_throttle' if speed else 'millrace'}"
    running = [subprocess.Popen([program, "train", f, "-b", bootstrap, "--until-end"],
                                env={**os.environ, "ROWS_PER_S": speed or ""},
                                stderr=subprocess.PIPE, text=True) for f in files]
    begin, end = [], []
    for p in running:
        said = p.communicate()[1]
        assert not p.returncode, said
        done = re.search(r"ts=(\S+)Z .*msg=\"done\" .* seconds=([\d.]+)", said)
        at = datetime.datetime.fromisoformat(done[1])
        end.append(at)
        begin.append(at - datetime.timedelta(seconds=float(done[2])))
    return (max(end) - min(begin)).total_seconds()


def stages(name, text, bootstrap, workers, **more):
    """What the stages of each worker of a job took, by name (stages_timed_bench.c)."""
    return [w["all"] for w in stages_bench.run(name, text, bootstrap, workers, **more)]


def seconds(workers, until):
    return (max(s[until] for s in workers) - min(s["begin_us"] for s in workers)) / 1e6


def share(broker, rows):
    ingest.fill(broker, "rows", rows, 1, partitions=PARTITIONS)
    train(broker.bootstrap, write("share.yaml", LINEAR))
    data, params = ingest.log_bytes(broker, "rows"), ingest.log_bytes(broker, "share.params")
    print(f"parameter topic: {params / 1e6:.1f} MB for {data / 1e6:.0f} MB of data ({rows} rows of "
          f"28 numbers): {params / data:.2%}", flush=True)


def clothes(broker):
    """The records as `millrace demo` makes them; its job at default intervals."""
    if not os.path.isdir(PICTURES):
        print("parameter topic of the demo: skipped, for dataset-fashion-mnist is not installed")
        return
    subprocess.run([f"{BUILD}/millrace", "load", "-b", broker.bootstrap, "-t", "images",
                    "--format", "idx", "--partitions", str(PARTITIONS), "--label",
                    f"{PICTURES}/train-labels-idx1-ubyte.gz",
                    f"{PICTURES}/train-images-idx3-ubyte.gz"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    data = ingest.log_bytes(broker, "images")
    for staleness in ("async", 0):
        job = f"clothes-{staleness}"
        train(broker.bootstrap,
              write(f"{job}.yaml", CLOTHES.format(job=job, staleness=staleness)))
        params = ingest.log_bytes(broker, f"{job}.params")
        print(f"parameter topic of the demo's softmax, staleness {staleness}: {params / 1e6:.1f} "
              f"MB for {data / 1e6:.0f} MB of pictures: {params / data:.1%}", flush=True)


def points(broker):
    g = random.Random(1)
    lines = [",".join(f"x{j}" for j in range(D))]
    lines += (",".join(str(g.randrange(10)) for _ in range(D)) for _ in range(DISTINCT))
    write("points.csv", "\n".join(lines) + "\n")
    for i in range(TIMES):
        subprocess.run([f"{BUILD}/millrace", "load", "-b", broker.bootstrap, "-t", "points",
                        "--format", "csv", "--as", "lines", "--partitions", str(PARTITIONS),
                        *["--append"][:i], "points.csv"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)


def steps(broker, times):
    ingest.fill(broker, "steps", STEP_ROWS, 1, partitions=STEP_PARTITIONS)
    for workers, speed, what in ((3, "10000-100000", "three workers of random speeds"),
                                 (2, None, "two workers at full speed")):
        took = {"async": [], 2: [], 0: []}
        for i in range(times):
            for staleness, seconds in took.items():
                job = f"steps-{workers}-{staleness}-{i}"
                seconds.append(train(broker.bootstrap, *(
                    write(f"{job}-{k}.yaml", STEPS.format(job=job, staleness=staleness,
                                                          state=f"{job}-{k}"))
                    for k in range(workers)), speed=speed))
        rate = {s: STEP_ROWS / statistics.median(t) for s, t in took.items()}
        print(f"{what}, median of {times}: " + ", ".join(
            f"staleness {s}: {r / 1e3:.0f} k rows/s ({r / rate['async']:.2f})"
            for s, r in rate.items()), flush=True)


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory(prefix="millrace-elastic.") as folder, rig.Broker() as broker:
        os.chdir(folder)
        if rows:
            share(broker, rows)
            clothes(broker)
        steps(broker, pairs)
        points(broker)
        ratios = []
        for i in range(pairs):
            by = [stages(f"m{i}-{n}", MEANS, broker.bootstrap, n, d=D) for n in (1, 2)]
            took, end = ([seconds(s, until) for s in by] for until in ("learned_us", "end_us"))
            ratios.append(took[0] / took[1])
            print(f"k-means, k 1,000 of {D} numbers: one worker {took[0]:.1f} s, two {took[1]:.1f} "
                  f"s: {ratios[-1]:.2f} times as fast; with the model, which one of them makes, "
                  f"{end[0]:.1f} s and {end[1]:.1f} s", flush=True)
        print(f"median speed-up by two workers: {statistics.median(ratios):.2f} of {pairs} pairs "
              f"(min {min(ratios):.2f}, max {max(ratios):.2f})")


if __name__ == "__main__":
    main()
