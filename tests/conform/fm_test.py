#!/usr/bin/env python3
"""MovieLens 100k (ratings by users of films) through the verbs on the embedded broker: one pass of
a factorization machine from one partition and from four, the learning rate chosen by the
prequential loss, scored on ratings it has not seen; fewer factors from the same state; users and
films as text that is hashed.

Needs movielens-100k/train.gz and test.gz in $MILLRACE_DATA, or in ../shared/data beside the
checkout."""

import gzip
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
MILLRACE = os.environ["MILLRACE"]
DATA = os.environ.get("MILLRACE_DATA", os.path.join(HERE, "../../../shared/data"))
TRAIN, TEST = (os.path.abspath(os.path.join(DATA, "movielens-100k", n))
               for n in ("train.gz", "test.gz"))
USERS, FILMS = 943, 1682
JOB = f"""job: ml
topic: ml
algo: fm
broker: local:broker
input: {{format: libsvm, width: {USERS + FILMS}}}
options: {{learning_rate: [0.1, 0.2, 0.3]}}
"""


def run(*words):
    r = subprocess.run([MILLRACE, *words], text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    if r.returncode:
        raise AssertionError(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-2000:]}")
    return r.stdout


def one_hot(path, to):
    """user item rating -> a line of two features."""
    with gzip.open(path, "rt") as f, open(to, "w", encoding="utf-8") as out:
        for line in f:
            user, item, rating = (int(v) for v in line.split())
            assert 1 <= user <= USERS and 1 <= item <= FILMS, line
            out.write(f"{rating} {user}:1 {USERS + item}:1\n")


def npz(path):
    """name -> float32 values, without numpy."""
    out = {}
    with zipfile.ZipFile(path) as z:
        for name in z.namelist():
            b = z.read(name)
            body = b[10 + struct.unpack_from("<H", b, 8)[0]:]
            out[name[:-4]] = struct.unpack(f"<{len(body) // 4}f", body)
    return out


def rmse_of(factors):
    """Of the model with so many factors, by the definition."""
    run("derive", "ml.yaml", "--set", f"factors={factors}", "-o", "model.npz")
    m, total, n = npz("model.npz"), 0.0, 0
    assert len(m["v"]) == (USERS + FILMS) * factors
    with open("ml-test.libsvm", encoding="utf-8") as f:
        for line in f:
            y, u, i = (int(w.split(":")[0]) for w in line.split())
            a, b = (j - 1 for j in (u, i))
            z = m["w0"][0] + m["w"][a] + m["w"][b] + sum(
                m["v"][a * factors + k] * m["v"][b * factors + k] for k in range(factors))
            total += (z - y) ** 2
            n += 1
    return (total / n) ** 0.5


def from_partitions(n):
    """RMSE of the model by score, the chosen rate, RMSE of 10, 5 and 2 factors by definition."""
    with tempfile.TemporaryDirectory(prefix="millrace-fm.") as folder:
        os.chdir(folder)
        with open("ml.yaml", "w", encoding="utf-8") as f:
            f.write(JOB)
        for topic, path in (("ml", TRAIN), ("ml-test", TEST)):
            one_hot(path, topic + ".libsvm")
            run("load", "-b", "local:broker", "-t", topic, "--format", "libsvm", "--as", "lines",
                "--partitions", str(n), topic + ".libsvm")
        run("train", "ml.yaml", "--until-end", "-q")
        rate = float(re.search(r"^  learning_rate +([\d.]+)$", run("model", "show", "ml.yaml"),
                               re.M)[1])
        text = run("score", "ml.yaml", "-t", "ml-test", "-e", "--metrics")
        rmse, rows = (float(re.search(rf"^{w} ([\d.]+)", text, re.M)[1]) for w in ("rmse", "rows"))
        assert rows == 20000, text
        few = [rmse_of(k) for k in (10, 5, 2)] if n == 1 else None
        os.chdir("/")
        return rmse, rate, few


def from_names():
    """RMSE where users and films are fields of CSV lines, hashed to columns."""
    with tempfile.TemporaryDirectory(prefix="millrace-fm.") as folder:
        os.chdir(folder)
        with open("ml.yaml", "w", encoding="utf-8") as f:
            f.write(re.sub("input: .*", "input: {format: csv, columns: [user, film, label], "
                           "one_hot: [user, film], hash_bits: 16}", JOB))
        for topic, path in (("ml", TRAIN), ("ml-test", TEST)):
            with gzip.open(path, "rt") as f, open(topic, "w", encoding="utf-8") as out:
                out.write("user,film,label\n")
                out.writelines("u{},film {},{}\n".format(*line.split()) for line in f)
            run("load", "-b", "local:broker", "-t", topic, "--format", "csv", "--as", "lines",
                "--partitions", "1", topic)
        run("train", "ml.yaml", "--until-end", "-q")
        text = run("score", "ml.yaml", "-t", "ml-test", "-e", "--metrics")
        os.chdir("/")
        return float(re.search(r"^rmse ([\d.]+)", text, re.M)[1])


def main():
    if not os.path.exists(TEST):
        print("skipped: no movielens-100k in", os.path.abspath(DATA))
        sys.exit(77)
    one, rate, few = from_partitions(1)
    print(f"one partition: RMSE {one:.4f}, bound 0.935 (margin {0.935 - one:.4f}), learning rate"
          f" {rate:.1f}; of 5 factors {few[1]:.4f}, of 2 {few[2]:.4f}")
    assert one <= 0.935 and abs(rate - 0.2) < 0.01
    assert abs(few[0] - one) < 1e-5 and max(few) < 0.96, few
    four, _, _ = from_partitions(4)
    print(f"four partitions: RMSE {four:.4f}")
    assert four <= 0.96
    hashed = from_names()
    print(f"hashed from CSV: RMSE {hashed:.4f}")
    assert hashed <= 0.94


if __name__ == "__main__":
    main()
