#!/usr/bin/env python3
"""What only a real broker can do to a job: not be there, refuse us, lose our records, be restarted,
hold topics that would lose slots. Each: exit code and message, and once it is mended the job ends
as if nothing had been wrong."""

import os
import shutil
import signal
import subprocess
import time
import unittest

import jobs
import rig

SMALL = """input: {format: csv, label: f0, width: 9}
staleness: 0
algo: linear
options: {loss: softmax, classes: 4}
"""
LIVE = """input: {format: csv, label: f0, width: 9}
algo: kmeans
options: {k: 4}
"""
KEEP = {"retention.ms": -1}
SASL = {"security.protocol": "sasl_plaintext", "sasl.mechanisms": "PLAIN",
        "sasl.username": rig.USER}


class Bad(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.broker = cls.enterClassContext(rig.Broker(sasl=True))
        cls.at = jobs.Kafka(cls.broker)
        cls.rows = jobs.csv_rows(60_000, 2, seed=1, classes=4, width=8)
        cls.at.put("rows", 2, cls.rows, KEEP)

    def job(self, name, topic="rows", what=SMALL, more="", props=None, **where):
        return jobs.Job(self.tmp, jobs.Kafka(self.broker, props), name, topic, what,
                        jobs.BY_ROWS + more, **where)

    def refused(self, job, code, *words):
        found, said = job.tried()
        self.assertEqual(found, code, said)
        for word in words:
            self.assertIn(str(word), said)
        return said

    def ends_as(self, job, calm):
        found, said = job.tried()
        self.assertEqual(found, 0, said)
        self.assertEqual(job.digest(), calm.digest())
        self.assertEqual(job.model(), calm.model())

    def half(self, name, topic="rows", what=SMALL):
        calm = self.job(name + "-calm", topic, what)
        self.assertEqual(calm.tried()[0], 0)
        job = self.job(name, topic, what)
        self.assertEqual(job.tried("--max-rows", "35000")[0], 0)
        self.assertTrue(any(0 < s.offset < 30_000 for s in job.show().values()), job.show())
        return job, calm

    def test_nobody_there(self):
        port = rig.free_port()
        began = time.monotonic()
        self.refused(self.job("nobody", props={"bootstrap.servers": f"127.0.0.1:{port}"}), 4,
                     f"no broker answers at 127.0.0.1:{port}", "Connection refused")
        self.assertLess(time.monotonic() - began, 20)

    def test_wrong_password(self):
        there = {"bootstrap.servers": self.broker.sasl_bootstrap, **SASL}
        said = self.refused(self.job("password", props={**there, "sasl.password": "hunter2"}), 3,
                            "Authentication failed", "sasl.password", self.broker.sasl_bootstrap)
        self.assertNotIn("hunter2", said)
        calm = self.job("password-calm")
        self.assertEqual(calm.tried()[0], 0)
        self.ends_as(self.job("password", props={**there, "sasl.password": rig.PASSWORD}), calm)

    def test_properties(self):
        self.refused(self.job("unknown", props={"bootstrap.server": "x"}), 3,
                     "'bootstrap.server' is unknown", "did you mean 'bootstrap.servers'?")
        self.refused(self.job("owned", props={"isolation.level": "read_uncommitted"}), 3,
                     "isolation.level", "a restore must see what is committed")
        self.refused(self.job("value", props={"session.timeout.ms": "soon"}), 3,
                     "session.timeout.ms")

    def test_missing_topic(self):
        self.refused(self.job("missing", "nope"), 3, "topic 'nope' does not exist", "load data")

    def test_topics_that_would_lose_slots(self):
        for name, config, words in (
                ("delete", {"cleanup.policy": "delete"}, ("cleanup.policy=delete", "'compact'")),
                ("both", {"cleanup.policy": "compact,delete"}, ("'compact'",)),
                ("small", {"cleanup.policy": "compact", "max.message.bytes": 100_000},
                 ("max.message.bytes=100000", "chunks of state need"))):
            self.broker.create_topic(name + ".params", 2, config=config)
            self.refused(self.job(name), 3, f"topic {name}.params has", *words)
            self.broker.delete_topic(name + ".params")
            self.assertEqual(self.job(name).tried()[0], 0)
        self.broker.create_topic("few.params", 1, config={"cleanup.policy": "compact"})
        self.assertEqual(self.job("few").tried()[0], 0)
        self.assertEqual(len(self.broker.offsets("few.params")), 2)

    def test_retention(self):
        self.at.put("gap", 2, self.rows, KEEP)
        job, _ = self.half("gap", "gap")
        p, at = next((p, s.offset) for p, s in job.show().items() if 0 < s.offset < 30_000)
        self.broker.delete_records("gap", {p: at + 1000})
        before = job.show()
        self.refused(job, 3, f"topic gap partition {p}: offsets {at} to {at + 999} were removed",
                     "retention_gap: continue")
        self.assertEqual(job.show()[p], before[p])
        self.assertEqual(self.job("gap", "gap", more="retention_gap: continue\n").tried()[0], 0)
        slots = job.show()
        self.assertEqual({i: (s.lost, s.trained, s.status) for i, s in slots.items()},
                         {p: (1000, 29_000, "done"), 1 - p: (0, 30_000, "done")})
        self.assertEqual([(b, e, n) for _, _, b, e, n in slots[p].learned],
                         [(0, at, at), (at + 1000, 30_000, 29_000 - at)])

    def test_retention_overtakes_a_running_job(self):
        """While it hangs, twice as many rows come and most of them go."""
        low = {0: 50_000, 1: 45_000}
        go_on = "retention_gap: continue\n"
        for name, more, code in (("refuses", "", 3), ("goes-on", go_on, 0)):
            self.at.put(name, 2, self.rows, KEEP)
            job = self.job(name, name, more=more)
            t = job.train(end=False)
            t.until("rows/s")
            time.sleep(1)
            t.signal(signal.SIGSTOP)
            self.at.put(name, 2, self.rows, KEEP)
            self.broker.delete_records(name, low)
            t.signal(signal.SIGCONT)
            if code:
                self.assertEqual(t.ended(60), code, t.text)
                self.assertRegex(t.text, f"topic {name} partition .: offsets [0-9]* to [0-9]* were "
                                         "removed before they could be read .*" + go_on.strip())
            else:
                t.until('msg="retention gap"', 2)
                t.signal(signal.SIGTERM)
                t.done()
            self.refused(self.job(name, name, more=go_on), 3, "slot of another job",
                         "'staleness: 0'")
            code, said = self.job(name, name, more=go_on).tried("--set", "staleness=async")
            self.assertEqual(code, 0, said)
            for p, s in job.show().items():
                (_, _, begin, at, n), (_, _, again, end, m) = s.learned
                self.assertEqual((begin, again, end), (0, low[p], 60_000))
                self.assertEqual((n, m), (at, end - again))
                self.assertTrue(0 < at < again)
                self.assertEqual((s.trained, s.lost), (n + m, again - at))

    def test_a_topic_made_anew(self):
        self.at.put("anew", 2, self.rows, KEEP)
        job, calm = self.half("anew", "anew")
        others = [r._replace(timestamp=r.timestamp + 1) for r in self.rows]
        for rows, words in ((others, ("offset", "not the one this state was trained on")),
                            (self.rows[:100], ("ends at offset 50", "before the position"))):
            self.broker.delete_topic("anew")
            self.at.put("anew", 2, rows, KEEP)
            self.refused(job, 3, "topic anew partition", "re-created or truncated", *words)
        self.broker.delete_topic("anew")
        self.at.put("anew", 2, self.rows, KEEP)
        self.ends_as(job, calm)

    def test_a_topic_that_goes_while_it_is_read(self):
        """Whether the consumer learns of it, or a publish before it does."""
        for name, refresh_ms, wait_s in (("going", 1000, 1), ("went", 100_000, 0)):
            self.at.put(name, 2, self.rows, KEEP)
            soon = {"topic.metadata.refresh.interval.ms": refresh_ms}
            job = self.job(name, name, LIVE, props=soon)
            t = job.train(end=False)
            t.until("restored", 2)
            time.sleep(wait_s)
            self.broker.delete_topic(name)
            self.assertEqual(t.ended(60), 3, t.text)
            self.assertIn(f"topic {name} is gone (deleted or re-created) while it was read", t.text)

    def test_a_broker_that_is_restarted(self):
        """It dies under a job, and comes back: the job goes on by itself."""
        rows = jobs.csv_rows(150_000, 2, seed=2)
        self.at.put("long", 2, rows, KEEP)
        calm = self.job("restart-calm", "long", jobs.DENSE)
        self.assertEqual(calm.tried()[0], 0)
        job = self.job("restart", "long", jobs.DENSE)
        t = job.train()
        t.until("rows/s")
        for _ in range(2):
            self.broker.kill()
            time.sleep(2)
            self.broker.start(1)
            time.sleep(1)
        t.done()
        self.assertEqual(job.digest(), calm.digest())
        self.assertEqual(job.model(), calm.model())

    @unittest.skipIf(os.geteuid(), "a file system is needed")
    def test_a_broker_whose_disk_is_full(self):
        """Kafka gives itself up then. Once there is room and it is back, the job goes on by
        itself."""
        rows = jobs.csv_rows(150_000, 2, seed=4)
        self.at.put("full", 2, rows, KEEP)
        calm = self.job("full-calm", "full", jobs.DENSE)
        self.assertEqual(calm.tried()[0], 0)
        disk = self.tmp / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "none", disk],
                          stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("mount is not allowed here")
        broker = rig.Broker(dir=str(disk / "broker"))
        try:
            at = jobs.Kafka(broker.start())
            at.put("full", 2, rows, KEEP)
            job = jobs.Job(self.tmp, at, "full", "full", jobs.DENSE, jobs.BY_ROWS)
            t = job.train()
            t.until("rows/s")
            with open(disk / "more", "wb", buffering=0) as f:
                with self.assertRaises(OSError):
                    while True:
                        f.write(bytes(1 << 20))
            self.assertNotEqual(broker.ended(60), 0)
            time.sleep(2)
            self.assertIsNone(t.process.poll(), t.text)
            os.unlink(disk / "more")
            broker.start(1)
            t.done()
            self.assertEqual(job.digest(), calm.digest())
            self.assertEqual(job.model(), calm.model())
        finally:
            broker.stop()
            subprocess.run(["umount", "-l", disk], check=True)

    def test_two_workers_of_one_name(self):
        """A copied state folder: the newer process fences the older, which says so and leaves."""
        job, calm = self.half("name", what=LIVE)
        shutil.copytree(job.state, self.tmp / "copy.state")
        t = job.train(program=jobs.THROTTLED,
                      env={**os.environ, "ROWS_PER_S": "1000"})
        t.until("restored", 2)
        t.signal(signal.SIGSTOP)
        twin = self.job("name", what=LIVE, state=self.tmp / "copy.state")
        self.assertEqual(twin.tried()[0], 0)
        t.signal(signal.SIGCONT)
        self.assertEqual(t.ended(60), 1, t.text)
        self.assertIn("another worker uses the name 'name-", t.text)
        self.assertEqual(twin.digest(), calm.digest())

    def test_two_processes_on_one_folder(self):
        job, calm = self.half("folder")
        t = job.train()
        t.until("restored", 2)
        t.signal(signal.SIGSTOP)
        self.refused(self.job("folder"), 3, job.state, f"held by process {t.process.pid}",
                     "stop that one")
        t.signal(signal.SIGTERM, signal.SIGCONT)
        t.done()
        self.ends_as(self.job("folder"), calm)


if __name__ == "__main__":
    unittest.main(verbosity=2)
