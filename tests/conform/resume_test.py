#!/usr/bin/env python3
"""A job that is killed again and again ends as if nothing had happened: same state, same model,
each record learned once, each bad record in the dead-letter topic once. Here on local:, killed at
writes and syncs; the same on a real broker, killed at any time, is tests/kafka/kill_test.py."""

import signal
import unittest

import jobs

PARTITIONS = 3
OFTEN = """checkpoint: {every: "1 rows"}
publish: {every: "12000 rows"}
snapshot: {every: "30000 rows"}
bad_records: {limit: 10%}
"""  # a checkpoint after each block: many writes to be killed at


class Resume(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.at = jobs.Local(cls.tmp / "broker")

    def undisturbed(self, topic, records, what, more=OFTEN, transactions=False):
        """What every other run of the same records has to end with, and what it takes."""
        self.at.put(topic, PARTITIONS, records, transactions=transactions)
        job = jobs.Job(self.tmp, self.at, topic + "-calm", topic, what, more)
        return job, jobs.Instants(job)

    def killed(self, topic, what, more=OFTEN, **how):
        job, others = jobs.killed(lambda i: jobs.Job(self.tmp, self.at, f"{topic}-killed{i}", topic,
                                                     what, more), **how)
        print(f"\n{topic}: {how['kills']} kills in training, {others} more", end=" ")
        return job

    def same(self, job, calm):
        self.assertEqual(job.digest(), calm.digest())
        self.assertEqual(job.show(), calm.show())  # lineage: one piece per epoch, all of it
        self.assertEqual(job.model(), calm.model())

    def test_dense_with_poison(self):
        rows = jobs.poisoned(jobs.csv_rows(80_000, PARTITIONS, seed=1), 0.002, seed=2)
        calm, work = self.undisturbed("dense", rows, jobs.DENSE)
        bad = sum(r.value in jobs.POISON for r in rows)
        none = sum(r.value is None for r in rows)
        self.assertEqual(sum(s.trained for s in calm.show().values()), len(rows) - bad - none)
        self.assertEqual(sum(s.rejected for s in calm.show().values()), bad)
        jobs.letters_once(self, self.at.get("dense-calm.dead"), rows, jobs.POISON)
        job = self.killed("dense", jobs.DENSE, records=len(rows), kills=10, work=work, seed=3)
        self.same(job, calm)
        jobs.letters_once(self, self.at.get(job.name + ".dead"), rows, jobs.POISON)

    def test_sparse_states_of_many_chunks(self):
        rows = jobs.libsvm_rows(60_000, PARTITIONS, seed=4)
        calm, work = self.undisturbed("sparse", rows, jobs.SPARSE)
        self.assertEqual(sum(s.trained for s in calm.show().values()), len(rows))
        self.same(self.killed("sparse", jobs.SPARSE, records=len(rows), kills=8, work=work, seed=5),
                  calm)

    def test_epochs(self):
        rows = jobs.poisoned(jobs.csv_rows(20_000, PARTITIONS, seed=6), 0.001, seed=7)
        more = OFTEN + "epochs: 3\n"
        calm, work = self.undisturbed("epochs", rows, jobs.DENSE, more)
        good = sum(r.value is not None and r.value not in jobs.POISON for r in rows)
        for p, slot in calm.show().items():
            mine = [r for r in rows if r.partition == p]
            self.assertEqual([(e, b, n) for _, e, b, n, _ in slot.learned],
                             [(e, 0, len(mine)) for e in range(3)])
        self.assertEqual(sum(s.trained for s in calm.show().values()), 3 * good)
        job = self.killed("epochs", jobs.DENSE, more, records=3 * len(rows), kills=3, work=work,
                          seed=8)
        self.same(job, calm)
        for name in (calm.name, job.name):
            jobs.letters_once(self, self.at.get(name + ".dead"), rows, jobs.POISON)

    def test_offsets_with_gaps(self):
        """Aborted records and markers of transactions lie between the records."""
        rows, mixed = jobs.csv_rows(40_000, PARTITIONS, seed=9), []
        begin, commit, abort = (jobs.Record(p, 0, None, None) for p in (-2, -3, -4))
        for i in range(0, len(rows), 500):
            never = [r._replace(value=b"9" + r.value[1:]) for r in rows[i:i + 40]]
            mixed += [begin, *never, abort, begin, *rows[i:i + 500], commit]
        calm, work = self.undisturbed("gaps", mixed, jobs.DENSE, transactions=True)
        self.assertEqual(sum(s.trained for s in calm.show().values()), len(rows))
        self.same(self.killed("gaps", jobs.DENSE, records=len(rows), kills=5, work=work, seed=10),
                  calm)

    def test_asked_to_stop(self):
        rows = jobs.csv_rows(40_000, PARTITIONS, seed=11)
        calm, _ = self.undisturbed("stop", rows, jobs.DENSE)
        job = jobs.Job(self.tmp, self.at, "stop-asked", "stop", jobs.DENSE)
        for signals, code, word in (((signal.SIGTERM,), 0, "stopped; run the same command"),
                                    ((signal.SIGINT,), 0, "stopped; run the same command"),
                                    ((signal.SIGTERM, signal.SIGINT), 130, "restored")):
            t = job.train()
            self.assertTrue(t.until("rows/s"))  # a block is learned
            t.signal(*signals)
            self.assertEqual(t.ended(10), code, t.text)
            self.assertIn(word, t.text)
            self.assertLess(job.learned(), len(rows))
        self.assertGreater(job.learned(), 0)
        job.train().done()
        self.same(job, calm)


if __name__ == "__main__":
    unittest.main(verbosity=2)
