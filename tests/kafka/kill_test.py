#!/usr/bin/env python3
"""One job on a real broker, killed twenty times with SIGKILL: it ends with the state, the model and
the dead letters of an undisturbed run, and of the same job on local:. What is read back is read by
kcat, not by us."""

import re
import unittest

import jobs
import rig

PARTITIONS = 3
KEEP = {"retention.ms": -1}  # the records are of 2023


class Killed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka, cls.local = jobs.Kafka(cls.broker), jobs.Local(cls.tmp / "broker")
        cls.rows = jobs.poisoned(jobs.csv_rows(160_000, PARTITIONS, seed=1), 0.002, seed=2)
        for at in (cls.kafka, cls.local):
            at.put("rows", PARTITIONS, cls.rows, KEEP)
        cls.calm = jobs.Job(cls.tmp, cls.kafka, "calm", "rows", jobs.DENSE)
        cls.work = jobs.Time(cls.calm)

    def test_the_topics_are_the_same(self):
        def bare(records):
            return sorted((r.partition, r.offset, r.timestamp, r.key, r.value) for r in records)

        self.assertEqual(bare(self.kafka.kcat("rows")), bare(self.local.get("rows")))

    def test_local_ends_with_the_same_digest(self):
        job = jobs.Job(self.tmp, self.local, "local", "rows", jobs.DENSE)
        job.train().done()
        self.assertEqual(job.digest(), self.calm.digest())
        self.assertEqual(job.show(), self.calm.show())
        self.assertEqual(job.model(), self.calm.model())

    def test_twenty_kills(self):
        job, others = jobs.killed(
            lambda i: jobs.Job(self.tmp, self.kafka, f"killed{i}", "rows", jobs.DENSE),
            records=len(self.rows), kills=20, work=self.work, seed=3)
        print(f"\n20 kills in training, {others} more", end=" ")
        self.assertEqual(job.digest(), self.calm.digest())
        self.assertEqual(job.show(), self.calm.show())
        self.assertEqual(job.model(), self.calm.model())
        none = sum(r.value is None for r in self.rows)
        self.assertEqual(sum(s.trained + s.rejected for s in job.show().values()),
                         len(self.rows) - none)
        jobs.letters_once(self, self.kafka.kcat(job.name + ".dead"), self.rows, jobs.POISON)
        ends = {p: high for p, (_, high) in self.broker.offsets("rows").items()}
        done, ended = 1, 32  # of partition 0: the whole job
        self.assertEqual({p: (at, re.sub(r"^(0:0:\d+):\d+:", r"\1:ROUND:", text))
                          for p, (at, text) in self.kafka.committed(job.name).items()},
                         {p: (end, f"0:0:{end}:ROUND:{done if p else done + ended}:0")
                          for p, end in ends.items()})


if __name__ == "__main__":
    unittest.main(verbosity=2)
