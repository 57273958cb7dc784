"""What the end-to-end tests share: records, job files, the trainer as a process, and what is left
behind: states, lineage, models, topics.

    with jobs.Folder() as tmp:
        at = jobs.Local(tmp / "broker")            # or jobs.Kafka(rig.Broker().start())
        at.put("rows", 4, jobs.csv_rows(200_000, 4, seed=1))
        job = jobs.Job(tmp, at, "j", "rows", jobs.DENSE)
        job.train().done()
        print(job.digest(), job.lineage(), job.model(), at.get("j.dead"))

$MILLRACE is the program, $MILLRACE_BUILD/records the tool that fills and reads topics,
$MILLRACE_SLOWER how many times longer to wait for them (a sanitizer's build). Everything a test
starts dies with it; a failed expectation shows what the program said.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections import namedtuple

import numpy

MILLRACE = os.path.abspath(os.environ["MILLRACE"])


def program(name):
    """Of the build under test."""
    return os.path.join(os.environ["MILLRACE_BUILD"], name)


RECORDS, THROTTLED = program("records"), program("millrace_throttle")
SLOWER = int(os.environ.get("MILLRACE_SLOWER", "1"))
EPOCH_MS = 1_700_000_000_000  # record timestamps are given, so that two topics can be the same

Record = namedtuple("Record", "partition timestamp key value offset headers",
                    defaults=(None, None))


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run(*command, check=True, timeout=60, **more):
    r = subprocess.run(command, stdin=more.pop("stdin", subprocess.DEVNULL),
                       timeout=timeout * SLOWER, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       check=False, preexec_fn=die_with_parent, **more)
    assert not check or r.returncode == 0, \
        f"{' '.join(map(str, command))}: exit {r.returncode}\n{r.stderr.decode()}"
    return r


@contextlib.contextmanager
def Folder():
    path = tempfile.mkdtemp(prefix="millrace-test-")
    try:
        yield pathlib.Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


# Records

def columns(rows, classes, width, seed, sharp=0.15):
    """Labels, and small whole numbers, of which each class prefers others."""
    g = numpy.random.default_rng(seed)
    label = g.integers(0, classes, rows)
    centre = g.integers(-9, 10, (classes, width))
    return label, numpy.rint(centre[label] * sharp + g.normal(0, 3, (rows, width))).astype(int)


def spread(values, partitions, per=1):
    """Records of `per` lines each, dealt out to the partitions in turn; a key every fifth."""
    lines = [b"\n".join(values[i:i + per]) for i in range(0, len(values), per)]
    return [Record(i % partitions, EPOCH_MS + i, b"k%d" % i if i % 5 == 0 else None, v)
            for i, v in enumerate(lines)]


def csv_rows(rows, partitions, seed, classes=16, width=32, per=1):
    label, x = columns(rows, classes, width, seed)
    both = numpy.column_stack([label, x]).tolist()
    return spread([",".join(map(str, r)).encode() for r in both], partitions, per)


def libsvm_rows(rows, partitions, seed, space=100_000, entries=12):
    g = numpy.random.default_rng(seed)
    at = numpy.sort(g.zipf(1.2, (rows, entries)) * 7919 % space + 1, axis=1).tolist()
    label = (numpy.array(at)[:, 0] % 3 == 0).astype(int).tolist()
    return spread([f"{y} {' '.join(f'{c}:1' for c in sorted(set(r)))}".encode()
                   for y, r in zip(label, at)], partitions)


POISON = {  # CSV of csv_rows(): a value and the reason that it must be given
    b"": "truncated", b"3,1,2": "width", b"nan," * 32 + b"1": "label", b"no numbers": "label",
    b"1," + b"nan," * 31 + b"1": "nonfinite", b"1," + b"inf," * 31 + b"1": "nonfinite",
    b"1," + b"x," * 31 + b"1": "value", b"99," + b"1," * 31 + b"1": "label",
    b"1," + b"," * 31 + b"1": "missing", b"\xff\xfe\x00" * 99: "label",
    b"\n".join([b"1," + b"1," * 31 + b"1"] * 4097): "too_many"}


def poisoned(records, share, seed, nulls=20):
    """Bad records and null ones among the others, the first and the last of each partition too."""
    g, kinds = random.Random(seed), sorted(POISON)
    last = {r.partition: i for i, r in enumerate(records)}
    first = {r.partition: i for i, r in reversed(list(enumerate(records)))}
    at = sorted(set(g.sample(range(len(records)), int(len(records) * share))) |
                set(last.values()) | set(first.values()))
    for n, i in enumerate(at):
        records[i] = records[i]._replace(value=kinds[n % len(kinds)])
    for i in g.sample(sorted(set(range(len(records))) - set(at)), nulls):
        records[i] = records[i]._replace(value=None)
    return records


# Brokers

class Place:
    """Where topics are; spec as the tool wants it, lines as a job file does."""

    def put(self, topic, partitions, records, config=None, times=1, transactions=False):
        """times: all of them again and again."""
        frames = []
        for r in records:
            frames.append(struct.pack("<iqii", r.partition, r.timestamp,
                                      -1 if r.key is None else len(r.key),
                                      -1 if r.value is None else len(r.value))
                          + (r.key or b"") + (r.value or b""))
        p = subprocess.Popen([RECORDS, "put-transactions" if transactions else "put", self.spec,
                              topic, str(partitions),
                              *(f"{k}={v}" for k, v in (config or {}).items())],
                             stdin=subprocess.PIPE, preexec_fn=die_with_parent)
        with p.stdin:
            for _ in range(times):
                p.stdin.write(b"".join(frames))
        assert p.wait(120 * SLOWER) == 0, "see above"

    def delete(self, topic):
        run(RECORDS, "delete", self.spec, topic)

    def get(self, topic):
        """All records of a topic that read_committed shows, by our own broker table."""
        p, at, found = run(RECORDS, "get", self.spec, topic).stdout, 0, []

        def take(n):
            nonlocal at
            at += n
            return p[at - n:at]

        while at < len(p):
            partition, timestamp, key, value, offset, n = struct.unpack("<iqiiqI", take(32))
            key, value = [None if k < 0 else take(k) for k in (key, value)]
            words = [take(struct.unpack("<I", take(4))[0]) for _ in range(2 * n)]
            headers = {a.decode(): b.decode() for a, b in zip(words[::2], words[1::2])}
            found.append(Record(partition, timestamp, key, value, offset, headers))
        return found


class Local(Place):
    def __init__(self, folder):
        self.spec = f"local:{folder}"
        self.lines = f"broker: {self.spec}\n"


class Kafka(Place):
    """props: librdkafka properties for the job file. spec may be another listener's."""

    def __init__(self, broker, props=None):
        self.broker, self.spec = broker, broker.bootstrap
        self.lines = "broker: kafka\nkafka:\n" + "".join(
            f"  {k}: {json.dumps(str(v))}\n"
            for k, v in {"bootstrap.servers": self.spec, **(props or {})}.items())

    def kcat(self, topic):
        """All records of a topic that read_committed shows, by kcat, which knows nothing of us."""
        self.broker.settle(topic)
        return self.tail(topic, "beginning")

    def tail(self, topic, last):
        """The last so many offsets of each partition, as they are now."""
        start = last if last == "beginning" else f"-{last}"
        out = run("kcat", "-b", self.spec, "-C", "-t", topic, "-e", "-q", "-o", start, "-X",
                  "isolation.level=read_committed", "-f", r"%p %o %T %K %S %h\n%k%s").stdout
        found, at = [], 0
        while at < len(out):
            line = out[at:out.index(b"\n", at)]
            at += len(line) + 1
            partition, offset, timestamp, key, value = map(int, line.split(b" ")[:5])
            headers = dict(re.findall(r"(?:^|,)(\w+)=((?:[^=]|=(?!\w))*?)(?=,\w+=|$)",
                                      line.split(b" ", 5)[5].decode()))
            both = []
            for n in (key, value):
                both.append(None if n < 0 else out[at:at + n])
                at += max(n, 0)
            found.append(Record(partition, timestamp, *both, offset, headers))
        return found

    def committed(self, group):
        """{partition: (offset, metadata)}, from the log of the group coordinator itself."""
        found = {}
        for r in self.kcat("__consumer_offsets"):
            if r.key[:2] > b"\0\1":  # of a group's membership
                continue
            n, = struct.unpack(">h", r.key[2:4])
            if r.key[4:4 + n].decode() != group:
                continue
            if r.value is None:
                found.pop(struct.unpack(">i", r.key[-4:])[0], None)
                continue
            version, offset, _, n = struct.unpack(">hqiB", r.value[:15])
            at, n = (15, n - 1) if version > 3 else (16, r.value[15])  # the compact form since 4
            found[struct.unpack(">i", r.key[-4:])[0]] = offset, r.value[at:at + n].decode()
        return found


