#!/usr/bin/env python3
"""Beside the tools people use today, on the same rows in the same order, one pass each: accuracy
and rows a second in one table. scikit-learn (partial_fit of 1,000 rows; one row a call where the
rows are a stream), River (learn_one) and Vowpal Wabbit, of PyPI, in an environment of their own
under $MILLRACE_BUILD/peers (tests/tools/pypi.py).

Each runs as a process of its own, with one thread. Rows a second are of learning: for
scikit-learn and River of rows that lie in memory, their text parsed before; for Vowpal Wabbit with
the parsing of its text; for millrace of many more passes over the file's rows, less one, as records
of a topic of its local broker, so with reading, decoding, checkpoints and prequential measures, and
without the start of the process. "whole s" is the whole process with its imports. Settings: each
tool's usual ones, and what its manual names for such data; none was searched for on test rows.
millrace trains its small grid of learning rates in the same pass and takes the best by prequential
loss: the jobs are those of tests/gates/jobs. a9a, MNIST and fried on test rows; elec, as it comes,
prequential, each row predicted before it is learned.

usage: peers.py [DATA[,DATA]...]      of a9a, mnist, elec, fried
"""

import csv
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import datasets  # noqa: E402
import pypi  # noqa: E402

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", os.path.join(HERE, "..", "..", "build")))
PACKAGES = ["scikit-learn==1.9.1", "river==0.26.1", "vowpalwabbit==9.11.9"]
MORE = {"a9a": 60, "mnist": 10, "elec": 60, "fried": 60}
RIVER_ROWS = {"mnist": 5000}  # of more it would take minutes
JOBS = os.path.join(HERE, "..", "gates", "jobs")
KIND = {"a9a": "accuracy, test", "mnist": "accuracy, test", "elec": "accuracy, prequential",
        "fried": "RMSE, test"}
FRIED = 32768  # rows that are learned; the 8,000 others are the test


# ---- rows: text in, for each tool as it is usually read ----

def tables(name):
    """Training and test files."""
    if name == "a9a":
        return datasets.file("a9a", "a9a.libsvm"), datasets.file("a9a", "a9a.t.libsvm")
    if name == "mnist":
        return datasets.images("mnist") or (None,)
    if name == "elec":
        return (datasets.file("elec", "electricity.csv"),)
    return (datasets.file("fried", "fried.csv"),)


def idx(path):
    with open(path, "rb") as f:
        b = f.read()
    dims = struct.unpack_from(f">{b[3]}I", b, 4)
    return b[4 + 4 * len(dims):], dims


def table(path):
    """numpy arrays x, y of a CSV file whose last column is the label."""
    import numpy as np
    a = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32)
    return a[:, :-1], a[:, -1]


def pictures(images, labels):
    import numpy as np
    x, dims = idx(images)
    y, _ = idx(labels)
    x = np.frombuffer(x, np.uint8).reshape(dims[0], -1).astype(np.float32) / 255
    return x, np.frombuffer(y, np.uint8).astype(np.int64)


def sparse_rows(path):
    with open(path, encoding="ascii") as f:
        for line in f:
            words = line.split()
            yield ({w.split(":")[0]: float(w.split(":")[1]) for w in words[1:]}, int(words[0]))


# ---- the peers: each returns (rows, seconds learning or None, accuracy) ----

def sklearn(name):
    import numpy as np
    from sklearn.datasets import load_svmlight_file
    from sklearn.linear_model import SGDClassifier, SGDRegressor
    from sklearn.preprocessing import StandardScaler
    files, chunk, test = tables(name), 1000, None
    if name == "a9a":
        (x, y), test = load_svmlight_file(files[0], n_features=123), files[1]
        test = load_svmlight_file(test, n_features=123)
    elif name == "mnist":
        (x, y), test = pictures(*files[:2]), pictures(*files[2:])
    else:
        x, y = table(files[0])
    if name == "fried":
        x, y, test = x[:FRIED], y[:FRIED], (x[FRIED:], y[FRIED:])
    start, scaler, seen, hits = time.monotonic(), None, 0, 0
    if name == "fried":
        model, scaler = SGDRegressor(average=True), StandardScaler()
    elif name == "elec":  # a stream: a row a call, at a constant rate
        model, scaler, chunk = SGDClassifier(loss="log_loss", learning_rate="constant",
                                             eta0=0.5), StandardScaler(), 1
    else:
        model = SGDClassifier(loss="log_loss", average=True)
    classes = np.unique(y)
    for at in range(0, len(y), chunk):
        rows, labels = x[at:at + chunk], y[at:at + chunk]
        if scaler is not None:
            if at and test is None:
                hits += int((model.predict(scaler.transform(rows)) == labels).sum())
                seen += len(labels)
            rows = scaler.partial_fit(rows).transform(rows)
        if name == "fried":
            model.partial_fit(rows, labels)
        else:
            model.partial_fit(rows, labels, classes=classes)
    took = time.monotonic() - start
    if name == "fried":
        p = model.predict(scaler.transform(test[0]))
        return len(y), took, float(np.sqrt(((p - test[1]) ** 2).mean()))
    if test is not None:
        return len(y), took, float((model.predict(test[0]) == test[1]).mean())
    return len(y), took, hits / seen


