#!/usr/bin/env python3
"""`train --input` beside liblinear's `train`, from the same libsvm file to the model on disk: whole
programs with their start, one pass each, in turn. liblinear by its coordinate descent for logistic
regression (-s 7) with a tolerance that ends it after the first pass: what it does in the other
passes is no part of this, and one pass leaves its model short of what more would make of it.
Ours is the job of a9a in the README: one model, with prequential measures, checkpoint, slot and
model published, and every write to its folder synced, of which liblinear does nothing.

Then, of the same file many times over: what a record takes on its way out of the file, and what
counting the lines takes, beside a plain read of the bytes.

Needs liblinear-train (Debian: liblinear-tools) and a9a as in tests/conform/a9a_test.py.
usage: liblinear.py [PAIRS]"""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import datasets  # noqa: E402

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", os.path.join(HERE, "..", "..", "build")))
MILLRACE = os.path.abspath(os.environ.get("MILLRACE", os.path.join(BUILD, "millrace")))
JOB = """job: a9a
topic: a9a
algo: linear
input: {format: libsvm, width: 123}
options: {loss: logistic}
"""


def timed(*command):
    """Seconds by the clock, and of processor time."""
    shutil.rmtree("a9a.state", ignore_errors=True)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def said(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def show(name, pairs, at):
    ours, theirs = [p[0][at] for p in pairs], [p[1][at] for p in pairs]
    ratio = sorted(t / o for o, t in zip(ours, theirs))
    print(f"{name:<16} millrace {statistics.median(ours) * 1e3:7.1f} ms   liblinear "
          f"{statistics.median(theirs) * 1e3:7.1f} ms   liblinear / millrace "
          f"{statistics.median(ratio):.2f} ({ratio[0]:.2f} to {ratio[-1]:.2f})")


def main():
    train, test = (datasets.file("a9a", n) for n in ("a9a.libsvm", "a9a.t.libsvm"))
    peer = shutil.which("liblinear-train")
    if not train or not test or not peer:
        print("skipped:", "no a9a" if peer else "no liblinear-train (liblinear-tools)")
        return
    train, test = os.path.abspath(train), os.path.abspath(test)
    ours = (MILLRACE, "train", "a9a.yaml", "-q", "--input", train)
    theirs = (peer, "-s", "7", "-e", "1000", "-q", train, "a9a.model")
    with tempfile.TemporaryDirectory(prefix="millrace-file.") as folder:
        os.chdir(folder)
        with open("a9a.yaml", "w", encoding="utf-8") as f:
            f.write(JOB)
        pairs = [(timed(*ours), timed(*theirs)) for _ in range(int((sys.argv + ["15"])[1]))]
        show("wall clock", pairs, 0)
        show("processor time", pairs, 1)
        timed(*ours)
        scored = said(MILLRACE, "score", "a9a.yaml", "-b", "local:a9a.state/topics", "--metrics",
                      test)
        other = said("liblinear-predict", test, "a9a.model", "predicted")
        print("accuracy on test rows: millrace", re.search(r"accuracy ([\d.]+)", scored)[1],
              " liblinear", round(float(re.search(r"([\d.]+)%", other)[1]) / 100, 4))
        with open(train, "rb") as f, open("big", "wb") as big:
            big.write(f.read() * 30)
        print(said(os.path.join(BUILD, "liblinear_lines_bench"), "big"), end="")


if __name__ == "__main__":
    main()
