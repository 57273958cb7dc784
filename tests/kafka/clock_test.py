#!/usr/bin/env python3
"""The system clock of a worker is wrong, or jumps by hours and weeks, forward and back, every 700
ms (tests/tools/clock_jumps.c); the broker's is right. Nothing is lost or learned twice."""

import os
import sys
import unittest

import jobs
import rig

JUMPS = jobs.program("millrace_clock_jumps")
PARTITIONS, ROWS = 3, 40_000
OFTEN = 'checkpoint: {every: 300ms}\npublish: {every: 600ms}\nsnapshot: {every: 2s}\n'
HOUR, WEEK = 3600, 7 * 86400


class Clock(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker)
        cls.rows = jobs.poisoned(jobs.csv_rows(ROWS, PARTITIONS, seed=1), 0.002, seed=2)
        cls.kafka.put("rows", PARTITIONS, cls.rows, {"retention.ms": -1})
        cls.calm = jobs.Job(cls.tmp, cls.kafka, "calm", "rows", jobs.DENSE)
        cls.calm.train().done()

    def job(self, name):
        return jobs.Job(self.tmp, self.kafka, name, "rows", jobs.DENSE, OFTEN)

    def start(self, job, *seconds):
        """Rows for about ten seconds."""
        return job.train(program=JUMPS,
                         env={**os.environ, "CLOCK_JUMPS": ",".join(map(str, seconds)),
                              "ROWS_PER_S": "4000"})

    def ends(self, job, *seconds):
        """Started again where a jump has cut short a wait for the broker's answer at the start."""
        for _ in range(10):
            t = self.start(job, *seconds)
            if t.ended(120) != 4:
                break
        t.done()

    def same(self, job):
        self.assertEqual(job.digest(), self.calm.digest())
        self.assertEqual(job.show(), self.calm.show())
        jobs.letters_once(self, self.kafka.kcat(job.name + ".dead"), self.rows, jobs.POISON)

    def test_it_jumps(self):
        job = self.job("jumps")
        self.ends(job, 0, 5 * HOUR, -HOUR, 2 * WEEK, -2 * WEEK, 60, -1)
        self.same(job)

    def test_it_is_set_back_by_two_hours(self):
        job = self.job("back")
        self.ends(job, 0, *[-2 * HOUR] * 15)  # longer than the job takes
        self.same(job)

    def test_it_is_killed_while_it_jumps(self):
        job = self.job("killed")
        killed = 0
        for _ in range(10):
            t = self.start(job, 3 * HOUR, -WEEK, 0)
            if killed < 2 and t.until(" 1/1 ", times=3):  # the epoch, in the progress table
                t.kill()
                killed += 1
            elif t.ended(120) != 4:
                break
        t.done()
        self.assertEqual(killed, 2)
        self.same(job)

    def test_a_topic_that_goes_by_the_workers_clock(self):
        self.broker.create_topic("ahead.params", PARTITIONS,
                                 config={"cleanup.policy": "compact",
                                         "message.timestamp.type": "CreateTime"})
        job = self.job("ahead")
        t = self.start(job, 2 * HOUR)
        self.assertEqual(t.ended(), 5, t.text)
        self.assertIn("the clock here is ahead of the broker's: set it", t.text)
        self.start(job, 0).done()
        self.same(job)


if __name__ == "__main__":
    if not os.path.exists(JUMPS):
        print("skipped: not for TSan, in whose place these clocks stand")
        sys.exit(77)
    unittest.main(verbosity=2)
