#!/usr/bin/env python3
"""Statistics through the verbs on the embedded broker, against numpy on the same float32 values:
a made table (an offset that costs float32 its digits, missing values, few values, weights), Elec2
and three of ADBench, in several partitions. The exports and the table are looked at, too.

The real data is elec/ and adbench/ in $MILLRACE_DATA, or in ../shared/data beside the checkout;
without it the made table alone is tested."""

import html.parser
import json
import os
import tempfile
import unittest

import numpy as np
from datasets import DATA
from gate import call, run

RANK = 0.0165  # what the sketch promises
DISTINCT = 3 * 1.04 / 2048 ** 0.5


def reference(x, w):
    """Of one column: values that are there, float32 taken as float64, by two passes."""
    there = ~np.isnan(x)
    if not there.any():
        return dict.fromkeys(("count", "zeros", "min", "max", "mean", "deviation", "skewness",
                              "kurtosis"), 0) | {"missing": len(x)}
    v, w = x[there].astype(np.longdouble), w[there].astype(np.longdouble)
    mean = (v * w).sum() / w.sum()
    m = [((v - mean) ** k * w).sum() / w.sum() for k in range(5)]
    constant = v.min() == v.max()
    return {"count": len(v), "missing": len(x) - len(v), "zeros": (v == 0).sum(), "min": v.min(),
            "max": v.max(), "mean": mean, "deviation": 0 if constant else m[2] ** 0.5,
            "skewness": 0 if constant else m[3] / m[2] ** 1.5,
            "kurtosis": 0 if constant else m[4] / m[2] ** 2 - 3}


def correlation(x, y, w):
    both = ~np.isnan(x) & ~np.isnan(y)
    if not both.any() or x[both].min() == x[both].max() or y[both].min() == y[both].max():
        return 0
    x, y, w = (a[both].astype(np.longdouble) for a in (x, y, w))
    x, y = x - (x * w).sum() / w.sum(), y - (y * w).sum() / w.sum()
    return (x * y * w).sum() / ((x * x * w).sum() * (y * y * w).sum()) ** 0.5


