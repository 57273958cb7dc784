#!/usr/bin/env python3
"""`train --workers N` on a real broker: one command, N processes, one table; what dies is started
again, and the model is bit for bit that of one worker. `--leave` and spares: the partitions are
learned elsewhere, at once or when the session ends. Late workers start from slots."""

import os
import re
import signal
import time
import unittest

import jobs
import rig
from elastic_test import KEEP, KMEANS, SESSION, Team

PARTITIONS, ROWS = 8, 120_000
FLAGS = [w for k, v in SESSION.items() for w in ("-X", f"{k}={v}")]
SLOW = jobs.DENSE.replace("staleness: 0", "staleness: async").replace(
    f"batch: {2 * jobs.SLOWER}", f"batch: {jobs.SLOWER}").replace(
        "1.0e-3]", "1.0e-3, 2.0e-5, 2.0e-4, 2.0e-3, 1.0e-2]")  # under way for a while


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(what, *trainers, timeout=60):
    deadline = time.monotonic() + timeout * jobs.SLOWER
    while not what():
        if time.monotonic() >= deadline:
            raise AssertionError("\n".join(["it did not come", *(t.text for t in trainers)]))
        time.sleep(0.01)


def pid_of(t, worker):
    """Of the worker's process that was started last."""
    return int(re.findall(rf'"worker started" worker={worker} pid=(\d+)', t.text)[-1])


def rows(t):
    """As the table said last."""
    return int(([0] + re.findall(r"^ +(\d+) +[-\d/]+ +\d+\.\d{6} ", t.text, re.M))[-1])


def owned(t):
    """How many partitions it was assigned last; -1: it has not been told yet."""
    return int(([-1] + re.findall(r'"partitions assigned" count=(\d+)', t.text))[-1])


def restored(text, kind):
    """{partition: records} as restored from there the first time."""
    return {int(p): int(n) for p, n in reversed(re.findall(
        rf'"restored".* partition=(\d+) from=(?:{kind}) .*records=(\d+)', text))}