# Jobs

# The batch sets how long a job of so many rows takes: about as long in a slower build.
DENSE = f"""input: {{format: csv, label: f0, width: 33}}
staleness: 0
algo: linear
options:
  loss: softmax
  classes: 16
  learning_rate: [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
  l2: [0, 1.0e-5, 1.0e-4, 1.0e-3]
  batch: {2 * SLOWER}
"""
SPARSE = """input: {format: libsvm, width: 100000}
staleness: 0
algo: linear
options: {loss: logistic, learning_rate: [0.05, 0.1], batch: 8}
"""
BY_ROWS = """checkpoint: {every: "8192 rows"}
publish: {every: "20000 rows"}
snapshot: {every: "60000 rows"}
bad_records: {limit: 10%}
"""


class Job:
    def __init__(self, folder, place, name, topic, what, more=BY_ROWS, state=None):
        self.place, self.name, self.folder = place, name, pathlib.Path(folder)
        self.file = self.folder / f"{name}.yaml"
        self.state = state or self.folder / f"{name}.state"
        self.file.write_text(f"job: {name}\ntopic: {topic}\n{place.lines}state_dir: {self.state}\n"
                             f"{what}{more}", encoding="utf-8")

    def millrace(self, *words, check=True, **more):
        return run(MILLRACE, *map(str, words), check=check, **more)

    def tried(self, *flags, **more):
        """Trains to the end, or to where it fails: exit code and what it said."""
        r = self.millrace("train", self.file, "--until-end", "--quiet", *flags, check=False, **more)
        return r.returncode, r.stderr.decode()

    def train(self, *flags, program=MILLRACE, end=True, **more):
        bounds = ["--until-end"] if end else ["--set", "staleness=async"]  # in step only bounded
        return Trainer([program, "train", str(self.file), *bounds, *flags], **more)

    def digest(self, *others):
        """Of the states here; with those of other folders: of each partition the newest."""
        if not others:
            return self.millrace("state", "show", "--digest", self.state).stdout.decode()
        with Folder() as all_of_them:
            for i, job in enumerate((self, *others)):
                (all_of_them / str(i)).symlink_to(job.state / "worker-0")
            return self.millrace("state", "show", "--digest", all_of_them).stdout.decode()

    def model(self, version=0):
        """Bytes of a snapshot's file."""
        return self.millrace("model", "get", self.file, "--version", version).stdout

    def show(self):
        """{partition: Slot} of the state folder, by `state show`; of several workers the newest."""
        found = {}
        shown = self.millrace("state", "show", self.state).stdout.decode()
        for text in shown.split("partition ")[1:]:
            if not re.match(r"\d+ of job", text):
                continue
            trained, rejected, lost = map(int, re.search(
                r"records +(\d+) trained, (\d+) rejected, (\d+) lost", text).groups())
            learned = [tuple(map(int, m)) for m in re.findall(
                r"^  learned +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", text, re.M)]
            offset = int(re.search(r"position .* offset (\d+)", text)[1])
            status = re.search(r"status +(\w+|-)", text)[1]
            p = int(re.match(r"\d+", text)[0])
            if p not in found or found[p].offset < offset:
                found[p] = Slot(offset, trained, rejected, lost, learned, status)
        return found

    def learned(self):
        """Records in the states, so far; also right after a kill in the first instants."""
        ready = self.millrace("state", "show", self.state, check=False)
        return sum(s.trained for s in self.show().values()) if not ready.returncode else 0


