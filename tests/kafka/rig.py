#!/usr/bin/env python3
"""A real Apache Kafka (KRaft mode) for tests and for `./dev broker`, from Maven Central jars.

As a module:
    with rig.Broker(nodes=1, props={"message.max.bytes": "2000000"}) as b:
        b.create_topic("images", partitions=4, config={"segment.bytes": "1048576"})
        subprocess.run([millrace, "train", "-b", b.bootstrap, ...])
        b.kill(1); b.start(1); b.freeze(1); b.thaw(1)
As a program:
    rig.py fetch                                     fills the cache
    rig.py run [--nodes N] [--sasl] -- COMMAND...    with $MILLRACE_BOOTSTRAP; its exit code
    rig.py start --dir DIR [--nodes N] [--port P]    in the background; prints host:port,...
    rig.py stop --dir DIR                            ends it and throws its data away

The jars lie in ${MILLRACE_CACHE:-~/.cache/millrace}/kafka-4.3.1; all listens on 127.0.0.1 only.
Brokers of a module or of `run` die with the process that started them, whatever ends it, and their
folders go with them (those of a SIGKILLed process: at the next start of any rig).
"""

import argparse
import atexit
import ctypes
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode

VERSION = "4.3.1"
JAVA_FLAGS = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
              "-Dorg.apache.logging.log4j.level=WARN"]
FORMAT, SERVER = "kafka.tools.StorageTool", "kafka.Kafka"
PREFIX = "millrace-kafka."
USER, PASSWORD = "millrace", "secret"  # of the SASL/PLAIN listener


class RigError(Exception):
    pass


