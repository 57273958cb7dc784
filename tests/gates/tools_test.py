#!/usr/bin/env python3
"""The tools catch what they are there for: each case is a small tree with one thing wrong."""

import os
import tempfile
import unittest

import layers
import stages
import tidy

GOOD = {
    "config/base/status.h": "int st;\n",
    "config/yaml.c": '#include "config/base/status.h"\n\n#include <yaml.h>\n\n#include <stdio.h>\n',
    "consumer/broker_kafka.c": "#include <librdkafka/rdkafka.h>\n",
    "consumer/broker_kafka_admin.c": "#include <librdkafka/rdkafka.h>\n",
    "tests/unit/yaml_test.c": "#include <yaml.h>\n",
}


class Tool(unittest.TestCase):
    def findings(self, tool, files, base=None):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**(base or {}), **files}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                    f.write(text)
            return tool.check(root)

    def assert_one(self, found, pattern):
        self.assertEqual(len(found), 1, found)
        self.assertRegex(found[0], pattern)


class Layers(Tool):
    def test_a_good_tree_passes(self):
        self.assertEqual(self.findings(layers, GOOD), [])

    def test_an_arrow_that_points_up_is_caught(self):
        up = {"algos/a.h": "\n", "statestore/s.c": '\n#include "algos/a.h"\n'}
        self.assert_one(self.findings(layers, up, GOOD), r"^statestore/s\.c:2: .*may not use")

    def test_a_relative_include_is_caught(self):
        relative = {"config/base/x.c": '#include "status.h"\n'}
        self.assert_one(self.findings(layers, relative, GOOD), "no file here")

    def test_a_second_owner_is_caught(self):
        second = {"consumer/main.c": "#include <librdkafka/rdkafka.h>\n"}
        self.assert_one(self.findings(layers, second, GOOD), r"librdkafka may have one owner only")

    def test_a_library_in_the_wrong_layer_is_caught(self):
        wrong = {"consumer/main.c": "#include <rocksdb/c.h>\n"}
        self.assert_one(self.findings(layers, wrong, GOOD), "RocksDB belongs in statestore/")

    def test_an_unknown_library_is_caught(self):
        unknown = {"config/x.c": "#include <mystery.h>\n"}
        self.assert_one(self.findings(layers, unknown, GOOD), "<mystery.h> is in no table")


class Tidy(Tool):
    def c(self, text, path="config/x.c"):
        return self.findings(tidy, {path: text})

    def test_good_c_passes(self):
        self.assertEqual(self.c("int f(void)\n{\n" + "    ;\n" * 66 + "}\n"), [])
        self.assertEqual(self.c('/* exit() */\nconst char *s = "exit(1) // typedef";\n'), [])

    def test_lines_tabs_blanks_and_ends_are_held(self):
        self.assert_one(self.c("/* " + "x" * 95 + " */\n"), r"config/x\.c:1: 101 columns")
        self.assert_one(self.c("int\tx;\n"), ":1: tab")
        self.assert_one(self.c("int x; \n"), ":1: trailing blank")
        self.assert_one(self.c("int x;"), "no newline at the end")

    def test_lengths_are_held(self):
        for head in ("int f(void)\n", "static int\nf(int a,\n  int b)\n"):
            long = head + "{\n" + "    ;\n" * 69 + "}\n"
            self.assert_one(self.c(long), r"x\.c:1: function of 7\d lines")
        self.assert_one(self.c("int x;\n" * 601), "601 lines")

    def test_banned_words_and_calls_are_caught(self):
        self.assert_one(self.c("/* TO" "DO: later */\n"), "TO" "DO")
        self.assert_one(self.c("int x; // no\n"), "// comment")
        self.assert_one(self.c("typedef int x;\n"), "typedef")
        self.assert_one(self.c("    abort();\n"), r"abort\(")
        self.assert_one(self.c("    exit(1);\n"), r"exit\(")
        self.assert_one(self.c("    strcpy(a, b);\n"), "strcpy")
        self.assertEqual(self.c("    exit(1);\n", "consumer/main.c"), [])
        self.assertEqual(self.c("    _exit(1);\n"), [])

    def test_two_files_of_one_name_are_caught(self):
        two = {"config/x.c": "\n", "algos/x.c": "\n"}
        self.assert_one(self.findings(tidy, two), "name is taken by algos/x.c")

    def test_an_unused_file_is_caught(self):
        self.assert_one(self.findings(tidy, {"config/x.h": "\n"}), r"x\.h: .*unused")
        self.assert_one(self.findings(tidy, {"tests/tools/x.py": "\n"}), r"x\.py: .*unused")
        used = {"config/x.h": "\n", "config/x.c": '#include "config/x.h"\n'}
        self.assertEqual(self.findings(tidy, used), [])


class Stages(Tool):
    def tree(self, calls=stages.STAGES, listed=stages.STAGES, said=stages.STAGES):
        return {
            "consumer/pipeline.c": "void run(void)\n{\n"
                                   + "".join(f"    {s}_step(p);\n" for s in calls) + "}\n",
            "consumer/CMakeLists.txt": " ".join(listed) + "\n",
            "README.md": " → ".join(said) + "\n",
        }

    def test_the_same_order_everywhere_passes(self):
        self.assertEqual(self.findings(stages, self.tree()), [])

    def test_another_order_is_caught_in_each_place(self):
        other = stages.STAGES[::-1]
        self.assert_one(self.findings(stages, self.tree(calls=other)), "pipeline.c")
        self.assert_one(self.findings(stages, self.tree(listed=other)), "CMakeLists.txt")
        self.assert_one(self.findings(stages, self.tree(said=other)), "README.md")

    def test_a_missing_stage_is_caught(self):
        self.assert_one(self.findings(stages, self.tree(calls=stages.STAGES[1:])), "pipeline.c")


if __name__ == "__main__":
    unittest.main()
