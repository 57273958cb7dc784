#!/usr/bin/env python3
"""pca against LAPACK in numpy, through the verbs on the embedded broker: pictures are loaded into
four partitions and learned in one pass, exactly and as a sketch of twice as many directions as
components.

Fashion-MNIST from the Debian package dataset-fashion-mnist; MNIST too, where $MILLRACE_MNIST has
its files."""

import csv
import gzip
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy

MILLRACE = os.environ["MILLRACE"]
FASHION = "/usr/share/datasets/fashion-mnist"
# share of variance along 1, 10, 50, 100 directions: LAPACK on x / 255
SHARES = {"fashion": (0.290392, 0.719908, 0.862692, 0.912349),
          "mnist": (0.097047, 0.488150, 0.824647, 0.914629)}
JOB = """job: {job}
topic: {topic}
algo: pca
broker: local:broker
input: {{schema: {topic}.avsc, label: label}}
options: {{{options}}}
"""


def run(*words):
    r = subprocess.run([MILLRACE, *words], text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    if r.returncode:
        raise AssertionError(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-2000:]}")
    return r.stdout


def find(folder, name):
    for path in (pathlib.Path(folder, name), pathlib.Path(folder, name + ".gz")):
        if path.exists():
            return str(path)
    return None


def pixels(path):
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as f:
        return numpy.frombuffer(f.read(), numpy.uint8, offset=16).reshape(-1, 784) / 255


class Truth:
    """Of all rows, in f64."""

    def __init__(self, x):
        self.mean, self.n = x.mean(0), len(x)
        self.squares = x.T @ x
        self.cov = (self.squares - self.n * numpy.outer(self.mean, self.mean)) / (self.n - 1)
        self.value = numpy.linalg.eigvalsh(self.cov)[::-1]
        self.total = self.value.sum()

    def along(self, component):
        """What rows vary by along orthogonal directions, together."""
        c = component.astype(float)
        assert abs(c @ c.T - numpy.eye(len(c))).max() < 1e-6
        return numpy.einsum("ij,jk,ik->", c, self.cov, c)


def derive(job, **options):
    words = [w for k, v in options.items() for w in ("--set", f"{k}={v}")]
    run("derive", job, *words, "-o", "x.npz")
    with numpy.load("x.npz") as z:
        return {name: z[name] for name in z.files}


def train(job, topic, options, more=""):
    path = job + ".yaml"
    with open(path, "w", encoding="utf-8") as f:
        f.write(JOB.format(job=job, topic=topic, options=options) + more)
    begin = time.monotonic()
    run("train", path, "--until-end", "-q")
    print(f"  {job}: {time.monotonic() - begin:.1f} s")
    return path


def exact(name, true):
    job = train(name + "-exact", name, "method: exact, components: 100")
    m = derive(job)
    share = m["variance"].cumsum() / m["total"][0]
    worst = abs(m["variance"] / true.value[:100] - 1).max()
    captured = true.along(m["component"])
    print(f"  exact: shares {share[[0, 9, 49, 99]]}, top {m['variance'][:3]}, worst {worst:.1e}")
    assert abs(share[[0, 9, 49, 99]] - SHARES[name]).max() < 1e-6
    assert worst < 1e-6 and abs(m["total"][0] / true.total - 1) < 1e-6
    assert captured > (1 - 1e-9) * true.value[:100].sum()
    assert abs(m["mean"] - true.mean).max() < 1e-7 and (m["scale"] == 1).all()
    return job


def sketch(name, true, k):
    job = train(f"{name}-{k}", name, f"method: frequent_directions, components: {k}, "
                                     f"extra_components: {k}")
    m = derive(job)
    best = true.value[:k].sum()
    captured = true.along(m["component"]) / best
    print(f"  sketch of {2 * k}: captured {captured:.4f} of the best {k}, variances "
          f"{(m['variance'] / true.value[:k] - 1).min():+.3f} to "
          f"{(m['variance'] / true.value[:k] - 1).max():+.3f}")
    assert captured >= 0.98, captured
    assert abs(m["total"][0] / true.total - 1) < 1e-6
    assert abs(m["mean"] - true.mean).max() < 1e-7


def same_bits(topic, k):
    """Of a sketch, on either back end, however many threads LAPACK would take."""
    digests = set()
    for backend, threads in (("openblas", "1"), ("ref", "2")):
        os.environ["OPENBLAS_NUM_THREADS"] = threads
        train(f"{topic}-{backend}", topic, f"method: frequent_directions, components: {k}, "
                                           f"extra_components: {k}", f"backend: {backend}\n")
        digests.add(run("state", "show", "--digest", f"{topic}-{backend}.state"))
    del os.environ["OPENBLAS_NUM_THREADS"]
    assert len(digests) == 1, digests


def other_models(job, true):
    """What is chosen after the pass: correlation, no mean, whitening."""
    m = derive(job, components=20, correlation="true")
    deviation = true.cov.diagonal() ** 0.5
    r = true.cov / numpy.outer(deviation, deviation)
    value = numpy.linalg.eigvalsh(r)[::-1]
    assert abs(m["variance"] / value[:20] - 1).max() < 1e-6
    assert abs(m["scale"] * deviation - 1).max() < 1e-6
    m = derive(job, components=20, center="false")
    value = numpy.linalg.eigvalsh(true.squares / true.n)[::-1]
    assert abs(m["variance"] / value[:20] - 1).max() < 1e-6 and not m["mean"].any()
    m = derive(job, components=20, whiten="true")
    c = m["component"].astype(float)
    assert abs(c @ true.cov @ c.T - numpy.eye(20)).max() < 1e-5


def scores(job, topic, x):
    """`score` prints the projections of the published model."""
    m = derive(job)
    want = (x - m["mean"]) @ m["component"].T
    rows = list(csv.reader(run("score", job, "-t", topic, "-e").splitlines()))
    at = rows[0].index("component.0")
    assert rows[0][at:at + 10] == [f"component.{i}" for i in range(10)], rows[0]
    assert len(rows) == 1 + len(x)
    got = numpy.empty((len(x), 10))
    for row in rows[1:]:  # offset i of partition p is row 4 i + p, as load deals them
        got[4 * int(row[1]) + int(row[0])] = row[at:at + 10]
    assert abs(got - want[:, :10]).max() < 1e-4


def check(name, folder):
    print(name)
    data = {}
    for topic, part in ((name, "train"), (name + "-test", "t10k")):
        images, labels = (find(folder, f"{part}-{n}-ubyte") for n in ("images-idx3", "labels-idx1"))
        run("load", "-b", "local:broker", "-t", topic, "--format", "idx", "--label", labels,
            "--partitions", "4", images)
        data[part] = pixels(images)
    true = Truth(data["train"])
    job = exact(name, true)
    for k in (10, 50):
        sketch(name, true, k)
    if name == "fashion":  # which has no constant column
        same_bits(name + "-test", 50)
        other_models(job, true)
        scores(job, name + "-test", data["t10k"])


def main():
    sets = [(name, folder) for name, folder in
            (("fashion", FASHION), ("mnist", os.environ.get("MILLRACE_MNIST", "/nowhere")))
            if find(folder, "t10k-labels-idx1-ubyte")]
    if not sets:
        print("skipped: no Fashion-MNIST in", FASHION, "and no MNIST in $MILLRACE_MNIST")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="millrace-pca.") as folder:
        os.chdir(folder)
        for name, at in sets:
            check(name, at)


if __name__ == "__main__":
    main()
