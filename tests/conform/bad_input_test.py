#!/usr/bin/env python3
"""Whatever is wrong with a job, its records, its folder or its disk: an exit code and a message
with what, where, the value and what to do, or a counted dead letter; and once it is mended the job
goes on and ends as if nothing had been wrong. What only a real broker can do to us is in
tests/kafka/bad_broker_test.py."""

import os
import random
import shutil
import signal
import struct
import subprocess
import unittest

import jobs

SMALL = """input: {format: csv, label: f0, width: 9}
algo: linear
options: {loss: softmax, classes: 4}
staleness: 0
"""
AVRO = """input: {format: avro, schema: rows.avsc, label: y, weight: w, features: ["x[8]"]}
algo: linear
options: {loss: softmax, classes: 4}
staleness: 0
"""
SCHEMA = """{"type": "record", "name": "Row", "fields": [
  {"name": "note", "type": "string"}, {"name": "y", "type": "float"},
  {"name": "w", "type": "double"}, {"name": "x", "type": {"type": "array", "items": "float"}}]}
"""
ROWS_SCHEMA = f"""{{"type": "record", "name": "Rows", "fields": [
  {{"name": "rows", "type": {{"type": "array", "items": {SCHEMA}}}}}]}}
"""


def long(v):
    """Avro's: zigzag, then seven bits a byte."""
    z, out = (v << 1 ^ v >> 63) & (1 << 64) - 1, b""
    while z > 127:
        out, z = out + bytes([z & 127 | 128]), z >> 7
    return out + bytes([z])


def row(x, y=1.0, w=1.0, note=b""):
    return (long(len(note)) + note + struct.pack("<fd", y, w) + long(len(x))
            + struct.pack(f"<{len(x)}f", *x) + (long(0) if len(x) else b""))


GOOD = row([1.0] * 8)
BAD_AVRO = {
    long(1 << 30): "too_long",  # five bytes that claim a gigabyte
    b"": "truncated", b"\x80": "truncated", b"\xff" * 4: "truncated",
    b"\xff" * 11: "value",  # a varint that does not end
    long(-5) + GOOD[1:]: "too_long", GOOD[:-9]: "truncated", GOOD + b"\0": "trailing",
    GOOD[:13] + long(1 << 40): "too_long", GOOD[:13] + long(-(1 << 40)) + long(4): "truncated",
    row([1.0] * 7): "width", row([1.0] * 9): "width", row([]): "width",
    row([float("nan")] * 8): "nonfinite", row([1.0] * 7 + [float("-inf")]): "nonfinite",
    row([1.0] * 8, y=float("nan")): "label", row([1.0] * 8, y=7.0): "label",
    row([1.0] * 8, y=0.5): "label", row([1.0] * 8, w=-1.0): "weight",
    row([1.0] * 8, w=float("inf")): "nonfinite"}
BAD_ROWS = {
    long(4097) + GOOD * 4097 + long(0): "too_many", long(1 << 30) + GOOD * 3: "too_long",
    long(3) + GOOD * 2: "truncated", long(2) + GOOD + row([1.0] * 7) + long(0): "width"}


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.at = jobs.Local(cls.tmp / "broker")
        cls.rows = jobs.csv_rows(20_000, 2, seed=1, classes=4, width=8)
        cls.at.put("rows", 2, cls.rows)
        (cls.tmp / "rows.avsc").write_text(SCHEMA, encoding="utf-8")
        (cls.tmp / "many.avsc").write_text(ROWS_SCHEMA, encoding="utf-8")

    def job(self, name, topic="rows", what=SMALL, more="", **where):
        return jobs.Job(self.tmp, where.pop("at", self.at), name, topic, what, jobs.BY_ROWS + more,
                        **where)

    def refused(self, job, code, *words, **how):
        found, said = job.tried(**how)
        self.assertEqual(found, code, said)
        for word in words:
            self.assertIn(str(word), said)
        return said

    def ends_as(self, job, calm):
        found, said = job.tried()
        self.assertEqual(found, 0, said)
        self.assertEqual(job.digest(), calm.digest())
        self.assertEqual(job.model(), calm.model())


