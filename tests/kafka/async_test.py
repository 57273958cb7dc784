#!/usr/bin/env python3
"""Asynchronous merging on a real broker: a9a in one pass by four workers of which one is three
times slower, over 16 and 64 partitions, is as good on its test set as one partition learned in
order. The learning rate is chosen among packed models by prequential loss, here and there.

Needs a9a/a9a.libsvm and a9a.t.libsvm in $MILLRACE_DATA, or in ../shared/data beside the
checkout."""

import os
import pathlib
import re
import sys
import unittest

import datasets
import elastic_test
import jobs
import rig

DATA = pathlib.Path(datasets.DATA) / "a9a"
WORKERS, FAST, SLOW = 4, 1500, 500  # rows a second
JOB = """input: {format: libsvm, width: 123}
algo: linear
options: {loss: logistic, learning_rate: [0.025, 0.05, 0.1, 0.2, 0.4, 0.8], batch: 1}
"""
SELDOM = """publish: {every: 10s}
snapshot: {every: 1h}
"""


class Async(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker)
        cls.load("test", 1, "a9a.t.libsvm")
        cls.load("rows1", 1, "a9a.libsvm")
        job = jobs.Job(cls.tmp, cls.kafka, "one", "rows1", JOB, SELDOM)
        job.train().done()
        cls.one = cls.log_loss(job)

    @classmethod
    def load(cls, topic, partitions, file):
        lines = (DATA / file).read_bytes().splitlines()
        cls.kafka.put(topic, partitions, [
            jobs.Record(i % partitions, jobs.EPOCH_MS + i, None, v) for i, v in enumerate(lines)],
            {"retention.ms": -1})

    @staticmethod
    def log_loss(job):
        said = job.millrace("score", job.file, "-t", "test", "-e", "--metrics").stdout.decode()
        return float(re.search(r"log_loss ([\d.]+)", said)[1])

    def pulled(self, partitions, limit):
        topic = f"rows{partitions}"
        self.load(topic, partitions, "a9a.libsvm")
        team = elastic_test.Team(self.tmp, self.kafka, f"async{partitions}", topic, JOB,
                                 workers=WORKERS, more=SELDOM)
        for i in range(WORKERS):
            team.start(i, program=jobs.THROTTLED,
                       env={**os.environ, "ROWS_PER_S": str(FAST if i else SLOW)})
        team.done()
        pulls = [int(re.search(r" pulls=(\d+)", t.text)[1]) for t in team.running]
        loss = self.log_loss(team.member[0])
        print(f"\n{partitions} partitions: log-loss {loss:.4f}, one partition {self.one:.4f}, "
              f"{loss / self.one - 1:+.2%}; pulls of each worker's partitions {pulls}", end=" ")
        self.assertLess(loss, self.one * (1 + limit))
        self.assertGreater(min(pulls), 0)

    def test_16_partitions(self):
        self.pulled(16, 0.02)

    def test_64_partitions(self):
        self.pulled(64, 0.03)


if __name__ == "__main__":
    if not (DATA / "a9a.libsvm").exists():
        print("skipped: no a9a in", DATA)
        sys.exit(77)
    unittest.main(verbosity=2)
