#!/usr/bin/env python3
"""The data flow reads the same everywhere: one function of consumer/pipeline.c calls the stages in
order, consumer/CMakeLists.txt lists them in order, README.md says them in order. usage: stages.py
[ROOT]
"""

import os
import re
import sys

import tree

STAGES = "consume decode batch update checkpoint publish merge snapshot".split()


def order(text, form):
    """The stages in order of their first place in text, as form % stage matches them."""
    at = {s: m.start() for s in STAGES if (m := re.search(form % s, text))}
    return sorted(at, key=at.get)


def check(root):
    if not os.path.exists(os.path.join(root, "consumer/pipeline.c")):
        print("skipped: consumer/pipeline.c is not there yet")
        sys.exit(77)
    found = []
    bodies = re.findall(r"^\{\n.*?^\}", tree.read(root, "consumer/pipeline.c"), re.M | re.S)
    calls = max((order(b, r"\b%s(_\w+)?\(") for b in bodies), key=len, default=[])
    if calls != STAGES:
        found.append("consumer/pipeline.c: the function with most stages calls " + " ".join(calls)
                     + "; expected " + " ".join(STAGES))
    listed = order(tree.read(root, "consumer/CMakeLists.txt"), r"\b%s\b")
    if listed != STAGES:
        found.append("consumer/CMakeLists.txt: lists " + " ".join(listed))
    if not os.path.exists(os.path.join(root, "README.md")) or not re.search(
            r"\W+".join(STAGES), tree.read(root, "README.md")):
        found.append("README.md: does not say " + " -> ".join(STAGES))
    return found


if __name__ == "__main__":
    tree.main(check)
