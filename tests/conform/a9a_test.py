#!/usr/bin/env python3
"""a9a (UCI Adult, sparse, two classes) through the verbs on the embedded broker: loaded as libsvm
lines into one partition, learned in one pass, scored on its test set; exported and derived.

Needs a9a/a9a.libsvm and a9a.t.libsvm in $MILLRACE_DATA, or in ../shared/data beside the
checkout."""

import json
import os
import re
import struct
import sys
import tempfile
import zipfile

from datasets import DATA
from gate import run, write

TRAIN, TEST = (os.path.abspath(os.path.join(DATA, "a9a", n))
               for n in ("a9a.libsvm", "a9a.t.libsvm"))
JOB = """job: a9a
topic: a9a
algo: linear
broker: local:broker
input: {format: libsvm, width: 123}
options: {loss: logistic, learning_rate: [0.05, 0.1, 0.2]}
"""


def npz(path):
    """name -> (shape, float32 values), without numpy."""
    out = {}
    with zipfile.ZipFile(path) as z:
        assert z.testzip() is None
        for name in z.namelist():
            b = z.read(name)
            head = b[10:10 + struct.unpack_from("<H", b, 8)[0]].decode()
            shape = tuple(int(n) for n in re.search(r"'shape': \(([^)]*)\)", head)[1].split(",")
                          if n.strip())
            assert "'<f4'" in head, head
            body = b[10 + len(head):]
            out[name[:-4]] = shape, struct.unpack(f"<{len(body) // 4}f", body)
    return out


def main():
    if not os.path.exists(TEST):
        print("skipped: no a9a in", os.path.abspath(DATA))
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="millrace-a9a.") as folder:
        os.chdir(folder)
        with open("a9a.yaml", "w", encoding="utf-8") as f:
            f.write(JOB)
        for topic, path in (("a9a", TRAIN), ("a9a-test", TEST)):
            run("load", "-b", "local:broker", "-t", topic, "--format", "libsvm", "--as", "lines",
                "--partitions", "1", path)
        run("train", "a9a.yaml", "--until-end", "-q")
        text = run("score", "a9a.yaml", "-t", "a9a-test", "-e", "--metrics")
        accuracy, rows = (float(re.search(w + r" ([\d.]+)", text)[1]) for w in ("accuracy", "rows"))
        print("a9a test accuracy", accuracy, "of", rows, "rows")
        assert rows == 16281 and accuracy >= 0.848, text

        # the same from the file, row by row
        lines = run("score", "a9a.yaml", TEST).splitlines()
        assert lines[0].split(",")[:3] == ["partition", "offset", "margin"], lines[0]
        hits = sum((float(r[2]) > 0) == (float(r[-1]) > 0)
                   for r in (line.split(",") for line in lines[1:]))
        assert abs(hits / rows - accuracy) < 1e-4, hits

        # and learned from the file itself: the same bits
        write("file.yaml", JOB.replace("broker: local:broker\n", "state_dir: file.state\n"))
        run("train", "file.yaml", "-q", "--input", TRAIN)
        assert run("state", "show", "--digest", "file.state") == \
            run("state", "show", "--digest", "a9a.state")
        from_file = run("score", "file.yaml", "-b", "local:file.state/topics", TEST)
        assert from_file.splitlines() == lines

        # the exports say the same, and another packed model is derived without data
        doc = json.loads(run("model", "export", "a9a.yaml", "--to", "json"))
        run("model", "export", "a9a.yaml", "--to", "npz", "-o", "w.npz")
        shape, w = npz("w.npz")["w"]
        assert shape == (124, 1), shape
        assert [struct.pack("<f", r[0]) for r in doc["tensors"]["w"]] == \
            [struct.pack("<f", v) for v in w]
        show = run("model", "show", "a9a.yaml")
        assert f"{doc['measures']['prequential_loss']:.9g}" in show, show
        assert "heaviest features" in show
        best = int(re.search(r"derive.model\s+(\d+)", show)[1])
        other = 1 if best != 1 else 2
        run("derive", "a9a.yaml", "--set", f"model={other}", "-o", "other.npz")
        assert npz("other.npz")["w"] != npz("w.npz")["w"]
        run("derive", "a9a.yaml", "--set", f"model={best}", "-o", "same.npz")
        assert npz("same.npz")["w"] == npz("w.npz")["w"]


if __name__ == "__main__":
    main()
