#!/usr/bin/env python3
"""millrace-cuda.so builds with nvcc, is what the program can load, and where there is no GPU says
so. Where there is one, the conformance suite of the compute table runs on it."""

import json
import os
import re
import shlex
import subprocess
import sys

import cuda

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ["MILLRACE_BUILD"]
FOLDER = os.path.join(BUILD, "cuda")
MODULE = os.path.join(FOLDER, "millrace-cuda.so")
SUITE = ("compute_test", "compute_ew_test", "compute_sparse_test")


def run(*command, **more):
    r = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       check=False, **more)
    return r.returncode, r.stdout


def must(*command):
    code, text = run(*command)
    if code:
        sys.exit(f"{shlex.join(command)}: exit code {code}\n{text}")
    return text


def build(nvcc):
    must("cmake", "-S", ROOT, "-B", FOLDER, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
         "-DMILLRACE_CUDA=ON", "-DMILLRACE_NVCC=" + nvcc, "-DMILLRACE_TESTS=OFF")
    must("cmake", "--build", FOLDER, "--target", "millrace-cuda")


def check_library():
    exported = must("nm", "-D", "--defined-only", MODULE).split()[2::3]
    assert exported == ["millrace_cuda"], f"exports {exported}"
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", must("readelf", "-d", MODULE))
    assert any(n.startswith("libcublas.so") for n in needed), needed
    assert not any(n.startswith(("libcudart", "libcuda.")) for n in needed), needed


def check_rounding():
    """As it is compiled: each operation rounded once, quotients and roots to the nearest."""
    with open(os.path.join(FOLDER, "compile_commands.json"), encoding="utf-8") as f:
        of = {os.path.basename(c["file"]): c for c in json.load(f)}
    words = shlex.split(of["elements.cu"]["command"])
    words = [w for i, w in enumerate(words)
             if not w.startswith("--generate-code") and w not in ("-c", "-o")
             and words[i - 1] != "-o"]
    ptx = os.path.join(FOLDER, "elements.ptx")
    must("env", "-C", of["elements.cu"]["directory"], *words, "-arch=compute_80", "-ptx", "-o", ptx)
    with open(ptx, encoding="utf-8") as f:
        text = f.read()
    assert all(word + ".rn.f32" in text for word in ("add", "mul", "div", "sqrt"))
    # Without .rn the assembler may fuse a product and a sum.
    wrong = set(re.findall(r"\b(?:add|sub|mul)\.f(?:32|64)|\b(?:fma|mad)\.[\w.]*f(?:32|64)|"
                           r"[\w.]+\.(?:approx|ftz)[\w.]*", text))
    assert not wrong, f"elements.cu is compiled to {sorted(wrong)}"


def check_loading():
    env = dict(os.environ, MILLRACE_CUDA_MODULE=MODULE)
    code, text = run(os.path.join(BUILD, SUITE[0]), env=env)
    if "no NVIDIA driver" in text or "no GPU is visible" in text:
        assert code and MODULE in text and "train with device cpu" in text, text
        print("no GPU here: that is what it says; nothing was run on one")
        return
    assert code == 0, text
    for name in SUITE[1:]:
        code, text = run(os.path.join(BUILD, name), env=env)
        assert code == 0, text
    print("the conformance suite has run on the GPU:",
          *set(re.findall(r'device="([^"]*)"', text)))


def main():
    nvcc = cuda.nvcc()
    if not nvcc:
        print("skipped: no nvcc; tests/tools/cuda.py fetch takes one")
        sys.exit(77)
    if os.environ["MILLRACE_SLOWER"] != "1":
        print("skipped: the module has no sanitizers; the shim has")
        sys.exit(77)
    build(nvcc)
    check_library()
    check_rounding()
    check_loading()


if __name__ == "__main__":
    main()
