#!/usr/bin/env python3
"""The data topic changes under a job that runs: it is deleted and made anew, with other records,
fewer or more; it gets more partitions; retention removes what was not read yet. What a state has
learned is exactly what its lineage says."""

import signal
import time
import unittest

import jobs
import rig

KEEP = {"retention.ms": -1}  # the records are of 2023
SOON = {"topic.metadata.refresh.interval.ms": 1000}
CONTINUE = "topic_recreated: continue\n"
ROWS = 250_000 // jobs.SLOWER
KMEANS = """input: {format: csv, label: f0, width: 33}
algo: kmeans
options: {k: 10}
"""
EACH_BLOCK = 'checkpoint: {every: "1 rows"}\npublish: {every: 1s}\nsnapshot: {every: 2s}\n'


class Changed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker())
        cls.at = jobs.Kafka(cls.broker, SOON)
        cls.rows = jobs.csv_rows(ROWS, 1, seed=1)  # more than a consumer reads ahead
        others = jobs.csv_rows(ROWS + 20_000, 1, seed=2)
        cls.others = [r._replace(timestamp=r.timestamp + 1) for r in others]

    def job(self, name, topic, more="", what=jobs.DENSE):
        return jobs.Job(self.tmp, self.at, name, topic, what, EACH_BLOCK + more)

    def another(self, topic, rows):
        self.broker.delete_topic(topic)
        self.at.put(topic, 1, rows, KEEP)

    def live(self, name, rows, more="", frozen=False):
        """A job under which the topic becomes another; frozen: without a sign that it was gone."""
        self.at.put(name, 1, self.rows, KEEP)
        job = self.job(name, name, more)
        t = job.train()
        t.until("rows/s")
        if frozen:
            t.signal(signal.SIGSTOP)
        self.another(name, rows)
        t.signal(signal.SIGCONT)
        return job, t

    def goes_on(self, name, n, frozen=False):
        job, t = self.live(name, self.others[:n], CONTINUE, frozen)
        t.done()
        (_, _, _, old, _), (_, _, _, new, _) = pieces = job.show()[0].learned
        self.assertEqual(pieces, [(0, 0, 0, old, old), (1, 0, 0, new, new)])
        self.assertTrue(0 < new <= n, new)  # its end is where the topic's was when it noticed
        self.assertTrue(0 < old < len(self.rows) and old % 4096 == 0, old)
        self.assertIn("another topic of this name", t.text)
        # as a job that stopped there, and found the new topic when it was started again
        self.another(name, self.rows)
        still = self.job(name + "-still", name, CONTINUE)
        self.assertEqual(still.tried("--max-rows", str(old))[0], 0)
        self.another(name, self.others[:new])
        self.assertEqual(still.tried()[0], 0)
        self.assertEqual(job.digest().split()[-1], still.digest().split()[-1])
        print(f"\n{name}: {old} records of the old topic, {new} of the new one", end=" ")

    def test_made_anew_as_long(self):
        self.goes_on("same", ROWS)

    def test_made_anew_longer(self):
        self.goes_on("longer", ROWS + 20_000)

    def test_made_anew_without_a_sign(self):
        """Deleted, made and filled again between two fetches."""
        self.goes_on("silent", ROWS + 20_000, frozen=True)

    def test_made_anew_shorter(self):
        self.goes_on("shorter", 3000)

    def test_made_anew_is_refused_without_that_policy(self):
        for name, n in (("refused-longer", ROWS + 20_000), ("refused-shorter", 3000)):
            job, t = self.live(name, self.others[:n])
            self.assertEqual(t.ended(60), 3, t.text)
            self.assertRegex(t.text, "was re-created or truncated|is gone .deleted or re-created")
            (run, _, begin, end, n), = job.show()[0].learned
            self.assertEqual((run, begin, end), (0, 0, n))
            self.another(name, self.rows)  # as it was: the job ends as if nothing had been
            self.assertEqual(job.tried()[0], 0)
            calm = self.job(name + "-calm", name)
            self.assertEqual(calm.tried()[0], 0)
            self.assertEqual(job.digest().split()[-1], calm.digest().split()[-1])

    def comes(self, true, show, seconds=60):
        deadline = time.monotonic() + seconds * jobs.SLOWER
        while not true():
            self.assertLess(time.monotonic(), deadline, show())
            time.sleep(0.5)

    def test_partitions_are_added(self):
        """Two workers that run for good take them in, from the first record on."""
        self.at.put("grown", 2, jobs.csv_rows(40_000, 2, seed=3), KEEP)
        workers = [self.job("grown", "grown", what=KMEANS) for _ in range(2)]
        for i, w in enumerate(workers):
            w.state, file = self.tmp / f"grown.state{i}", self.tmp / f"grown-{i}.yaml"
            file.write_text(w.file.read_text().replace("grown.state", f"grown.state{i}"))
            w.file = file
        running = [w.train(end=False) for w in workers]
        for t in running:
            t.until("restored")
        self.broker.create_partitions("grown", 4)
        self.at.put("grown", 4, jobs.csv_rows(40_000, 4, seed=4), KEEP)
        want = {0: 28_672, 1: 28_672, 2: 8192, 3: 8192}  # whole blocks

        def slots():
            found = {}
            for w in workers:
                found.update({p: s for p, s in w.show().items()
                              if p not in found or s.offset > found[p].offset})
            return found

        def model():
            return workers[0].millrace("model", "ls", workers[0].file).stdout.decode()

        self.comes(lambda: {p: s.trained for p, s in slots().items()} == want, slots)
        self.comes(lambda: str(sum(want.values())) in model(), model)
        self.assertEqual(
            {p: [(b, e, n) for _, _, b, e, n in s.learned] for p, s in slots().items()},
            {p: [(0, n, n)] for p, n in want.items()})
        for t in running:
            t.signal(signal.SIGTERM)
            t.done()
            self.assertIn("another number of partitions", t.text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
