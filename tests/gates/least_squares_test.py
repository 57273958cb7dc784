#!/usr/bin/env python3
"""least_squares against numpy that has all rows at once: coefficients and k-fold cross-validation
for ridge, lasso, elastic net and forward selection, of rows that are made here and of Friedman's.
The folds are dealt here again, by the hash of seed, partition and record."""

import json

import datasets
import gate
import numpy as np

PARTITIONS, SEED, WORD = 3, 12, 2 ** 64 - 1
APART = 1e-6  # relative, or in deviations of the label
JOB = """job: {name}
topic: {name}
algo: least_squares
broker: local:broker
seed: {seed}
input: {{schema: {name}.avsc, label: y, weight: w}}
options: {{folds: {folds}}}
"""


def mix(x):
    """A round of SplitMix64."""
    x = (x + 0x9e3779b97f4a7c15) & WORD
    x = ((x ^ x >> 30) * 0xbf58476d1ce4e5b9) & WORD
    x = ((x ^ x >> 27) * 0x94d049bb133111eb) & WORD
    return x ^ x >> 31


def fold(i, folds):
    """Of row i of the file: row 0 of record i // PARTITIONS of partition i modulo PARTITIONS."""
    h = mix((i // PARTITIONS) << 16 ^ mix((SEED + mix(i % PARTITIONS)) & WORD))
    return (mix(h) >> 32) * folds >> 32


def prox(a, c, l1):
    """argmin b'Ab / 2 - c'b + l1'|b| by accelerated proximal gradient steps, with restarts."""
    step = 1 / np.linalg.eigvalsh(a)[-1]
    b = z = np.zeros_like(c)
    t = 1.0
    for _ in range(200000):
        was, u = b, z + step * (c - a @ z)
        b = np.sign(u) * np.maximum(np.abs(u) - step * l1, 0)
        if np.dot(z - b, b - was) > 0:
            t, z = 1.0, b
        else:
            t, s = (1 + (1 + 4 * t * t) ** 0.5) / 2, t
            z = b + (s - 1) / t * (b - was)
        if np.abs(b - was).max() <= 1e-15 * max(1e-9, np.abs(b).max()):
            break
    return b


class Fit:
    """Of rows x, y with weights w. Columns are standardised in any case, by rows and an orthogonal
    reduction; where penalties are of raw units, each column has its own."""

    def __init__(self, x, y, w, l2=0.0, l1=0.0, standardize=True, features=0):
        mean, label = w @ x / w.sum(), w @ y / w.sum()
        unit = np.sqrt(w @ (x - mean) ** 2 / w.sum())
        scale = np.sqrt(w @ (y - label) ** 2 / w.sum()) if standardize else 1.0
        own = np.ones_like(unit) if standardize else unit
        root = np.sqrt(w / w.sum())
        r = np.linalg.qr(np.column_stack([root[:, None] * (x - mean) / unit,
                                          root * (y - label) / scale]), mode="r")
        self.a, self.t, self.l2, self.l1 = r[:, :-1], r[:, -1], l2 / own ** 2, l1 / own
        which = self.forward(features) if features else list(range(len(unit)))
        self.b = np.zeros_like(unit)
        self.b[which] = self.solve(which, self.l1[which]) * scale / unit[which]
        self.intercept = label - mean @ self.b

    def solve(self, which, l1):
        a, l2 = self.a[:, which], np.diag(self.l2[which])
        if np.any(l1):
            return prox(a.T @ a + l2, a.T @ self.t, l1)
        rows, end = np.vstack([a, np.sqrt(l2)]), np.append(self.t, np.zeros(len(which)))
        return np.linalg.lstsq(rows, end, rcond=None)[0]

    def forward(self, features):
        """By trying each."""
        which = []
        while len(which) < features:
            def cost(j):
                k = which + [j]
                b = self.solve(k, 0)
                return ((self.t - self.a[:, k] @ b) ** 2).sum() + self.l2[k] @ b ** 2
            which.append(min((j for j in range(self.a.shape[1]) if j not in which), key=cost))
        return sorted(which)

    def se(self, x, y, w):
        return w @ (y - x @ self.b - self.intercept) ** 2


class Rows:
    """A data set, a job that has learned it, and how far from numpy its models were, by family."""

    def __init__(self, name, x, y, w, folds):
        """x, y, w as the program has them: f32."""
        self.x, self.y, self.w = (v.astype(np.float32).astype(np.float64) for v in (x, y, w))
        self.name, self.folds, self.apart = name, folds, {}
        self.fold = np.array([fold(i, folds) for i in range(len(y))])
        lines = [",".join([f"x{j}" for j in range(x.shape[1])] + ["w", "y"])]
        for row in np.column_stack([self.x, self.w, self.y]).tolist():
            lines.append(",".join(map(repr, row)))
        gate.load(name, "csv", "-", data="\n".join(lines) + "\n", partitions=PARTITIONS)
        self.job = gate.train(name + ".yaml", JOB.format(name=name, seed=SEED, folds=folds))

    def check(self, family, **options):
        words = sum((["--set", f"{k}={str(v).lower()}"] for k, v in options.items()), [])
        gate.run("derive", self.job, *words, "--to", "json", "-o", "model.json")
        with open("model.json", encoding="utf-8") as f:
            doc = json.load(f)
        got, w = doc["measures"], np.array(doc["tensors"]["w"])
        options = {k: float(np.float32(v)) if k in ("l1", "l2") else v for k, v in options.items()}
        whole, se = Fit(self.x, self.y, self.w, **options), 0
        for k in range(self.folds):
            own = self.fold == k
            part = [v[~own] for v in (self.x, self.y, self.w)]
            se += Fit(*part, **options).se(self.x[own], self.y[own], self.w[own])
        want = {"cv_mse": se / self.w.sum(),
                "train_mse": whole.se(self.x, self.y, self.w) / self.w.sum(),
                "features_used": np.count_nonzero(whole.b)}
        apart = {k: abs(got[k] - v) / v if v else abs(got[k]) for k, v in want.items()}
        unit = self.x.std(axis=0) / self.y.std()
        apart["w"] = np.abs((w[:-1] - whole.b) * unit).max()
        apart["intercept"] = abs(w[-1] - whole.intercept) / self.y.std()
        assert all(v <= APART for v in apart.values()), (options, apart, got, want)
        self.apart.setdefault(family, []).append(apart["cv_mse"])
        return got

    def all_penalties(self):
        for l2 in (0, 1e-4, 0.01, 1, 100):
            self.check("ridge", l2=l2)
        for l2 in (0, 3):
            self.check("ridge", l2=l2, l1=0, standardize=False)
        for l1 in (0.001, 0.02, 0.2):
            self.check("lasso", l1=l1)
            self.check("elastic net", l1=l1, l2=0.1)
        self.check("lasso", l2=0, l1=0.05, standardize=False)
        self.check("elastic net", l2=0.5, l1=0.1, standardize=False)
        for features in (1, 2, 4):
            self.check("selection", features=features)
        self.check("selection", features=3, l2=0.3)
        self.check("selection", features=4, l1=0.05)
        for family, apart in self.apart.items():
            gate.gate(f"{self.name}: cv_mse apart, {family}", max(apart), most=APART,
                      reference=f"numpy with all rows, the worst of {len(apart)}")


def correlated_columns_of_all_units():
    g = np.random.default_rng(3)
    common = g.normal(size=(600, 3)) @ g.normal(size=(3, 8))
    unit = 10.0 ** np.array([0, -3, 2, 5, 0, 1, -1, 0])
    x = (common + 0.7 * g.normal(size=(600, 8)) + [0, 0, 5, -9, 100, 0, 3, 0]) * unit
    y = 40 + (x / unit) @ [2, 0, 0, -1, 0.5, 0, 0, 0] + 3 * g.normal(size=600)
    Rows("units", x, y, g.choice([0.0, 0.5, 1, 1, 2, 7], 600), 10).all_penalties()


def friedman(path):
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    rows = Rows("fried", table[:, :-1], table[:, -1], np.ones(len(table)), 5)
    got = rows.check("ridge")
    gate.gate("fried: RMSE by cross-validation", got["cv_mse"] ** 0.5, most=2.65,
              reference="least squares 2.636")
    gate.gate("fried: prequential RMSE", got["prequential_rmse"], most=2.65,
              reference="recursive least squares 2.636")
    rows.all_penalties()


def main():
    path = datasets.file("fried", "fried.csv")
    with gate.folder():
        correlated_columns_of_all_units()
        if path:
            friedman(path)
        else:
            gate.absent("fried")
    gate.done()


if __name__ == "__main__":
    main()
