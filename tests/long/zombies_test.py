#!/usr/bin/env python3
"""A hundred workers are frozen, lose their partitions to another, and wake: in the middle of
training, or in a publish before the slots are sent, before the offsets, before the commit. Not one
puts an older slot behind a newer one, in logs that are not compacted meanwhile. The judge is that
of kafka/zombie_test, which also shows by a worker that breaks rule R3 that it would see one.
$MILLRACE_RESUMPTIONS: how many (100)."""

import concurrent.futures
import itertools
import os
import random
import signal
import subprocess
import threading
import time
import unittest

import jobs
import rig
import zombie_test

PARTITIONS, TEAMS = 4, 4
WIDTH, ROWS_PER_S = 9, 4000
RESUMPTIONS = int(os.environ.get("MILLRACE_RESUMPTIONS", "100"))
MEANS = f"""input: {{format: csv, label: f0, width: {WIDTH}}}
algo: kmeans
options: {{k: 5}}
"""
OFTEN = """checkpoint: {every: "500 rows"}
publish: {every: "2000 rows"}
snapshot: {every: 1h}
"""
FREEZES = [None, "millrace_frozen_before_2", "millrace_frozen_before_4", "millrace_frozen_before_5"]


class Feeder(threading.Thread):
    """Rows without end, at a steady pace."""

    def __init__(self, bootstrap, topic):
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.kcat = subprocess.Popen(["kcat", "-P", "-b", bootstrap, "-t", topic],
                                     stdin=subprocess.PIPE, preexec_fn=jobs.die_with_parent)
        self.start()

    def run(self):
        g, step = random.Random(1), 0.05
        with self.kcat.stdin as out:
            while not self.over.wait(step):
                rows = (",".join(str(g.randrange(9)) for _ in range(WIDTH))
                        for _ in range(int(ROWS_PER_S * step)))
                out.write("".join(f"{r}\n" for r in rows).encode())
                out.flush()

    def stop(self):
        self.over.set()
        self.join()
        assert self.kcat.wait(60) == 0


class Zombies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker, zombie_test.PROPS)
        cls.broker.create_topic("rows", PARTITIONS)

    def job(self, name, worker):
        (self.tmp / worker).mkdir(exist_ok=True)
        return jobs.Job(self.tmp / worker, self.kafka, name, "rows", MEANS, OFTEN,
                        state=self.tmp / worker / f"{name}.state")

    def wait(self, what, seconds, so):
        deadline = time.monotonic() + seconds * jobs.SLOWER
        while not so():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.2)

    def frozen(self, job, freeze, g):
        """A worker that has had partitions, and has none any more in the eyes of the group."""
        program = jobs.program(freeze) if freeze else jobs.MILLRACE
        t = job.train(program=program, end=False)
        self.assertTrue(t.until('msg="restored"'), t.text)
        if freeze is None:
            time.sleep(g.uniform(0, 1.5))
            t.signal(signal.SIGSTOP)
        zombie_test.stopped(t.process, 60)
        return t

    def taken(self, job, zombie):
        """Until another has published what lies behind the zombie's positions."""
        at = {p: s.offset for p, s in zombie.show().items()}

        def newer():
            found = {p: position[2] for p, position, *_ in
                     zombie_test.manifests(self.kafka.tail(f"{job.name}.params", 60))}
            return all(found.get(p, 0) > offset + 1000 for p, offset in at.items())

        self.wait(f"{job.name}: nobody takes over", 60, newer)

    def team(self, number):
        g = random.Random(number)
        name = f"team{number}"
        keeper, other = self.job(name, "a"), self.job(name, "b")
        self.broker.create_topic(f"{name}.params", PARTITIONS, config={
            "cleanup.policy": "compact", "min.compaction.lag.ms": 3_600_000})
        stays, ends = keeper.train(end=False), []
        stays.until('msg="restored"', PARTITIONS)
        for freeze in itertools.islice(itertools.cycle(FREEZES), number,
                                       number + len(range(number, RESUMPTIONS, TEAMS))):
            zombie = self.frozen(other, freeze, g)
            self.taken(keeper, other)
            zombie.signal(signal.SIGCONT)
            time.sleep(g.uniform(1, 3))
            ends.append(zombie.process.poll())
            zombie.kill()
        stays.signal(signal.SIGTERM)
        stays.done()
        return keeper, other, ends

    def test_none_of_many_puts_an_older_slot_behind_a_newer_one(self):
        feeder = Feeder(self.broker.bootstrap, "rows")
        with concurrent.futures.ThreadPoolExecutor(TEAMS) as pool:
            teams = list(pool.map(self.team, range(TEAMS)))
        feeder.stop()
        calm = self.job("calm", "a")
        calm.train().done()
        slots = 0
        for keeper, other, ends in teams:
            log = list(zombie_test.manifests(self.kafka.kcat(f"{keeper.name}.params")))
            self.assertEqual(zombie_test.backward(log), [])
            slots += len(log)
            keeper.train().done()
            self.assertEqual(keeper.digest(other), calm.digest())
            self.assertEqual(keeper.show(), calm.show())
            print(f"\n{keeper.name}: {len(ends)} woke, {ends.count(1)} of them left at once",
                  end=" ")
        resumptions = sum(len(ends) for _, _, ends in teams)
        print(f"\n{resumptions} resumptions, {slots} slots, none of them stale", end=" ")
        self.assertEqual(resumptions, RESUMPTIONS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