Slot = namedtuple("Slot", "offset trained rejected lost learned status")


class Trainer:
    """A running `millrace train`. What it says is read as it comes."""

    def __init__(self, command, **more):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        preexec_fn=die_with_parent, **more)
        self.lines, self.changed = [], threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    @property
    def text(self):
        return "".join(line for line in self.lines if line)

    def until(self, word, times=1, timeout=60):
        """Until it has said so, that many times; False if it ended before."""
        def seen():
            return sum(word in line for line in self.lines if line) >= times

        with self.changed:
            ok = self.changed.wait_for(lambda: seen() or self.lines[-1:] == [None],
                                       timeout * SLOWER)
            assert ok, f"'{word}' did not come in {timeout * SLOWER} s:\n{self.text}"
            return seen()

    def signal(self, *signals):
        for s in signals:
            self.process.send_signal(s)

    def ended(self, timeout=120):
        """The exit code."""
        try:
            code = self.process.wait(timeout * SLOWER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(
                f"still running after {timeout * SLOWER} s:\n{self.text}") from None
        self.reader.join(10)
        self.process.stderr.close()
        return code

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.ended()

    def done(self, timeout=120):
        code = self.ended(timeout)
        assert code == 0, f"exit {code}:\n{self.text}"
        return self


class Time:
    """Kills by the processor time of the one working thread: at any instant, but only about where
    they were meant to land."""

    def __init__(self, job):
        """Trains it undisturbed: seconds of work until it trains, and in all."""
        t, self.start, self.all = job.train(), 0, 0
        while t.process.poll() is None:
            self.all = max(self.all, self.had(t) % 1e9)
            self.start = self.start or self.all * ('msg="restored"' in t.text)
            time.sleep(0.01)
        t.done()

    @staticmethod
    def had(t):
        try:
            with open(f"/proc/{t.process.pid}/schedstat", encoding="ascii") as f:
                return int(f.read().split()[0]) / 1e9
        except OSError:
            return 1e9  # it has ended

    def killed(self, job, until, *flags):
        """The trainer's exit code, and what it said."""
        t = job.train(*flags)
        while t.process.poll() is None and self.had(t) < until:
            time.sleep(0.001)
        return t.kill(), t.text


class Instants:
    """Kills by the writes and syncs of the process (tests/tools/kill_at.c): whatever the machine
    does meanwhile, they land where they were meant to."""

    PROGRAM = program("millrace_kill_at")

    def __init__(self, job):
        """Trains it undisturbed: instants until it trains, and in all."""
        count = job.folder / f"{job.name}.instants"
        job.train(program=self.PROGRAM, env={**os.environ, "KILL_AT_COUNT": str(count)}).done()
        self.start, training = map(int, count.read_text(encoding="ascii").split())
        self.all = self.start + training
        assert self.start and training

    def killed(self, job, until, *flags):
        """A later start has fewer instants than the first one; training counts from its own
        beginning."""
        at = {"KILL_AT": until} if until < self.start else {"KILL_AT_TRAINING": until - self.start}
        t = job.train(*flags, program=self.PROGRAM,
                      env={**os.environ, **{k: str(int(v) + 1) for k, v in at.items()}})
        return t.ended(), t.text


def killed(make, records, kills, work, seed):
    """A job, trained to the end with that many SIGKILLs that land in training, at random instants,
    and how many more came in the start or before the first checkpoint. work: Time or Instants of an
    undisturbed run. Delays are shares of the work that is left; should it end too soon nevertheless
    (a machine that lets us wait), another job does it at half the pace. make(i) is the i-th job."""
    for attempt in range(8):
        job, g, start = make(attempt), random.Random(seed + attempt), work.start
        landed = others = learned = 0
        while landed < kills and learned < records:
            left = (work.all - work.start) * (1 - learned / records) / (kills - landed + 1)
            in_start = g.random() < 0.15
            until = g.uniform(0, start)
            if not in_start:
                until = (work.start if learned else start) + g.uniform(0, left) / 2 ** attempt
            code, text = work.killed(job, until, *["--quiet"][:g.random() < 0.3])
            if code != -signal.SIGKILL:
                assert code == 0, f"after {landed} kills: exit {code}\n{text}"
                break
            learned = job.learned()
            if not in_start and 0 < learned < records:
                landed += 1
            else:
                others += 1
                start *= 1 if learned or in_start else 1.2  # no checkpoint yet
            assert others < 10 * kills, "it does not come to train:\n" + text
        if landed == kills:
            job.train().done()
            return job, others
    raise AssertionError(f"it ends before {kills} kills, whatever we do")


def letters_once(case, found, put, reasons):
    """Each bad record stands in the dead-letter topic once, with its bytes and where it was."""
    bad = {}
    offset = {}
    for r in put:
        offset[r.partition] = offset.get(r.partition, -1) + 1
        if r.value in reasons:
            bad[r.partition, offset[r.partition]] = r
    case.assertEqual(len(found), len(bad))
    for d in found:
        r = bad.pop((int(d.headers["partition"]), int(d.headers["offset"])))
        case.assertEqual(d.headers["reason"], reasons[r.value])
        case.assertEqual((d.partition, d.headers["timestamp"], d.key),
                         (r.partition, str(r.timestamp), r.key))
        case.assertIn(d.value, (r.value, r.value[:len(d.value)]))
    case.assertEqual(bad, {})
