#!/usr/bin/env python3
"""Every algorithm on a real broker: a worker that is killed in training, and four workers with one
killed and one stopped among them, end with the states, the lineage and the model of one undisturbed
worker, bit for bit. An algorithm that `millrace list` names and this file does not is a failure."""

import os
import random
import re
import signal
import time
import unittest

import elastic_test
import jobs
import rig

PARTITIONS, ROWS, WORKERS, KILLS = 8, 60_000, 4, 2
SLOW = {"program": jobs.THROTTLED, "env": {**os.environ, "ROWS_PER_S": "15000"}}
CSV = "input: {format: csv, label: f0, width: 33}\n"
LIBSVM = "input: {format: libsvm, width: 20000}\n"
JOBS = {  # (topic, job); those that pull are in step
    "linear": ("rows", CSV + "staleness: 0\nalgo: linear\noptions: {loss: softmax, classes: 16}\n"),
    "kmeans": ("rows", CSV + "algo: kmeans\noptions: {k: 10}\n"),
    "least_squares": ("rows", CSV + "algo: least_squares\n"),
    "pca": ("rows", CSV + "algo: pca\noptions: {method: frequent_directions, components: 5}\n"),
    "fm": ("sparse", LIBSVM + "staleness: 0\nalgo: fm\noptions: {loss: logistic, factors: 4}\n"),
    "rcf": ("rows", CSV + "algo: rcf\noptions: {num_trees: 20, num_samples_per_tree: 64}\n"),
    "knn": ("rows", CSV + "algo: knn\noptions: {sample: 2000}\n"),
    "stats": ("rows", CSV + "algo: stats\n"),
}


class Algorithms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker)
        keep = {"retention.ms": -1}  # the records are of 2023
        cls.kafka.put("rows", PARTITIONS, jobs.csv_rows(ROWS, PARTITIONS, seed=1), keep)
        cls.kafka.put("sparse", PARTITIONS,
                      jobs.libsvm_rows(ROWS, PARTITIONS, seed=1, space=20_000), keep)

    def test_all_are_here(self):
        listed = jobs.run(jobs.MILLRACE, "list").stdout.decode()
        listed = listed.split("algorithms\n")[1].split("\ncompute")[0]
        self.assertEqual(sorted(re.findall(r"^ +(\w+) ", listed, re.M)), sorted(JOBS))

    def same(self, one, calm, others=()):
        self.assertEqual(one.digest(*others).split()[-2:], calm.digest().split()[-2:])
        self.assertEqual(one.model(), calm.model())

    def killed(self, name, topic, what, calm):
        g, landed = random.Random(name), 0
        job = jobs.Job(self.tmp, self.kafka, f"{name}-killed", topic, what)
        while landed < KILLS:
            t = job.train(**SLOW)
            self.assertTrue(t.until("restored"), t.text)
            time.sleep(g.uniform(0.1, 1))
            self.assertEqual(t.kill(), -signal.SIGKILL, "it ended before: fewer ROWS_PER_S")
            landed += 0 < job.learned() < ROWS
        job.train().done()
        self.same(job, calm)
        self.assertEqual(job.show(), calm.show())

    def together(self, name, topic, what, calm):
        g = random.Random(name)
        team = elastic_test.Team(self.tmp, self.kafka, f"{name}-team", topic, what, WORKERS)
        for i in range(WORKERS):
            team.start(i, **SLOW)
        team.running[0].until("restored")
        for i in g.sample(range(WORKERS), 2):
            time.sleep(g.uniform(0, 1))
            team.disturb(g, i)
        first, *others = team.done().member
        self.same(first, calm, others)
        slots = team.newest()
        self.assertEqual(slots, calm.show())
        self.assertEqual(sum(s.trained for s in slots.values()), ROWS)

    def test_killed_and_shared(self):
        for name, (topic, what) in JOBS.items():
            with self.subTest(algo=name):
                start = time.monotonic()
                calm = jobs.Job(self.tmp, self.kafka, f"{name}-calm", topic, what)
                calm.train().done()
                self.killed(name, topic, what, calm)
                self.together(name, topic, what, calm)
                print(f"\n{name}: {time.monotonic() - start:.1f} s", end=" ", flush=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
