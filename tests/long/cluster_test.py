#!/usr/bin/env python3
"""Three nodes, every topic on all of them: the leader of each topic is killed in turn while a job
trains, then the whole cluster is restarted. The job goes on by itself, and ends as if nothing had
been. $MILLRACE_RUNS: how often (1)."""

import os
import time
import unittest

import jobs
import rig

PARTITIONS = 4
RUNS = int(os.environ.get("MILLRACE_RUNS", "1"))
KEEP = {"retention.ms": -1, "min.insync.replicas": 2}  # the records are of 2023
KMEANS = """input: {format: csv, label: f0, width: 33}
algo: kmeans
options: {k: 100}
"""


class Cluster(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = rig.Broker(nodes=3, props={"default.replication.factor": 3,
                                                "min.insync.replicas": 2}).start(timeout=120)
        cls.addClassCleanup(cls.broker.stop)
        cls.at = jobs.Kafka(cls.broker)
        cls.rows = jobs.csv_rows(240_000, PARTITIONS, seed=1)
        cls.at.put("rows", PARTITIONS, cls.rows, KEEP)

    def job(self, name, what):
        return jobs.Job(self.tmp, self.at, name, "rows", what, jobs.BY_ROWS)

    def leaders_killed(self, name, what):
        calm = self.job(f"{name}-calm", what)
        calm.train().done()
        for run in range(RUNS):
            job = self.job(f"{name}{run}", what)
            t = job.train(program=jobs.THROTTLED, env={**os.environ, "ROWS_PER_S": "3000"})
            t.until("rows/s")
            gone = []
            for topic in ("rows", job.name + ".params", job.name + ".models", job.name + ".dead",
                          "__consumer_offsets", "__transaction_state"):
                node = self.broker.leader(topic, 0)
                self.broker.kill(node)
                gone.append(f"{topic}:{node}")
                time.sleep(1)
                self.broker.start(node, timeout=120)
            self.assertIsNone(t.process.poll(), "it ended before the cluster was restarted:\n"
                              + t.text)
            for node in (1, 2, 3):
                self.broker.kill(node)
            time.sleep(2)
            self.broker.start(timeout=120)
            rested = time.monotonic()
            t.done(240)
            print(f"\n{name}: killed " + " ".join(gone) + ", then all; it went on for "
                  f"{time.monotonic() - rested:.0f} s, put out of the group "
                  f"{t.text.count('put out of the group')} times", end=" ", flush=True)
            self.assertEqual(job.digest().split()[-1], calm.digest().split()[-1])
            self.assertEqual(job.model(), calm.model())
            self.assertEqual(job.show(), calm.show())

    def test_softmax_in_step(self):
        self.leaders_killed("softmax", jobs.DENSE)

    def test_kmeans(self):
        self.leaders_killed("kmeans", KMEANS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
