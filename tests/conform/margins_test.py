#!/usr/bin/env python3
"""What comes after the pass for two classes, and successive halving, through the verbs on the
embedded broker: rare ones of class 1, thresholds and calibration from what was held out, and a
grid of learning rates of which all but one stop."""

import json
import math
import os
import random
import re
import struct
import tempfile

from gate import call, run

ROWS, FRESH = 12000, 6000
JOB = """job: {name}
topic: rare{partitions}
algo: linear
broker: local:broker
input: {{format: csv, columns: [a, b, c, d, label], label: label, holdout: {holdout}}}
{more}
options: {{loss: {loss}, learning_rate: [{rates}]}}
"""


def refused(why, *words):
    r = call(*words)
    assert r.returncode and why in r.stderr, r.stderr[-2000:]


def rows(n, seed):
    """One in eight is of class 1, and there is noise."""
    draw = random.Random(seed)
    for _ in range(n):
        x = [draw.gauss(0, 1) for _ in range(4)]
        p = 1 / (1 + math.exp(-(1.5 * x[0] - x[1] + 0.5 * x[2] - 2.6)))
        yield x, draw.random() < p


def write_job(name, partitions=1, holdout="20%", more="", rates="0.05", loss="logistic"):
    with open(f"{name}.yaml", "w", encoding="utf-8") as f:
        f.write(JOB.format(name=name, partitions=partitions, holdout=holdout, more=more,
                           rates=rates, loss=loss))
    return f"{name}.yaml"


def derived(job, *options):
    words = [w for o in options for w in ("--set", o)]
    run("derive", job, *words, "--to", "json", "-o", "model.json")
    with open("model.json", encoding="utf-8") as f:
        doc = json.load(f)
    return doc, doc["measures"]


def judged(doc, fresh, threshold):
    """accuracy, precision, recall of the model on rows it has not seen"""
    w = [r[0] for r in doc["tensors"]["w"]]
    tp = fp = fn = tn = 0
    for x, y in fresh:
        one = sum(a * b for a, b in zip(w, x)) + w[4] >= threshold
        tp, fp = tp + (one and y), fp + (one and not y)
        fn, tn = fn + (not one and y), tn + (not one and not y)
    return (tp + tn) / (tp + tn + fp + fn), tp / (tp + fp), tp / (tp + fn)


def thresholds(fresh):
    job = write_job("cut", rates="0.05,0.1")
    run("train", job, "--until-end", "-q")
    doc, plain = derived(job)
    assert "@threshold" not in doc["tensors"] and "threshold" not in plain, plain
    for name in ("precision", "recall", "f1", "auc"):
        assert 0 < plain[f"heldout_{name}"] < 1, plain

    doc, m = derived(job, "threshold=f1")
    assert doc["derive"]["threshold"] == "f1", doc["derive"]
    assert doc["tensors"]["@threshold"] == [m["threshold"]], m
    assert m["heldout_f1"] > plain["heldout_f1"] + 0.03, (m, plain)
    _, p, r = judged(doc, fresh, m["threshold"])
    _, p0, r0 = judged(doc, fresh, 0)
    f1, f0 = 2 * p * r / (p + r), 2 * p0 * r0 / (p0 + r0)
    print(f"F1 of fresh rows {f1:.3f}, at a margin of 0 {f0:.3f}; held out {m['heldout_f1']:.3f}")
    assert f1 > f0 + 0.03 and abs(f1 - m["heldout_f1"]) < 0.05

    doc, m = derived(job, "threshold=precision_at_target_recall", "target_recall=0.9")
    assert m["heldout_recall"] >= 0.9, m
    recall = judged(doc, fresh, m["threshold"])[2]
    assert abs(recall - 0.9) < 0.05, (recall, m)
    doc, m = derived(job, "threshold=recall_at_target_precision", "target_precision=0.75")
    assert m["heldout_precision"] >= 0.75, m
    doc, m = derived(job, "threshold=f_beta", "f_beta=3")
    assert m["heldout_recall"] > derived(job, "threshold=f1")[1]["heldout_recall"], m

    doc, m = derived(job, "calibrate=isotonic")
    table = doc["tensors"]["@calibration"]
    assert len(table) == 1024 and table == sorted(table) and 0 < table[0] < table[-1] < 1
    assert m["calibrated_loss"] < m["uncalibrated_loss"], m
    assert m["calibrated_brier"] < m["uncalibrated_brier"], m
    refused("did you mean 'threshold'", "derive", job, "--set", "treshold=f1")

    job = write_job("all", holdout="0")
    run("train", job, "--until-end", "-q")
    refused("input.holdout", "derive", job, "--set", "threshold=f1")


def weights(doc):
    return [struct.pack("<f", r[0]) for r in doc["tensors"]["w"]]


def halving():
    rates = "0.00001,0.0001,0.001,0.01,0.05,0.1,0.2,0.4"
    every, some = write_job("every", rates=rates), \
        write_job("some", rates=rates, more="halving: 500")
    for job in (every, some):
        run("train", job, "--until-end", "-q")
    doc, m = derived(some)
    best = int(doc["derive"]["model"])
    same, n = derived(every, f"model={best}")
    assert m["rows"] == n["rows"] > 9000, (m, n)
    assert all(abs(a[0] - b[0]) < 1e-3 for a, b in zip(doc["tensors"]["w"], same["tensors"]["w"]))
    left = [i for i in range(1, 9)
            if not call("derive", some, "--set", f"model={i}", "-o", "x.npz").returncode]
    assert left == [best], left
    refused("was stopped by halving", "derive", some, "--set", f"model={best % 8 + 1}")

    # three partitions in step: the same bits twice, and the others follow
    bits = []
    for name in ("a", "b"):
        job = write_job(name, partitions=3, rates=rates, more="halving: 200\nstaleness: 0")
        run("train", job, "--until-end", "-q")
        doc, m = derived(job)
        bits.append((weights(doc), doc["derive"]["model"], m["rows"], m["heldout_loss"]))
    assert bits[0] == bits[1], bits
    write_job("one", more="halving: 200")
    refused("give it several", "train", "one.yaml", "--until-end", "-q")


def main():
    with tempfile.TemporaryDirectory(prefix="millrace-margins.") as folder:
        os.chdir(folder)
        with open("rare.csv", "w", encoding="utf-8") as f:
            f.write("a,b,c,d,label\n")
            for x, y in rows(ROWS, 1):
                f.write(",".join(f"{v:.6f}" for v in x) + f",{int(y)}\n")
        for n in (1, 3):
            run("load", "-b", "local:broker", "-t", f"rare{n}", "--format", "csv", "--as", "lines",
                "--partitions", str(n), "rare.csv")
        thresholds(list(rows(FRESH, 2)))
        halving()


if __name__ == "__main__":
    main()
