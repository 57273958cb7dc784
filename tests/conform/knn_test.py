#!/usr/bin/env python3
"""MNIST by its nearest neighbours, through the verbs on the embedded broker: a sample of 10,000 of
the 60,000 pictures, learned in one pass from two partitions; k chosen by tune without data, smaller
samples derived from the same state.

Needs the four idx files in $MILLRACE_MNIST."""

import os
import re
import subprocess
import sys
import tempfile

MILLRACE = os.environ["MILLRACE"]
MNIST = os.environ.get("MILLRACE_MNIST", "")
JOB = """job: digits
topic: digits
algo: knn
broker: local:broker
input: {schema: digits.avsc}
options: {sample: 10000, classes: 10}
"""


def run(*words):
    r = subprocess.run([MILLRACE, *words], text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    if r.returncode:
        raise AssertionError(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-2000:]}")
    return r.stdout


def idx(name):
    for end in ("", ".gz"):
        path = os.path.join(MNIST, name + end)
        if os.path.exists(path):
            return path
    print("skipped: no", name, "in $MILLRACE_MNIST")
    sys.exit(77)


def main():
    files = [[idx(f"{part}-{kind}") for kind in ("labels-idx1-ubyte", "images-idx3-ubyte")]
             for part in ("train", "t10k")]
    with tempfile.TemporaryDirectory(prefix="millrace-knn.") as folder:
        os.chdir(folder)
        with open("knn.yaml", "w", encoding="utf-8") as f:
            f.write(JOB)
        for topic, (labels, images), partitions in (("digits", files[0], "2"),
                                                    ("digits-test", files[1], "1")):
            run("load", "-b", "local:broker", "-t", topic, "--schema", "digits.avsc", "--format",
                "idx", "--partitions", partitions, "--label", labels, images)
        run("train", "knn.yaml", "--until-end", "-q")
        text = run("score", "knn.yaml", "-t", "digits-test", "-e", "--metrics")
        accuracy, rows = (float(re.search(w + r" ([\d.]+)", text)[1]) for w in ("accuracy", "rows"))
        print("MNIST test accuracy", accuracy, "of", rows, "rows, k 5, 10,000 rows kept")
        assert rows == 10000 and accuracy >= 0.945, text

        # what the sample says of itself is near, and chooses k; it takes no data
        loo = {}
        for k, sample in ((1, 10000), (5, 10000), (20, 10000), (5, 1000)):
            show = run("derive", "knn.yaml", "--set", f"k={k}", "--set", f"sample={sample}")
            loo[k, sample] = float(re.search(r"loo_accuracy +([\d.]+)", show)[1])
        print("by the others:", loo)
        assert abs(loo[5, 10000] - accuracy) < 0.015, loo
        assert loo[5, 10000] > loo[20, 10000] and loo[5, 1000] < 0.92, loo


if __name__ == "__main__":
    main()