def jars():
    """The folder of the jars; fetched by Maven the first time, whole or not at all."""
    cache = os.environ.get("MILLRACE_CACHE") or os.path.expanduser("~/.cache/millrace")
    libs = os.path.join(cache, "kafka-" + VERSION)
    if os.path.isdir(libs):
        return libs
    os.makedirs(cache, exist_ok=True)
    part = tempfile.mkdtemp(prefix="kafka.", dir=cache)
    print(f"rig: fetching Kafka {VERSION} (45 MB) into {libs}", file=sys.stderr)
    pom = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pom.xml")
    for attempt in (1, 2, 3):  # a registry's hiccup is no reason to fail a test run
        r = subprocess.run(["mvn", "-B", "-q", "-f", pom, "dependency:copy-dependencies",
                            "-Dkafka.version=" + VERSION, "-DincludeScope=runtime",
                            "-DoutputDirectory=" + part], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if r.returncode == 0:
            break
        time.sleep(5 * attempt)
    else:
        shutil.rmtree(part, ignore_errors=True)
        raise RigError("rig: Maven could not fetch Kafka:\n" + r.stdout[-4000:])
    try:
        os.rename(part, libs)
    except OSError:  # another process was first
        shutil.rmtree(part, ignore_errors=True)
    return libs


def java(main, *args, archive=""):
    """The command of a JVM. archive: write the class archive of this main class there at exit. With
    one a start takes half as long; one that another Java made is not used."""
    libs = jars()
    path = ":".join(sorted(os.path.join(libs, n) for n in os.listdir(libs) if n.endswith(".jar")))
    made = os.path.join(libs, main + ".jsa")
    flag = [f"-XX:SharedArchiveFile={made}"] if os.path.exists(made) else []
    if archive:
        flag = [f"-XX:ArchiveClassesAtExit={archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    return ["java", *JAVA_FLAGS, *flag, "-cp", path, main, *args]


def fetch():
    """The jars and the class archives."""
    libs = jars()
    if not os.path.exists(os.path.join(libs, SERVER + ".jsa")):
        with tempfile.TemporaryDirectory(prefix="archive.", dir=libs) as part:
            b = Broker(archives=part)
            with b:
                b.create_topic("rig.archive")
                b.term()
            for main in (FORMAT, SERVER):
                os.rename(os.path.join(part, main), os.path.join(libs, main + ".jsa"))
    return 0


def free_port():
    """Below the kernel's ephemeral range, so that no outgoing connection can take it meanwhile."""
    while True:
        port = random.randint(12000, 30000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def sweep():
    """Removes the folders of rigs whose process is gone."""
    tmp = tempfile.gettempdir()
    for name in os.listdir(tmp):
        if name.startswith(PREFIX):
            pid = name[len(PREFIX):].split(".")[0]
            if pid.isdigit() and not os.path.exists("/proc/" + pid):
                shutil.rmtree(os.path.join(tmp, name), ignore_errors=True)


class Wire:
    """The few Kafka requests that a test needs from outside the program under test; all of them in
    their last non-flexible version. One short connection a request."""

    METADATA, LIST_OFFSETS, CREATE_TOPICS, DELETE_TOPICS = (3, 1), (2, 2), (19, 2), (20, 1)
    DELETE_RECORDS, CREATE_PARTITIONS = (21, 0), (37, 0)

    def __init__(self, data=b""):
        self.data, self.at = data, 0

    @staticmethod
    def string(s):
        return struct.pack(">h", len(s)) + s.encode()

    @staticmethod
    def array(items):
        return struct.pack(">i", len(items)) + b"".join(items)

    @staticmethod
    def call(address, api, body, timeout=10):
        host, port = address.rsplit(":", 1)
        head = struct.pack(">hhi", *api, 7) + Wire.string("rig")
        with socket.create_connection((host, int(port)), timeout) as s:
            s.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
            size, = struct.unpack(">i", Wire.exactly(s, 4))
            return Wire(Wire.exactly(s, size)[4:])

    @staticmethod
    def exactly(s, n):
        data = b""
        while len(data) < n:
            part = s.recv(n - len(data))
            if not part:
                raise ConnectionError("closed by the broker")
            data += part
        return data

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values if len(values) > 1 else values[0]

    def text(self):
        n = max(self.take("h"), 0)
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def list(self, item):
        return [item() for _ in range(max(self.take("i"), 0))]


class Broker:
    """A cluster of `nodes` combined brokers and controllers, ids 1..nodes. props: more broker
    properties. sasl: also a SASL_PLAINTEXT listener for PLAIN (USER, PASSWORD), at sasl_bootstrap.
    dir: where data and logs are kept (default: a temporary folder); port: of node 1, the next for
    node 2, ... (0: free ones). detached: outlives this process (`start`). archives: fetch()."""

    def __init__(self, nodes=1, props=None, sasl=False, dir=None, port=0, detached=False,
                 archives=None):
        self.nodes, self.detached, self.sasl, self.archives = nodes, detached, sasl, archives
        sweep()
        self.temporary = dir is None
        self.dir = dir or tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}.")
        ids = range(1, nodes + 1)
        self.port = {i: port + i - 1 if port else free_port() for i in ids}
        self.control_port = {i: free_port() for i in ids}
        self.sasl_port = {i: free_port() for i in ids}
        self.process = {}
        if not detached:
            atexit.register(self.stop)
        os.makedirs(self.dir, exist_ok=True)
        # not with a dash in front, which would read as an option
        cluster = "m" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        formats = []
        for i in ids:
            with open(self.path(i, "properties"), "w", encoding="utf-8") as f:
                f.writelines(f"{k}={v}\n" for k, v in self.properties(i, props or {}).items())
            formats.append(subprocess.Popen(
                self.java(FORMAT, "format", "-t", cluster, "--ignore-formatted", "-c",
                          self.path(i, "properties")), preexec_fn=die_with_parent, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        for p in formats:
            out, _ = p.communicate()
            if p.returncode:
                raise RigError("rig: format failed:\n" + out)

    def java(self, main, *args):
        return java(main, *args, archive=self.archives and os.path.join(self.archives, main))

    @property
    def bootstrap(self):
        return ",".join(f"127.0.0.1:{p}" for p in self.port.values())

    @property
    def sasl_bootstrap(self):
        return ",".join(f"127.0.0.1:{p}" for p in self.sasl_port.values())

    def path(self, node, kind):
        return os.path.join(self.dir, f"n{node}.{kind}")

    def properties(self, i, more):
        n, listeners = self.nodes, f"PLAINTEXT://127.0.0.1:{self.port[i]}"
        if self.sasl:
            listeners += f",SASL://127.0.0.1:{self.sasl_port[i]}"
        p = {
            "process.roles": "broker,controller",
            "node.id": i,
            "controller.quorum.voters":
                ",".join(f"{j}@127.0.0.1:{p}" for j, p in self.control_port.items()),
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self.control_port[i]}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map":
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self.path(i, "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            "broker.heartbeat.interval.ms": 500,
            "broker.session.timeout.ms": 3000,  # a crashed node may come back after this
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 16777216,  # the default takes 128 MiB of the heap
            "log.cleaner.backoff.ms": 1000,
            "log.initial.task.delay.ms": 1000,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            "controlled.shutdown.enable": "true" if n > 1 else "false",
            "num.network.threads": 2,
            "num.io.threads": 2,
        }
        for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            p[topic + ".replication.factor"] = min(n, 3)
        for topic in ("transaction.state.log", "share.coordinator.state.topic"):
            p[topic + ".min.isr"] = 2 if n > 2 else 1
        if self.sasl:
            p["sasl.enabled.mechanisms"] = "PLAIN"
            p["listener.name.sasl.plain.sasl.jaas.config"] = (
                "org.apache.kafka.common.security.plain.PlainLoginModule required "
                f'user_{USER}="{PASSWORD}";')
        p.update(more)
        return p

    # The processes

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def start(self, node=None, timeout=60):
        """Starts one node, or all; returns when every running node serves."""
        for i in [node] if node else self.port:
            with open(self.path(i, "log"), "ab") as log:
                self.process[i] = subprocess.Popen(
                    self.java(SERVER, self.path(i, "properties")), stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, cwd=self.dir, start_new_session=self.detached,
                    preexec_fn=None if self.detached else die_with_parent)
            with open(self.path(i, "pid"), "w", encoding="utf-8") as f:
                f.write(str(self.process[i].pid))
        self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout=60):
        """Until metadata lists all running nodes and a topic could be created on them."""
        deadline = time.monotonic() + timeout
        why = None
        while time.monotonic() < deadline:
            for i, p in self.process.items():
                if p.poll() is not None:
                    raise RigError(f"rig: node {i} ended with {p.returncode}:\n{self.log(i)}")
            try:
                for i in self.process:
                    nodes, _ = self.metadata(node=i)
                    if not set(self.process) <= set(nodes):
                        raise RigError(f"node {i} sees {sorted(nodes)}")
                self.create_topic("rig.probe", replication=len(self.process), validate_only=True)
                return
            except (OSError, RigError, struct.error) as e:
                why = e
            time.sleep(0.1)
        raise RigError(f"rig: not ready after {timeout} s: {why}\n{self.log(1)}")

    def signal(self, node, sig):
        self.process[node].send_signal(sig)

    def kill(self, node=1):
        """SIGKILL: a crash. start(node) brings it back on the same port and data."""
        self.process[node].kill()
        self.process.pop(node).wait()

    def term(self, node=1):
        """SIGTERM: a clean shutdown of one node."""
        self.process[node].terminate()
        self.process.pop(node).wait(60)

    def ended(self, timeout, node=1):
        """It gives up by itself: the exit code."""
        return self.process.pop(node).wait(timeout)

    def freeze(self, node=1):
        self.signal(node, signal.SIGSTOP)

    def thaw(self, node=1):
        self.signal(node, signal.SIGCONT)

    def stop(self):
        """Ends all nodes and removes a temporary folder; SIGKILL, as nobody wants the data."""
        atexit.unregister(self.stop)
        for p in self.process.values():
            p.kill()
        for p in self.process.values():
            p.wait()
        self.process = {}
        if self.temporary:
            shutil.rmtree(self.dir, ignore_errors=True)

    def log(self, node=1, lines=40):
        try:
            with open(self.path(node, "log"), encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""

    # What tests ask of a cluster

    def call(self, api, body, node=None):
        """To the node, or to the first running one that answers."""
        why = RigError("no node runs")
        for i in [node] if node else list(self.process):
            try:
                return Wire.call(f"127.0.0.1:{self.port[i]}", api, body)
            except OSError as e:
                why = e
        raise why

    def metadata(self, node=None):
        """({node id: host:port}, {topic: {partition: leader}})"""
        r = self.call(Wire.METADATA, struct.pack(">i", -1), node)
        nodes = {i: f"{host}:{port}" for i, host, port, _ in
                 r.list(lambda: (r.take("i"), r.text(), r.take("i"), r.text()))}
        r.take("i")

        def partition():
            _, index, leader = r.take("hii")
            r.list(lambda: r.take("i"))
            r.list(lambda: r.take("i"))
            return index, leader

        def topic():
            _, name, _ = r.take("h"), r.text(), r.take("b")
            return name, dict(r.list(partition))

        return nodes, dict(r.list(topic))

    @staticmethod
    def refuse(what, error, text=""):
        if error:
            raise RigError(f"{what}: error {error} {text}")

    def create_topic(self, name, partitions=1, replication=None, config=None, validate_only=False):
        configs = [Wire.string(k) + Wire.string(str(v)) for k, v in (config or {}).items()]
        replication = replication or min(self.nodes, 3)
        topic = (Wire.string(name) + struct.pack(">ih", partitions, replication) + Wire.array([])
                 + Wire.array(configs))
        r = self.call(Wire.CREATE_TOPICS,
                      Wire.array([topic]) + struct.pack(">ib", 15000, validate_only))
        r.take("ii")
        r.text()
        self.refuse(f"create topic {name}", r.take("h"), r.text())
        if not validate_only:
            self.wait_topic(name, partitions)

    def create_partitions(self, name, total):
        topic = Wire.string(name) + struct.pack(">ii", total, -1)
        r = self.call(Wire.CREATE_PARTITIONS, Wire.array([topic]) + struct.pack(">ib", 15000, 0))
        r.take("ii")
        r.text()
        self.refuse(f"create partitions of {name}", r.take("h"), r.text())
        self.wait_topic(name, total)

    def delete_topic(self, name):
        r = self.call(Wire.DELETE_TOPICS,
                      Wire.array([Wire.string(name)]) + struct.pack(">i", 15000))
        r.take("ii")
        r.text()
        self.refuse(f"delete topic {name}", r.take("h"))
        self.wait_topic(name, 0)

    def wait_topic(self, name, partitions, timeout=30):
        """Until all running nodes show that many partitions (0: no topic), each with a leader."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            seen = [self.metadata(i)[1].get(name, {}) for i in self.process]
            if all(len(t) == partitions and min(t.values(), default=0) >= 0 for t in seen):
                return
            time.sleep(0.02)
        raise RigError(f"topic {name}: {seen} after {timeout} s, {partitions} partitions asked")

    def leader(self, topic, partition):
        return self.metadata()[1][topic][partition]

    def delete_records(self, topic, before):
        """before: {partition: offset}, the new low watermarks (-1: the high one)."""
        for p, offset in before.items():
            part = struct.pack(">iq", p, offset)
            r = self.call(Wire.DELETE_RECORDS, Wire.array([Wire.string(topic) + Wire.array([part])])
                          + struct.pack(">i", 15000), self.leader(topic, p))
            r.take("ii")
            r.text()
            _, _, _, error = r.take("iiqh")
            self.refuse(f"delete records of {topic} [{p}]", error)

    def settle(self, topic, timeout=5):
        """Until no transaction is open in topic, or for timeout seconds: a broker writes the
        markers of a committed one after it has said so, and a reader does not wait for them."""
        deadline = time.monotonic() + timeout
        while self.offsets(topic) != self.offsets(topic, committed=True):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def offsets(self, topic, committed=False):
        """{partition: (low, high)}, as a read_uncommitted consumer sees them, or read_committed."""
        found = {}
        for p, leader in sorted(self.metadata()[1][topic].items()):
            low_high = []
            for when in (-2, -1):
                part = struct.pack(">iq", p, when)
                r = self.call(Wire.LIST_OFFSETS, struct.pack(">ib", -1, committed) + Wire.array(
                    [Wire.string(topic) + Wire.array([part])]), leader)
                r.take("ii")
                r.text()
                _, _, error, _, offset = r.take("iihqq")
                self.refuse(f"offsets of {topic} [{p}]", error)
                low_high.append(offset)
            found[p] = tuple(low_high)
        return found


# The program


def running(dir):
    """{node: pid} of the brokers that `start` left in dir; a recycled pid does not count."""
    found = {}
    for name in os.listdir(dir) if os.path.isdir(dir) else []:
        if name.endswith(".pid"):
            with open(os.path.join(dir, name), encoding="utf-8") as f:
                pid = int(f.read() or 0)
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if os.path.join(dir, name[:-4] + ".properties").encode() in f.read():
                        found[int(name[1:-4])] = pid
            except OSError:
                pass
    return found


def start(args):
    bootstrap = os.path.join(args.dir, "bootstrap")
    if running(args.dir):
        print(f"rig: already running in {args.dir}", file=sys.stderr)
    else:
        for port in range(args.port, args.port + args.nodes) if args.port else []:
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", port))
                except OSError:
                    raise RigError(f"rig: port {port} is in use; choose one with --port") from None
        shutil.rmtree(args.dir, ignore_errors=True)
        b = Broker(args.nodes, dir=args.dir, port=args.port, detached=True)
        try:
            b.start()
        except BaseException:
            b.stop()
            raise
        with open(bootstrap, "w", encoding="utf-8") as f:
            f.write(b.bootstrap)
    with open(bootstrap, encoding="utf-8") as f:
        print(f.read())
    return 0


def stop(args):
    for pid in running(args.dir).values():
        os.kill(pid, signal.SIGKILL)  # the data goes too, so a clean shutdown would only take time
    while running(args.dir):
        time.sleep(0.05)
    shutil.rmtree(args.dir, ignore_errors=True)
    return 0


def run(args):
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise RigError("rig: run needs a command")
    with Broker(args.nodes, sasl=args.sasl) as b:
        env = dict(os.environ, MILLRACE_BOOTSTRAP=b.bootstrap)
        if args.sasl:
            env.update(MILLRACE_SASL_BOOTSTRAP=b.sasl_bootstrap, MILLRACE_SASL_USER=USER,
                       MILLRACE_SASL_PASSWORD=PASSWORD)
        code = subprocess.run(command, env=env, preexec_fn=die_with_parent, check=False).returncode
        return 128 - code if code < 0 else code


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="rig.py", description="A real Kafka for tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("fetch")
    for verb in ("run", "start", "stop"):
        p = verbs.add_parser(verb)
        if verb != "stop":
            p.add_argument("--nodes", type=int, default=1)
        if verb != "run":
            p.add_argument("--dir", type=os.path.abspath, required=True)
        if verb == "start":
            p.add_argument("--port", type=int, default=0)
        if verb == "run":
            p.add_argument("--sasl", action="store_true")
            p.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    verb = {"fetch": lambda _: fetch(), "run": run, "start": start, "stop": stop}[args.verb]
    try:
        sys.exit(verb(args))
    except RigError as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
