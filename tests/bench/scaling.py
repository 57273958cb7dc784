#!/usr/bin/env python3
"""How long a job of 100 million rows takes 1 to 1,000 workers: what each stage costs is measured
here, with the trainer and a real broker; the table is simulated (scaling_sim_bench.c). One point
is run for real: k-means by two workers. Takes some minutes, and 16 GB of memory.

usage: scaling.py [MOST_WORKERS (1000)]     $MILLRACE_BUILD: folder of the programs (build)
"""

import concurrent.futures
import os
import subprocess
import sys
import tempfile

import elastic
import ingest
from results import rig

BUILD = elastic.BUILD
ROWS, BROKERS, BROKER_MB_S = 100e6, 20, 1250
TIMES = 3
elastic.PARTITIONS, elastic.TIMES = 2, 40
MEANS = elastic.MEANS.replace("k: 1000", "k: 1000, extra_centers: 1")
MEASURED = elastic.DISTINCT * elastic.TIMES
RECORDS = {"kmeans": 200_000, "linear": 2_000_000}  # that the simulated workers learn, in all
MANY = 64  # partitions whose slots are followed to see what one costs
SOFTMAX = """job: {job}
topic: {topic}
algo: linear
input: {{format: csv, label: f0, width: 784}}
options: {{loss: softmax, classes: 10}}
state_dir: {state}
snapshot: {{every: 1h}}
"""
ASSUMED = f"""assumed, not measured:
- A worker has a core of its own and is as fast as alone; a transaction takes as long as alone.
- {BROKERS} brokers send {BROKER_MB_S} MB/s each, half of it data and half of it slots, in the
  order asked for; what is written to them and copied between them adds nothing to that.
- As many partitions as workers, with as many rows each; no worker fails, and all begin together:
  time runs from the first record, without start-up and joining the group.
- A k-means model takes time by the number of points it is made from, which are all partitions'
  centres (kmeans_derive.c); one is made, at the end.
- The simulated workers learn RECORDS records of a small problem, each charged
  as PER rows of the measured job. So rounds, each a quarter longer than the one before,
  begin later than they would: the first LEFT of a softmax partition are left out.
- The loss is the small problem's, on rows nobody has learned. There are so few records per worker
  that it suffers more from being shared out than the job's would."""

def job(name, text, bootstrap, workers, **more):
    """What the stages of each worker took, by name, of a job that so many run: the fastest of
    TIMES."""
    return min((elastic.stages(f"{name}-{i}", text, bootstrap, workers, **more)
                for i in range(TIMES)), key=lambda stages: elastic.seconds(stages, "end_us"))


def costs(one, others, row_bytes):
    """Of one worker alone, and of workers that follow each other."""
    def per(stages, total, units):
        return sum(s[total] for s in stages) / max(1, sum(s[units] for s in stages))
    return {"row_us": per(one, "rows_us", "rows"), "row_bytes": row_bytes,
            "checkpoint_us": per(one, "checkpoint_us", "checkpoints"),
            "publish_us": per(one, "publish_us", "publishes"),
            "model_us": per(one, "snapshot_us", "snapshots"),
            "slot_take_us": per(others, "follow_us", "taken"),
            "slot_fold_us": per(others, "fold_us", "folded"),
            "slot_bytes": per(others, "slot_bytes", "taken")}


def say(name, c, one):
    rows = sum(s["rows"] for s in one)
    print(f"{name}: a row {c['row_us']:.2f} us (fetched "
          f"{sum(s['consume_us'] for s in one) / rows:.2f}, learned "
          f"{sum(s['update_us'] for s in one) / rows:.2f}, the rest decoded) of "
          f"{c['row_bytes']:.0f} bytes; a checkpoint {c['checkpoint_us'] / 1e3:.1f} ms, a publish "
          f"{c['publish_us'] / 1e3:.1f} ms, a model {c['model_us'] / 1e6:.3f} s; a slot of "
          f"{c['slot_bytes'] / 1e3:.1f} kB followed {c['slot_take_us']:.0f} us, folded "
          f"{c['slot_fold_us']:.0f} us", flush=True)


