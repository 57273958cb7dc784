#!/usr/bin/env python3
"""MovieLens 100k (ratings by users of films): one pass of a factorization machine from one
partition and from four, the learning rate chosen by the prequential loss, scored on ratings it has
not seen; fewer factors from the same state; users and films as text that is hashed."""

import gzip
import re

import datasets
import gate
import numpy

USERS, FILMS = 943, 1682
JOB = f"""job: {{name}}
topic: {{name}}
algo: fm
broker: local:broker
input: {{{{format: libsvm, width: {USERS + FILMS}}}}}
options: {{{{learning_rate: [0.1, 0.2, 0.3]}}}}
"""
NAMES = "input: {format: csv, columns: [user, film, label], one_hot: [user, film], hash_bits: 16}"


def ratings(path):
    """user, film, rating"""
    with gzip.open(path, "rt") as f:
        rows = numpy.loadtxt(f, int)[:, :3]
    assert (rows[:, :2] >= 1).all() and (rows[:, :2] <= [USERS, FILMS]).all()
    return rows


def one_hot(rows):
    return "".join(f"{y} {u}:1 {USERS + i}:1\n" for u, i, y in rows)


def named(rows):
    return "user,film,label\n" + "".join(f"u{u},film {i},{y}\n" for u, i, y in rows)


def rmse(text):
    assert gate.number(text, "rows") == 20000, text
    return gate.number(text, "rmse")


def by_definition(job, factors, test):
    """RMSE of the model with so many factors."""
    m = gate.derive(job, factors=factors)
    v = m["v"].reshape(USERS + FILMS, factors).astype(float)
    w = m["w"].ravel().astype(float)
    u, i = test[:, 0] - 1, USERS + test[:, 1] - 1
    z = m["w0"].ravel()[0] + w[u] + w[i] + (v[u] * v[i]).sum(1)
    return ((z - test[:, 2]) ** 2).mean() ** 0.5


def from_partitions(n, train, test):
    """The job's file and the RMSE of its model."""
    name = f"ml{n}"
    for topic, rows in (name, train), (name + "-test", test):
        gate.load(topic, "libsvm", "--as", "lines", "-", partitions=n, data=one_hot(rows))
    job = gate.train(name + ".yaml", JOB.format(name=name))
    return job, rmse(gate.scored(job, name + "-test"))


def from_names(train, test):
    """RMSE where users and films are fields of CSV lines, hashed to columns."""
    for topic, rows in ("names", train), ("names-test", test):
        gate.load(topic, "csv", "--as", "lines", "-", data=named(rows))
    text = re.sub("input: .*", NAMES, JOB.format(name="names"))
    return rmse(gate.scored(gate.train("names.yaml", text), "names-test"))


def movielens(train, test):
    job, one = from_partitions(1, train, test)
    gate.gate("movielens: RMSE, one partition", one, most=0.935,
              reference="libFM, one pass: 0.9689; AdaGrad in numpy: 0.9328")
    rate = gate.number(gate.run("model", "show", job), "learning_rate")
    assert abs(rate - 0.2) < 0.01, rate
    few = {k: by_definition(job, k, test) for k in (10, 5, 2)}
    assert abs(few[10] - one) < 1e-5, (few, one)
    for k in 5, 2:
        gate.gate(f"movielens: RMSE of {k} of its 10 factors", few[k], most=0.96)
    gate.gate("movielens: RMSE, four partitions", from_partitions(4, train, test)[1], most=0.96)
    gate.gate("movielens: RMSE, hashed from CSV", from_names(train, test), most=0.94)


def main():
    paths = [datasets.file("movielens-100k", n) for n in ("train.gz", "test.gz")]
    with gate.folder():
        if None in paths:
            gate.absent("movielens-100k")
        else:
            movielens(*map(ratings, paths))
    gate.done()


if __name__ == "__main__":
    main()
