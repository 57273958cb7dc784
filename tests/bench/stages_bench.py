#!/usr/bin/env python3
"""Where the time of a run goes, on a real broker: rows {label: float, features: array<float>[28]},
one row and 64 rows a message, logistic loss with checkpoints, publishes and prequential loss. From
one run of the trainer with clocks around its stages (stages_timed_bench.c), the median of RUNS by
CPU time: each stage's CPU time a row and a byte, its share of the time by the clock, and what it
asked of the heap; CPU time by thread; beside it what reading the same topic takes librdkafka's own
batch call. The clocks' own cost is taken off. Then, from a run of its own without clocks, where
`perf` saw the program: by thread, library and function (librdkafka comes without the names of its
inner functions).

usage: stages_bench.py [ROWS (8000000)] [RUNS (5)]
$MILLRACE_BUILD: folder of the programs (build)
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import ingest
import results
from results import BUILD, rig

LOOP = ("decode", "batch", "update", "block ends")  # what is run for every block
OTHER = 30  # functions that the profile names


def numbers(text):
    return {k: int(v) for k, v in re.findall(r"(\w+)=(-?\d+)", text)}


def heard(said):
    """The lines of a worker (stages_timed_bench.c): `all`, `whole`, `stage` and `thread` by name,
    `windows`."""
    w = {"stage": {}, "thread": {}, "windows": []}
    for line in said.splitlines():
        kind, _, rest = line.partition(" ")
        figures, _, of = rest.partition(" name=")
        if kind == "stage":
            w[kind][of] = numbers(figures)
        elif kind == "thread":
            w[kind][of] = w[kind].get(of, 0) + numbers(figures)["ns"]
        elif kind == "window":
            w["windows"].append(numbers(rest))
        elif kind in ("stages", "whole"):
            w[kind.replace("stages", "all")] = numbers(rest)
    return w


def run(name, text, bootstrap, workers=1, rows_a_window=0, **more):
    """What the workers of a job say, one of each."""
    env = dict(os.environ, WINDOW_ROWS=str(rows_a_window))
    running = []
    for k in range(workers):
        with open(f"{name}-{k}.yaml", "w", encoding="utf-8") as f:
            f.write(text.format(job=name, state=f"{name}-{k}", **more))
        running.append(subprocess.Popen(
            [f"{BUILD}/stages_timed_bench", "train", f"{name}-{k}.yaml", "-b", bootstrap,
             "--until-end"], stderr=subprocess.PIPE, text=True, env=env))
    out = []
    for p in running:
        said = p.communicate()[1]
        assert not p.returncode, said
        out.append(heard(said))
    return out


def without_clocks(w):
    """CPU time in ns of each stage, of the whole thread and of the process: what the clocks took is
    taken off."""
    inside, timed = w["whole"]["timed_inside_ns"], w["whole"]["timed_ns"]
    own = {name: max(0, s["own_ns"] - s["calls"] * inside) for name, s in w["stage"].items()}
    spent = sum(s["calls"] for s in w["stage"].values()) * timed
    main = w["whole"]["main_ns"] - spent
    own["rest of the loop"] = max(0, main - sum(own.values()))
    return own, main, w["whole"]["process_ns"] - spent


def table(w):
    whole, (own, main, process) = w["whole"], without_clocks(w)
    rows, clock = whole["rows"], whole["clock_us"]
    print("| stage, on the main thread | CPU ns a row | CPU ns a byte | of the time by the clock | "
          "bytes asked of the heap |\n|---|---|---|---|---|")
    for name, ns in own.items():
        s = w["stage"].get(name)
        took = s["clock_us"] - s["calls"] * whole["timed_inside_ns"] / 1000 if s else 0
        print(f"| {name} | {ns / rows:.1f} | {ns / whole['bytes']:.3f} | "
              f"{max(0, took) / clock:.1%} | {s['bytes'] if s else '-'} |")
    print(f"| all | {main / rows:.1f} | {main / whole['bytes']:.3f} | | |\n")
    print("| thread | CPU ns a row |\n|---|---|")
    for name, ns in sorted(w["thread"].items(), key=lambda t: -t[1]):
        ns = main if name == "main" else ns
        if ns / rows >= 0.05:
            print(f"| {name} | {ns / rows:.1f} |")
    print(f"| the process | {process / rows:.1f} |\n")


def profile(name, topic, bootstrap):
    """A flat profile of one run, without clocks, as lines."""
    with open(f"{name}.yaml", "w", encoding="utf-8") as f:
        f.write(ingest.JOB.format(job=name, topic=topic))
    train = [f"{BUILD}/millrace", "train", f"{name}.yaml", "-b", bootstrap, "--until-end"]
    if not shutil.which("perf") or subprocess.run(
            ["perf", "record", "-q", "-F", "1999", "-o", "perf.data", "--", *train], check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        return ["no profile: perf is not there, or may not be used"]
    out = subprocess.run(["perf", "report", "-i", "perf.data", "--stdio", "--no-children", "-s",
                          "pid,dso,symbol"], check=True, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL).stdout
    seen = [(float(share), int(tid), comm, dso, symbol) for share, tid, comm, dso, symbol in
            re.findall(r"^ +([\d.]+)% +(\d+):(\S+) +(\S+) +\[.\] (\S+)", out, re.M)]
    main = min(tid for _, tid, comm, *_ in seen if comm == "millrace")
    by, named = {}, []
    for share, tid, comm, dso, symbol in seen:
        thread = "main" if tid == main else "OpenBLAS" if comm == "millrace" else comm
        by[thread, dso] = by.get((thread, dso), 0) + share
        if not symbol.startswith("0x"):
            named.append(f"| {thread} | {dso} | {symbol.split('@')[0]} | {share} % |")
    lines = ["| thread | library | of all samples |", "|---|---|---|"]
    lines += [f"| {thread} | {dso} | {share:.1f} % |"
              for (thread, dso), share in sorted(by.items(), key=lambda b: -b[1]) if share >= 0.5]
    return [*lines, "", "| thread | library | function | of all samples |", "|---|---|---|---|",
            *named[:OTHER]]


def measure(broker, per, rows, runs):
    topic = f"stages{per}"
    ingest.fill(broker, topic, rows, per)
    all_runs, raws = [], []
    for i in range(runs):
        raws.append(ingest.raw(broker.bootstrap, topic, per))
        all_runs.append(run(f"s{per}-{i}", ingest.JOB, broker.bootstrap, topic=topic)[0])
    spent = [without_clocks(w)[2] / w["whole"]["rows"] for w in all_runs]
    w = sorted(zip(spent, range(runs), all_runs))[runs // 2][2]
    raw_cpu, rate = [r["cpu_ns"] for r in raws], [r["best"] for r in raws]
    loop = [sum(w["stage"][name]["bytes"] for name in LOOP) for w in all_runs]
    clock = [w["whole"]["rows"] / w["whole"]["clock_us"] for w in all_runs]
    print(f"{rows} rows, {per} a message, {w['whole']['bytes'] / rows:.0f} bytes each; of {runs} "
          "runs the median by CPU time\n")
    table(w)
    print(f"bytes allocated between the blocks ({', '.join(LOOP)}): at most {max(loop)} in {runs} "
          f"runs\nCPU time of the process, ns a row: train {results.spread(spent, 0)}, the batch "
          f"call {results.spread(raw_cpu, 0)}; train / batch call "
          f"{results.spread([s / r for s, r in zip(spent, raw_cpu)])}\nM rows/s with the clocks "
          f"in: train {results.spread(clock)}, the batch call "
          f"{results.spread([r / 1e6 for r in rate])}\n", flush=True)
    print("\n".join(profile(f"p{per}", topic, broker.bootstrap)), "\n", flush=True)
    broker.delete_topic(topic)


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 8000000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="millrace-stages.") as folder, rig.Broker() as broker:
        os.chdir(folder)
        for per in (1, 64):
            measure(broker, per, rows, runs)


if __name__ == "__main__":
    main()
