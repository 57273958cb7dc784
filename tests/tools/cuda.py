#!/usr/bin/env python3
"""nvcc, CUDA's runtime and cuBLAS for building millrace-cuda.so. usage: cuda.py fetch|nvcc

`fetch` takes NVIDIA's wheels from PyPI into ${MILLRACE_CACHE:-~/.cache/millrace}, once: 0.5 GB to
download, 0.9 GB on disk, most of it libcublasLt. They lack what nvcc and CMake look for: lib64,
libraries without a version in the name, and programs that may be run. `nvcc` prints the path of
the compiler: one that is installed ($CUDACXX, $PATH, /usr/local/cuda), else the fetched one; where
there is none the exit code is 1."""

import os
import shutil
import subprocess
import sys

from datasets import CACHE

WHEELS = ["nvidia-cuda-nvcc==13.0.88", "nvidia-nvvm==13.0.88", "nvidia-cuda-crt==13.0.88",
          "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cccl==13.0.85", "nvidia-cublas==13.0.2.14"]
PLACE = os.path.join(CACHE, "cuda-13.0.88")
ROOT = os.path.join(PLACE, "nvidia", "cu13")


def nvcc():
    """The compiler, or None."""
    for path in (os.environ.get("CUDACXX"), shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc",
                 os.path.join(ROOT, "bin", "nvcc")):
        if path and os.access(path, os.X_OK):
            return path
    return None


def complete(root):
    """Makes of the wheels' layout the one that a toolkit has."""
    lib = os.path.join(root, "lib")
    os.symlink("lib", os.path.join(root, "lib64"))
    for name in os.listdir(lib):
        if ".so." in name:
            os.symlink(name, os.path.join(lib, name.split(".so.")[0] + ".so"))
    for folder in ("bin", "nvvm/bin"):
        for name in os.listdir(os.path.join(root, folder)):
            path = os.path.join(root, folder, name)
            if os.path.isfile(path):
                os.chmod(path, 0o755)


def fetch():
    part = PLACE + ".part"
    if nvcc():
        return
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", part + "/venv"], check=True)
    subprocess.run([part + "/venv/bin/python", "-m", "pip", "install", "-q", "--no-deps",
                    "--no-compile", "--no-cache-dir", "--disable-pip-version-check",
                    "--target", part + "/root", *WHEELS], check=True)
    complete(os.path.join(part, "root", "nvidia", "cu13"))
    os.rename(os.path.join(part, "root"), PLACE)
    shutil.rmtree(part)


if __name__ == "__main__":
    if sys.argv[1:] == ["fetch"]:
        fetch()
    elif sys.argv[1:] == ["nvcc"]:
        print(nvcc() or sys.exit(1))
    else:
        raise SystemExit(__doc__)
