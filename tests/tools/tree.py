"""The files of a checkout, as the tools beside this file see them."""

import os
import subprocess
import sys

C = (".c", ".h", ".def", ".cu", ".cpp")


def files(root):
    """Paths relative to root: what git tracks or would add; without git, all but build folders."""
    r = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if r.returncode == 0 and r.stdout:
        return sorted({p for p in r.stdout.split("\n") if os.path.isfile(os.path.join(root, p))})
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [d for d in folders if not d.startswith((".git", "build", "__pycache__"))]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def main(check):
    """Runs check(root) for the root on the command line (default: the checkout of this file) and
    prints its findings, one a line; exit code 1 if there are any."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = check(sys.argv[1] if len(sys.argv) > 1 else here)
    for line in found:
        print(line)
    sys.exit(1 if found else 0)
