#!/usr/bin/env python3
"""`millrace demo` does what it says: accuracy, a real kill, equal digests, a picture; it leaves
other people's folders alone and may be run again. $MILLRACE is the program."""

import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

DATA = "/usr/share/datasets/fashion-mnist"
PROGRAM = os.environ["MILLRACE"]


def demo(*words):
    return subprocess.run([PROGRAM, "demo", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


def png_pixels(path):
    """Width, height and grey bytes; every chunk's CRC is checked."""
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + size
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert rest == [8, 0, 0, 0, 0]
    raw = zlib.decompress(chunks[1][1])
    assert len(raw) == height * (width + 1)
    lines = [raw[y * (width + 1):(y + 1) * (width + 1)] for y in range(height)]
    assert all(line[0] == 0 for line in lines)
    return width, height, b"".join(line[1:] for line in lines)


class Demo(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, *names):
        return os.path.join(self.folder.name, *names)

    def run_and_check(self):
        done = demo(self.path("d"))
        out = done.stdout
        self.assertEqual(done.returncode, 0, out)
        self.assertIn("-> killed with SIGKILL", out)
        restored = [int(n) for n in re.findall(r"from=local .*records=(\d+)", out)]
        self.assertEqual(len(restored), 4, out)
        self.assertTrue(0 < sum(restored) < 60000, restored)
        digests = re.findall(r"^digest ([0-9a-f]{16}) (.*)$", out, re.M)
        self.assertEqual(len(digests), 10)
        self.assertEqual(digests[:5], digests[5:])
        self.assertGreaterEqual(float(re.search(r"^accuracy (.*)$", out, re.M)[1]), 0.820)
        with open(self.path("d", "clothes.safetensors"), "rb") as a, \
                open(self.path("d", "undisturbed.safetensors"), "rb") as b:
            self.assertEqual(a.read(), b.read())
        width, height, grey = png_pixels(self.path("d", "clothes.png"))
        self.assertEqual((width, height), (906, 378))
        tile = [grey[y * width + 6:y * width + 90] for y in range(6, 90)]
        self.assertLess(min(map(min, tile)), 32)
        self.assertGreater(max(map(max, tile)), 96)
        self.assertIn("-b localhost:9092", out)
        return digests

    def test_all_of_it_twice_in_one_folder(self):
        self.assertEqual(self.run_and_check(), self.run_and_check())

    def test_a_folder_of_others_is_left_alone(self):
        os.mkdir(self.path("d"))
        with open(self.path("d", "clothes.yaml"), "w") as f:
            f.write("mine")
        done = demo(self.path("d"))
        self.assertEqual(done.returncode, 6, done.stdout)
        self.assertIn("files of others", done.stdout)
        self.assertEqual(os.listdir(self.path("d")), ["clothes.yaml"])

    def test_absent_pictures_are_named_with_their_package(self):
        done = demo("--data", self.path("none"), self.path("d"))
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("apt-get install dataset-fashion-mnist", done.stdout)
        self.assertFalse(os.path.exists(self.path("d")))


if __name__ == "__main__":
    if not os.path.isdir(DATA):
        print(f"skipped: {DATA} is absent (Debian package dataset-fashion-mnist)")
        sys.exit(77)
    unittest.main()
