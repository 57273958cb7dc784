#!/usr/bin/env python3
"""`millrace tune`: the point that a measure, or the elbow of one, prefers is found, is the one that
`derive` makes of it, and is what is written and published; what cannot be tried is said."""

import json
import unittest

import jobs
import numpy

LINEAR = """algo: linear
options: {loss: logistic, learning_rate: [0.01, 0.1, 1.0], l2: [0, 0.1]}
input: {format: csv, label: f0, width: 5, holdout: 0.1}
"""


def blobs(k, d, rows, seed):
    """Rows of k clusters of unit spread, their centres on a sphere, six spreads or more apart."""
    g = numpy.random.default_rng(seed)
    centre = numpy.zeros((0, d))
    while len(centre) < k:
        c = g.normal(size=d)
        c *= 12 / numpy.linalg.norm(c)
        if len(centre) == 0 or ((centre - c) ** 2).sum(1).min() > 8 ** 2:
            centre = numpy.vstack([centre, c])
    x = centre[numpy.arange(rows) % k] + g.normal(size=(rows, d)) / d ** 0.5
    return x, centre


def lines(x, partitions):
    return jobs.spread([",".join(f"{v:.5f}" for v in r).encode() for r in x], partitions)


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = self.enterContext(jobs.Folder())
        self.at = jobs.Local(self.tmp / "broker")

    def job(self, records, what, name="j"):
        self.at.put(name + ".rows", 2, records)
        job = jobs.Job(self.tmp, self.at, name, name + ".rows", what, "")
        job.train().done()
        return job

    def clusters(self, x, k=20):
        return self.job(lines(x, 2), f"algo: kmeans\noptions: {{k: {k}}}\n"
                        f"input: {{format: csv, width: {x.shape[1]}}}\n")

    @staticmethod
    def tune(job, *words):
        return [json.loads(line) for line in
                job.millrace("tune", job.file, "--json", *words).stdout.splitlines()]

    def refused(self, job, why, *words, code=3):
        r = job.millrace("tune", job.file, *words, check=False)
        self.assertEqual(r.returncode, code, r.stderr)
        self.assertIn(why, r.stderr.decode())
        self.assertEqual(r.stdout, b"")


class HowManyClusters(Case):
    def test_blobs_are_counted(self):
        for k, d in (5, 8), (8, 12), (12, 16):
            with self.subTest(k=k, d=d), jobs.Folder() as self.tmp:
                self.at = jobs.Local(self.tmp / "broker")
                job = self.clusters(blobs(k, d, 12_000, seed=k)[0])
                for by in "silhouette", "elbow", "elbow:msd_estimate":
                    found = self.tune(job, "--over", "k=2..40", "--by", by)
                    self.assertEqual(found[0]["options"], {"k": k}, (by, found[:3]))
                    self.assertEqual(len(found), 39)
                    self.assertEqual([p["rank"] for p in found], list(range(1, 40)))

    def test_rows_without_clusters_have_no_sharp_elbow(self):
        x = numpy.random.default_rng(1).normal(size=(6000, 8))
        found = self.tune(self.clusters(x), "--over", "k=2..40", "--by", "elbow")
        self.assertLess(found[0]["elbow"], 0.2)


class Winner(Case):
    def test_it_is_what_derive_makes_and_is_written_and_published(self):
        job = self.clusters(blobs(6, 8, 6000, seed=1)[0])
        found = self.tune(job, "--over", "k=2..12", "--by", "silhouette", "-o",
                          self.tmp / "tuned", "--to", "safetensors")
        self.assertEqual(found[0]["options"], {"k": 6})
        job.millrace("derive", job.file, "--set", "k=6", "-o", self.tmp / "derived", "--to",
                     "safetensors")
        written = (self.tmp / "tuned").read_bytes()
        self.assertEqual(written, (self.tmp / "derived").read_bytes())
        self.assertNotEqual(written, job.model())
        # the measures of the table are the model's
        job.millrace("derive", job.file, "--set", "k=6", "-o", self.tmp / "json", "--to", "json")
        self.assertEqual(json.loads((self.tmp / "json").read_text())["measures"],
                         found[0]["measures"])
        # published: the next version, and what its records make
        r = job.millrace("tune", job.file, "--over", "k=2..12", "--by", "silhouette", "--publish")
        self.assertIn(b"published as model 2", r.stderr)
        self.assertEqual(job.model(), written)
        self.assertNotEqual(job.model(1), written)
        verified = job.millrace("model", "verify", job.file, check=False)
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        # and training goes on behind it
        self.at.put("j.rows", 2, lines(blobs(6, 8, 600, seed=1)[0], 2))
        job.train().done()
        shown = job.millrace("model", "show", job.file).stdout.decode()
        self.assertIn("model 3 of job j", shown)
        self.assertIn("6600 records", shown)

    def test_a_model_can_be_clustered_further(self):
        """A model of many centres is a state too; without slots it is all that there is."""
        job = self.clusters(blobs(6, 8, 6000, seed=1)[0])
        found = self.tune(job, "--over", "k=2..12", "--by", "silhouette", "--from-model", "latest")
        self.assertEqual(found[0]["options"], {"k": 6})
        out = job.millrace("derive", job.file, "--from-model", "1", "--set", "k=6").stdout.decode()
        self.assertIn("j.models@1", out)
        self.assertIn("6000 records", out)
        for words, why in ((("--from-model", "9"), "has no model 9"),
                           (("--from-model", "first"), "expected latest or a version"),
                           (("--from-model", "latest", "--publish"), "write a file")):
            self.refused(job, why, *words)

    def test_packed_models(self):
        g = numpy.random.default_rng(2)
        x = g.normal(size=(6000, 4))
        y = x @ [1, -2, 0.5, 0] + g.logistic(size=6000) > 0
        job = self.job(lines(numpy.column_stack([y, x]), 2), LINEAR)
        for words, measure in ((), "heldout_loss"), (("--by", "prequential_loss"),
                                                     "prequential_loss"):
            found = self.tune(job, "--over", "model=1..6", *words)
            self.assertEqual(sorted(p["options"]["model"] for p in found), [1, 2, 3, 4, 5, 6])
            loss = [p["measures"][measure] for p in found]
            self.assertEqual(loss, sorted(loss))
        # higher is better, where it is; and the job's own model is the best by held-out loss
        found = self.tune(job, "--over", "model=1..6", "--by", "heldout_auc")
        auc = [p["measures"]["heldout_auc"] for p in found]
        self.assertEqual(auc, sorted(auc, reverse=True))
        self.tune(job, "--over", "model=1..6", "-o", self.tmp / "tuned", "--to", "safetensors")
        self.assertEqual((self.tmp / "tuned").read_bytes(), job.model())
        # the seventh is refused, and does not stop the others
        found = self.tune(job, "--over", "model=auto,5..7", "--by", "heldout_loss")
        self.assertEqual([p.get("rank") for p in found], [1, 2, 3, None])
        self.assertIn("packed models 1..6", found[3]["refused"])
        self.assertEqual(found[3]["options"], {"model": 7})
        self.assertEqual(found[0]["options"], {"model": "auto"})
        self.refused(job, "no values of its own", code=3)


