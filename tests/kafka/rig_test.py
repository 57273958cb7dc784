#!/usr/bin/env python3
"""The rig does what its tests rely on."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import rig

HERE = os.path.dirname(os.path.abspath(rig.__file__))
RIG = [sys.executable, os.path.join(HERE, "rig.py")]


def kcat(bootstrap, *args, stdin=""):
    return subprocess.run(["kcat", "-b", bootstrap, *args], input=stdin, text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def processes(word):
    """Pids of the processes whose command line contains word."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if word.encode() in f.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


class OneNode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.b = rig.Broker(sasl=True).start()

    @classmethod
    def tearDownClass(cls):
        folder = cls.b.dir
        cls.b.stop()
        assert not os.path.exists(folder) and not processes(folder)

    def produce(self, topic, n):
        r = kcat(self.b.bootstrap, "-P", "-t", topic, "-p", "0",
                 stdin="".join(f"{i}\n" for i in range(n)))
        self.assertEqual(r.returncode, 0, r.stdout)

    def test_topics_partitions_and_offsets(self):
        self.b.create_topic("a", 2, config={"segment.bytes": 1 << 20})
        with self.assertRaisesRegex(rig.RigError, "error 36"):
            self.b.create_topic("a", 2)
        self.b.create_partitions("a", 3)
        self.produce("a", 10)
        self.assertEqual(self.b.offsets("a"), {0: (0, 10), 1: (0, 0), 2: (0, 0)})
        self.b.delete_topic("a")
        self.assertNotIn("a", self.b.metadata()[1])

    def test_records_are_deleted_from_the_front(self):
        self.b.create_topic("gap")
        self.produce("gap", 10)
        self.b.delete_records("gap", {0: 4})
        self.assertEqual(self.b.offsets("gap"), {0: (4, 10)})

    def test_data_survives_a_crash_and_a_freeze(self):
        self.b.create_topic("crash")
        self.produce("crash", 10)
        self.b.kill()
        self.assertNotEqual(kcat(self.b.bootstrap, "-L", "-m", "1").returncode, 0)
        self.b.start(1)
        self.b.freeze()
        with self.assertRaises(OSError):
            rig.Wire.call(self.b.bootstrap, rig.Wire.METADATA, b"\xff\xff\xff\xff", timeout=1)
        self.b.thaw()
        self.b.wait_ready()
        self.assertEqual(self.b.offsets("crash"), {0: (0, 10)})

    def test_the_sasl_listener_knows_the_password(self):
        def listing(password):
            return kcat(self.b.sasl_bootstrap, "-L", "-m", "2", "-X", "sasl.mechanisms=PLAIN", "-X",
                        "security.protocol=sasl_plaintext", "-X", "sasl.username=" + rig.USER,
                        "-X", "sasl.password=" + password)
        self.assertEqual(listing(rig.PASSWORD).returncode, 0)
        wrong = listing("wrong")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("Authentication failed", wrong.stdout)


class Clusters(unittest.TestCase):
    def test_three_nodes_go_on_without_one(self):
        with rig.Broker(nodes=3) as b:
            b.create_topic("three", 3, config={"min.insync.replicas": 2})
            b.kill(2)
            deadline = time.monotonic() + 60
            while kcat(b.bootstrap, "-P", "-t", "three", "-p", "1", "-X", "acks=all", "-X",
                       "message.timeout.ms=5000", stdin="x\n").returncode:
                self.assertLess(time.monotonic(), deadline)
            b.start(2)
            self.assertGreaterEqual(b.offsets("three")[1][1], 1)


class Program(unittest.TestCase):
    def test_run_passes_the_exit_code_on(self):
        r = subprocess.run(RIG + ["run", "--", "sh", "-c", 'test -n "$MILLRACE_BOOTSTRAP"; exit 7'],
                           check=False)
        self.assertEqual(r.returncode, 7)

    def test_nothing_survives_a_killed_rig(self):
        with tempfile.TemporaryDirectory() as tmp:
            r = subprocess.Popen(RIG + ["run", "--", "sh", "-c", "echo up; exec sleep 100"],
                                 env=dict(os.environ, TMPDIR=tmp), text=True,
                                 stdout=subprocess.PIPE)
            self.assertEqual(r.stdout.readline(), "up\n")
            self.assertTrue(processes(tmp))
            r.send_signal(signal.SIGKILL)
            r.wait()
            r.stdout.close()
            deadline = time.monotonic() + 10
            while processes(tmp):
                self.assertLess(time.monotonic(), deadline, "the broker outlived its rig")
                time.sleep(0.1)

    def test_a_started_broker_serves_until_it_is_stopped(self):
        with tempfile.TemporaryDirectory() as tmp:
            where = ["--dir", os.path.join(tmp, "broker")]
            first = subprocess.run(RIG + ["start"] + where, check=True, text=True,
                                   stdout=subprocess.PIPE).stdout.strip()
            again = subprocess.run(RIG + ["start"] + where, check=True, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()
            self.assertEqual(first, again)
            self.assertEqual(kcat(first, "-L").returncode, 0)
            subprocess.run(RIG + ["stop"] + where, check=True)
            self.assertFalse(processes(tmp))
            self.assertFalse(os.path.exists(where[1]))


if __name__ == "__main__":
    unittest.main()
