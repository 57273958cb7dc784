#!/usr/bin/env python3
"""compose/ as far as a machine without a container engine can tell."""

import os
import re
import shutil
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


class Compose(unittest.TestCase):
    def test_the_job_has_no_problem(self):
        for job in re.findall(r"\./(\w+\.yaml):/", read("compose/compose.yaml")):
            r = subprocess.run([os.environ["MILLRACE"], "lint", f"compose/{job}"], cwd=ROOT,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               check=False)
            self.assertEqual(r.returncode, 0, r.stdout)

    def test_the_image_is_made_by_what_dev_knows(self):
        dockerfile = read("compose/Dockerfile")
        for group in re.findall(r"dev packages (\w+)", dockerfile):
            self.assertIn(f"[{group}]=", read("dev"))
        stages = re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.M)
        self.assertEqual(sorted(set(re.findall(r"target: (\w+)", read("compose/compose.yaml")))),
                         sorted(set(stages) - {"build"}))

    @unittest.skipUnless(shutil.which("docker-compose"), "no docker-compose")
    def test_docker_compose_reads_the_file(self):
        r = subprocess.run(["docker-compose", "-f", "compose/compose.yaml", "config", "-q"],
                           cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           check=False)
        self.assertEqual(r.returncode, 0, r.stdout)


if __name__ == "__main__":
    unittest.main()
