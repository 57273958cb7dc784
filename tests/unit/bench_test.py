#!/usr/bin/env python3
"""What the benches stand on: results as they are kept, plots, the trainer with clocks around its
stages. And that a trainer allocates nothing for a block, from its records to what it learned."""

import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

BUILD = os.environ["MILLRACE_BUILD"]
BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench")
sys.path.insert(0, BENCH)
import plot  # noqa: E402
import results  # noqa: E402
import stages_bench  # noqa: E402

PRINTED = "one\n\n| a | b |\n|---|---|\n| 1 | 2 |  \n\ntwo"


class Results(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def path(self, name):
        return os.path.join(self.dir, name)

    def keep(self, code):
        return subprocess.run(
            [sys.executable, os.path.join(BENCH, "results.py"), "pace", sys.executable, "-c", code],
            env=dict(os.environ, MILLRACE_RESULTS=self.dir), text=True, stdout=subprocess.PIPE,
            check=False)

    def test_keeps_what_was_printed_under_a_header(self):
        r = self.keep(f"import os; print({PRINTED!r}); "
                      "open(os.environ['MILLRACE_RESULTS'] + '/pace-x.svg', 'w').close()")
        self.assertEqual((r.returncode, r.stdout), (0, PRINTED + "\n"))
        with open(self.path("pace.md"), encoding="utf-8") as f:
            head, _, rest = f.read().partition("```\n")
        for word in ("date | 20", "commit", "cores", "load", "librdkafka ", "RocksDB ", "OpenBLAS ",
                     "Kafka ", "./dev bench pace "):
            self.assertIn(word, head)
        self.assertNotIn(self.dir, head)
        self.assertEqual(rest, "one\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\ntwo\n```\n\n"
                               "![pace-x](pace-x.svg)\n")

    def test_keeps_nothing_of_a_bench_that_failed(self):
        self.assertEqual(self.keep("print(1); raise SystemExit(3)").returncode, 3)
        self.assertEqual(os.listdir(self.dir), [])

    def test_spread(self):
        self.assertEqual(results.spread([1, 9, 2, 3, 4]), "3.00 (1.00 to 9.00)")

    def test_plot_has_every_point_in_its_place(self):
        series = {"a & b": [(8, 10, 10, 20), (64, 20, 10, 40), (512, 40, 30, 50)],
                  "c": [(8, 100, 90, 200)]}
        plot.plot(self.path("p.svg"), "t < u", "columns", "ns", series)
        root = xml.etree.ElementTree.parse(self.path("p.svg")).getroot()
        circles = [e for e in root if e.tag.endswith("circle")][1:]  # the first is the legend's
        x, y = ([float(c.get(k)) for c in circles] for k in ("cx", "cy"))
        self.assertEqual(len(circles), 3)
        self.assertAlmostEqual(x[1] - x[0], x[2] - x[1], delta=0.2)  # equal factors, equal steps
        self.assertAlmostEqual(y[0] - y[1], y[1] - y[2], delta=0.2)
        self.assertGreater(y[0], y[1])
        texts = [e.text for e in root if e.tag.endswith("text")]
        for word in ("t < u", "a & b", "columns", "ns", "8", "64", "512", "10", "200"):
            self.assertIn(word, texts)

    def test_short(self):
        self.assertEqual([plot.short(v) for v in (1, 500, 1000, 4096, 1.5e6, 1e8)],
                         ["1", "500", "1 k", "4096", "1.5 M", "100 M"])


class Stages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        broker = f"local:{folder.name}/broker"
        subprocess.run([f"{BUILD}/ingest_fill_bench", broker, "rows", "2", "200000", "8"],
                       cwd=folder.name, check=True, stdout=subprocess.DEVNULL)
        with open(f"{folder.name}/j.yaml", "w", encoding="utf-8") as f:
            f.write(f"job: j\ntopic: rows\nbroker: {broker}\nalgo: linear\n"
                    "input: {schema: rows.avsc}\noptions: {loss: logistic}\n"
                    "checkpoint: {every: 20000 rows}\n")
        r = subprocess.run([f"{BUILD}/stages_timed_bench", "train", "j.yaml", "--until-end"],
                           cwd=folder.name, text=True, stderr=subprocess.PIPE, check=False,
                           env=dict(os.environ, WINDOW_ROWS="50000"))
        assert not r.returncode, r.stderr
        cls.w = stages_bench.heard(r.stderr)

    def test_no_allocation_for_a_block(self):
        self.assertEqual({s: self.w["stage"][s]["bytes"] for s in stages_bench.LOOP},
                         dict.fromkeys(stages_bench.LOOP, 0))
        self.assertGreater(self.w["stage"]["update"]["calls"], 1000)

    def test_stages_are_within_the_whole(self):
        own, main, process = stages_bench.without_clocks(self.w)
        self.assertEqual(self.w["whole"]["rows"], 200000)
        self.assertGreaterEqual(self.w["stage"]["checkpoint"]["calls"], 5)
        self.assertLess(max(own.values()), main)
        self.assertLessEqual(sum(own.values()), main * 1.02)
        self.assertLessEqual(main, process * 1.02)
        self.assertGreater(own["update"] + own["decode"], main / 10)
        self.assertGreaterEqual(self.w["thread"]["main"], main)

    def test_the_clocks_are_taken_off(self):
        got = stages_bench.without_clocks({
            "whole": {"timed_inside_ns": 2, "timed_ns": 3, "main_ns": 1000, "process_ns": 2000},
            "stage": {"update": {"own_ns": 500, "calls": 100}}})
        self.assertEqual(got, ({"update": 300, "rest of the loop": 400}, 700, 1700))

    def test_windows_are_the_rows_between(self):
        at = [v["rows"] for v in self.w["windows"]]
        self.assertGreaterEqual(len(at), 4)
        self.assertEqual(at, sorted(at))
        self.assertTrue(all(v["rss_kib"] > 1000 for v in self.w["windows"]))


if __name__ == "__main__":
    unittest.main()
