#!/usr/bin/env python3
"""`millrace score`: rows to stdout and to a topic say the same, in forms that other tools read."""

import csv
import io
import json
import math
import unittest

import jobs

CLASSES = ['plain', 'with "quotes"', 'back\\slash', 'tab\there', 'é, and comma']
JOB = f"""algo: linear
options: {{loss: softmax, learning_rate: 0.5}}
input:
  format: csv
  columns: [label, a, b]
  classes: {json.dumps(CLASSES)}
"""


def rows(n, partitions):
    """Labels that a and b tell apart; the label may hold anything, so it stands in quotes."""
    records = []
    for i in range(n):
        k = i % len(CLASSES)
        label = CLASSES[k].replace('"', '""')
        a, b = math.cos(k * 1.25) + i % 7 / 50, math.sin(k * 1.25) + i % 5 / 50
        records.append(jobs.Record(i % partitions, jobs.EPOCH_MS + i, None,
                                   f'"{label}",{a:.3f},{b:.3f}'.encode()))
    return records


class Score(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.at = jobs.Local(cls.tmp / "broker")
        cls.at.put("rows", 3, rows(3000, 2))  # the last partition is empty
        cls.job = jobs.Job(cls.tmp, cls.at, "j", "rows", JOB, "")
        cls.job.train().done()

    def score(self, *words):
        return jobs.run(jobs.MILLRACE, "score", self.job.file, "--until-end", *words)

    def test_json_and_csv_and_a_topic_say_the_same(self):
        lines = self.score("--json").stdout.decode().splitlines()
        objects = [json.loads(line) for line in lines]
        self.assertEqual(len(objects), 3000)
        self.assertEqual({o["class_name"] for o in objects}, set(CLASSES))
        hits = sum(o["class_name"] == CLASSES[int(o["label"])] for o in objects)
        self.assertGreater(hits, 2900)
        table = list(csv.DictReader(io.StringIO(self.score().stdout.decode())))
        for o, t in zip(objects, table, strict=True):
            self.assertEqual({k: float(v) for k, v in t.items()},
                             {k: v for k, v in o.items() if k != "class_name"})
        self.at.put("scores", 1, [])
        self.score("--to", "scores")
        self.assertEqual(sorted(r.value.decode() for r in self.at.get("scores")), sorted(lines))

    def test_a_file_is_scored_line_by_line(self):
        path = self.tmp / "rows.csv"
        path.write_bytes(b"\n".join(r.value for r in rows(50, 1)) + b"\n")
        r = self.score(path, "--json")
        self.assertEqual([json.loads(line)["offset"] for line in r.stdout.splitlines()],
                         list(range(50)))
        self.assertIn(b"accuracy", r.stderr)

    def test_a_topic_that_is_not_there(self):
        r = jobs.run(jobs.MILLRACE, "score", self.job.file, "-e", "-t", "nowhere", check=False)
        self.assertEqual(r.returncode, 3)
        self.assertIn(b"topic 'nowhere' does not exist", r.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