class TeamOfProcesses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker)
        cls.kafka.put("rows", PARTITIONS, jobs.csv_rows(ROWS, PARTITIONS, seed=1), KEEP)
        cls.kafka.put("two", 2, jobs.csv_rows(ROWS, 2, seed=2), KEEP)

    def job(self, name, what=jobs.DENSE, topic="rows", more=jobs.BY_ROWS):
        return jobs.Job(self.tmp, self.kafka, name, topic, what, more)

    def same(self, job, calm):
        self.assertEqual(job.digest().split()[-2:], calm.digest().split()[-2:])
        self.assertEqual(job.model(), calm.model())
        self.assertEqual(sum(s.trained for s in job.show().values()), ROWS)

    def test_three_workers_are_one_though_one_is_killed(self):
        for name, what in (("softmax", jobs.DENSE), ("means", KMEANS)):
            calm = self.job(f"{name}-one", what)
            calm.train().done()
            job = self.job(f"{name}-three", what)
            t = job.train("--workers", "3", *FLAGS)
            t.until("rows/s")
            victim = pid_of(t, 1)
            os.kill(victim, signal.SIGKILL)
            t.done()
            self.assertIn('"worker ended; it is started again" worker=1', t.text)
            self.assertNotEqual(pid_of(t, 1), victim)
            self.assertEqual(sorted(p.name for p in job.state.iterdir()),
                             ["worker-0", "worker-1", "worker-2"])
            for i in range(3):
                self.assertRegex(t.text, rf'msg="memory" worker={i} partitions={PARTITIONS}')
            self.assertEqual(len(re.findall(r"^ +rows +epoch +loss", t.text, re.M)), 1)  # one table
            self.same(job, calm)

    def test_the_parent_dies_and_the_same_command_goes_on(self):
        job = self.job("orphans", SLOW)
        t = job.train("--workers", "2", *FLAGS)
        until(lambda: rows(t) > 1000)
        pids = [pid_of(t, i) for i in range(2)]
        t.kill()
        until(lambda: not any(map(alive, pids)))  # as if told to stop
        before = sum(s.trained for s in job.show().values())
        self.assertTrue(0 < before < ROWS, before)
        t = job.train("--workers", "2", *FLAGS).done()
        # from a slot where a worker was away for longer than its session and finds them swapped
        self.assertEqual(sum(restored(t.text, "local|slot").values()), before)
        self.assertEqual(sum(s.trained for s in job.show().values()), ROWS)

    def test_told_to_stop_it_passes_it_on_and_can_be_resumed(self):
        job = self.job("told", SLOW)
        for sign in (signal.SIGTERM, signal.SIGINT):
            t = job.train("--workers", "2", *FLAGS)
            until(lambda: rows(t))
            pids = [pid_of(t, i) for i in range(2)]
            t.signal(sign)
            for pid in pids[:sign == signal.SIGINT]:
                os.kill(pid, sign)  # as a terminal does
            self.assertEqual(t.ended(), 0, t.text)
            self.assertIn('"stopped; run the same command to go on" workers=2', t.text)
            self.assertFalse(any(map(alive, pids)))
        t = job.train("--workers", "2", "--max-rows", "5000", *FLAGS)
        self.assertEqual(t.ended(), 0, t.text)
        learned = int(re.search(r"workers=2 rows=(\d+)", t.text)[1])
        self.assertTrue(5000 <= learned < ROWS, learned)
        t = job.train("--workers", "2", *FLAGS)
        t.until("worker started", times=2)
        pids = [pid_of(t, i) for i in range(2)]
        t.signal(signal.SIGSTOP)  # so that both signals are there when it looks
        t.signal(signal.SIGTERM, signal.SIGINT, signal.SIGCONT)
        self.assertEqual(t.ended(), 130, t.text)
        self.assertFalse(any(map(alive, pids)))

    def test_a_worker_that_is_told_to_stop_alone_is_started_again(self):
        job = self.job("alone", SLOW)
        t = job.train("--workers", "2", *FLAGS)
        t.until("rows/s")
        os.kill(pid_of(t, 0), signal.SIGTERM)
        t.until("it was told to stop")
        t.done()
        self.assertEqual(sum(s.trained for s in job.show().values()), ROWS)

    def test_what_a_person_must_mend_ends_the_team_with_its_code(self):
        job = self.job("wrong", jobs.DENSE.replace("width: 33", "width: 32"))
        t = job.train("--workers", "3", *FLAGS)  # every record is bad
        self.assertEqual(t.ended(), 5, t.text)
        self.assertEqual(len(re.findall(r"^millrace: error: worker \d: ", t.text, re.M)), 1)
        t = job.train("--workers", "3", "-b", "127.0.0.1:1")
        self.assertEqual(t.ended(), 4, t.text)
        self.assertNotIn("started again", t.text)
        t = jobs.Job(self.tmp, jobs.Local(self.tmp / "broker"), "here", "rows", jobs.DENSE).train(
            "--workers", "2")
        self.assertEqual(t.ended(), 3, t.text)
        self.assertIn("is for one process", t.text)
        for n in ("0", "65", "many"):
            self.assertEqual(job.train("--workers", n).ended(), 2)

    def test_a_late_worker_starts_from_slots(self):
        team = Team(self.tmp, self.kafka, "late", "rows", SLOW, workers=2)
        team.start(0)
        self.assertEqual(len(restored(team.running[0].text, "slot")), 0)
        until(lambda: team.member[0].learned() and  # whichever half moves, it has records
              sum(s.trained > 0 for s in team.member[0].show().values()) > PARTITIONS // 2,
              team.running[0])
        team.start(1)
        team.done()
        late = team.running[1].text
        taken = restored(late, "slot")
        self.assertGreaterEqual(len(taken), PARTITIONS // 2)
        self.assertEqual(restored(late, "new"), {})
        slots = [m.show() for m in team.member]
        self.assertEqual(taken, {p: slots[0][p].trained for p in taken})  # as given up
        self.assertGreater(sum(taken.values()), 0)
        newest = {p: max((s[p] for s in slots if p in s), key=lambda x: x.offset)
                  for p in range(PARTITIONS)}
        self.assertEqual(sum(s.trained for s in newest.values()), ROWS)
        for s in newest.values():  # in one piece: each record once
            self.assertEqual([x[4] for x in s.learned], [s.trained])

    def test_who_leaves_gives_its_partitions_up_at_once(self):
        team = Team(self.tmp, self.kafka, "leave", "rows", SLOW, workers=2)
        session_s = 30
        team.flags += ["--leave", "-X", f"session.timeout.ms={session_s * 1000}"]
        team.start_all()
        stays, goes = team.running
        for t in (stays, goes):
            t.until("rows/s")
        until(lambda: stays.text.count('"restored"') >= PARTITIONS // 2, stays, goes)
        before = stays.text.count('"restored"')
        began = time.monotonic()
        goes.signal(signal.SIGTERM)
        until(lambda: stays.text.count('"restored"') >= before + PARTITIONS, stays, goes)
        took = time.monotonic() - began
        print(f"\n--leave: restored elsewhere after {took:.2f} s", end=" ", flush=True)
        self.assertEqual(goes.ended(), 0, goes.text)
        self.assertIn("left the group", goes.text)
        self.assertLess(took, session_s)
        stays.done()
        self.assertIn("left the group", stays.text)

    def test_a_spare_takes_over_from_who_was_killed(self):
        team = Team(self.tmp, self.kafka, "spare", "two", SLOW, workers=3).start_all()
        until(lambda: sorted(map(owned, team.running)) == [0, 1, 1])
        idle, *working = sorted(team.running, key=owned)
        idle.until("waiting as a spare: more workers than partitions")
        working[0].until("rows/s")
        so_far = idle.text  # it may have had them all before the others came
        working[0].kill()
        began = time.monotonic()
        idle.until('"restored"', times=so_far.count('"restored"') + 1, timeout=30)
        print(f"\nspare: took over after {time.monotonic() - began:.2f} s, session time-out "
              f"{SESSION['session.timeout.ms'] / 1000:.0f} s", end=" ", flush=True)
        for t in (working[1], idle):
            t.done()
        self.assertEqual(restored(idle.text.removeprefix(so_far), "new"), {})


if __name__ == "__main__":
    unittest.main(verbosity=2)
