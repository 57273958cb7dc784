"""What the accuracy gates share: a folder with a local broker, the verbs, and one line a gate with
ours, the limit, the reference and the margin. A program of gates ends with done()."""

import os
import re
import subprocess
import sys
import tempfile

MILLRACE = os.environ["MILLRACE"]
missed, shown = [], []


def run(*words, **more):
    r = subprocess.run([MILLRACE, *map(str, words)], text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False, **more)
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


def load(topic, fmt, *words):
    """Files into one partition of a topic of the local broker."""
    run("load", "-b", "local:broker", "-t", topic, "--format", fmt, "--partitions", 1, *words)


def train(job, text=None):
    """Writes the job, if it is given, and trains it to the end of its topic."""
    if text:
        write(job, text)
    run("train", job, "--until-end", "-q")
    return job


def number(text, word):
    """The number behind a word at the beginning of a line."""
    return float(re.search(rf"^{word} +(\S+)", text, re.M)[1])


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
