#!/usr/bin/env python3
"""Whole programs from a text file to a model, one pass, in turn in one run: `millrace train` of
libsvm lines (--input) against Vowpal Wabbit, which reads the same rows in its own text (a '|' a
line more) and, the second time, its binary cache of them. Rows of a label and 28 numbers of four
digits, logistic loss.

Seconds are of the whole process, for Vowpal Wabbit only of its run over the file, without Python's
start and imports. millrace learns one model, at its default batch, with prequential measures,
checkpoints, and a snapshot at the end. Accuracy is of 100,000 fresh rows. liblinear.py has the same
for a9a.

usage: vw.py [ROWS (1000000)] [PAIRS (5)]     $MILLRACE_BUILD: folder of the programs (build)
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import pypi  # noqa: E402

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", os.path.join(HERE, "..", "..", "build")))
PACKAGES = ["numpy==2.3.5", "vowpalwabbit==9.11.9"]
WIDTH = 28
JOB = """job: {name}
topic: {name}
algo: linear
input: {{format: libsvm, width: {width}}}
options: {{loss: logistic}}
state_dir: ./{name}.state
"""


def numbers(rows, seed):
    import numpy as np
    g = np.random.default_rng(seed)
    x = g.uniform(-1, 1, (rows, WIDTH)).round(4)
    z = x @ (np.arange(WIDTH) % 5 - 2)
    return x, z + 2 * g.uniform(-1, 1, rows) > 0


def write(x, y, libsvm, vw):
    """The same rows as text for each."""
    with open(libsvm, "w", encoding="ascii") as a, open(vw, "w", encoding="ascii") as b:
        for row, label in zip(x.tolist(), y.tolist()):
            line = " ".join(f"{j}:{v}" for j, v in enumerate(row, 1))
            a.write(f"{int(label)} {line}\n")
            b.write(f"{1 if label else -1} | {line}\n")


def timed(*words):
    start = time.monotonic()
    r = subprocess.run(words, text=True, check=False, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT)
    took = time.monotonic() - start
    if r.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {r.returncode}\n{r.stdout}")
    return took, r.stdout


def ours(name, width, rows, test):
    """Seconds of the whole training, and the model's accuracy."""
    subprocess.run(["rm", "-rf", f"{name}.state"], check=True)
    with open(f"{name}.yaml", "w", encoding="utf-8") as f:
        f.write(JOB.format(name=name, width=width))
    took, _ = timed(f"{BUILD}/millrace", "train", f"{name}.yaml", "-q", "--input", rows)
    _, scored = timed(f"{BUILD}/millrace", "score", f"{name}.yaml", "-b",
                      f"local:{name}.state/topics", test, "--metrics")
    return took, float(re.search(r"^accuracy (\S+)", scored, re.M)[1])


def vw(*flags):
    """A process of its own: seconds of the run, without the imports."""
    code = ("import sys,time; from vowpalwabbit import Workspace; t=time.monotonic();"
            "w=Workspace(sys.argv[1], quiet=True); w.finish(); print('took',time.monotonic()-t)")
    _, out = timed(sys.executable, "-c", code, " ".join(flags))
    return float(re.search(r"^took (\S+)", out, re.M)[1])


def vw_accuracy():
    vw("-t", "-i", "vw.model", "-d", "test.vw", "-p", "seen")
    with open("test.vw", encoding="ascii") as f, open("seen", encoding="ascii") as g:
        right = [(float(a.split(" ", 1)[0]) > 0) == (float(b) > 0) for a, b in zip(f, g)]
    return sum(right) / len(right)


def summary(what, ratios, want):
    print(f"{what}: {statistics.median(ratios):.2f} x, median of {len(ratios)} pairs (min "
          f"{min(ratios):.2f}, max {max(ratios):.2f}; wanted {want})", flush=True)


def against_vw(rows, pairs):
    write(*numbers(rows, 1), "rows.libsvm", "rows.vw")
    write(*numbers(100000, 2), "test.libsvm", "test.vw")
    size, text, cache = os.path.getsize("rows.libsvm"), [], []
    how = ["-d", "rows.vw", "-f", "vw.model", "--loss_function", "logistic"]
    vw(*how, "--cache_file", "rows.cache")  # which this run writes
    for _ in range(pairs):
        t, right = ours("rows", WIDTH, "rows.libsvm", "test.libsvm")
        a = vw(*how)
        theirs = vw_accuracy()
        b = vw(*how, "--cache_file", "rows.cache")
        text.append(a / t)
        cache.append(b / t)
        print(f"{rows} rows, {size / 1e6:.0f} MB: millrace {t:.2f} s ({rows / t / 1e6:.2f} M "
              f"rows/s, {size / t / 1e6:.0f} MB/s), accuracy {right:.4f}; Vowpal Wabbit {a:.2f} s "
              f"({rows / a / 1e6:.2f} M), from its cache {b:.2f} s ({rows / b / 1e6:.2f} M), "
              f"{theirs:.4f}", flush=True)
    summary("against Vowpal Wabbit's text", text, 3)
    summary("against Vowpal Wabbit's cache", cache, 1.3)


def main():
    pypi.enter(os.path.join(BUILD, "peers-vw"), PACKAGES)
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="millrace-vw.") as folder:
        os.chdir(folder)
        against_vw(rows, pairs)


if __name__ == "__main__":
    main()
