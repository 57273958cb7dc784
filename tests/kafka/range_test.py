#!/usr/bin/env python3
"""Where a job begins and ends, on a real broker: epochs end by themselves, on all workers, and over
a topic that grows all the time they are those over a frozen copy of it; a range of time is learned,
and nothing else."""

import re
import threading
import unittest

import jobs
import rig

PARTITIONS, ROWS = 4, 20_000
KEEP = {"retention.ms": -1}  # the records are of 2023


class Range(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker)
        cls.rows = jobs.csv_rows(ROWS, PARTITIONS, seed=1)

    def job(self, name, topic):
        return jobs.Job(self.tmp, self.kafka, name, topic, jobs.DENSE)

    @staticmethod
    def train(job, *flags):
        return jobs.Trainer([jobs.MILLRACE, "train", str(job.file), *flags])

    def grow(self, topic, stop):
        more = jobs.csv_rows(400, PARTITIONS, seed=2)
        while not stop.wait(0.1):
            self.kafka.put(topic, PARTITIONS, more, KEEP)

    def test_epochs_over_a_live_topic_are_those_over_a_frozen_copy(self):
        self.kafka.put("live", PARTITIONS, self.rows, KEEP)
        live, stop = self.job("j-live", "live"), threading.Event()
        growing = threading.Thread(target=self.grow, args=("live", stop))
        growing.start()
        try:
            t = self.train(live, "--epochs", "3")
            self.assertTrue(t.until(" 2/3 "))
            t.kill()
            self.train(live, "--epochs", "3").done()
        finally:
            stop.set()
            growing.join()
        shown = live.millrace("state", "show", live.state).stdout.decode()
        ends = [int(n) for n in re.findall(r"offsets +\[0, (\d+)\)", shown)]
        all_of_it = self.kafka.get("live")
        frozen = [r for r in all_of_it if r.offset < ends[r.partition]]
        self.assertGreater(len(all_of_it), len(frozen) + ROWS // 10)
        self.assertEqual(sum(s.trained for s in live.show().values()), 3 * len(frozen))
        self.kafka.put("frozen", PARTITIONS, frozen, KEEP)
        for name, workers in (("j-one", "1"), ("j-team", "2")):
            job = self.job(name, "frozen")
            self.train(job, "--epochs", "3", "--workers", workers).done()
            self.assertEqual(job.digest().split()[-2:], live.digest().split()[-2:])
            self.assertEqual(job.model(), live.model())

    def test_a_range_of_time_is_learned(self):
        self.kafka.put("timed", PARTITIONS, self.rows, KEEP)
        job = self.job("j-timed", "timed")
        flags = ["--from", f"@{jobs.EPOCH_MS + 4001}", "--until", f"@{jobs.EPOCH_MS + 9000}"]
        self.train(job, *flags).done()
        self.assertEqual({p: s.trained for p, s in job.show().items()},
                         {0: 1249, 1: 1250, 2: 1250, 3: 1250})
        digest = job.digest()
        self.train(job, *flags).done()
        self.assertEqual(job.digest(), digest)
        code, said = job.tried("--from", "earliest")
        self.assertEqual(code, 3)
        self.assertIn("this job has states already, begun with --from @", said)

    def test_a_team_is_reset_once_it_has_left(self):
        self.kafka.put("shared", PARTITIONS, self.rows, KEEP)
        job, one = self.job("j-shared", "shared"), self.job("j-single", "shared")
        self.train(one, "--until-end").done()
        flags = ["--until-end", "--workers", "2", "--leave"]
        t = self.train(job, *flags)
        t.until("restored", PARTITIONS)
        r = job.millrace("reset", job.file, "--execute", check=False)
        self.assertEqual(r.returncode, 6, r.stderr)
        self.assertRegex(r.stderr.decode(), "group j-shared has [12] members: stop its workers")
        t.done()
        self.assertEqual(job.model(), one.model())
        for _ in range(2):
            said = job.millrace("reset", job.file, "--execute").stdout.decode()
            self.assertIn(f"{PARTITIONS} offsets of group j-shared, {PARTITIONS} slots", said)
            self.assertEqual(self.kafka.committed("j-shared"), {})
            self.train(job, *flags).done()
            self.assertEqual(sum(s.trained for s in job.show().values()), ROWS)
            self.assertEqual(job.model(), one.model())
        listed = job.millrace("model", "ls", job.file).stdout.splitlines()
        self.assertEqual(len(listed), 1 + 3)


if __name__ == "__main__":
    unittest.main()
