#!/usr/bin/env python3
"""MNIST, one pass over 60,000 pictures in four partitions and in one: 10 and 50 clusters of one
state, by the mean squared distance (pixels as x/255)."""

import datasets
import gate

GATES = {10: (39.5, "39.216, its one pass: 39.63"), 50: (31.3, "30.715, its one pass: 31.19")}


def digits(images, labels, partitions):
    x = gate.pixels(images)
    gate.load("digits", "idx", "--label", labels, images, partitions=partitions)
    job = gate.train(gate.job("kmeans-mnist"))
    for k, (most, reference) in GATES.items():
        c = gate.derive(job, k=k)["centre"].astype(float)
        assert c.shape == (k, 784)
        msd = ((x * x).sum(1) + ((c * c).sum(1) - 2 * x @ c.T).min(1)).mean()
        gate.gate(f"mnist: distance, k = {k}, partitions {partitions}", msd, most=most,
                  reference="scikit-learn, all rows: " + reference)


def main():
    paths = datasets.images("mnist")
    if not paths:
        gate.absent("mnist")
    else:
        for partitions in 4, 1:
            with gate.folder():
                digits(*paths[:2], partitions)
    gate.done()


if __name__ == "__main__":
    main()