class Words(Case):
    def test_the_table(self):
        job = self.clusters(blobs(4, 8, 3000, seed=3)[0], k=10)
        text = job.millrace("tune", job.file, "--over", "k=3,4,201", "--by", "silhouette")
        table = text.stdout.decode().splitlines()
        self.assertEqual(table[0].split()[:4], ["rank", "k", "msd_estimate", "silhouette"])
        self.assertEqual([r.split()[:2] for r in table[1:]], [["1", "4"], ["2", "3"], ["-", "201"]])
        self.assertIn("refused: algorithm kmeans: k 201: the job keeps 200 centres", table[3])
        self.assertIn(b"best by silhouette (higher is better): k=4; 1 of 3", text.stderr)
        top = job.millrace("tune", job.file, "--over", "k=2..9", "--by", "silhouette", "--top", "1")
        self.assertEqual(len(top.stdout.splitlines()), 2)
        # without --over: the grid that the algorithm names; the least distance is the default
        grid = self.tune(job)
        self.assertEqual([p["options"]["k"] for p in grid], [100, 50, 20, 10, 5, 2])
        # a range with a step
        self.assertEqual([p["options"]["k"] for p in self.tune(job, "--over", "k=2..8..3")],
                         [8, 5, 2])

    def test_words_that_cannot_be_tried(self):
        job = self.clusters(blobs(4, 8, 3000, seed=3)[0], k=10)
        for words, why in (
                (("--over", "clusters=3"), "no derive option 'clusters'"),
                (("--over", "kk=3"), "did you mean 'k'?"),
                (("--over", "k"), "expected a derive option as name=value"),
                (("--over", "k="), "got ''"),
                (("--over", "k=2,,3"), "got ''"),
                (("--over", "k=9..2"), "must ascend"),
                (("--over", "k=2..9..0"), "must ascend"),
                (("--over", "k=2..x"), "no range"),
                (("--over", "k=2..9..1..1"), "no range"),
                (("--over", "k=2,2.5"), "got '2.5'"),
                (("--over", "k=1..20000"), "20000 values, at most 10000"),
                (("--over", "k=2", "--over", "k=3"), "named twice"),
                (("--over", "k=2,3", "--by", "silouette"), "did you mean 'silhouette'?"),
                (("--over", "k=2,3", "--by", "auc"), "there are: msd_estimate, silhouette"),
                (("--over", "k=2,3", "--by", "elbow"), "at least 3 values"),
                (("--over", "k=2,3,auto", "--by", "elbow"), "'auto' of option 'k' is no number"),
                (("--over", "k=300,400"), "none of 2 points can be derived"),
                (("--set", "q=1"), "--set q=1")):
            with self.subTest(words=words):
                self.refused(job, why, *words)

    def test_list_says_what_can_be_derived(self):
        r = jobs.run(jobs.MILLRACE, "list", "kmeans", "linear")
        self.assertIn(b"tune tries 2,5,10,20,50,100", r.stdout)
        self.assertIn(b"which packed model", r.stdout)
        self.assertEqual(jobs.run(jobs.MILLRACE, "list", "kmean", check=False).returncode, 2)

    def test_a_job_that_has_learned_nothing(self):
        self.at.put("rows", 2, lines(numpy.ones((4, 3)), 2))
        job = jobs.Job(self.tmp, self.at, "n", "rows",
                       "algo: kmeans\ninput: {format: csv, width: 3}\n", "")
        self.refused(job, "train the job first", "--over", "k=2,3")


if __name__ == "__main__":
    unittest.main(verbosity=2)