class Stats(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-stats.")
        self.addCleanup(folder.cleanup)
        os.chdir(folder.name)

    def train(self, names, lines, extra=""):
        """Loads lines of CSV into 3 partitions, learns them, returns the export."""
        with open("t.csv", "w", encoding="utf-8") as f:
            f.write("\n".join([",".join(f"f{i}" for i in range(len(names)))] + lines) + "\n")
        with open("t.yaml", "w", encoding="utf-8") as f:
            f.write(f"job: t\ntopic: t\nbroker: local:broker\nalgo: stats\n"
                    f"input: {{format: csv, columns: {json.dumps(names)}{extra}}}\n")
        run("load", "-b", "local:broker", "-t", "t", "--format", "csv", "--as", "lines",
            "--partitions", "3", "t.csv")
        run("train", "t.yaml", "--until-end", "-q")
        return json.loads(run("model", "export", "t.yaml", "--to", "json"))

    def compare(self, doc, x, w, corr=1e-9):
        t = doc["tensors"]
        for j in range(x.shape[1]):
            want = reference(x[:, j], w)
            for name in ("count", "missing", "zeros", "min", "max"):
                self.assertEqual(float(np.float32(want[name])) if name in ("min", "max")
                                 else want[name],
                                 float(np.float32(t[name][j])) if name in ("min", "max")
                                 else t[name][j], (j, name))
            self.near(t["mean"][j], want["mean"], 1e-12, want["deviation"], (j, "mean"))
            self.near(t["deviation"][j], want["deviation"], 1e-12, 0, (j, "deviation"))
            self.near(t["skewness"][j], want["skewness"], 1e-12, 1, (j, "skewness"))
            self.near(t["kurtosis"][j], want["kurtosis"], 1e-12, 3, (j, "kurtosis"))
            self.sketches(t, j, np.sort(x[~np.isnan(x[:, j]), j]))
            for i in range(j):
                self.near(t["correlation"][j][i], correlation(x[:, j], x[:, i], w), corr, 1, (j, i))
                self.assertEqual(t["correlation"][j][i], t["correlation"][i][j])

    def near(self, got, want, relative, scale, what):
        self.assertLessEqual(abs(float(got - want)), relative * float(max(abs(want), scale)),
                             (what, got, float(want)))

    def sketches(self, t, j, v):
        distinct = len(np.unique(v))
        self.assertLessEqual(abs(t["distinct"][j] - distinct), max(DISTINCT * distinct, 0.01), j)
        for share, q in zip(t["share"], t["quantile"][j]):
            q = np.float32(q)
            self.assertLessEqual(np.searchsorted(v, q, "left"), (share + RANK) * len(v), (j, share))
            self.assertGreaterEqual(np.searchsorted(v, q, "right"), (share - RANK) * len(v),
                                    (j, share))
        self.assertEqual(sum(t["histogram"][j]), len(v))
        want, _ = np.histogram(v.astype(np.float64), len(t["histogram"][j]))
        off = np.abs(np.cumsum(want) - np.cumsum(t["histogram"][j])).max()
        if len(v) and v[0] < v[-1]:
            self.assertLessEqual(off, RANK * len(v) + 1, j)
        count = dict(zip(*np.unique(v, return_counts=True)))
        for value, n in zip(t["top_value"][j], t["top_count"][j]):
            true = count.get(np.float32(value), 0) if n else 0
            self.assertTrue(n <= true <= n + t["top_error"][j], (j, value, n, true))
        for value, n in count.items():
            if n > len(v) / 33 and len(count) <= len(t["top_value"][j]):
                self.assertIn(float(value), [float(np.float32(a)) for a in t["top_value"][j]])

    def made(self, n=40000):
        r = np.random.default_rng(1)
        z = r.normal(size=n)
        x = np.stack([z, 2 * z + r.normal(size=n), 1e6 + 3 * r.normal(size=n),
                      r.integers(-3, 4, n) * 0.5, r.exponential(size=n) ** 2,
                      np.full(n, 7.25), np.full(n, np.nan), r.normal(size=n) * 1e30]).T
        x[:, 7] += 1e30 * z
        x = x.astype(np.float32)
        x[r.random(x.shape) < [0, .1, 0, .02, .5, 0, 0, .01]] = np.nan
        return x, np.where(r.random(n) < 0.1, 0, r.random(n) * 3).astype(np.float32)

    WORDS = ("", "NA", "nan", "?", "null", "N/A")

    def lines(self, x, w=None):
        return [",".join([self.WORDS[i % 6] if v != v else repr(float(v)) for v in row]
                         + ([] if w is None else [repr(float(w[i]))])) for i, row in enumerate(x)]

    def test_a_made_table(self):
        x, _ = self.made()
        names = ["z", "like z", "offset", "few", "skewed", "constant", "<b>&\"none\"</b>", "huge"]
        doc = self.train(names, self.lines(x))
        self.assertEqual(doc["columns"], names)
        self.assertEqual(doc["measures"]["constant_columns"], 1)
        self.compare(doc, x, np.ones(len(x)))
        self.look_at_the_table(names)
        self.look_at_the_page(names)
        self.others()
        self.derive(x)
        self.score(x, doc)

    def test_weights_count_in_moments_and_a_weight_of_0_is_no_row(self):
        x, w = self.made(15000)
        doc = self.train([f"c{j}" for j in range(x.shape[1])] + ["w"], self.lines(x, w),
                         ", weight: w")
        self.compare(doc, x[w > 0], w[w > 0])

    def test_elec_and_adbench(self):
        tables = {"elec": lambda: np.loadtxt(f"{DATA}/elec/electricity.csv", delimiter=",",
                                             skiprows=1)}
        for name in ("23_mammography", "32_shuttle"):
            tables[name] = lambda p=f"{DATA}/adbench/{name}.npz": np.load(p)["X"]
        for name, load in tables.items():
            with self.subTest(name):
                if not os.path.exists(DATA + ("/elec" if name == "elec" else "/adbench")):
                    self.skipTest("no data in " + DATA)
                x = load().astype(np.float32)
                os.mkdir(name)
                os.chdir(name)
                self.compare(self.train([f"c{j}" for j in range(x.shape[1])], self.lines(x)), x,
                             np.ones(len(x)))
                os.chdir("..")

    def look_at_the_table(self, names):
        text = run("model", "show", "t.yaml")
        table = text.split("\ncolumns\n")[1].split("strongest correlations\n")
        self.assertEqual([line[:20].rstrip() for line in table[0].splitlines()[1:]],
                         [n[:20] for n in names])
        self.assertRegex(table[0], r"constant +40000 +- +- +1 +7.25 .* 7.25 \(100.0%\)")
        self.assertRegex(table[0], r"none.*0 +100.0% +-  no value")
        self.assertRegex(table[1], r"^  \+0.[89]\d+  z  like z\n")

    def look_at_the_page(self, names):
        run("model", "export", "t.yaml", "--to", "html", "-o", "t.html")
        with open("t.html", encoding="utf-8") as f:
            text = f.read()
        page = Page()
        page.feed(text)
        page.close()
        self.assertEqual(page.open, [])
        self.assertEqual([h for h in page.heads if h in names][:len(names)], names)
        self.assertFalse(page.outside)
        self.assertEqual(text.count('aria-label="histogram"'), len(names) - 1)
        self.assertNotIn("<b>", text)
        self.assertNotIn("nan", text.replace("nance", ""))

    def others(self):
        """Another algorithm has no such page, and takes no missing values."""
        with open("k.yaml", "w", encoding="utf-8") as f:
            f.write("job: k\ntopic: t\nbroker: local:broker\nalgo: kmeans\noptions: {k: 2}\n"
                    "input: {format: csv, columns: [a, b, c, d, e, f, g, h], features: [a, f]}\n")
        run("train", "k.yaml", "--until-end", "-q")
        r = call("model", "export", "k.yaml", "--to", "html", "-o", "k.html")
        self.assertEqual(r.returncode, 3, r.stderr)
        self.assertIn("html is the report of algorithm stats, this model is of kmeans", r.stderr)
        self.assertFalse(os.path.exists("k.html"))
        with open("k.yaml", encoding="utf-8") as f, open("b.yaml", "w", encoding="utf-8") as to:
            to.write(f.read().replace("[a, f]", "[a, b]").replace("job: k", "job: b"))
        r = call("train", "b.yaml", "--until-end", "-q")  # to others a missing value is bad
        self.assertEqual(r.returncode, 5, r.stderr)
        self.assertRegex(r.stderr, "records are bad.*missing: line 1, field b: no value")

    def derive(self, x):
        run("derive", "t.yaml", "--set", "quantiles=0,0.5,1", "--set", "bins=3", "--set", "top=2",
            "--to", "json", "-o", "d.json")
        with open("d.json", encoding="utf-8") as f:
            t = json.load(f)["tensors"]
        v = x[:, 2]
        self.assertEqual([np.float32(t["quantile"][2][k]) for k in (0, 2)], [v.min(), v.max()])
        self.assertEqual((len(t["histogram"][2]), len(t["top_value"][2])), (3, 2))

    def score(self, x, doc):
        """Rows against what was learned."""
        t = doc["tensors"]
        lines = run("score", "t.yaml", "t.csv").splitlines()
        self.assertEqual(lines[0], "partition,offset,missing,outside,tail")
        low, high = (np.array([q[k] for q in t["quantile"]], np.float32) for k in (0, -1))
        known = np.array(t["count"]) > 0
        with np.errstate(invalid="ignore"):
            tail = (((x < low) | (x > high)) & known).sum(1)
        got = np.array([line.split(",")[2:] for line in lines[1:]], float)[-len(x):]
        self.assertTrue((got[:, 0] == np.isnan(x).sum(1)).all())
        self.assertEqual(got[:, 1].sum(), 0)
        self.assertTrue((got[:, 2] == tail).all())


class Page(html.parser.HTMLParser):
    """Are all elements closed, in order? Does anything come from outside?"""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.heads, self.outside = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta",):
            self.open.append(tag)
        if tag in ("script", "link", "img", "iframe") or any(
                k in ("src", "href") or k.startswith("on") for k, _ in attrs):
            self.outside.append((tag, attrs))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "th":
            self.heads.append(data)


if __name__ == "__main__":
    unittest.main()
