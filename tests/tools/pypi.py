"""An environment of Python packages of PyPI for benches, made once and kept."""

import os
import subprocess
import sys


def python(place, packages):
    """The interpreter of the environment in folder `place`, which has just these packages."""
    interpreter, made = os.path.join(place, "bin", "python"), os.path.join(place, "packages")
    have = None
    if os.path.exists(made):
        with open(made, encoding="ascii") as f:
            have = f.read().split()
    if have != packages:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([interpreter, "-m", "pip", "install", "-q", *packages], check=True)
        with open(made, "w", encoding="ascii") as f:
            f.write("\n".join(packages))
    return interpreter


def enter(place, packages):
    """Goes on as this program in that environment."""
    interpreter = python(place, packages)
    if os.path.realpath(sys.prefix) != os.path.realpath(place):
        os.execv(interpreter, [interpreter, *sys.argv])
