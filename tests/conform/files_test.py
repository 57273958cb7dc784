#!/usr/bin/env python3
"""`millrace train --input FILE...`: the same bits as from a topic with the same lines, killed or
not; what may not be mixed up is refused; and its model is another job's beginning."""

import gzip
import pathlib
import re
import unittest

import jobs

EXACT = """algo: pca
options: {components: 3}
input: {format: csv, label: f0, width: 33}
"""
IN_STEP = jobs.DENSE
OFTEN = 'checkpoint: {every: "1 rows"}\npublish: {every: "9000 rows"}\n'
PLAIN = """algo: linear
input: {format: csv, label: f0}
options: {loss: softmax, classes: 16, learning_rate: 0.01}
"""


class Files:
    """A place without topics of its own: jobs.Job writes no broker line."""
    lines = ""


class Job(jobs.Job):
    def __init__(self, folder, name, what, paths, more=""):
        super().__init__(folder, Files, name, "rows", what, more)
        self.paths = paths
        self.topics = f"local:{self.state}/topics"

    def train(self, *flags, program=jobs.MILLRACE, **more):
        return jobs.Trainer([program, "train", str(self.file), *flags, "--input",
                             *map(str, self.paths)], **more)

    def tried(self, *flags, **more):
        r = self.millrace("train", self.file, "-q", *flags, "--input", *self.paths, check=False,
                          **more)
        return r.returncode, r.stderr.decode()

    def says(self, test, code, *words):
        exit_code, text = self.tried()
        test.assertEqual(exit_code, code, text)
        for w in words:
            test.assertIn(w, text)

    def millrace(self, *words, **more):
        of_models = words[0] in ("model", "score", "derive")
        return super().millrace(*words, *(["-b", self.topics] if of_models else []), **more)


def lines(records, partition):
    return b"".join(r.value + b"\n" for r in records if r.partition == partition)


class FilesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tmp = cls.enterClassContext(jobs.Folder())
        cls.at = jobs.Local(cls.tmp / "broker")

    def files(self, name, records, partitions):
        paths = [self.tmp / f"{name}-{p}.csv" for p in range(partitions)]
        for p, path in enumerate(paths):
            path.write_bytes(lines(records, p))
        return paths

    def test_the_same_bits_as_a_topic(self):
        rows = jobs.csv_rows(30_000, 3, seed=1)
        self.at.put("rows", 3, rows)
        paths = self.files("same", rows, 3)
        packed = self.tmp / "same-1.gz"
        packed.write_bytes(gzip.compress(paths[1].read_bytes(), 1))
        for name, what in (("exact", EXACT), ("step", IN_STEP)):
            topic = jobs.Job(self.tmp, self.at, name + "-topic", "rows", what, "")
            topic.train().done()
            from_files = Job(self.tmp, name + "-files", what, paths)
            from_files.train().done()
            self.assertEqual(from_files.digest(), topic.digest())
            self.assertEqual(from_files.show(), topic.show())
            one_packed = Job(self.tmp, name + "-packed", what, [paths[0], packed, paths[2]])
            one_packed.train().done()
            self.assertEqual(one_packed.digest(), topic.digest())

    def test_bad_lines_are_dead_letters_with_their_number(self):
        rows = jobs.csv_rows(3_000, 1, seed=2)
        rows[700] = rows[700]._replace(value=b"what is this")
        job = Job(self.tmp, "bad", PLAIN, self.files("bad", rows, 1))
        job.train().done()
        dead = jobs.Local(job.state / "topics").get("bad.dead")
        self.assertEqual([(r.value, r.headers["offset"]) for r in dead],
                         [(b"what is this", "700")])

    def test_killed_again_and_again(self):
        rows = jobs.csv_rows(40_000, 2, seed=3)
        paths = self.files("killed", rows, 2)
        for name, epochs in (("killed", 1), ("epochs", 3)):
            what, more = IN_STEP, OFTEN + f"epochs: {epochs}\n"
            calm = Job(self.tmp, name + "-calm", what, paths, more)
            calm.train().done()
            job = Job(self.tmp, name, what, paths, more)
            calm_work = jobs.Instants(Job(self.tmp, name + "-work", what, paths, more))
            job, others = jobs.killed(lambda i: Job(self.tmp, f"{name}-{i}", what, paths, more),
                                      records=len(rows) * epochs, kills=6, work=calm_work, seed=4)
            print(f"\n{name}: 6 kills in training, {others} more", end=" ")
            self.assertEqual(job.digest(), calm.digest())
            self.assertEqual(job.show(), calm.show())
            self.assertEqual(sum(s.trained for s in job.show().values()),
                             len(rows) * epochs)

    def test_a_stop_goes_on_and_a_longer_file_too(self):
        rows = jobs.csv_rows(40_000, 1, seed=5)
        whole = self.files("whole", rows, 1)
        calm = Job(self.tmp, "whole", PLAIN, whole)
        calm.train().done()
        job = Job(self.tmp, "grown", PLAIN, self.files("grown", rows[:25_000], 1))
        job.train("--max-rows", "9000").done()
        self.assertLess(job.learned(), 25_000)
        job.train().done()
        self.assertEqual(job.learned(), 25_000)
        job.paths[0].write_bytes(whole[0].read_bytes())
        job.train().done()
        self.assertEqual(job.learned(), 40_000)
        self.assertEqual([n for *_, n in job.show()[0].learned], [25_000, 15_000])
        self.assertIn(b"records=40000", job.train().done().text.encode())

    def test_a_range_of_lines(self):
        paths = self.files("range", jobs.csv_rows(3_000, 1, seed=12), 1)
        for flags, begin, end in ((("--from", "1000", "--until", "2500"), 1000, 2500),
                                  (("--until", "999999"), 0, 3000),  # there is no more to wait for
                                  (("--from", "latest"), 3000, 3000)):
            job = Job(self.tmp, f"range{end}-{begin}", PLAIN, paths)
            job.train(*flags).done()
            self.assertEqual((job.show()[0].offset, job.learned()), (end, end - begin))

    def test_what_is_not_the_same_is_refused(self):
        rows = jobs.csv_rows(30_000, 1, seed=6)
        paths = self.files("first", rows, 1)
        job = Job(self.tmp, "refused", PLAIN, paths)
        job.train("--max-rows", "5000").done()
        other = self.tmp / "other.csv"
        other.write_bytes(paths[0].read_bytes())
        job.paths = [other]
        job.says(self, 3, "with file first-0.csv", "with file other.csv", "another state_dir")
        job.paths = paths + [other]
        job.says(self, 3, "begun with 1 files, now there are 2")
        job = Job(self.tmp, "changed", PLAIN, paths)
        job.train("--max-rows", "5000").done()
        at = job.show()[0].offset
        self.assertLess(at, len(rows))
        changed = paths[0].read_bytes().split(b"\n")
        changed[at - 1] = changed[0]
        paths[0].write_bytes(b"\n".join(changed))
        job.says(self, 3, f"the record at offset {at - 1} is not the one this state was trained on")
        paths[0].write_bytes(b"\n".join(changed[:100]) + b"\n")
        job.says(self, 3, "ends at offset 100")

    def test_words_that_do_not_go_together(self):
        paths = self.files("words", jobs.csv_rows(200, 1, seed=7), 1)
        job = Job(self.tmp, "words", PLAIN, paths)
        for flags, word in ((["-b", "localhost:1"], "nothing is read from Kafka"),
                            (["--workers", "2"], "is for one process"),
                            (["--from", "@2026-01-01T00:00:00Z"], "lines have no time"),
                            (["--set", "input.format=avro", "--set", "input.schema=x"],
                             "which Avro has not")):
            code, text = job.tried(*flags)
            self.assertEqual(code, 3, text)
            self.assertIn(word, text)
        r = jobs.run(jobs.MILLRACE, "train", "--input", paths[0], job.file, check=False)
        self.assertEqual(r.returncode, 2)
        self.assertIn(b"name the job file before --input", r.stderr)
        r = jobs.run(jobs.MILLRACE, "peek", job.file, "--input", paths[0], paths[0], "-n", "0",
                     "-p", "1")
        self.assertEqual(r.stdout.count(b"partition 1 offset"), 200)
        self.at.put("words", 1, jobs.csv_rows(10, 1, seed=8))
        code, text = job.tried("-b", self.at.spec, "--set", "topic=words")
        self.assertEqual(code, 3)
        self.assertIn("has records in a topic 'words' of its own", text)

    def test_a_header_and_a_job_file_of_five_lines(self):
        rows = jobs.csv_rows(2_000, 1, seed=9, classes=2)
        names = b"y," + b",".join(b"x%d" % i for i in range(32)) + b"\r\n"
        path = self.tmp / "names.csv"
        path.write_bytes(b"\xef\xbb\xbf" + names + lines(rows, 0).replace(b"\n", b"\r\n"))
        job = Job(self.tmp, "names", "algo: linear\ninput: {format: csv, label: y}\n"
                  "options: {loss: logistic}\n", [path])
        t = job.train().done()
        self.assertIn("bad=0", t.text)
        self.assertIn('columns: ["y", "x0", ', t.text)
        self.assertIn("records=2000", t.text)
        shown = jobs.run(jobs.MILLRACE, "peek", job.file, "-n", "1", "--input", path).stdout
        self.assertIn(b"offset 1 ", shown)  # the header is line 0
        self.assertIn(b"x0:", shown)
        self.assertIn(b"x24", job.millrace("model", "show", job.file).stdout)
        scored = job.millrace("score", job.file, path).stdout.decode().splitlines()
        self.assertEqual((len(scored), scored[1][:4]), (2001, "0,1,"))
        with open(path, "rb") as piped:
            self.assertEqual(job.millrace("score", job.file, "-", "--set",
                                          f"input.columns={names.decode().strip()}",
                                          stdin=piped).stdout.decode().splitlines(),
                             scored)  # which has to be told the names, for it is read once
        job.millrace("model", "verify", job.file, "--input", path)

    def test_its_model_is_the_beginning_of_another_job(self):
        """As the README has it, with a local broker where that has Kafka."""
        rows = jobs.csv_rows(20_000, 2, seed=10, classes=2)
        job = Job(self.tmp, "back", PLAIN, self.files("back", rows[:10_000], 2))
        job.train().done()
        self.at.put("live", 2, rows[10_000:])
        there = jobs.Job(self.tmp, self.at, "live", "live", PLAIN,
                         "start_from: back.models@1\nstaleness: 0\n")
        self.assertNotEqual(there.tried()[0], 0)  # it is not there yet
        for version in (1, 2):
            r = jobs.run(jobs.MILLRACE, "model", "copy", job.file, job.topics, "-b", self.at.spec)
            self.assertIn(b"published as model %d of topic back.models" % version, r.stderr)
            self.assertEqual(job.model(), jobs.run(jobs.MILLRACE, "model", "get", job.file, "-b",
                                                   self.at.spec, "-m", str(version)).stdout)
        there.train().done()
        self.assertIn(b"back.models@1", there.millrace("model", "show", there.file).stdout)
        there.millrace("model", "verify", there.file)
        r = jobs.run(jobs.MILLRACE, "model", "copy", job.file, "local:/no/where", "-b",
                     self.at.spec, check=False)
        self.assertEqual(r.returncode, 3)
        self.assertIn(b"local:/no/where: ", r.stderr)

    def test_the_commands_of_the_readme(self):
        """A local broker stands in for Kafka."""
        here = self.tmp / "readme"
        here.mkdir()
        with open(pathlib.Path(__file__).parents[2] / "README.md", encoding="utf-8") as f:
            text = f.read().split("## Files in place of the topic\n")[1].split("\n## ")[0]
        job = re.search(r"^```yaml\n(.*?)^```", text, re.S | re.M)[1]
        (here / "a9a.yaml").write_text(job, encoding="utf-8")
        live = job.replace("a9a\n", "live\n") + "start_from: a9a.models@1\n"
        (here / "live.yaml").write_text(live, encoding="utf-8")
        rows = jobs.libsvm_rows(9_000, 3, seed=11, space=123)
        for p, name in enumerate(("a9a.libsvm", "a9a.t.libsvm", "live.libsvm")):
            (here / name).write_bytes(lines(rows, p))
        jobs.run(jobs.MILLRACE, "load", "-b", "local:live", "-t", "live", "--format", "libsvm",
                 "--as", "lines", "live.libsvm", cwd=here)
        commands = [line.split("#")[0].replace("localhost:9092", "local:live").split()
                    for line in re.findall(r"^    millrace (.*)$", text, re.M)]
        self.assertEqual([c[0] for c in commands],
                         ["train", "score", "model", "model", "model", "train"])
        for words in commands:
            r = jobs.run(jobs.MILLRACE, *words, *["--until-end"] * ("live.yaml" in words), cwd=here)
            if words[0] == "score":
                self.assertIn(b"rows 3000", r.stdout)
        self.assertIn(b"records=3000", r.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
