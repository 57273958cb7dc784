#!/usr/bin/env python3
"""Dependencies point down only, and a third-party library has one owner.

Our own includes are rooted at the checkout ("config/base/status.h") and stay in the file's layer
or go to one that LAYERS lists for it. A third-party header is included by exactly one file;
broker_kafka* counts as one. Tests may include everything. usage: layers.py [ROOT]
"""

import re

import tree

LAYERS = {  # layer: what it may use besides itself
    "config": (),
    "algos": ("config",),
    "statestore": ("config",),
    "consumer": ("algos", "statestore", "config"),
}
LIBRARIES = (  # name, headers, layer that may own it (None: any)
    ("librdkafka", r"librdkafka/", "consumer"),
    ("Avro C", r"avro(\.h|/)", "consumer"),
    ("libcurl", r"curl/", "consumer"),
    ("libmicrohttpd", r"microhttpd\.h", "consumer"),
    ("OpenBLAS", r"(cblas|openblas\w*|lapacke?)\.h", "algos"),
    ("CUDA", r"(cuda|cublas|curand)\w*\.h", "algos"),
    ("RocksDB", r"rocksdb/", "statestore"),
    ("libyaml", r"yaml\.h", "config"),
    ("xxHash", r"xxhash\.h", "config"),
    ("jemalloc", r"jemalloc/", "config"),
    ("jansson", r"jansson\.h", None),
    ("zlib", r"zlib\.h", None),
)
STANDARD = re.compile(  # C11, POSIX, Linux; and, in CUDA C++, what a braced list is
    r"(assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal|"
    r"stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|"
    r"threads|time|dirent|dlfcn|fcntl|fnmatch|ftw|getopt|glob|malloc|poll|pthread|pwd|sched|"
    r"termios|unistd|elf|immintrin|(arpa|netinet|net|sys|linux)/\w+|netdb)\.h|initializer_list")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def owner(path):
    return re.sub(r"broker_kafka\w*\.[ch]$", "broker_kafka*", path)


def check(root):
    found, owners = [], {}
    names = tree.files(root)
    for path in names:
        layer = path.split("/")[0]
        if layer not in LAYERS or not path.endswith(tree.C):
            continue
        text = tree.read(root, path)
        for m in INCLUDE.finditer(text):
            header, where = m[2], f"{path}:{text.count(chr(10), 0, m.start()) + 1}"
            if m[1] == '"':
                to = header.split("/")[0]
                if header not in names:
                    found.append(f'{where}: "{header}" is no file here (paths start at the root)')
                elif to != layer and to not in LAYERS[layer]:
                    found.append(f'{where}: {layer}/ may not use "{header}"')
                continue
            library = next((lib for lib in LIBRARIES if re.match(lib[1], header)), None)
            if library and library[2] in (layer, None):
                owners.setdefault(library[0], {}).setdefault(owner(path), where)
            elif library:
                found.append(f"{where}: {library[0]} belongs in {library[2]}/")
            elif not STANDARD.fullmatch(header):
                found.append(f"{where}: <{header}> is in no table of tests/tools/layers.py")
    for library, files in owners.items():
        if len(files) > 1:
            found.append(f"{library} may have one owner only: {', '.join(files.values())}")
    return found


if __name__ == "__main__":
    tree.main(check)
