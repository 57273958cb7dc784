#!/usr/bin/env python3
"""`millrace peek`: rows as the job decodes them, and why one is bad. $MILLRACE is the program."""

import json
import os
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["MILLRACE"]


class Peek(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def millrace(self, *words, code=0):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, cwd=self.dir)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def load(self, name, text, *flags):
        self.millrace("load", "-b", "local:broker", "-t", "t", "-p", "2", *flags,
                      self.write(name, text))

    def job(self, text, algo="algo: linear\n"):
        return self.write("j.yaml", "job: j\ntopic: t\nbroker: local:broker\n" + algo + text)

    def rows(self, *words):
        return [json.loads(line) for line in self.millrace("peek", "-J", *words).splitlines()]

    def test_rows_of_avro_with_names_and_places(self):
        self.load("a.csv", "kind,x,y\nb,1,2.5\na,3,4\nb,5,6\n", "--rows-per-message", "2")
        job = self.job("input: {schema: t.avsc, label: kind, classes: [a, b]}\n")
        rows = self.rows(job)
        self.assertEqual([(r["partition"], r["offset"], r["row"]) for r in rows],
                         [(0, 0, 0), (0, 0, 1), (1, 0, 0)])
        self.assertEqual([r["label"] for r in rows], ["b", "a", "b"])
        self.assertEqual(rows[1]["features"], {"x": 3, "y": 4})
        self.assertIsNone(rows[0]["key"])
        text = self.millrace("peek", job, "-p", "1")
        self.assertRegex(text, r"^partition 1 offset 0 time 20\S+Z key - bytes 20 rows 1\n"
                               r"  label b \| x:5 y:6\n$")

    def test_offsets_and_numbers_of_records(self):
        self.load("a.csv", "label,x\n" + "".join(f"0,{i}\n" for i in range(20)))
        job = self.job("input: {schema: t.avsc}\n")

        def shown(*words):
            return [r["features"]["x"] for r in self.rows(job, *words)]

        self.assertEqual(len(shown()), 10)
        self.assertEqual(shown("-n", "0", "-p", "1"), list(range(1, 20, 2)))
        self.assertEqual(shown("-p", "0", "-o", "8"), [16, 18])
        self.assertEqual(shown("-p", "1", "-o", "-3"), [15, 17, 19])
        self.assertEqual(shown("-p", "1", "-o", "-99", "-n", "1"), [1])
        self.assertEqual(shown("-p", "1", "-o", "10"), [])
        self.assertIn("offsets 0 to 9", self.millrace("peek", job, "-o", "11", code=3))
        self.assertIn("expected beginning", self.millrace("peek", job, "-o", "soon", code=3))
        self.assertIn("partitions 0 to 1", self.millrace("peek", job, "-p", "2", code=3))

    def test_bad_records_with_their_reason(self):
        self.load("a.csv", "label,x\n0,1\n1,no\n2,3\n", "--as", "lines")
        job = self.job("input: {format: csv, columns: [label, x], label: label, classes: [0, 1]}\n")
        rows = self.rows(job)
        self.assertEqual([r.get("bad") for r in rows],
                         [None, "bad record: label", "bad record: value"])
        self.assertIn("no number 'no'", rows[2]["detail"])
        self.assertIn("  bad record: value: line 1, field x: no number 'no'",
                      self.millrace("peek", job))

    def test_sparse_rows_show_their_entries(self):
        self.load("a.libsvm", "1 3:0.5 7:2\n0\n", "--format", "libsvm")
        job = self.job("input: {schema: t.avsc, label: label, width: 7}\n")
        rows = self.rows(job)
        self.assertEqual(list(rows[0]["features"].values()), [0.5, 2])
        self.assertEqual(rows[1]["features"], {})
        self.assertIn("label 1 |", self.millrace("peek", job, "-p", "0"))

    def test_a_value_that_is_missing_is_null_where_the_algorithm_takes_it(self):
        self.load("t.csv", "a,b\n1,\n2,5\n", "--as", "lines")
        job = self.job("input: {format: csv, columns: [a, b]}\n", "algo: stats\n")
        self.assertEqual([r["features"] for r in self.rows(job)],
                         [{"a": 1, "b": None}, {"a": 2, "b": 5}])
        self.assertIn("a:1 b:-\n", self.millrace("peek", job))
        job = self.job("input: {format: csv, columns: [a, b]}\n", "algo: kmeans\n")
        self.assertEqual([r.get("bad") for r in self.rows(job)], ["bad record: missing", None])

    def test_a_missing_topic_or_label_is_said(self):
        job = self.job("input: {schema: t.avsc, label: lable}\n")
        self.write("t.avsc", "{}")
        self.load("a.csv", "label,x\n0,1\n", "--schema", "other.avsc")
        os.replace(os.path.join(self.dir, "other.avsc"), os.path.join(self.dir, "t.avsc"))
        self.assertIn("did you mean 'label'", self.millrace("peek", job, code=3))
        self.assertIn("topic 'no' does not exist",
                      self.millrace("peek", job, "-t", "no", code=3))


if __name__ == "__main__":
    unittest.main()
