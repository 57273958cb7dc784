#!/usr/bin/env python3
"""How long nobody learns from a partition with a state of 16 MB whose worker was killed, killed
inside a transaction, restarted as planned, or has left: from the signal to the first block that is
learned anew, and how far along the way it was when. Prints figures; what has to be right is that
the partition goes on where it stood."""

import datetime
import os
import signal
import time
import unittest

import jobs
import rig

SPACE = 1_000_000
WHAT = f"""input: {{format: libsvm, width: {SPACE}}}
algo: linear
options: {{loss: logistic, learning_rate: [0.05, 0.1], batch: 64}}
"""
MORE = 'checkpoint: {every: 500ms}\nsnapshot: {every: 1h}\n'


class Takeover(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.at = jobs.Kafka(cls.broker)
        rows = jobs.libsvm_rows(200_000, 1, seed=1, space=SPACE)
        cls.at.put("rows", 1, rows, {"retention.ms": -1}, times=5)

    def worker(self, name, i, publish="publish: {every: 1s}"):
        job = jobs.Job(self.tmp, self.at, name, "rows", WHAT, f"{MORE}{publish}\n",
                       state=self.tmp / f"{name}.{i}")
        file = self.tmp / f"{name}-{i}.yaml"
        job.file.rename(file)
        job.file = file
        return job

    def train(self, job, *flags, program="millrace_throttle"):
        return job.train(*flags, end=False, program=jobs.program(program),
                         env={**os.environ, "ROWS_PER_S": "10000"})

    def two(self, name, *flags):
        """(job, trainer) of the one that has the partition, and of its spare."""
        team = []
        for i in range(2):
            job = self.worker(name, i)
            team.append((job, self.train(job, *flags)))
            team[-1][1].until("partitions assigned")
        time.sleep(3)
        for i, (_, t) in enumerate(team):
            if [line for line in t.lines if "partitions assigned" in line][-1].endswith("=1\n"):
                t.until("rows/s")
                job, spare = team[1 - i]
                spare.signal(signal.SIGTERM)  # it may have had the partition first: a new process
                spare.done()
                spare = self.train(job, program="millrace")
                spare.until("partitions assigned")
                return team[i], (job, spare)
        raise AssertionError("nobody has the partition")

    @staticmethod
    def frozen(t):
        with open(f"/proc/{t.process.pid}/stat", encoding="ascii") as f:
            return f.read().split()[2] == "T"

    @staticmethod
    def seconds(t, word, since):
        """From then to when the trainer last said so."""
        line = [line for line in t.lines if line and word in line][-1]
        at = datetime.datetime.fromisoformat(line.split("ts=")[1].split("Z")[0] + "+00:00")
        return at.timestamp() - since

    def goes_on(self, what, since, t, job, old=None):
        t.until("rows/s", timeout=180)
        took = time.time() - since
        steps = [f"{word.split()[-1]} {self.seconds(t, word, since):.2f}"
                 for word in ("partitions assigned", "restored")]
        if old:
            steps.insert(0, f"left {self.seconds(old, 'run the same command', since):.2f}")
        time.sleep(1)
        t.signal(signal.SIGTERM)
        t.done()
        slot = job.show()[0]
        self.assertEqual([(b, e, n) for _, _, b, e, n in slot.learned],
                         [(0, slot.offset, slot.trained)])
        self.assertGreater(slot.trained, 4096)
        state = next(w for w in t.text.split() if w.startswith("state_MB="))
        print(f"\n{what}: {took:.2f} s to the first block ({', '.join(steps)}; {state})", end=" ",
              flush=True)

    def test_killed(self):
        (_, owner), (second, spare) = self.two("killed")
        since = time.time()
        owner.kill()
        self.goes_on("kill -9, session 20 s", since, spare, second)

    def test_killed_inside_a_transaction(self):
        """Its third, after 300,000 rows of a million; the other one starts then."""
        first, second = (self.worker("inside", i, "publish: {every: 100000 rows}")
                         for i in range(2))
        owner = self.train(first, program="millrace_frozen_before_5")
        deadline = time.monotonic() + 60
        while not self.frozen(owner):
            self.assertLess(time.monotonic(), deadline, owner.text)
            time.sleep(0.05)
        since = time.time()
        owner.kill()
        self.goes_on("kill -9 inside a transaction, session 20 s, transaction 60 s", since,
                     self.train(second, program="millrace"), second)

    def test_planned_restart(self):
        (first, owner), (_, spare) = self.two("planned")
        since = time.time()
        owner.signal(signal.SIGTERM)
        owner.done()
        self.goes_on("SIGTERM and start", since, self.train(first, program="millrace"), first,
                     owner)
        spare.signal(signal.SIGTERM)
        spare.done()

    def test_left(self):
        (_, owner), (second, spare) = self.two("left", "--leave")
        since = time.time()
        owner.signal(signal.SIGTERM)
        self.goes_on("--leave", since, spare, second, owner)
        owner.done()


if __name__ == "__main__":
    unittest.main(verbosity=2)
