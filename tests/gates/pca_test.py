#!/usr/bin/env python3
"""pca against LAPACK in numpy: pictures are loaded into four partitions and learned in one pass,
exactly and as a sketch of twice as many directions as components."""

import csv
import os

import datasets
import gate
import numpy

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


def train(job, topic, options, more=""):
    return gate.train(job + ".yaml", JOB.format(job=job, topic=topic, options=options) + more)


def exact(name, true):
    job = train(name + "-exact", name, "method: exact, components: 100")
    m = gate.derive(job)
    share = m["variance"].cumsum() / m["total"][0]
    worst = abs(m["variance"] / true.value[:100] - 1).max()
    captured = true.along(m["component"])
    gate.gate(f"{name}: 100 variances apart, relative", worst, most=1e-6,
              reference="LAPACK of all rows")
    gate.gate(f"{name}: shares along 1, 10, 50, 100 apart",
              abs(share[[0, 9, 49, 99]] - SHARES[name]).max(), most=1e-6,
              reference=f"LAPACK: {SHARES[name][3]} along 100")
    assert abs(m["total"][0] / true.total - 1) < 1e-6
    assert captured > (1 - 1e-9) * true.value[:100].sum()
    assert abs(m["mean"] - true.mean).max() < 1e-7 and (m["scale"] == 1).all()
    return job


def sketch(name, true, k):
    job = train(f"{name}-{k}", name, f"method: frequent_directions, components: {k}, "
                                     f"extra_components: {k}")
    m = gate.derive(job)
    best = true.value[:k].sum()
    captured = true.along(m["component"]) / best
    gate.gate(f"{name}: captured by a sketch of {2 * k}", captured, least=0.98,
              reference=f"share of what the best {k} directions capture")
    assert abs(m["total"][0] / true.total - 1) < 1e-6
    assert abs(m["mean"] - true.mean).max() < 1e-7


def same_bits(topic, k):
    """Of a sketch, on either back end, however many threads LAPACK would take."""
    digests = set()
    for backend, threads in (("openblas", "1"), ("ref", "2")):
        os.environ["OPENBLAS_NUM_THREADS"] = threads
        train(f"{topic}-{backend}", topic, f"method: frequent_directions, components: {k}, "
                                           f"extra_components: {k}", f"backend: {backend}\n")
        digests.add(gate.run("state", "show", "--digest", f"{topic}-{backend}.state"))
    del os.environ["OPENBLAS_NUM_THREADS"]
    assert len(digests) == 1, digests


def other_models(job, true):
    """What is chosen after the pass: correlation, no mean, whitening."""
    m = gate.derive(job, components=20, correlation=True)
    deviation = true.cov.diagonal() ** 0.5
    r = true.cov / numpy.outer(deviation, deviation)
    value = numpy.linalg.eigvalsh(r)[::-1]
    assert abs(m["variance"] / value[:20] - 1).max() < 1e-6
    assert abs(m["scale"] * deviation - 1).max() < 1e-6
    m = gate.derive(job, components=20, center=False)
    value = numpy.linalg.eigvalsh(true.squares / true.n)[::-1]
    assert abs(m["variance"] / value[:20] - 1).max() < 1e-6 and not m["mean"].any()
    m = gate.derive(job, components=20, whiten=True)
    c = m["component"].astype(float)
    assert abs(c @ true.cov @ c.T - numpy.eye(20)).max() < 1e-5


def scores(job, topic, x):
    """`score` prints the projections of the published model."""
    m = gate.derive(job)
    want = (x - m["mean"]) @ m["component"].T
    rows = list(csv.reader(gate.run("score", job, "-t", topic, "-e").splitlines()))
    at = rows[0].index("component.0")
    assert rows[0][at:at + 10] == [f"component.{i}" for i in range(10)], rows[0]
    assert len(rows) == 1 + len(x)
    got = numpy.empty((len(x), 10))
    for row in rows[1:]:  # offset i of partition p is row 4 i + p, as load deals them
        got[4 * int(row[1]) + int(row[0])] = row[at:at + 10]
    assert abs(got - want[:, :10]).max() < 1e-4


def check(name, images, labels, test_images, test_labels):
    test = name + "-test"
    for topic, *paths in (name, labels, images), (test, test_labels, test_images):
        gate.load(topic, "idx", "--label", *paths, partitions=4)
    true = Truth(gate.pixels(images))
    job = exact(name, true)
    for k in (10, 50):
        sketch(name, true, k)
    if name == "fashion":  # which has no constant column
        same_bits(test, 50)
        other_models(job, true)
        scores(job, test, gate.pixels(test_images))


def main():
    with gate.folder():
        for name in SHARES:
            paths = datasets.images(name)
            if paths:
                check(name, *paths)
            else:
                gate.absent(name)
    gate.done()


if __name__ == "__main__":
    main()
