#!/usr/bin/env python3
"""Kept results: what a bench printed, with when, on what machine and with which versions it ran.

usage: results.py NAME COMMAND...      what `./dev bench NAME --keep` runs

Runs the bench, shows its output, and if it succeeds writes tests/bench/results/NAME.md: a header,
then the output as it is; lines that begin with | are a table there. $MILLRACE_RESULTS is another
folder in its place; the bench finds it there for files that it makes beside that, of which those
named NAME-*.svg are shown below the output. A bench says itself of how many runs a figure is, and
their spread: spread() is the one form.
"""

import datetime
import glob
import itertools
import os
import re
import shlex
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "..", "kafka"))
import rig  # noqa: E402

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", os.path.join(ROOT, "build")))
FOLDER = os.environ.get("MILLRACE_RESULTS", os.path.join(HERE, "results"))
LIBRARIES = {"rdkafka": "librdkafka", "rocksdb": "RocksDB", "openblas": "OpenBLAS",
             "avro-c": "Avro C", "jemalloc": "jemalloc"}


def spread(values, digits=2):
    """'0.95 (0.93 to 0.97)': the median, the least and the greatest."""
    return (f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to "
            f"{max(values):.{digits}f})")


def said(*command):
    r = subprocess.run(command, cwd=ROOT, text=True, check=False, stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL)
    return r.stdout.strip()


def found(path, pattern):
    with open(path, encoding="utf-8") as f:
        m = re.search(pattern, f.read(), re.M)
    return m[1] if m else "unknown"


def header(name, command, load):
    """Of what is about to run; load: of the machine before it did."""
    memory = int(found("/proc/meminfo", r"^MemTotal: +(\d+)")) / 2 ** 20
    release = ".".join(os.uname().release.split("-")[0].split(".")[:2])
    versions = [f"Linux {release}", f"gcc {said('gcc', '-dumpfullversion')}",
                *(f"{what} {said('pkg-config', '--modversion', module)}"
                  for module, what in LIBRARIES.items()), f"Kafka {rig.VERSION}"]
    commit = said("git", "rev-parse", "--short=10", "HEAD")
    changed = said("git", "status", "--porcelain", "--untracked-files=no")
    return [f"# {name}", "", "| | |", "|---|---|",
            f"| date | {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC |",
            f"| commit | {commit}{' and changes that are not in it' if changed else ''} |",
            f"| machine | {found('/proc/cpuinfo', r'^model name.*: (.*)')}, {os.cpu_count()} cores,"
            f" {memory:.0f} GiB; load before the run {load:.1f} |",
            f"| versions | {', '.join(versions)} |", f"| command | `{command}` |"]


def body(output):
    """The output, in Markdown: tables as tables, everything else as it was printed."""
    lines = []
    for table, part in itertools.groupby(output, lambda line: line.startswith("|")):
        text = "".join(part).strip("\n")
        if text:
            lines += ["", text] if table else ["", "```", text, "```"]
    return lines


def main():
    name, command = sys.argv[1], sys.argv[2:]
    shown = ["./dev", "bench", name, *command[2 if command[0] == sys.executable else 1:]]
    os.makedirs(FOLDER, exist_ok=True)
    head = header(name, shlex.join(shown), os.getloadavg()[0])
    output = []
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE,
                          env=dict(os.environ, MILLRACE_RESULTS=FOLDER)) as bench:
        for line in bench.stdout:
            print(line, end="", flush=True)
            output.append(line.rstrip() + "\n")
    if bench.returncode:
        sys.exit(bench.returncode)
    pictures = sorted(map(os.path.basename, glob.glob(os.path.join(FOLDER, f"{name}-*.svg"))))
    with open(os.path.join(FOLDER, f"{name}.md"), "w", encoding="utf-8") as f:
        f.write("\n".join([*head, *body(output), *(f"\n![{p[:-4]}]({p})" for p in pictures)]))
        f.write("\n")


if __name__ == "__main__":
    main()