def river(name):
    from river import linear_model, optim, preprocessing
    files = tables(name)
    if name == "a9a":
        rows = list(sparse_rows(files[0]))
        model = linear_model.LogisticRegression(optim.SGD(0.05))
    elif name == "mnist":
        x, y = pictures(*files[:2])
        rows = [(dict(enumerate(map(float, a))), int(b))
                for a, b in zip(x[:RIVER_ROWS[name]], y)]
        model = linear_model.SoftmaxRegression(optim.SGD(0.01))
    else:
        with open(files[0], encoding="ascii") as f:
            label = "class" if name == "elec" else "target"
            rows = [({k: float(v) for k, v in r.items() if k != label}, float(r[label]))
                    for r in csv.DictReader(f)]
        model = preprocessing.StandardScaler() | (
            linear_model.LogisticRegression(optim.SGD(0.5)) if name == "elec"
            else linear_model.LinearRegression(optim.SGD(0.01)))
    rows, rest = (rows[:FRIED], rows[FRIED:]) if name == "fried" else (rows, [])
    start, hits = time.monotonic(), 0
    for x, y in rows:
        if name == "elec":
            hits += model.predict_one(x) == bool(y)
        model.learn_one(x, bool(y) if name in ("a9a", "elec") else y)
    took = time.monotonic() - start
    if name == "a9a":
        test = list(sparse_rows(files[1]))
        return len(rows), took, sum(model.predict_one(x) == bool(y) for x, y in test) / len(test)
    if name == "mnist":
        x, y = pictures(*files[2:])
        right = sum(model.predict_one(dict(enumerate(map(float, a)))) == int(b)
                    for a, b in zip(x[:2000], y))
        return len(rows), took, right / 2000
    if name == "fried":
        se = sum((model.predict_one(x) - y) ** 2 for x, y in rest)
        return len(rows), took, math.sqrt(se / len(rest))
    return len(rows), took, hits / len(rows)


def vw_text(name, out, test=False):
    """The rows as Vowpal Wabbit's text; not counted."""
    files = tables(name)
    with open(out, "w", encoding="ascii") as f:
        if name == "a9a":
            for x, y in sparse_rows(files[test]):
                f.write(f"{1 if y else -1} | {' '.join(f'{k}:{v:g}' for k, v in x.items())}\n")
        elif name == "mnist":
            x, y = pictures(*files[2:] if test else files[:2])
            for a, b in zip(x, y):
                f.write(f"{b + 1} | " + " ".join(f"{j}:{v:.4g}" for j, v in enumerate(a) if v)
                        + "\n")
        else:
            x, y = table(files[0])
            if name == "fried":
                x, y = (x[FRIED:], y[FRIED:]) if test else (x[:FRIED], y[:FRIED])
            for a, b in zip(x, y):
                label = f"{b:g}" if name == "fried" else "1" if b else "-1"
                f.write(f"{label} | " + " ".join(f"{j}:{v:g}" for j, v in enumerate(a)) + "\n")
    return out


def vw(name):
    from vowpalwabbit import Workspace
    how = {"a9a": "--loss_function logistic", "mnist": "--oaa 10 --loss_function logistic",
           "elec": "--loss_function logistic", "fried": "--loss_function squared"}[name]
    start = time.monotonic()
    model = Workspace(f"-d {name}.vw -f {name}.model -p {name}.seen {how}", quiet=True)
    model.finish()
    took = time.monotonic() - start
    if name != "elec":
        Workspace(f"-t -i {name}.model -d {name}-test.vw -p {name}.seen", quiet=True).finish()
    with open(f"{name}.vw" if name == "elec" else f"{name}-test.vw",
              encoding="ascii") as f:
        labels = [float(line.split(" ", 1)[0]) for line in f]
    with open(f"{name}.seen", encoding="ascii") as f:
        seen = [float(line.split()[0]) for line in f]
    assert len(labels) == len(seen)
    with open(f"{name}.vw", encoding="ascii") as f:
        rows = sum(1 for _ in f)
    if name == "fried":
        return rows, took, math.sqrt(sum((p - y) ** 2 for p, y in zip(seen, labels)) / len(seen))
    if name == "mnist":
        return rows, took, sum(p == y for p, y in zip(seen, labels)) / len(seen)
    return rows, took, sum((p > 0) == (y > 0) for p, y in zip(seen, labels)) / len(seen)


