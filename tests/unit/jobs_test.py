#!/usr/bin/env python3
"""The example jobs of config/jobs, one per algorithm, train and score as they stand; only broker
and places are set from outside. $MILLRACE is the program."""

import os
import random
import re
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["MILLRACE"]
JOBS = os.path.join(os.path.dirname(__file__), "..", "..", "config", "jobs/")
SIDE, CLASSES, ROWS = 8, 10, 12000


class Jobs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.dir = folder.name
        cls.broker = "local:" + os.path.join(cls.dir, "broker")
        cls.schema = os.path.join(cls.dir, "images.avsc")
        for topic, seed, rows in (("images", 1, ROWS), ("images-test", 2, 500)):
            cls.make_pictures(seed, rows)
            cls.millrace("load", "-b", cls.broker, "-t", topic, "--schema", cls.schema, "--format",
                         "idx", "--label", cls.path("labels"), cls.path("images"))

    @classmethod
    def path(cls, name):
        return os.path.join(cls.dir, name)

    @classmethod
    def make_pictures(cls, seed, rows):
        """A kind is a random picture; noise is added to it."""
        kinds = [random.Random(k).choices((40, 200), k=SIDE * SIDE) for k in range(CLASSES)]
        noise = random.Random(seed)
        with open(cls.path("labels"), "wb") as y, open(cls.path("images"), "wb") as x:
            y.write(struct.pack(">4BI", 0, 0, 8, 1, rows))
            x.write(struct.pack(">4B3I", 0, 0, 8, 3, rows, SIDE, SIDE))
            for _ in range(rows):
                kind = noise.randrange(CLASSES)
                y.write(bytes([kind]))
                x.write(bytes(p + (b & 63) - 32 for p, b in
                              zip(kinds[kind], noise.randbytes(SIDE * SIDE))))

    @classmethod
    def make_flats(cls, name, seed, rows):
        """Rent is linear in the first three columns, with noise of deviation 50."""
        draw = random.Random(seed)
        with open(cls.path(name), "w", encoding="utf-8") as f:
            f.write("area,rooms,age,door,rent\n")
            for _ in range(rows):
                area, rooms, age = draw.uniform(20, 120), draw.randint(1, 5), draw.randint(0, 90)
                rent = 250 + 11 * area + 40 * rooms - 2 * age + draw.gauss(0, 50)
                f.write(f"{area:.1f},{rooms},{age},{draw.randint(1, 200)},{rent:.2f}\n")

    @classmethod
    def millrace(cls, *words):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{words}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def train(self, name):
        self.job = (os.path.join(JOBS, name + ".yaml"), "-b", self.broker)
        self.places = ("--set", "input.schema=" + self.schema)
        self.millrace("train", *self.job, *self.places, "--set",
                      "state_dir=" + self.path(name + ".state"), "--until-end", "-q")

    def score(self):
        return self.millrace("score", *self.job, *self.places, "-t", "images-test", "--until-end",
                             "--metrics")

    def test_every_algorithm_has_an_example(self):
        algorithms = self.millrace("list").split("algorithms\n")[1].split("\ncompute")[0]
        names = sorted(line.split()[0] for line in algorithms.splitlines())
        self.assertEqual(sorted(os.listdir(JOBS)), [name + ".yaml" for name in names])

    def test_linear(self):
        self.train("linear")
        accuracy = float(re.search(r"^accuracy (.*)$", self.score(), re.M)[1])
        self.assertGreater(accuracy, 0.99)

    def test_kmeans(self):
        self.train("kmeans")
        distance = (SIDE * SIDE * (64 ** 2 / 12)) ** 0.5 / 255  # of a row from its kind
        loss = float(re.search(r"^loss (.*)$", self.score(), re.M)[1])
        self.assertLess(loss, 1.1 * distance)

    def test_least_squares(self):
        self.schema = self.path("flats.avsc")
        for topic, seed, rows in (("flats", 1, 9000), ("flats-test", 2, 1000)):
            self.make_flats("flats.csv", seed, rows)
            self.millrace("load", "-b", self.broker, "-t", topic, "--schema", self.schema,
                          self.path("flats.csv"))
        self.train("least_squares")
        text = self.millrace("score", *self.job, *self.places, "-t", "flats-test", "--until-end",
                             "--metrics")
        self.assertLess(float(re.search(r"^rmse (.*)$", text, re.M)[1]), 53)

    def test_pca(self):
        self.train("pca")
        show = self.millrace("model", "show", *self.job, *self.places)
        captured = float(re.search(r"^ *captured +(.*)$", show, re.M)[1])
        kinds, noise = 0.9 * 80 ** 2, 64 ** 2 / 12  # variance of a pixel between, within kinds
        self.assertAlmostEqual(captured, kinds / (kinds + noise), delta=0.02)

    def test_fm(self):
        taste = random.Random(3)
        users, films = ([[taste.gauss(0, 1) for _ in range(2)] for _ in range(n)]
                        for n in (50, 80))
        for topic, rows in (("ratings", 20000), ("ratings-test", 1000)):
            with open(self.path(topic), "w", encoding="utf-8") as f:
                for _ in range(rows):
                    u, i = taste.randrange(50), taste.randrange(80)
                    stars = 3 + sum(a * b for a, b in zip(users[u], films[i]))
                    f.write(f"{stars:.2f} {u + 1}:1 {i + 944}:1\n")
            self.millrace("load", "-b", self.broker, "-t", topic, "--format", "libsvm", "--as",
                          "lines", self.path(topic))
        job = (os.path.join(JOBS, "fm.yaml"), "-b", self.broker)
        self.millrace("train", *job, "--set", "state_dir=" + self.path("fm.state"), "--until-end",
                      "-q")
        score = self.millrace("score", *job, "-t", "ratings-test", "--until-end", "--metrics")
        self.assertLess(float(re.search(r"^rmse (.*)$", score, re.M)[1]), 0.3)

    def test_knn(self):
        self.train("knn")
        accuracy = float(re.search(r"^accuracy (.*)$", self.score(), re.M)[1])
        self.assertGreater(accuracy, 0.99)

    def test_rcf(self):
        self.train("rcf")
        head, *lines = self.millrace("score", *self.job, *self.places, "-t", "images-test",
                                     "--until-end").splitlines()
        at = head.split(",").index("anomaly")
        self.assertLess(sum(float(line.split(",")[at]) for line in lines), 0.03 * len(lines))

    def test_stats(self):
        self.train("stats")
        shown = self.millrace("model", "show", *self.job, *self.places)
        columns = shown.split("\ncolumns\n")[1].splitlines()[1:]
        names = ["label"] + [f"pixels[{i}]" for i in range(SIDE * SIDE)]
        self.assertEqual([line.split()[:3] for line in columns[:len(names)]],
                         [[name, str(ROWS), "-"] for name in names])
        lines = self.millrace("score", *self.job, *self.places, "-t", "images-test",
                              "--until-end").splitlines()
        self.assertEqual(lines[0], "partition,offset,missing,outside,tail")
        self.assertEqual({line.split(",")[2] for line in lines[1:]}, {"0"})


if __name__ == "__main__":
    unittest.main()
