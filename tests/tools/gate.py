"""What the accuracy gates share: a folder with a local broker, the verbs, and one line a gate with
ours, the limit, the reference and the margin. A program of gates ends with done()."""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by numpy; tests share the machine
import numpy  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MILLRACE = os.environ["MILLRACE"]
missed, shown = [], []


def call(*words, **more):
    return subprocess.run([MILLRACE, *map(str, words)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, **more)


def run(*words, **more):
    r = call(*words, **more)
    if r.returncode:
        raise AssertionError(f"{words}: exit {r.returncode}\n{r.stderr[-3000:]}")
    return r.stdout


def folder():
    """A new current folder, removed at the end; the context of a program."""
    class Folder(tempfile.TemporaryDirectory):
        def __enter__(self):
            path = super().__enter__()
            os.chdir(path)
            return path
    return Folder(prefix="millrace-gate.")


def write(name, text):
    with open(name, "w", encoding="utf-8") as f:
        f.write(text)
    return name


def job(name):
    """A copy of tests/gates/jobs/NAME.yaml in the current folder, where its broker is."""
    return shutil.copy(os.path.join(HERE, "../gates/jobs", name + ".yaml"), ".")


def load(topic, fmt, *words, partitions=1, data=None):
    """Files, or a text as -, into a topic of the local broker."""
    run("load", "-b", "local:broker", "-t", topic, "--format", fmt, "--partitions", partitions,
        *words, input=data)


def train(job, text=None):
    """Writes the job, if it is given, and trains it to the end of its topic."""
    if text:
        write(job, text)
    run("train", job, "--until-end", "-q")
    return job


def scored(job, topic):
    """What `score --metrics` says of the newest model on all of a topic."""
    return run("score", job, "-t", topic, "-e", "--metrics")


def derive(job, **options):
    """Arrays of a model of the state, by name."""
    words = [w for k, v in options.items() for w in ("--set", f"{k}={str(v).lower()}")]
    run("derive", job, *words, "-o", "derived.npz")
    with numpy.load("derived.npz") as z:
        return {name: z[name] for name in z.files}


def pixels(path):
    """Pictures of an idx file, a row of x / 255 each."""
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as f:
        return numpy.frombuffer(f.read(), numpy.uint8, offset=16).reshape(-1, 784) / 255


def number(text, word):
    """Behind a word at the beginning of a line, which has nothing else behind it or a blank."""
    return float(re.search(rf"^ *{word} +([-+.\de]+|nan|-?inf)(?:\s|$)", text, re.M)[1])


def gate(name, ours, least=None, most=None, reference=""):
    limit = least if most is None else most
    margin = ours - limit if most is None else limit - ours
    print(f"{name:<46} ours {ours:<9.5g} {'>=' if most is None else '<='} {limit:<9.5g} "
          f"margin {margin:<+9.3g} {reference}", flush=True)
    shown.append(name)
    if not margin >= 0:
        missed.append(name)


def absent(what):
    print(f"skipped: {what} is not there", flush=True)


def done():
    """Ends the program: failed where a gate was missed, skipped where there was none."""
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")
    sys.exit(0 if shown else 77)
