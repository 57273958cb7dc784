#!/usr/bin/env python3
"""The proof of the fence. A worker freezes in the middle of training, or itself in the middle of a
publish; its session ends, another worker takes its partitions, trains on and publishes; then it
wakes. It must not put its older slots behind the newer ones. Who judges is kcat and the drawing of
the manifest in statestore/slot.c. The control: with offsets sent before the slots (rule R3 of the
protocol reversed) the same freeze does put them there, so this test can see it."""

import signal
import struct
import time
import unittest

import jobs
import rig

PARTITIONS = 3
ROWS = 120_000
SESSION_S = 4
PROPS = {"session.timeout.ms": SESSION_S * 1000, "heartbeat.interval.ms": 500,
         "transaction.timeout.ms": 12000, "message.timeout.ms": 10000}


def manifests(records):
    """(partition, position, done, record's offset, chunks) in the order of the log, of both places
    where a slot lies."""
    for r in records:
        if r.key in (b"slot/%d/manifest" % r.partition, b"slot/%d.1/manifest" % r.partition):
            magic, version, flags, partition, run, epoch, offset = struct.unpack("<4sHHIIIq",
                                                                                 r.value[:28])
            n, = struct.unpack("<I", r.value[144:148])
            chunks = [struct.unpack("<QII", r.value[152 + 16 * j:168 + 16 * j]) for j in range(n)]
            assert magic == b"MRSM" and version == 1 and partition == r.partition
            yield partition, (run, epoch, offset), flags & 1, r.offset, tuple(chunks)


def backward(log):
    """Slots that lie behind a newer one of their partition."""
    newest, found = {}, []
    for p, position, _, offset, _ in log:
        if position < newest.get(p, position):
            found.append((p, newest[p], position, offset))
        newest[p] = max(position, newest.get(p, position))
    return found


def stopped(process, seconds=30):
    """Waits until it has frozen itself."""
    deadline = time.monotonic() + seconds * jobs.SLOWER
    while time.monotonic() < deadline:
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
            if f.read().rsplit(")", 1)[1].split()[0] in "Tt":
                return
        time.sleep(0.01)
    raise AssertionError("it does not freeze")


class Zombie(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.kafka = jobs.Kafka(cls.broker, PROPS)
        cls.rows = jobs.poisoned(jobs.csv_rows(ROWS, PARTITIONS, seed=1), 0.002, seed=2)
        cls.kafka.put("rows", PARTITIONS, cls.rows, {"retention.ms": -1})
        cls.calm = cls.job("calm", "a")
        cls.calm.train().done()

    @classmethod
    def job(cls, name, worker, place=None):
        (cls.tmp / worker).mkdir(exist_ok=True)
        return jobs.Job(cls.tmp / worker, place or cls.kafka, name, "rows", jobs.DENSE,
                        state=cls.tmp / worker / f"{name}.state")

    def takeover(self, name, program, place=None):
        """The first worker freezes, the second takes all and ends the job, the first wakes."""
        first, second = self.job(name, "a", place), self.job(name, "b", place)
        zombie = first.train(program=program)
        if program == jobs.MILLRACE:
            zombie.until("rows/s")
            zombie.signal(signal.SIGSTOP)
        stopped(zombie.process)
        self.assertLess(first.learned(), ROWS)
        second.train().done()
        self.assertEqual(first.digest(second), self.calm.digest())
        before = list(manifests(self.kafka.kcat(name + ".params")))
        zombie.signal(signal.SIGCONT)
        return first, second, zombie, before

    def safe(self, name, program=jobs.MILLRACE):
        first, second, zombie, before = self.takeover(name, program)
        code = zombie.ended(90)
        text = zombie.text
        after = list(manifests(self.kafka.kcat(name + ".params")))
        self.assertEqual(backward(after), [], text)
        self.assertLessEqual({m for m in before if m[2]}, set(after), text)  # others: compacted
        newest = {p: (position[2], done) for p, position, done, _, _ in after}
        self.assertEqual(newest, {p: (high, 1) for p, (_, high) in
                                  self.broker.offsets("rows").items()})
        jobs.letters_once(self, self.kafka.kcat(name + ".dead"), self.rows, jobs.POISON)
        print(f"\n{name}: woken, it ended with {code}: {text.splitlines()[-1]}", end=" ")
        first.train().done()  # started again, it goes on from what is there
        self.assertEqual(first.digest(second), self.calm.digest())
        self.assertEqual(first.model(), self.calm.model())
        return zombie

    def test_frozen_while_it_trains(self):
        self.safe("frozen")

    def test_frozen_before_its_slots_are_sent(self):
        zombie = self.safe("slots", jobs.program("millrace_frozen_before_2"))
        self.assertRegex(zombie.text, "publish did not happen.*committing offsets")

    def test_frozen_when_its_slots_are_in_the_log(self):
        self.safe("reports", jobs.program("millrace_frozen_before_4"))

    def test_frozen_before_the_commit(self):
        self.safe("commit", jobs.program("millrace_frozen_before_5"))

    def test_offsets_before_slots_would_be_seen(self):
        name = "control"
        place = jobs.Kafka(self.broker, {**PROPS, "transaction.timeout.ms": 300_000})
        _, _, zombie, before = self.takeover(name, jobs.program("millrace_mutant_offsets_first"),
                                             place)  # its transaction outlives the second worker
        deadline = time.monotonic() + 60 * jobs.SLOWER
        while len(list(manifests(self.kafka.kcat(name + ".params")))) == len(before):
            self.assertLess(time.monotonic(), deadline, zombie.text)
            time.sleep(0.2)
        zombie.kill()
        found = backward(manifests(self.kafka.kcat(name + ".params")))
        print(f"\ncontrol: slots that went backward: {found}", end=" ")
        self.assertTrue(found)

    def test_woken_while_the_other_trains(self):
        """Both are members then and share the partitions; the one that stays ends the job."""
        name = "shared"
        first, second = self.job(name, "a"), self.job(name, "b")
        zombie = first.train()
        zombie.until("rows/s")
        zombie.signal(signal.SIGSTOP)
        other = second.train()
        other.until("rows/s")
        zombie.signal(signal.SIGCONT)
        deadline = time.monotonic() + 60 * jobs.SLOWER
        while sum(s.status == "done" for j in (first, second) for s in j.show().values()) < 3:
            self.assertLess(time.monotonic(), deadline, zombie.text + other.text)
            time.sleep(0.2)
        other.signal(signal.SIGTERM)
        other.done(30)
        zombie.done(60)
        self.assertEqual(backward(manifests(self.kafka.kcat(name + ".params"))), [])
        self.assertEqual(first.digest(second), self.calm.digest())
        self.assertEqual(first.model(), self.calm.model())
        jobs.letters_once(self, self.kafka.kcat(name + ".dead"), self.rows, jobs.POISON)


if __name__ == "__main__":
    unittest.main(verbosity=2)
