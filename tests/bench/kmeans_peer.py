#!/usr/bin/env python3
"""K-means beside scikit-learn's MiniBatchKMeans.partial_fit: the same rows in the same order in
batches of 1,024, one pass, one thread, 784 columns (the MNIST images where they are there, else
random blobs), K = 1,000 centres on both sides.

On both sides the first rows make the centres, which is not timed: millrace's warm-up, the first
partial_fit of scikit-learn. Then all rows are learned, in CPU time of the process, which each side
starts anew; they take turns. In the end the mean squared distance of all rows to the nearest of
the 1,000 centres, for both. Settings are the defaults.

usage: kmeans_peer.py [PAIRS]      (5)
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

import peers

BATCH, COLUMNS, CENTRES = 1024, 784, 1000
TIMES_MIN = 1.5  # the limit


def rows():
    import numpy as np
    files = peers.tables("mnist")
    if None not in files:
        x, _ = peers.pictures(*files[:2])
        return x[:len(x) // BATCH * BATCH]
    rng = np.random.default_rng(7)
    blobs = rng.normal(size=(500, COLUMNS)).astype(np.float32)
    return blobs[rng.integers(500, size=50 * BATCH)] + rng.normal(
        scale=0.5, size=(50 * BATCH, COLUMNS)).astype(np.float32)


def read(path):
    import numpy as np
    return np.fromfile(path, np.float32).reshape(-1, COLUMNS)


def sklearn(path):
    """A process of its own."""
    from sklearn.cluster import MiniBatchKMeans
    x = read(path)
    model = MiniBatchKMeans(n_clusters=CENTRES, batch_size=BATCH, random_state=7)
    model.partial_fit(x[:BATCH])
    start = time.process_time()
    for at in range(0, len(x), BATCH):
        model.partial_fit(x[at:at + BATCH])
    took = time.process_time() - start
    model.cluster_centers_.astype("float32").tofile(path + ".peer")
    print(len(x), took)


def timed(command):
    """Rows a second."""
    out = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                         env={**os.environ, "OMP_NUM_THREADS": "1",
                              "OPENBLAS_NUM_THREADS": "1"}).stdout
    n, seconds = map(float, out.split())
    return n / seconds


def distance(x, path):
    """Mean squared distance to the nearest centre."""
    centres, total = read(path), 0.0
    for at in range(0, len(x), BATCH):
        part = x[at:at + BATCH]
        d2 = ((part ** 2).sum(1)[:, None] - 2 * part @ centres.T + (centres ** 2).sum(1))
        total += float(d2.min(1).sum())
    return total / len(x)


def main():
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    peers.pypi.enter(os.path.join(peers.BUILD, "peers"), peers.PACKAGES)
    with tempfile.TemporaryDirectory(prefix="millrace-kmeans.") as folder:
        path = os.path.join(folder, "rows")
        x = rows()
        x.tofile(path)
        ratios = []
        for _ in range(pairs):
            ours = timed([os.path.join(peers.BUILD, "update_bench"), "pass", path])
            theirs = timed([sys.executable, os.path.abspath(__file__), "--one", path])
            ratios.append(ours / theirs)
            print(f"millrace {ours / 1e3:.1f} k rows/s, scikit-learn {theirs / 1e3:.1f} k, "
                  f"ratio {ratios[-1]:.2f}", flush=True)
        print(f"{len(x)} rows, K = {CENTRES}, batch {BATCH}: median ratio "
              f"{statistics.median(ratios):.2f} of {pairs} pairs ({min(ratios):.2f} .. "
              f"{max(ratios):.2f}; limit >= {TIMES_MIN})")
        ours, theirs = distance(x, path + ".centres"), distance(x, path + ".peer")
        print(f"mean squared distance to the nearest centre: millrace {ours:.3f}, scikit-learn "
              f"{theirs:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sklearn(sys.argv[2])
    else:
        main()