def one(tool, name):
    """What a process of its own does, after its imports."""
    run = {"scikit-learn": sklearn, "River": river, "Vowpal Wabbit": vw}[tool]
    rows, took, accuracy = run(name)
    print(f"\nresult {rows} {took:.4f} {accuracy:.6f}")


# ---- millrace ----

def millrace(*words):
    r = subprocess.run([os.path.join(BUILD, "millrace"), *words], text=True, check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if r.returncode:
        raise SystemExit(f"millrace {' '.join(words)}: exit {r.returncode}\n{r.stderr}")
    return r.stdout + r.stderr


def trained(job, *flags):
    start = time.monotonic()
    millrace("train", job, "--until-end", "-q", *flags)
    return time.monotonic() - start


def loads(name):
    """Words of `load` for the learned and the test rows."""
    files = tables(name)
    if name == "a9a":
        return [["--format", "libsvm", "--as", "lines", f] for f in files]
    if name == "mnist":
        return [["--format", "idx", "--label", files[k + 1], files[k]] for k in (0, 2)]
    words = ["--format", "csv", "--label", {"elec": "class", "fried": "target"}[name]]
    if name == "elec":
        return [[*words, files[0]]]
    with open(files[0], encoding="ascii") as f:
        head, *lines = f
    for path, part in (("learned.csv", lines[:FRIED]), ("test.csv", lines[FRIED:])):
        with open(path, "w", encoding="ascii") as f:
            f.writelines([head, *part])
    return [[*words, "learned.csv"], [*words, "test.csv"]]


def ours(name):
    """(rows, seconds of the whole program, of learning them, accuracy)"""
    job = shutil.copy(os.path.join(JOBS, f"linear-{name}.yaml"), "job.yaml")
    load = ["load", "-b", "local:broker", "--schema", f"{name}.avsc", "--partitions", "1"]
    learned, *test = loads(name)
    millrace(*load, "-t", name, *learned)
    more = MORE[name]
    if name == "mnist":
        for _ in range(1 + more):
            millrace(*load, "--append", "-t", "long", *learned)
    else:
        millrace(*load, "-t", "long", *learned, *[learned[-1]] * more)
    took = trained(job)
    learning = (trained(job, "--set", "topic=long", "--set", "job=long") - took) / more
    shown = millrace("model", "show", job)
    rows = float(re.search(r"^ *rows +(\S+)", shown, re.M)[1])
    if not test:
        return rows, took, learning, float(re.search(r"prequential_accuracy +(\S+)", shown)[1])
    millrace(*load, "-t", "test", *test[0])
    scored = millrace("score", job, "-t", "test", "-e", "--metrics")
    what = "rmse" if name == "fried" else "accuracy"
    return rows, took, learning, float(re.search(rf"^{what} (\S+)", scored, re.M)[1])


# ---- the table ----

def peer(tool, name):
    start = time.monotonic()
    r = subprocess.run([sys.executable, os.path.abspath(__file__), "--one", tool, name], text=True,
                       check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    took = time.monotonic() - start
    found = re.search(r"^result (\S+) (\S+) (\S+)", r.stdout, re.M)
    if r.returncode or not found:
        raise SystemExit(f"{tool} on {name}: exit {r.returncode}\n{r.stdout}{r.stderr}")
    return float(found[1]), took, float(found[2]), float(found[3])


def compare(name):
    if None in tables(name):
        print(f"skipped: {name} is not there")
        return
    rows, took, learning, accuracy = ours(name)
    base = rows / learning
    print(f"{name:<6} {'millrace':<14} {accuracy:>9.4f} {rows:>8.0f} {took:>8.2f} {learning:>9.2f} "
          f"{base:>10.0f} {1:>8.1f}  {KIND[name]}")
    vw_text(name, f"{name}.vw")
    if name != "elec":
        vw_text(name, f"{name}-test.vw", True)
    for tool in ("scikit-learn", "River", "Vowpal Wabbit"):
        rows, took, learning, accuracy = peer(tool, name)
        print(f"{name:<6} {tool:<14} {accuracy:>9.4f} {rows:>8.0f} {took:>8.2f} {learning:>9.2f} "
              f"{rows / learning:>10.0f} {base / (rows / learning):>8.1f}", flush=True)


def main():
    names = sys.argv[1].split(",") if len(sys.argv) > 1 else list(KIND)
    wrong = [n for n in names if n not in KIND]
    if wrong:
        raise SystemExit(__doc__)
    # this program goes on there, for what writes the rows for Vowpal Wabbit needs numpy
    pypi.enter(os.path.join(BUILD, "peers"), PACKAGES)
    print(f"{'data':<6} {'tool':<14} {'accuracy':>9} {'rows':>8} {'whole s':>8} {'learn s':>9} "
          f"{'rows/s':>10} {'times':>8}")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="millrace-peers.") as folder:
            os.chdir(folder)
            compare(name)
    print("rows/s: of learning, as the head of this program says; times: millrace's over it")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:4])
    else:
        main()
