#!/usr/bin/env python3
"""Cost as the work grows, on a real broker: CPU time a row against rows learned, columns, packed
models, partitions and workers, each alone, all else as it is by default: rows {label: float,
features: array<float>[28]}, about 1,800 numbers a message, four partitions, one worker, logistic
loss with checkpoints, publishes and prequential loss. Of RUNS runs, in turn, the median and the
range: of the worker's own thread, and of its process, which has librdkafka's threads too. What the
clocks took (stages_timed_bench.c) is taken off; the start is not in.

Prints tables; plots go to $MILLRACE_RESULTS, or to the folder of the programs, as growth-*.svg.
`./dev bench --plot` keeps both in tests/bench/results.

usage: growth.py [RUNS (3)] [WHAT,...: rows d models partitions workers]
$MILLRACE_BUILD: folder of the programs (build)
"""

import os
import statistics
import sys
import tempfile

import ingest
import plot
import results
import stages_bench
from results import BUILD, rig

FOLDER = os.environ.get("MILLRACE_RESULTS", BUILD)
NUMBERS = 1800  # of a message
VALUES, ROWS_MOST = 48_000_000, 4_000_000  # of a topic
LONG, MARKS = 40_000_000, (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 40_000_000)
JOB = ingest.JOB.replace("{{loss: logistic}}", "{{loss: logistic, learning_rate: {rates}}}")
JOB += "state_dir: {state}\n"
THREAD, PROCESS = "its own thread", "the whole process"


def train(broker, name, topic, models=1, **more):
    rates = f"[{', '.join(f'{0.5 * 0.9 ** i:.6f}' for i in range(models))}]"
    return stages_bench.run(name, JOB, broker.bootstrap, topic=topic, rates=rates, **more)


def costs(workers):
    """CPU ns a row of the threads that learn, and of everything."""
    rows = sum(w["whole"]["rows"] for w in workers)
    spent = [stages_bench.without_clocks(w) for w in workers]
    return sum(s[1] for s in spent) / rows, sum(s[2] for s in spent) / rows


def topic_of(broker, name, rows, d=28, partitions=4):
    ingest.fill(broker, name, rows, max(1, NUMBERS // d), partitions=partitions, width=d)
    return name


def rows(broker, runs):
    """Between the marks of one run."""
    topic = topic_of(broker, "rows", LONG)
    found = [{THREAD: [], PROCESS: []} for _ in MARKS[1:]]
    for i in range(runs):
        w = train(broker, f"rows-{i}", topic, rows_a_window=MARKS[0])[0]
        share = {"main_ns": stages_bench.without_clocks(w)[1] / w["whole"]["main_ns"],
                 "process_ns": stages_bench.without_clocks(w)[2] / w["whole"]["process_ns"]}
        at = [next((v for v in w["windows"] if v["rows"] >= m), w["windows"][-1]) for m in MARKS]
        for f, a, b in zip(found, at, at[1:]):
            for what, key in ((THREAD, "main_ns"), (PROCESS, "process_ns")):
                f[what].append((b[key] - a[key]) * share[key] / (b["rows"] - a["rows"]))
    broker.delete_topic(topic)
    return dict(zip(MARKS[1:], found))


def by_topic(broker, runs, what, values, make):
    """Costs by value; make: {topic's settings, trainer's settings} of a value."""
    found = {}
    for v in values:
        settings, more = make(v)
        topic = topic_of(broker, f"{what}{v}", **settings)
        got = [costs(train(broker, f"{topic}-{i}", topic, **more)) for i in range(runs)]
        found[v] = {THREAD: [g[0] for g in got], PROCESS: [g[1] for g in got]}
        broker.delete_topic(topic)
    return found


def d(broker, runs):
    return by_topic(broker, runs, "d", [8 << i for i in range(10)], lambda v: (
        {"rows": min(ROWS_MOST, VALUES // v), "d": v}, {}))


def models(broker, runs):
    most = int(results.found(os.path.join(results.ROOT, "config", "base", "limits.h"),
                             r"MODELS_MAX = (\d+)"))
    packed = [1 << i for i in range(9) if 1 << i <= most]
    return by_topic(broker, runs, "models", packed, lambda v: (
        {"rows": ROWS_MOST // (1 if v < 8 else 4)}, {"models": v}))


def partitions(broker, runs):
    return by_topic(broker, runs, "partitions", [1 << i for i in range(7)], lambda v: (
        {"rows": ROWS_MOST, "partitions": v}, {}))


def workers(broker, runs):
    """Also all rows a second, from the first of any worker to the last."""
    topic, found = topic_of(broker, "team", 4 * ROWS_MOST, partitions=12), {}
    for n in (1, 2, 3, 4):
        got = [train(broker, f"team{n}-{i}", topic, workers=n) for i in range(runs)]
        cost = [costs(ws) for ws in got]
        found[n] = {THREAD: [c[0] for c in cost], PROCESS: [c[1] for c in cost],
                    "M rows/s of all": [sum(w["whole"]["rows"] for w in ws) / (
                        max(w["all"]["learned_us"] for w in ws) -
                        min(w["all"]["begin_us"] for w in ws)) for ws in got]}
    broker.delete_topic(topic)
    return found


def table(what, label, found):
    names = list(next(iter(found.values())))
    columns = [n if "rows/s" in n else f"CPU ns a row, {n}" for n in names]
    per = ["CPU ns a row and " + ("column" if what == "d" else "model")] * (what in ("d", "models"))
    print(f"| {' | '.join([label, *columns, *per])} |\n|" + "---|" * (1 + len(columns) + len(per)))
    for v, f in found.items():
        each = [f"{statistics.median(f[THREAD]) / v:.2f}"] * len(per)
        cells = [plot.short(v), *(results.spread(f[n], 1) for n in names), *each]
        print(f"| {' | '.join(cells)} |")
    print(flush=True)
    plot.plot(os.path.join(FOLDER, f"growth-{what}.svg"), f"CPU time of a row, by {label}", label,
              "ns a row", {n: [(v, statistics.median(f[n]), min(f[n]), max(f[n]))
                               for v, f in found.items()] for n in (THREAD, PROCESS)})


ALL = {"rows": (rows, "rows learned until then"), "d": (d, "columns"),
       "models": (models, "packed models"), "partitions": (partitions, "partitions"),
       "workers": (workers, "workers on this machine")}


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    wanted = sys.argv[2].split(",") if len(sys.argv) > 2 else ALL
    with tempfile.TemporaryDirectory(prefix="millrace-growth.") as folder, rig.Broker() as broker:
        os.chdir(folder)
        for what in wanted:
            measure, label = ALL[what]
            table(what, label, measure(broker, runs))
    print(f"Medians and ranges of {runs} runs. The broker and all workers share {os.cpu_count()} "
          "cores: more workers than that bring no more rows a second here, and what a row costs "
          "then shows what they cost each other.")


if __name__ == "__main__":
    main()