def measure(broker):
    """The costs of both jobs, and what k-means took one worker and two."""
    elastic.points(broker)
    row_bytes = ingest.log_bytes(broker, "points") / MEASURED
    subprocess.run([f"{BUILD}/millrace", "load", "-b", broker.bootstrap, "-t", "many", "--format",
                    "csv", "--as", "lines", "--partitions", str(MANY), "points.csv"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    real = [job(f"means{n}", MEANS, broker.bootstrap, n, d=elastic.D) for n in (1, 2)]
    means = costs(real[0], real[1], row_bytes)
    say(f"k-means, 1,000 centres of {elastic.D}", means, real[0])
    means["model_slot_us"] = means.pop("model_us") / elastic.PARTITIONS
    one = job("soft1", SOFTMAX, broker.bootstrap, 1, topic="points")
    few = job("soft2", SOFTMAX, broker.bootstrap, 2, topic="points")
    many = job("soft3", SOFTMAX, broker.bootstrap, 2, topic="many")
    soft = costs(one, many, row_bytes)
    say(f"softmax, 10 classes, {elastic.D - 1} numbers", soft, one)
    of_few = costs(one, few, row_bytes)
    print(f"load of this machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
          f"each the fastest of {TIMES} runs; checkpoints and publishes by the clock, the rest by "
          "the thread's own time")
    print(f"softmax with {elastic.PARTITIONS} partitions instead of {MANY}: a slot followed "
          f"{of_few['slot_take_us']:.0f} us, folded {of_few['slot_fold_us']:.0f} us")
    return {"kmeans": means, "linear": soft}, [
        {"learned": elastic.seconds(r, "learned_us"), "seconds": elastic.seconds(r, "end_us"),
         "own": max(s["rows_us"] for s in r) / 1e6} for r in real]


def simulate(algo, staleness, workers, cost, rows=ROWS):
    share = BROKERS * BROKER_MB_S / 2
    c = dict(cost, rows_per_record=rows / RECORDS[algo], data_mb_s=share, slot_mb_s=share)
    partitions = workers if rows == ROWS else elastic.PARTITIONS
    out = subprocess.run(
        [f"{BUILD}/scaling_sim_bench", str(workers), str(partitions), str(RECORDS[algo]), algo,
         staleness, *(f"{k}={v}" for k, v in c.items())], check=True, text=True,
        stdout=subprocess.PIPE).stdout
    return {k: float(v) for k, v in (f.split("=") for f in out.split())}


def limit(algo, n, cost, got):
    """What takes most of the time, if anything does."""
    share = BROKERS * BROKER_MB_S / 2 * 1e6
    sent = (got["slots"] - n) * cost["slot_bytes"]
    takes = {"work": ROWS * cost["row_us"] / 1e6 / n, "data": ROWS * cost["row_bytes"] / share,
             "slots": sent * (n - 1 if algo == "linear" else n > 1) / share}
    most = max(takes, key=takes.get)
    return most if takes[most] > got["learned"] / 2 else "waiting"


def table(algo, staleness, counts, cost):
    print(f"\n{algo}, staleness {staleness}\n| workers | learned after s | speed-up | per worker | "
          "limit | model after s | speed-up | slots / data | rounds behind: mean, most | loss / "
          "one's |\n|" + "---|" * 10)
    run = [lambda n=n: simulate(algo, staleness, n, cost) for n in counts]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # the large ones alone: memory
        got = list(pool.map(lambda f: f(), [f for f, n in zip(run, counts) if n <= 256]))
    for i, n in enumerate(counts):
        if n > 256:
            got.append(run[i]())
        g, one = got[i], got[0]
        up = one["learned"] / g["learned"]
        share = (g["slots"] - n) * cost["slot_bytes"] / (ROWS * cost["row_bytes"])
        print(f"| {n} | {g['learned']:.1f} | {up:.1f} | {up / n:.0%} | {limit(algo, n, cost, g)} | "
              f"{g['seconds']:.1f} | {one['seconds'] / g['seconds']:.1f} | {share:.2%} | "
              f"{g['behind']:.1f}, {g['behind_most']:.0f} | {g['loss'] / one['loss']:.3f} |",
              flush=True)


def check(real, cost):
    print(f"\nk-means for real, {MEASURED} rows")
    thought = [simulate("kmeans", "async", n, cost, MEASURED) for n in (1, 2)]
    for until, what in (("learned", "learned"), ("seconds", "with the model")):
        r, t = [s[until] for s in real], [s[until] for s in thought]
        print(f"{what}: one worker {r[0]:.1f} s, two {r[1]:.1f} s, {r[0] / r[1]:.2f} times as "
              f"fast; simulated {t[0]:.1f} s, {t[1]:.1f} s, {t[0] / t[1]:.2f}; real / simulated "
              f"{r[0] / r[1] / (t[0] / t[1]):.2f}", flush=True)
    own = [s["own"] for s in real]
    print(f"by the learning threads' own time, the slower of two: {own[0]:.1f} s, {own[1]:.1f} s, "
          f"{own[0] / own[1]:.2f} times; what is between, the broker and the client's threads take "
          "on the same cores, and joining the group", flush=True)


def assumed():
    per = {algo: ROWS / n for algo, n in RECORDS.items()}
    edge, left = 32, 0
    while edge < 32 * per["linear"]:
        edge, left = edge + edge // 4, left + 1
    text = ASSUMED.replace("RECORDS", " or ".join(f"{n:,}" for n in RECORDS.values()))
    text = text.replace("PER", " or ".join(f"{n:.0f}" for n in per.values()))
    print("\n" + text.replace("LEFT", str(left)))


def main():
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    counts = [2 ** k for k in range(10) if 2 ** k < most] + [most]
    with tempfile.TemporaryDirectory(prefix="millrace-scaling.") as folder, rig.Broker() as broker:
        os.chdir(folder)
        cost, real = measure(broker)
    check(real, cost["kmeans"])
    assumed()
    for algo, staleness in (("kmeans", "async"), ("linear", "async"), ("linear", "2"),
                            ("linear", "0")):
        table(algo, staleness, counts, cost[algo])


if __name__ == "__main__":
    main()
