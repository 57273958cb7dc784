#!/usr/bin/env python3
"""least_squares through the verbs on the embedded broker, against numpy that has all rows at once:
coefficients and k-fold cross-validation for ridge, lasso, elastic net and forward selection. The
folds are dealt here again, by the hash of seed, partition and record.

One data set is made here. The other is Friedman's: fried/fried.csv in $MILLRACE_DATA, or in
../shared/data beside the checkout; without it that test is skipped."""

import json
import os
import subprocess
import tempfile
import unittest

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by numpy; tests share the machine
import numpy as np  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MILLRACE = os.environ["MILLRACE"]
DATA = os.environ.get("MILLRACE_DATA", os.path.join(HERE, "../../../shared/data"))
FRIED = os.path.abspath(os.path.join(DATA, "fried", "fried.csv"))
PARTITIONS, SEED, WORD = 3, 12, 2 ** 64 - 1
JOB = """job: rows
topic: rows
algo: least_squares
broker: local:broker
seed: {seed}
input: {{schema: rows.avsc, label: y{weight}}}
options: {{folds: {folds}}}
"""


def run(*words):
    r = subprocess.run([MILLRACE, *words], text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    if r.returncode:
        raise AssertionError(f"{' '.join(words)}: exit {r.returncode}\n{r.stderr[-2000:]}")
    return r.stdout


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


class LeastSquares(unittest.TestCase):
    def train(self, x, y, w, folds):
        """x, y, w as the program has them: f32."""
        self.x, self.y, self.w = (v.astype(np.float32).astype(np.float64) for v in (x, y, w))
        self.folds = folds
        self.fold = np.array([fold(i, folds) for i in range(len(y))])
        d = x.shape[1]
        with open("rows.csv", "w", encoding="utf-8") as f:
            f.write(",".join([f"x{j}" for j in range(d)] + ["w", "y"]) + "\n")
            for row in np.column_stack([self.x, self.w, self.y]).tolist():
                f.write(",".join(map(repr, row)) + "\n")
        with open("rows.yaml", "w", encoding="utf-8") as f:
            f.write(JOB.format(seed=SEED, folds=folds, weight=", weight: w"))
        run("load", "-b", "local:broker", "-t", "rows", "--partitions", str(PARTITIONS), "rows.csv")
        run("train", "rows.yaml", "--until-end", "-q")

    def check(self, tolerance=1e-6, **options):
        words = sum((["--set", f"{k}={str(v).lower()}"] for k, v in options.items()), [])
        run("derive", "rows.yaml", *words, "--to", "json", "-o", "model.json")
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
        print(options, {k: f"{v:.1e}" for k, v in apart.items()}, f"cv_mse {got['cv_mse']:.6g}")
        self.assertTrue(all(v <= tolerance for v in apart.values()), (options, apart, got, want))
        return got

    def all_penalties(self):
        for l2 in (0, 1e-4, 0.01, 1, 100):
            self.check(l2=l2)
        for l1 in (0.001, 0.02, 0.2):
            self.check(l1=l1)
            self.check(l1=l1, l2=0.1)
        for l2, l1 in ((0, 0), (3, 0), (0, 0.05), (0.5, 0.1)):
            self.check(l2=l2, l1=l1, standardize=False)
        for features in (1, 2, 4):
            self.check(features=features)
        self.check(features=3, l2=0.3)
        self.check(features=4, l1=0.05)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-least-squares.")
        self.addCleanup(folder.cleanup)
        was = os.getcwd()
        self.addCleanup(os.chdir, was)
        os.chdir(folder.name)

    def test_correlated_columns_of_all_units(self):
        g = np.random.default_rng(3)
        common = g.normal(size=(600, 3)) @ g.normal(size=(3, 8))
        unit = 10.0 ** np.array([0, -3, 2, 5, 0, 1, -1, 0])
        x = (common + 0.7 * g.normal(size=(600, 8)) + [0, 0, 5, -9, 100, 0, 3, 0]) * unit
        y = 40 + (x / unit) @ [2, 0, 0, -1, 0.5, 0, 0, 0] + 3 * g.normal(size=600)
        self.train(x, y, g.choice([0.0, 0.5, 1, 1, 2, 7], 600), 10)
        self.all_penalties()

    @unittest.skipUnless(os.path.exists(FRIED), f"no {FRIED}")
    def test_friedman(self):
        rows = np.loadtxt(FRIED, delimiter=",", skiprows=1)
        self.train(rows[:, :-1], rows[:, -1], np.ones(len(rows)), 5)
        got = self.check()
        self.assertLess(got["cv_mse"] ** 0.5, 2.65)
        self.assertLess(got["prequential_rmse"], 2.65)
        self.all_penalties()


if __name__ == "__main__":
    unittest.main()