class Settings(Case):
    def test_job_file(self):
        said = self.refused(self.job("typos", what=SMALL.replace("loss", "lose")
                                     .replace("format", "formt"), more="publsh: 3\nseed: x\n"), 3)
        for at, words in (("5:9", "unknown key 'formt' in input (did you mean 'format'?)"),
                          ("7:11", "unknown key 'lose' in options (did you mean 'loss'?)"),
                          ("13:1", "unknown key 'publsh' (did you mean 'publish'?)"),
                          ("14:7", "'seed' must be a number, got 'x'")):
            self.assertIn(f"typos.yaml:{at}: error: {words}\n", said)

    def test_topic(self):
        self.refused(self.job("topic", "nope"), 3, "topic 'nope' does not exist", self.at.spec,
                     "load data into it", "topic.yaml")

    def test_fields(self):
        self.refused(self.job("label", what=SMALL.replace("label: f0", "label: f77")), 3,
                     "input.label: there is no field 'f77'", "f0 to f8")
        said = self.refused(self.job("avro", what=AVRO.replace("label: y", "label: yy")), 3,
                            "input.label", "'yy'")
        self.assertRegex(said, "did you mean 'y'|y, w")
        self.refused(self.job("schema", what=AVRO.replace("rows.avsc", "no.avsc")), 3, "no.avsc")

    def test_empty_topic_and_partitions(self):
        self.at.put("empty", 2, [])
        self.refused(self.job("width", "empty", SMALL.replace(", width: 9", "")), 3,
                     "topic empty is empty", "input.width")
        self.refused(self.job("empty", "empty"), 0, "empty", "partition=0", "partition=1")
        self.at.put("half", 4, self.rows)
        job = self.job("half", "half")
        self.refused(job, 0, "empty", "partition=2", "partition=3")
        self.assertEqual({p: s.trained for p, s in job.show().items()},
                         {0: 10_000, 1: 10_000, 2: 0, 3: 0})


