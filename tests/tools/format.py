#!/usr/bin/env python3
"""clang-format would change nothing. Versions differ, so only Debian 12's (14) is asked; with
another one, or none, this says "skipped" and exits with 77. usage: format.py [ROOT]
"""

import re
import shutil
import subprocess
import sys

import tree


def check(root):
    for program in ("clang-format-14", "clang-format"):
        if shutil.which(program):
            version = subprocess.run([program, "--version"], text=True, check=True,
                                     stdout=subprocess.PIPE).stdout
            if re.search(r"version 14\.", version):
                break
    else:
        print("skipped: no clang-format 14")
        sys.exit(77)
    paths = [p for p in tree.files(root) if p.endswith((".c", ".h", ".cu", ".cpp"))]
    r = subprocess.run([program, "--dry-run", *paths], cwd=root, text=True, check=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return sorted({re.sub(r":.*", ": not formatted; ./dev format does it", line)
                   for line in r.stdout.split("\n") if "clang-format-violations" in line})


if __name__ == "__main__":
    tree.main(check)
