#!/usr/bin/env python3
"""MNIST by its nearest neighbours: a sample of 10,000 of the 60,000 pictures, learned in one pass
from two partitions; k chosen by tune without data, smaller samples derived from the same state."""

import datasets
import gate

JOB = """job: digits
topic: digits
algo: knn
broker: local:broker
input: {schema: digits.avsc}
options: {sample: 10000, classes: 10}
"""


def by_the_others(k, sample):
    """What the sample says of itself."""
    text = gate.run("derive", "knn.yaml", "--set", f"k={k}", "--set", f"sample={sample}")
    return gate.number(text, "loo_accuracy")


def digits(images, labels, test_images, test_labels):
    gate.load("digits", "idx", "--label", labels, images, partitions=2)
    gate.load("digits-test", "idx", "--schema", "digits.avsc", "--label", test_labels, test_images)
    text = gate.scored(gate.train("knn.yaml", JOB), "digits-test")
    assert gate.number(text, "rows") == 10000, text
    accuracy = gate.number(text, "accuracy")
    gate.gate("mnist: accuracy, 10,000 rows kept, k 5", accuracy, least=0.945,
              reference="scikit-learn, all 60,000 kept: 0.9688")

    # it is near, and chooses k; it takes no data
    loo = by_the_others(5, 10000)
    gate.gate("mnist: loo_accuracy, apart from that", abs(loo - accuracy), most=0.015)
    assert loo > by_the_others(20, 10000)
    assert by_the_others(5, 1000) < 0.92


def main():
    paths = datasets.images("mnist")
    with gate.folder():
        if paths:
            digits(*paths)
        else:
            gate.absent("mnist")
    gate.done()


if __name__ == "__main__":
    main()
