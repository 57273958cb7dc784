#!/usr/bin/env python3
"""`millrace reset`: a plan changes nothing; carried out, the next start learns all there is anew,
whatever other machines have kept. Here on local:; members, teams and a real broker are in
tests/kafka/range_test.py."""

import shutil
import unittest

import jobs

PARTITIONS, ROWS = 3, 9_000


class Reset(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.at = jobs.Local(cls.tmp / "broker")
        cls.at.put("rows", PARTITIONS, jobs.csv_rows(ROWS, PARTITIONS, seed=1))

    def trained(self, name, *flags, what=jobs.DENSE):
        job = jobs.Job(self.tmp, self.at, name, "rows", what)
        job.train(*flags).done()
        return job

    def reset(self, job, *flags):
        return job.millrace("reset", job.file, *flags).stdout.decode()

    def learned(self, job):
        return sum(s.trained for s in job.show().values())

    def versions(self, job):
        return len(job.millrace("model", "ls", job.file).stdout.splitlines()) - 1

    def test_a_plan_changes_nothing(self):
        job = self.trained("plan")
        digest, params = job.digest(), self.at.get("plan.params")
        said = self.reset(job)
        self.assertIn(f"{PARTITIONS} offsets of group plan, {PARTITIONS} slots in plan.params, "
                      f"{PARTITIONS} states in folders. Run 1 begins", said)
        self.assertIn("only the plan", said)
        self.assertEqual(self.at.get("plan.params"), params)
        self.assertEqual(self.reset(job), said)
        job.train().done()
        self.assertEqual(job.digest(), digest)
        self.assertEqual(self.versions(job), 1)

    def test_a_reset_job_begins_with_nothing(self):
        job = self.trained("again")
        model = job.model()
        self.assertIn("done", self.reset(job, "--execute"))
        self.assertEqual(self.learned(job), 0)
        self.assertIn("nothing to reset", self.reset(job))
        left = {r.key: r.value for r in self.at.get("again.params")}
        self.assertEqual({k.rsplit(b"/", 1)[1] for k, v in left.items() if v is not None}, {b"run"})
        job.train().done()
        self.assertEqual(self.learned(job), ROWS)
        self.assertEqual(self.versions(job), 2)  # though of as many records as the one before
        self.assertEqual(job.model(), model)
        for run in 2, 3:
            self.assertIn(f"Run {run} begins", self.reset(job, "--execute"))
            job.train().done()
        self.assertEqual(self.versions(job), 4)
        self.assertIn(b"bit for bit", job.millrace("model", "verify", job.file).stdout)

    def test_it_may_be_another_job_then(self):
        self.trained("other")
        job = jobs.Job(self.tmp, self.at, "other", "rows", jobs.DENSE.replace("0.01, ", ""))
        shutil.rmtree(job.state)
        code, said = job.tried()
        self.assertEqual(code, 3)
        self.assertIn("holds the slot of another job", said)
        self.reset(job, "--execute")
        job.train("--from", "1000").done()
        self.assertEqual(self.learned(job), ROWS - PARTITIONS * 1000)

    def test_states_of_other_machines_are_void(self):
        job = self.trained("far", "--max-rows", "5000")
        elsewhere = self.tmp / "elsewhere"
        shutil.copytree(job.state, elsewhere)
        self.reset(job, "--execute")
        job = jobs.Job(self.tmp, self.at, "far", "rows", jobs.DENSE, state=elsewhere)
        t = job.train().done()
        self.assertEqual(t.text.count("local state set aside: the job was reset"), PARTITIONS)
        self.assertEqual(self.learned(job), ROWS)
        self.assertEqual(job.model(), self.trained("near").model())

    def test_a_running_worker_is_not_reset(self):
        job = jobs.Job(self.tmp, self.at, "busy", "rows", jobs.DENSE)
        t = job.train(end=False)
        self.assertTrue(t.until('msg="restored"', PARTITIONS))
        r = job.millrace("reset", job.file, "--execute", check=False)
        t.kill()
        self.assertEqual(r.returncode, 3)
        self.assertIn(b"is held by process", r.stderr)


if __name__ == "__main__":
    unittest.main()
