#!/usr/bin/env python3
"""House style that clang-format does not hold. usage: tidy.py [ROOT]

All text: at most 100 columns (not Markdown), no tabs, no trailing blanks, a last newline, none of
the words that put work off. C and Python: at most 600 lines (tests: 900). C: functions of at most
70 lines, no // comments, no typedef; in the layers no call that ends the process but in main.c
and status.c, and none of the C library's unbounded ones. The tree: source names are unique, every
file is used.
"""

import os
import re

import tree

COLUMNS, FUNCTION, FILE, TEST_FILE = 100, 70, 600, 900
LAYERS = ("config/", "algos/", "statestore/", "consumer/")
PUT_OFF = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
ENDS = re.compile(r"\b(exit|abort)\(")
UNBOUNDED = re.compile(r"\b(gets|strcpy|strcat|v?sprintf|ato[ifl]|strtok|alloca|s?rand)\(")
BINARY = (".png", ".gz", ".avro", ".bin", ".npz", ".safetensors")
SOURCE = tree.C + (".py", ".sh")
# Found by name: by a glob of CMake or of ./dev, by git, by an editor, by people.
KNOWN = re.compile(
    r"(.*/)?(CMakeLists\.txt|README\.md|\.[^/]+)|\.ci/run|dev|LICENSE|C[A-Z]+\.md|"
    r"CMakePresets\.json|"
    r"(config/(base/)?|algos/(compute/)?|statestore/|consumer/(verbs/)?)\w+\.c|"
    r"algos/compute/cuda/\w+\.cu|"
    r"tests/\w+/(\w+_test|support\w*|\w+_suite\w*)\.c|tests/\w+/\w+_test\.py|"
    r"tests/bench/\w+_bench\.(c|py)|tests/fuzz/(\w+_fuzz\.c|corpus/.+)")
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(m):
    """Comments and literals become spaces, so that what is left is code; lines stay."""
    return re.sub(r"[^\n]", " ", m[0])


def check_text(path, lines, found):
    wide = not path.endswith(".md") and path != "LICENSE"
    for n, line in enumerate(lines, 1):
        if wide and len(line) > COLUMNS:
            found.append(f"{path}:{n}: {len(line)} columns, at most {COLUMNS}")
        if "\t" in line:
            found.append(f"{path}:{n}: tab")
        if line != line.rstrip():
            found.append(f"{path}:{n}: trailing blank")
        word = PUT_OFF.search(line)
        if word:
            found.append(f"{path}:{n}: {word[0]}: do it, or file an issue and say what is not done")


def check_functions(path, code, found):
    """A function: from its signature to the } in column 1 that closes a { in column 1."""
    lines, head, open_at = code.split("\n"), None, None
    for n, line in enumerate(lines, 1):
        if line == "{":
            open_at = head or n
        elif line == "}" and open_at:
            length = n - open_at + 1
            if length > FUNCTION:
                found.append(f"{path}:{open_at}: function of {length} lines, at most {FUNCTION}")
            open_at = head = None
        elif not line.strip() or line.startswith(("#", "}")) or line.endswith(";"):
            head = head if open_at else None
        elif head is None and not line.startswith(" "):
            head = n


def check_c(path, text, found):
    for m in TOKEN.finditer(text):
        if m[0].startswith("//"):
            found.append(f"{path}:{text.count(chr(10), 0, m.start()) + 1}: // comment")
    code = TOKEN.sub(blank, text)
    check_functions(path, code, found)
    bans = [(re.compile(r"^\s*typedef\b", re.M), "typedef: say struct x")]
    if path.startswith(LAYERS):
        bans.append((UNBOUNDED, "unbounded or unchecked: use the n form or our own"))
        if os.path.basename(path) not in ("main.c", "status.c"):
            bans.append((ENDS, "only main.c and status.c may end the process"))
    for pattern, why in bans:
        for m in pattern.finditer(code):
            found.append(f"{path}:{code.count(chr(10), 0, m.start()) + 1}: {m[0].strip()}: {why}")


def check_tree(texts, names, found):
    seen = {}
    for path in names:
        name = os.path.basename(path)
        if path.endswith(SOURCE) and seen.setdefault(name, path) != path:
            found.append(f"{path}: the name is taken by {seen[name]}")
        if KNOWN.fullmatch(path):
            continue
        folder = os.path.basename(os.path.dirname(path)) + "/"
        module = f"import {name[:-3]}\n" if name.endswith(".py") else name
        if not any(p != path and (name in t or module in t
                                  or (folder in t and not path.endswith(SOURCE)))
                   for p, t in texts.items()):
            found.append(f"{path}: no other file names it: unused?")


def check(root):
    found, texts = [], {}
    names = tree.files(root)
    for path in names:
        if path.endswith(BINARY) or path.startswith(("tests/golden/", "tests/fuzz/corpus/")):
            continue
        text = texts[path] = tree.read(root, path)
        lines = text.split("\n")
        if lines.pop():
            found.append(f"{path}: no newline at the end")
        check_text(path, lines, found)
        most = TEST_FILE if path.startswith("tests/") else FILE
        if path.endswith(tree.C + (".py",)) and len(lines) > most:
            found.append(f"{path}: {len(lines)} lines, at most {most}")
        if path.endswith(tree.C):
            check_c(path, text, found)
    check_tree(texts, names, found)
    return found


if __name__ == "__main__":
    tree.main(check)
