#!/usr/bin/env python3
"""On a real broker: the snapshots of a disturbed team, taken wherever it stood, are what their
records make, bit for bit; what is gone is said."""

import random
import subprocess
import time
import unittest

import jobs
import rig
from elastic_test import KEEP, Team

PARTITIONS, ROWS = 4, 40_000
MORE = """checkpoint: {every: "2000 rows"}
publish: {every: "4000 rows"}
snapshot: {every: "5000 rows", keep: 1000}
"""


class Verify(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker)

    def verdict(self, job, version, code, word):
        r = job.millrace("model", "verify", job.file, "--version", version, check=False)
        said = r.stdout.decode()
        self.assertEqual(r.returncode, code, said + r.stderr.decode())
        self.assertIn(word, said)

    def test_a_disturbed_team(self):
        rows = jobs.csv_rows(ROWS, PARTITIONS, seed=1)
        self.kafka.put("rows", PARTITIONS, rows, KEEP)
        g, team = random.Random(7), Team(self.tmp, self.kafka, "team", "rows", jobs.DENSE, 2, MORE)
        team.start_all()
        happened = []
        for _ in range(4):
            time.sleep(g.uniform(0.2, 2))
            happened.append(team.disturb(g, g.randrange(2)))
        job = team.done().member[0]
        found = [int(line.split()[0]) for line in
                 job.millrace("model", "ls", job.file).stdout.decode().splitlines()[1:]]
        self.assertGreater(len(found), 2)
        self.assertNotEqual(set(happened), {"ended"})
        print(f"\n{' '.join(happened)}: {len(found)} snapshots", end=" ", flush=True)
        for version in found:
            self.verdict(job, version, 0, "bit for bit")
        self.kafka.delete("rows")
        self.verdict(job, 0, 7, "gone, the topic was deleted")
        rows[8] = rows[8]._replace(value=rows[12].value)
        self.put_again("rows", rows)
        self.verdict(job, 0, 1, "different: ")

    def put_again(self, topic, rows):
        """A topic that was just deleted is still there for a moment."""
        for _ in range(50):
            try:
                self.kafka.put(topic, PARTITIONS, rows, KEEP)
                return
            except (AssertionError, BrokenPipeError, subprocess.SubprocessError):
                time.sleep(0.2)
        self.fail("the topic could not be made again")


if __name__ == "__main__":
    unittest.main(verbosity=2)
