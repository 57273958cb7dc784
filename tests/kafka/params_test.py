#!/usr/bin/env python3
"""Two workers follow each other's slots, and something happens to their parameter topic: it is
deleted, made anew, written into by others. Each has a clear end or a clear line, and once it is
mended the job ends with every record learned once."""

import os
import signal
import time
import unittest

import jobs
import rig
from elastic_test import Team

ROWS = 120_000
WHAT = jobs.DENSE.replace("staleness: 0", "staleness: async")
MORE = 'checkpoint: {every: 500ms}\npublish: {every: 1s}\nsnapshot: {every: 3s}\n'


class Params(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.at = jobs.Kafka(cls.broker, {"topic.metadata.refresh.interval.ms": 1000})
        cls.at.put("rows", 2, jobs.csv_rows(ROWS, 2, seed=1), {"retention.ms": -1})

    def start(self, name, what=WHAT):
        """A team in the middle of its work."""
        team = Team(self.tmp, self.at, name, "rows", what, workers=2, more=MORE)
        for i in range(2):
            team.start(i, program=jobs.THROTTLED, env={**os.environ, "ROWS_PER_S": "3000"})
        for t in team.running:
            t.until("rows/s", timeout=90)
        time.sleep(3)
        return team

    def put(self, topic, partition, key, value):
        path = self.tmp / "value"
        path.write_bytes(value)
        jobs.run("kcat", "-b", self.broker.bootstrap, "-P", "-t", topic, "-p", str(partition), "-k",
                 key, path)

    def stop(self, team):
        for t in team.running:
            if t.process.poll() is None:
                t.signal(signal.SIGTERM)
                t.ended()

    def ends(self, team, name=None, in_step=False):
        """name: whose slots may be refused, with the remedy, which is followed."""
        self.stop(team)
        for i in range(2):
            team.start(i)
        if name:
            time.sleep(3)
            refused = [t for t in team.running if t.process.poll()]
            for t in refused:
                self.assertIn(f"topic {name}.params partition", t.text)
                self.assertIn("Delete the topic: the job goes on from its state folder", t.text)
            if refused:
                self.stop(team)
                self.broker.delete_topic(name + ".params")
                for i in range(2):
                    team.start(i)
        lost = ("which another partition needs (staleness: 0), is gone",
                "waiting for the state of a round that its partition has left behind")
        deadline = time.monotonic() + 120 * jobs.SLOWER
        while any(t.process.poll() is None for t in team.running):
            if in_step and any(w in t.text for w in lost for t in team.running):
                return self.stop(team)  # one was a round ahead: what the other needs was there
            self.assertLess(time.monotonic(), deadline, [t.text for t in team.running])
            time.sleep(0.1)
        for t in team.running:
            t.done()
        slots = team.newest().items()
        self.assertEqual({p: [(b, e, n) for _, _, b, e, n in s.learned] for p, s in slots},
                         {p: [(0, ROWS // 2, ROWS // 2)] for p in range(2)})

    def deleted(self, name, what, in_step=False):
        team = self.start(name, what)
        self.broker.delete_topic(name + ".params")
        for t in team.running:
            self.assertEqual(t.ended(90), 3, t.text)
            self.assertIn(name + ".params was deleted", t.text.splitlines()[-1])
        self.ends(team, in_step=in_step)

    def test_deleted(self):
        self.deleted("deleted", WHAT)

    def test_deleted_in_step(self):
        self.deleted("deleted-in-step", jobs.DENSE, in_step=True)

    def test_made_anew(self):
        """Without a sign: deleted and made between two looks at it."""
        team = self.start("anew")
        for t in team.running:
            t.signal(signal.SIGSTOP)
        self.broker.delete_topic("anew.params")
        self.broker.create_topic("anew.params", 2, config={"cleanup.policy": "compact"})
        for t in team.running:
            t.signal(signal.SIGCONT)
        time.sleep(5)
        for t in team.running:
            self.assertIsNone(t.process.poll(), t.text)
        self.ends(team)

    def damaged(self, name, what, in_step=False):
        team = self.start(name, what)
        for p in range(2):
            self.put(name + ".params", p, f"slot/{p}/manifest", b"MRSM, but no more of it")
        for t in team.running:
            t.until("slot is damaged: waiting for the next that its owner publishes")
        time.sleep(2)
        for t in team.running:
            self.assertIsNone(t.process.poll(), t.text)
        self.ends(team, name, in_step)  # in step the next one lies in the slot's other place

    def test_a_manifest_that_is_none(self):
        self.damaged("damaged", WHAT)

    def test_a_manifest_that_is_none_in_step(self):
        self.damaged("damaged-in-step", jobs.DENSE, in_step=True)

    def test_a_chunk_of_nobody(self):
        team = self.start("chunk")
        for p in range(2):
            self.put("chunk.params", p, f"slot/{p}/chunk/0", b"MRSC, but no more of it")
        for t in team.running:
            t.until("slot is damaged")
        self.ends(team)

    def test_workers_of_two_minds(self):
        """One name, two job files: whoever comes second and sees the other's slots is refused."""
        team = self.start("minds")
        team.running[1].signal(signal.SIGTERM)
        team.running[1].done()
        before = team.member[1].show()
        other = team.member[1]
        found, said = other.tried("--set", "seed=7", "-X", "session.timeout.ms=6000")
        self.assertEqual(found, 3, said)
        self.assertIn("holds the slot of another job", said)
        self.assertEqual(before.keys(), other.show().keys())
        self.ends(team)


if __name__ == "__main__":
    unittest.main(verbosity=2)
