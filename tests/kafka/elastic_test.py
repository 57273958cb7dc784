#!/usr/bin/env python3
"""Three workers share eight partitions on a real broker, and are killed, frozen and stopped at
random: the merged model is bit for bit that of one undisturbed worker, and every record is learned
exactly once. $MILLRACE_RUNS: how often (2)."""

import os
import random
import signal
import struct
import time
import unittest

import jobs
import rig

PARTITIONS, WORKERS = 8, 3
KEEP = {"retention.ms": -1}  # the records are of 2023
RUNS = int(os.environ.get("MILLRACE_RUNS", "2"))
SESSION = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
KMEANS = """input: {format: csv, label: f0, width: 33}
algo: kmeans
options: {k: 10}
"""


class Team:
    """The workers of one job, each with a folder of its own."""

    def __init__(self, folder, place, name, topic, what, workers=WORKERS, more=jobs.BY_ROWS):
        self.member = [jobs.Job(folder, place, name, topic, what, more,
                                state=folder / f"{name}.state{i}") for i in range(workers)]
        self.files = []
        for i, m in enumerate(self.member):  # one job, as many files as folders
            path = folder / f"{name}-{i}.yaml"
            path.write_text(m.file.read_text(encoding="utf-8").replace(
                f"{name}.state{workers - 1}", f"{name}.state{i}"), encoding="utf-8")
            m.file = path
        self.flags = [w for k, v in SESSION.items() for w in ("-X", f"{k}={v}")]
        self.running = [None] * workers

    def start(self, i, **more):
        self.running[i] = self.member[i].train(*self.flags, **more)

    def start_all(self):
        for i in range(len(self.member)):
            self.start(i)
        return self

    def disturb(self, g, i):
        """One of the things that happen to a process."""
        t, what = self.running[i], g.choice(["kill", "kill", "freeze", "stop"])
        if t.process.poll() is not None:
            return "ended"
        if what == "freeze":
            t.signal(signal.SIGSTOP)
            time.sleep(g.uniform(0.1, 9))
            t.signal(signal.SIGCONT)
            return what
        if what == "kill":
            t.kill()
        else:
            heard = bool(t.text)  # before it says anything it has not begun to listen
            t.signal(signal.SIGTERM)
            assert t.ended() in ((0, 1) if heard else (0, 1, -signal.SIGTERM)), t.text
        time.sleep(g.uniform(0, 1))
        self.start(i)
        return what

    def done(self):
        """All end by themselves; one that was fenced or lost its place is started again."""
        for i in range(len(self.member)):
            while self.running[i].ended(90):
                print(f"\nworker {i}: " + self.running[i].text[-400:])
                self.start(i)
        return self


    def newest(self):
        """Of each partition, wherever it has been."""
        slots = {}
        for m in self.member:
            for p, s in m.show().items():
                if p not in slots or s.offset > slots[p].offset:
                    slots[p] = s
        return slots


class Elastic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker)
        cls.rows = jobs.csv_rows(120_000, PARTITIONS, seed=1)
        cls.kafka.put("rows", PARTITIONS, cls.rows, KEEP)

    def same(self, team, calm):
        first, *others = team.member
        self.assertEqual(first.digest(*others).split()[-2:], calm.digest().split()[-2:])
        self.assertEqual(first.model(), calm.model())
        slots = team.newest()
        self.assertEqual(slots, calm.show())  # lineage: one piece, all of it
        self.assertEqual(sum(s.trained for s in slots.values()), len(self.rows))

    def disturbed(self, what, name, seed):
        calm = jobs.Job(self.tmp, self.kafka, f"{name}-calm", "rows", what)
        calm.train().done()
        for run in range(RUNS):
            g, happened = random.Random(seed + run), []
            team = Team(self.tmp, self.kafka, f"{name}{run}", "rows", what).start_all()
            while any(t.process.poll() is None for t in team.running) and len(happened) < 20:
                time.sleep(g.uniform(0.2, 3))
                happened.append(team.disturb(g, g.randrange(WORKERS)))
            print(f"\n{name} {run}: " + " ".join(happened), end=" ", flush=True)
            self.same(team.done(), calm)

    def test_an_undisturbed_team_is_one_worker(self):
        for name, what in (("means", KMEANS), ("softmax", jobs.DENSE)):
            calm = jobs.Job(self.tmp, self.kafka, f"{name}-one", "rows", what)
            calm.train().done()
            self.same(Team(self.tmp, self.kafka, f"{name}-team", "rows", what).start_all().done(),
                      calm)

    def test_kmeans_under_fire(self):
        self.disturbed(KMEANS, "kmeans", 100)

    def test_softmax_in_step_under_fire(self):
        self.disturbed(jobs.DENSE, "softmax", 200)


    def test_nobody_is_more_rounds_ahead_than_allowed(self):
        ahead = 2
        what = jobs.DENSE.replace("staleness: 0", f"staleness: {ahead}")
        self.kafka.put("apart.params", PARTITIONS, [], {"cleanup.policy": "compact",
                                                        "min.compaction.lag.ms": 3_600_000})
        team = Team(self.tmp, self.kafka, "apart", "rows", what)
        for i in range(WORKERS):
            team.start(i, program=jobs.THROTTLED,
                       env={**os.environ, "ROWS_PER_S": "2000-20000"})
        team.done()
        slots = sorted((r.timestamp, r.partition, *struct.unpack("<6xH88xI", r.value[:100]))
                       for r in self.kafka.kcat("apart.params")
                       if r.key == b"slot/%d/manifest" % r.partition)
        rounds, lead = {}, 0
        for _, p, flags, done in slots:
            rounds[p] = 1 << 30 if flags & 1 else done
            if len(rounds) == PARTITIONS and not flags & 1:
                lead = max(lead, done - min(rounds.values()))
        print(f"\n{len(slots)} slots, at most {lead} rounds ahead", end=" ")
        self.assertLessEqual(lead, ahead + 1)  # the one that is being learned
        self.assertGreater(lead, 0)
        self.assertEqual(sum(s.trained for s in team.newest().values()), len(self.rows))


if __name__ == "__main__":
    unittest.main(verbosity=2)
