#!/usr/bin/env python3
"""Beside the loops that people train with today: on one topic of a real broker, rows {label: float,
features: array<float>[28]}, one row and 64 rows a message, four partitions. In turn, in the same
run: `train` with checkpoints, publishes and prequential measures on; a loop of confluent-kafka
(consume of 1,000 messages), fastavro and scikit-learn (partial_fit of 1,000 rows, one BLAS thread,
offsets committed after it; it only learns); the same with River (test, then train, as its
progressive validation does and `train` too: predict_proba_one, log-loss, learn_one). Each loop is
one process, and reads a part of the topic that takes it some seconds, for its speed does not depend
on the length.

Rows a second: from the first message in hand to the last row learned; for `train` with the last
checkpoint, publish and snapshot. Accuracy: of each one's last model on 100,000 fresh rows of the
same rule, after as many rows as it has read; the best that a linear rule reaches on them is printed
too. `train` learns at its default batch, with which its accuracy gates are passed.

usage: loop.py [ROWS (4000000)] [PAIRS (5)]      $MILLRACE_BUILD: folder of the programs (build)
"""

import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("kafka", "tools"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))
import rig  # noqa: E402
import pypi  # noqa: E402

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", os.path.join(HERE, "..", "..", "build")))
PACKAGES = ["scikit-learn==1.9.1", "river==0.26.1", "confluent-kafka==2.16.1", "fastavro==1.13.1"]
LOOP_ROWS = {"scikit-learn": 400000, "River": 150000}
WANT = {("scikit-learn", 1): 18, ("scikit-learn", 64): 36, ("River", 1): 30, ("River", 64): 30}
WIDTH = 28
JOB = """job: {name}
topic: {topic}
algo: linear
input: {{schema: {topic}.avsc}}
options: {{loss: logistic}}
checkpoint: {{every: 1s}}
publish: {{every: 2s}}
"""


def fresh_rows():
    """Rows of the rule that ingest_fill_bench.c writes, of other random numbers."""
    import numpy as np
    g = np.random.default_rng(7)
    x = g.uniform(-1, 1, (100000, WIDTH)).astype(np.float32)
    z = x @ (np.arange(WIDTH) % 5 - 2).astype(np.float32)
    return x, z + 2 * g.uniform(-1, 1, len(z)) > 0, z > 0


# ---- the loops: a process each ----

def messages(bootstrap, topic, rows):
    """Lists of decoded rows, about 1,000 messages at a time, until there were so many rows."""
    import fastavro
    from confluent_kafka import Consumer
    with open(f"{topic}.avsc", encoding="ascii") as f:
        schema = fastavro.parse_schema(json.load(f))
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"loop-{os.getpid()}",
                         "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    seen = 0
    while seen < rows:
        found = []
        for m in consumer.consume(1000, 1.0):
            if m.error():
                raise SystemExit(m.error())
            row = fastavro.schemaless_reader(io.BytesIO(m.value()), schema)
            found += row if isinstance(row, list) else [row]
        if found:
            seen += len(found)
            yield found
            consumer.commit(asynchronous=True)
    consumer.close()


def learn_sklearn(found, model, _):
    import numpy as np
    for at in range(0, len(found), 1000):
        part = found[at:at + 1000]
        x = np.array([r["features"] for r in part], np.float32)
        y = np.array([r["label"] for r in part], np.float32)
        model.partial_fit(x, y, classes=(0.0, 1.0))


def learn_river(found, model, metric):
    for r in found:
        x, y = dict(enumerate(r["features"])), bool(r["label"])
        metric.update(y, model.predict_proba_one(x))
        model.learn_one(x, y)


def loop(tool, bootstrap, topic, rows):
    import numpy as np
    from river import linear_model, metrics, optim
    from sklearn.linear_model import SGDClassifier
    if tool == "River":
        model, learn = linear_model.LogisticRegression(optim.SGD(0.05)), learn_river
    else:
        model, learn = SGDClassifier(loss="log_loss", average=True), learn_sklearn
    seen, start, metric = 0, None, metrics.LogLoss()
    for found in messages(bootstrap, topic, int(rows)):
        if start is None:  # the first ones only start the clock: the group has assembled
            start = time.monotonic()
            continue
        learn(found, model, metric)
        seen += len(found)
    took = time.monotonic() - start
    x, y, _ = fresh_rows()
    if tool == "River":
        w = np.array([model.weights.get(j, 0) for j in range(WIDTH)])
        p = x @ w + model.intercept > 0
    else:
        p = model.predict(x) > 0.5
    print(f"\nresult {seen / took:.1f} {(p == y).mean():.6f}")


# ---- and train ----

def train(bootstrap, topic, name):
    """Rows a second, and the accuracy of its model."""
    import numpy as np
    with open(f"{name}.yaml", "w", encoding="utf-8") as f:
        f.write(JOB.format(name=name, topic=topic))
    words = [f"{BUILD}/millrace", "train", f"{name}.yaml", "-b", bootstrap, "--until-end"]
    err = subprocess.run(words, check=True, text=True, stderr=subprocess.PIPE).stderr
    subprocess.run([f"{BUILD}/millrace", "model", "export", f"{name}.yaml", "-b", bootstrap, "-o",
                    f"{name}.npz"], check=True)
    w = np.load(f"{name}.npz")["w"].reshape(-1)
    x, y, _ = fresh_rows()
    return float(re.search(r"rows_per_s=(\d+)", err)[1]), ((x @ w[:WIDTH] + w[WIDTH] > 0)
                                                          == y).mean()


def peer(tool, bootstrap, topic):
    out = subprocess.run([sys.executable, os.path.abspath(__file__), "--loop", tool, bootstrap,
                          topic, str(LOOP_ROWS[tool])], check=True, text=True,
                         stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1",
                                                      "OPENBLAS_NUM_THREADS": "1"}).stdout
    found = re.search(r"^result (\S+) (\S+)", out, re.M)
    return float(found[1]), float(found[2])


def compare(bootstrap, per, pairs):
    topic, ratios = f"rows{per}", {tool: [] for tool in LOOP_ROWS}
    for i in range(pairs):
        rate, accuracy = train(bootstrap, topic, f"loop{per}-{i}")
        line = f"{per:2} rows a message: train {rate / 1e6:.2f} M rows/s, accuracy {accuracy:.4f}"
        for tool, r in ratios.items():
            theirs, right = peer(tool, bootstrap, topic)
            r.append(rate / theirs)
            line += f"; {tool} loop {theirs / 1e3:.0f} k/s, {right:.4f}: {r[-1]:.0f} x"
        print(line, flush=True)
    for tool, r in ratios.items():
        print(f"{per:2} rows a message: {statistics.median(r):.0f} x the {tool} loop, median of "
              f"{pairs} pairs (min {min(r):.0f}, max {max(r):.0f}; wanted {WANT[tool, per]})",
              flush=True)


def main():
    pypi.enter(os.path.join(BUILD, "peers-loop"), PACKAGES)
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 4000000
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    _, y, best = fresh_rows()
    print(f"accuracy of the rule itself on the fresh rows: {(best == y).mean():.4f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="millrace-loop.") as folder, rig.Broker() as b:
        os.chdir(folder)
        for per in (1, 64):
            subprocess.run([f"{BUILD}/ingest_fill_bench", "kafka", f"rows{per}", "4", str(rows),
                            str(per), b.bootstrap], check=True, stdout=subprocess.DEVNULL)
            compare(b.bootstrap, per, pairs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--loop"]:
        loop(*sys.argv[2:6])
    else:
        main()
