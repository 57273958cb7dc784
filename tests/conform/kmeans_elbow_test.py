#!/usr/bin/env python3
"""shuttle (Statlog, 49,097 rows of 9 numbers): the elbow that `millrace tune` finds in one pass is
the one that k-means on all rows, again and again, has by the same rule, to within one cluster; and
what one pass's clusters explain there is what they do.

Needs adbench/32_shuttle.npz in $MILLRACE_DATA, or in ../shared/data beside the checkout."""

import json
import os
import sys

import jobs
import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.environ.get("MILLRACE_DATA", os.path.join(HERE, "../../../shared/data"))
SHUTTLE = os.path.abspath(os.path.join(DATA, "adbench", "32_shuttle.npz"))
MOST = 20


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


def check(name, x, job):
    found = [json.loads(line) for line in job.millrace(
        "tune", job.file, "--json", "--over", f"k=1..{MOST}", "--by", "elbow",
        "-o", job.folder / "c.npz").stdout.splitlines()]
    k, ks = found[0]["options"]["k"], numpy.arange(1, MOST + 1)
    g = numpy.random.default_rng(0)
    full = numpy.array([min(lloyd(x, c, g) for _ in range(2)) for c in ks])
    ours = {p["options"]["k"]: p["measures"]["msd_estimate"] for p in found}
    want = elbow(ks, full)
    centre = numpy.load(job.folder / "c.npz")["centre"].astype(float)
    msd = distances(x, centre).min(1).mean()
    explained = 1 - msd / full[0], 1 - full[k - 1] / full[0]
    print(f"{name}: elbow {k}, of full k-means {want}; explained {explained[0]:.4f}, by full "
          f"k-means {explained[1]:.4f}; silhouette's choice "
          f"{max(found, key=lambda p: p['measures'].get('silhouette', -1))['options']['k']}")
    print("  k: full, estimated:", ", ".join(f"{c}: {full[c - 1]:.5g} {ours[c]:.5g}" for c in ks))
    assert abs(k - want) <= 1 and centre.shape[0] == k
    assert explained[0] > explained[1] - 0.01
    assert msd <= ours[k] * 1.0001  # what the table says is an upper bound


def main():
    if not os.path.exists(SHUTTLE):
        print("skipped: no", SHUTTLE)
        sys.exit(77)
    raw = numpy.load(SHUTTLE)["X"].astype(float)
    with jobs.Folder() as tmp:
        for name, x in ("raw", raw), ("standard", (raw - raw.mean(0)) / raw.std(0)):
            at = jobs.Local(tmp / f"{name}.broker")
            at.put(name, 2, jobs.spread([",".join(f"{v:.6g}" for v in r).encode() for r in x], 2))
            job = jobs.Job(tmp, at, name + "-job", name, "algo: kmeans\noptions: {k: 20}\n"
                           f"input: {{format: csv, width: {x.shape[1]}}}\n", "")
            job.train().done()
            check(name, x, job)


if __name__ == "__main__":
    main()