class Records(Case):
    def poisoned(self, topic, bad, good, what, same=True):
        """Bad ones between good ones: letters with reasons; same: a model as without them."""
        g, mixed, clean = random.Random(1), [], []
        for i, value in enumerate(good):
            if i % 50 == 0:
                mixed += [jobs.Record(i % 2, jobs.EPOCH_MS, b"bad", v)
                          for v in g.sample(sorted(bad), 3)]
            clean.append(jobs.Record(i % 2, jobs.EPOCH_MS, None, value))
            mixed.append(clean[-1])
        mixed += [jobs.Record(i % 2, jobs.EPOCH_MS, None, v) for i, v in enumerate(sorted(bad))]
        self.at.put(topic, 2, mixed)
        self.at.put(topic + "-clean", 2, clean)
        job = self.job(topic, topic, what)
        job.file.write_text(job.file.read_text().replace("limit: 10%", "limit: 100%"))
        calm = self.job(topic + "-clean", topic + "-clean", what)
        peak = [self.peak(j) for j in (calm, job)]
        room = 8 << 10 if jobs.SLOWER == 1 else 128 << 10  # a sanitizer's own memory counts too
        self.assertLess(peak[1] - peak[0], room, f"{peak} KiB")
        self.assertEqual(job.model() == calm.model(), same)
        self.assertEqual(sum(s.trained for s in job.show().values()), len(good))
        found = self.at.get(topic + ".dead")
        self.assertEqual({(d.value[:40], d.headers["reason"], d.headers["detail"]) for d in found
                          if d.headers["reason"] != bad[d.value]}, set())
        jobs.letters_once(self, found, mixed, bad)

    def peak(self, job):
        """KiB, of a run that ends well."""
        pid = os.posix_spawn(jobs.MILLRACE, [jobs.MILLRACE, "train", "-q", "--until-end",
                                             str(job.file)], os.environ)
        _, status, usage = os.wait4(pid, 0)
        self.assertEqual(status, 0)
        return usage.ru_maxrss

    def test_avro(self):
        g = random.Random(2)
        good = [row([float(g.randint(-9, 9)) for _ in range(8)], g.randint(0, 3), 1 + i % 3,
                    b"n" * (i % 7)) for i in range(4000)]
        self.poisoned("avro", BAD_AVRO, good, AVRO)

    def test_many_rows_a_record(self):
        g = random.Random(3)
        one = [row([float(g.randint(-9, 9)) for _ in range(8)], g.randint(0, 3))
               for i in range(12000)]
        good = [long(30) + b"".join(one[i:i + 30]) + long(0) for i in range(0, len(one), 30)]
        self.poisoned("many", BAD_ROWS, good, AVRO.replace("rows.avsc", "many.avsc"),
                      same=False)  # a block ends before a record that claims too many rows

    def test_more_than_the_limit(self):
        rows = jobs.csv_rows(20_000, 2, seed=4, classes=4, width=8)
        for i in range(12_001, 12_400, 2):
            rows[i] = rows[i]._replace(value=b"1,2,3")  # the width changes: partition 1 from here
        self.at.put("limit", 2, rows)
        calm = self.job("limit-calm", "limit")
        self.assertEqual(calm.tried()[0], 0)
        job = self.job("limit", "limit")
        text = job.file.read_text()
        for _ in range(2):
            job.file.write_text(text.replace("limit: 10%", "limit: 100"))
            self.refused(job, 5, "over bad_records.limit", "partition 1", "offset 6000", "width",
                         "fewer fields than the 9", "raise the limit")
        self.assertLess(job.learned(), 19_000)
        job.file.write_text(text.replace("limit: 10%", "limit: 50%"))  # of what is left
        self.ends_as(job, calm)
        jobs.letters_once(self, self.at.get("limit.dead"), rows, {b"1,2,3": "width"})


def crc32c(data, table=[]):
    if not table:
        for c in range(256):
            for _ in range(8):
                c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
            table.append(c)
    c = 0xffffffff
    for b in data:
        c = c >> 8 ^ table[(c ^ b) & 255]
    return c ^ 0xffffffff


