#!/usr/bin/env python3
"""How many clusters there are: the elbow that `millrace tune` finds in one pass is the number of
blobs that were drawn, and on shuttle (Statlog, 49,097 rows of 9 numbers) the one that k-means on
all rows, again and again, has by the same rule; and what one pass's clusters explain there is what
they do."""

import json

import datasets
import gate
import numpy

MOST = 20
JOB = """job: {name}
topic: {name}
algo: kmeans
broker: local:broker
input: {{schema: {name}.avsc}}
options: {{k: {most}}}
"""


def train(name, x, most):
    text = "\n".join(",".join(f"{v:.6g}" for v in row) for row in x)
    columns = ",".join(f"x{j}" for j in range(x.shape[1]))
    gate.load(name, "csv", "-", data=f"{columns}\n{text}\n", partitions=2)
    return gate.train(name + ".yaml", JOB.format(name=name, most=most))


def tune(job, most):
    """The points, best first, and the centres of the first."""
    text = gate.run("tune", job, "--json", "--over", f"k=1..{most}", "--by", "elbow",
                    "-o", "tuned.npz")
    with numpy.load("tuned.npz") as z:
        return [json.loads(line) for line in text.splitlines()], z["centre"].astype(float)


def blobs(k, d):
    """Far apart on the axes, of spreads of 1."""
    g = numpy.random.default_rng(k)
    x = g.normal(size=(12000, d)) / d ** 0.5
    x[numpy.arange(len(x)), numpy.arange(len(x)) % k] += 9
    found, centre = tune(train(f"blobs{k}", x, 40), 40)
    assert len(centre) == found[0]["options"]["k"]
    gate.gate(f"{k} blobs: elbow apart", abs(len(centre) - k), most=0, reference=f"{k} drawn")


def distances(x, c):
    return numpy.maximum((x * x).sum(1)[:, None] + (c * c).sum(1) - 2 * x @ c.T, 0)


def lloyd(x, k, g):
    """Mean squared distance of k-means++ and Lloyd to the end, on all rows."""
    c = x[g.integers(len(x))][None]
    near = distances(x, c)[:, 0]
    while len(c) < k:  # greedy: the best of a few
        tried = x[g.choice(len(x), 4, p=near / near.sum())]
        d = numpy.minimum(near[:, None], distances(x, tried))
        best = d.sum(0).argmin()
        near, c = d[:, best], numpy.vstack([c, tried[best]])
    last = numpy.inf
    while True:
        d = distances(x, c)
        at = d.argmin(1)
        now = d[numpy.arange(len(x)), at].mean()
        if now > last * (1 - 5e-4):
            return now
        last, n = now, numpy.bincount(at, minlength=k)
        for j in range(x.shape[1]):
            c[n > 0, j] = numpy.bincount(at, x[:, j], k)[n > 0] / n[n > 0]


def elbow(ks, y):
    """Kneedle (Satopaa et al. 2011) on log k."""
    at = numpy.log(ks / ks[0]) / numpy.log(ks[-1] / ks[0])
    return ks[(y[0] + at * (y[-1] - y[0]) - y).argmax()]


def shuttle(name, x):
    found, centre = tune(train(name, x, MOST), MOST)
    k, ks = found[0]["options"]["k"], numpy.arange(1, MOST + 1)
    g = numpy.random.default_rng(0)
    full = numpy.array([min(lloyd(x, c, g) for _ in range(2)) for c in ks])
    ours = {p["options"]["k"]: p["measures"]["msd_estimate"] for p in found}
    want = elbow(ks, full)
    msd = distances(x, centre).min(1).mean()
    explained = 1 - msd / full[0], 1 - full[k - 1] / full[0]
    print("  k: full, estimated:", ", ".join(f"{c}: {full[c - 1]:.5g} {ours[c]:.5g}" for c in ks))
    gate.gate(f"{name}: elbow apart, of {k}", abs(k - want), most=0,
              reference=f"k-means on all rows: {want}")
    gate.gate(f"{name}: variance explained", explained[0], least=explained[1] - 0.01,
              reference=f"k-means on all rows: {explained[1]:.4f}")
    assert len(centre) == k
    assert msd <= ours[k] * 1.0001  # what the table says is an upper bound


def main():
    path = datasets.file("adbench", "32_shuttle.npz")
    with gate.folder():
        for k, d in (5, 8), (8, 12), (12, 16):
            blobs(k, d)
        if path:
            x = numpy.load(path)["X"].astype(float)
            shuttle("shuttle", x)
            shuttle("shuttle-standard", (x - x.mean(0)) / x.std(0))
        else:
            gate.absent("adbench/32_shuttle.npz")
    gate.done()


if __name__ == "__main__":
    main()
