#!/usr/bin/env python3
"""Five jobs of `linear`, one pass each over one partition: a9a (sparse, two classes), the digits
and clothes of MNIST and Fashion-MNIST (softmax), Elec2 (a drifting stream, each row predicted
before it is learned) and Friedman's numbers (regression)."""

import datasets
import gate


def a9a():
    paths = [datasets.file("a9a", n) for n in ("a9a.libsvm", "a9a.t.libsvm")]
    if None in paths:
        return gate.absent("a9a")
    for topic, path in zip(("a9a", "a9a-test"), paths):
        gate.load(topic, "libsvm", "--as", "lines", path)
    text = gate.scored(gate.train(gate.job("linear-a9a")), "a9a-test")
    assert gate.number(text, "rows") == 16281, text
    gate.gate("a9a: accuracy", gate.number(text, "accuracy"), least=0.849,
              reference="liblinear 0.8495 to 0.8501")
    gate.gate("a9a: log-loss", gate.number(text, "log_loss"), most=0.3260,
              reference="FTRL, one pass: 0.3241")


def pictures(name, least, reference):
    paths = datasets.images(name)
    if not paths:
        return gate.absent(name)
    for topic, images, labels in (name, *paths[:2]), (name + "-test", *paths[2:]):
        gate.load(topic, "idx", "--label", labels, images)
    text = gate.scored(gate.train(gate.job("linear-" + name)), name + "-test")
    assert gate.number(text, "rows") == 10000, text
    gate.gate(f"{name}: accuracy", gate.number(text, "accuracy"), least=least,
              reference=f"AdaGrad in numpy, one pass: {reference}")


def elec():
    path = datasets.file("elec", "electricity.csv")
    if not path:
        return gate.absent("elec")
    with open(path, encoding="utf-8") as f:
        labels = [line.strip().rsplit(",", 1)[1] for line in list(f)[1:]]
    last = sum(a == b for a, b in zip(labels, labels[1:])) / (len(labels) - 1)
    gate.load("elec", "csv", "--label", "class", path)
    text = gate.run("model", "show", gate.train(gate.job("linear-elec")))
    assert gate.number(text, "rows") == len(labels), text
    ours = gate.number(text, "prequential_accuracy")
    gate.gate("elec: prequential accuracy", ours, least=0.90, reference="SGD in numpy: 0.9063")
    gate.gate("elec: the same, the label before as guess", ours, least=last)


def fried():
    path = datasets.file("fried", "fried.csv")
    if not path:
        return gate.absent("fried")
    with open(path, encoding="utf-8") as f:
        head, *rows = f
    for topic, part in ("fried", rows[:32768]), ("fried-test", rows[-8000:]):
        gate.load(topic, "csv", "--label", "target", "-", data=head + "".join(part))
    text = gate.scored(gate.train(gate.job("linear-fried")), "fried-test")
    assert gate.number(text, "rows") == 8000, text
    gate.gate("fried: RMSE", gate.number(text, "rmse"), most=2.65,
              reference="least squares on the same rows: 2.643")


def main():
    with gate.folder():
        a9a()
        pictures("mnist", 0.920, "0.9222")
        pictures("fashion", 0.832, "0.8362")
        elec()
        fried()
    gate.done()


if __name__ == "__main__":
    main()