class States(Case):
    """A folder that is not ours, not whole, not writable, too small; and slots that do not fit."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rows = jobs.csv_rows(60_000, 2, seed=7, classes=4, width=8)
        cls.at.put("some", 2, cls.rows)

    def job(self, name, topic="some", what=SMALL, more="", **where):
        return super().job(name, topic, what, more, **where)

    def half(self, name, topic="some"):
        """A job stopped in the middle of each partition, and what it has to end as."""
        calm = self.job(name + "-calm", topic)
        self.assertEqual(calm.tried()[0], 0)
        job = self.job(name, topic)
        self.assertEqual(job.tried("--max-rows", "20000")[0], 0)
        self.assertTrue(all(0 < s.offset < 30_000 for s in job.show().values()), job.show())
        return job, calm

    def test_another_jobs_folder(self):
        job, calm = self.half("mine")
        self.refused(self.job("yours", state=job.state), 3, job.state, "belongs to job 'mine'",
                     "this is job 'yours'", "name another state_dir")
        self.ends_as(job, calm)

    def test_another_clusters_folder(self):
        job, calm = self.half("here")
        other = jobs.Local(self.tmp / "other")
        other.put("some", 2, self.rows)
        self.refused(self.job("here", at=other), 3, job.state, "belongs to cluster",
                     "name another state_dir")
        self.ends_as(self.job("here"), calm)

    def test_a_job_that_has_changed(self):
        """Options, seed, schema: the state of the job as it was stays as it is."""
        job, calm = self.half("changed")
        for what, more in ((SMALL.replace("classes: 4", "classes: 4, batch: 7"), ""),
                           (SMALL, "seed: 4\n"),
                           (SMALL.replace("width: 9", "width: 9, weight: f8"), ""),
                           (SMALL.replace("f0, ", "f0, features: [f8, f7, f1], "), "")):
            self.refused(self.job("changed", what=what, more=more), 3, "changed.params",
                         "slot of another job", "new job name")
        self.ends_as(self.job("changed"), calm)

    def test_two_processes(self):
        job, calm = self.half("both")
        shutil.copytree(self.tmp / "broker", self.tmp / "twin")  # two brokers, one state
        t = job.train()
        t.until("restored", 2)
        t.signal(signal.SIGSTOP)
        said = self.refused(self.job("both", at=jobs.Local(self.tmp / "twin")), 3, job.state,
                            f"held by process {t.process.pid}", "stop that one")
        self.assertIn("LOCK", said)
        t.signal(signal.SIGTERM, signal.SIGCONT)
        t.done()
        self.ends_as(self.job("both"), calm)

    @unittest.skipIf(os.geteuid(), "another user is needed")
    def test_read_only(self):
        job, calm = self.half("ro")
        program = shutil.copy(jobs.MILLRACE, self.tmp / "millrace")
        at = self.tmp / "ro-broker"
        shutil.copytree(self.tmp / "broker", at)
        self.tmp.chmod(0o755)
        subprocess.run(["chown", "-R", "65534:65534", at], check=True)
        subprocess.run(["chmod", "-R", "a+rX", job.state, self.tmp / "broker"], check=True)
        ro = self.job("ro", at=jobs.Local(at))
        r = jobs.run(program, "train", str(ro.file), "--until-end", "-q", check=False, user=65534,
                     group=65534, extra_groups=[])
        self.assertEqual(r.returncode, 3, r.stderr)
        for word in (str(job.state), "cannot be written: Permission denied", "make it writable"):
            self.assertIn(word, r.stderr.decode())
        self.ends_as(self.job("ro"), calm)

    @unittest.skipIf(os.geteuid(), "a file system is needed")
    def test_full_disk(self):
        """The state's, then the broker's; both go on once there is room."""
        self.at.put("sparse", 2, jobs.libsvm_rows(20_000, 2, seed=5))
        calm = self.job("full-calm", "sparse", jobs.SPARSE)
        self.assertEqual(calm.tried()[0], 0)
        for which in ("state", "broker"):
            disk = self.tmp / f"disk-{which}"
            disk.mkdir()
            if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "none", disk],
                              stderr=subprocess.DEVNULL, check=False).returncode:
                self.skipTest("mount is not allowed here")
            try:
                at = self.at
                if which == "broker":
                    at = jobs.Local(disk / "broker")
                    at.put("sparse", 2, jobs.libsvm_rows(20_000, 2, seed=5))
                job = self.job("full-" + which, "sparse", jobs.SPARSE, at=at,
                               state=disk / "s" if which == "state" else None)
                self.refused(job, 1, disk, "no space left on the disk", "free some")
                code, said = job.tried()  # some was freed by the start itself
                self.assertTrue(code == 0 or (code == 1 and "no space left" in said), said)
                subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
                self.ends_as(job, calm)
            finally:
                subprocess.run(["umount", "-l", disk], check=True)

    def test_flipped_bits(self):
        """In any file of the state: said, or without effect; and with the folder away it goes on
        from the parameter topic."""
        job, calm = self.half("bits")
        for _ in range(3):  # starts make tables out of logs
            self.assertEqual(job.tried("--max-rows", "100")[0], 0)
        refusals = 0
        for i in range(16):
            hurt, file = self.hurt(job, i, "state")
            code, said = hurt.tried()
            if code:
                refusals += 1
                self.assertEqual(code, 1, (file, said))
                self.assertIn(str(hurt.state), said)
                self.assertIn("move its folder away", said)
                shutil.rmtree(hurt.state)
            self.ends_as(hurt, calm)
        self.assertGreater(refusals, 4)

    def test_flipped_bits_of_the_broker(self):
        job, calm = self.half("bits-there")
        refusals = 0
        for i in range(16):
            hurt, file = self.hurt(job, i, "broker")
            code, said = hurt.tried()
            if code:
                refusals += 1
                self.assertEqual(code, 1, (file, said))
                self.assertIn(hurt.place.spec[len("local:"):], said)
            else:
                self.assertEqual(hurt.digest(), calm.digest())
        self.assertGreater(refusals, 2)

    def hurt(self, job, i, which):
        """A copy of job, state and broker, with a bit of one file flipped."""
        at, state = self.tmp / f"{job.name}-at{i}", self.tmp / f"{job.name}-state{i}"
        shutil.copytree(self.tmp / "broker", at)
        shutil.copytree(job.state, state)
        files = sorted(f for f in (state / "worker-0" if which == "state" else at).iterdir()
                       if f.stat().st_size and f.name.startswith(("0", "MANIFEST", "CURRENT")))
        file = files[i % len(files)]
        data = bytearray(file.read_bytes())
        bit = random.Random(i).randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        return self.job(job.name, at=jobs.Local(at), state=state), f"{file.name} bit {bit}"

    def slot_case(self, name):
        """A job halfway without its folder; its parameter topic, and the records of slot 0."""
        job, calm = self.half(name)
        shutil.move(job.state, self.tmp / f"{name}.away")
        log = self.at.get(name + ".params")
        place = [r.key for r in log if r.partition == 0][-1].replace(b"manifest", b"")
        mine = {key: [r for r in log if r.partition == 0 and r.key == place + key]
                for key in (b"manifest", b"chunk/0")}
        return job, calm, log, mine

    def put_slots(self, name, log):
        self.at.delete(name + ".params")
        self.at.put(name + ".params", 2, log, {"cleanup.policy": "compact"})

    def test_damaged_slots(self):
        job, calm, log, mine = self.slot_case("slots")
        for key, at in ((b"chunk/0", 100), (b"chunk/0", 17), (b"manifest", 60), (b"manifest", 1)):
            good = mine[key][-1]
            bad = bytearray(good.value)
            bad[at] ^= 4
            self.put_slots("slots", [r._replace(value=bytes(bad)) if r is good else r for r in log])
            self.refused(job, 1, "slots.params partition 0",
                         "chunk" if key == b"chunk/0" else "offset", "Delete the topic")
        self.put_slots("slots", log + [mine[b"chunk/0"][-2]])  # another publish's
        self.refused(job, 1, "slots.params partition 0", "chunk 0",
                     "not the one its manifest names", "seq", "Delete the topic")
        self.at.delete("slots.params")  # as it says
        shutil.rmtree(job.state)
        shutil.move(self.tmp / "slots.away", job.state)
        self.ends_as(job, calm)

    def test_another_state_version(self):
        job, calm, log, mine = self.slot_case("version")
        manifest = mine[b"manifest"][-1]
        other = bytearray(manifest.value[:-4])
        other[128:132] = struct.pack("<I", 99)
        self.put_slots("version", log + [manifest._replace(
            value=bytes(other) + struct.pack("<I", crc32c(other)))])
        self.refused(job, 3, "version 99 of algorithm linear", "this program makes version")
        self.put_slots("version", log)
        self.ends_as(job, calm)

    def test_a_topic_made_anew(self):
        self.at.put("anew", 2, self.rows)
        job, calm = self.half("anew", "anew")
        others = [r._replace(timestamp=r.timestamp + 1) for r in self.rows]
        for rows, words in ((others, ("offset", "not the one this state was trained on")),
                            (self.rows[:100], ("ends at offset 50", "before the position"))):
            self.at.delete("anew")
            self.at.put("anew", 2, rows)
            self.refused(job, 3, "topic anew partition", "re-created or truncated", *words)
        self.at.delete("anew")
        self.at.put("anew", 2, self.rows)
        self.ends_as(job, calm)


if __name__ == "__main__":
    unittest.main(verbosity=2)
