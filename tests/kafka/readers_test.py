#!/usr/bin/env python3
"""A snapshot is read by others: the records of the model topic by kcat, the manifest by Debian's
Python Avro reader, the body by the rules of safetensors and the export by numpy. All say the same
as `model export` and `model show`."""

import io
import json
import re
import struct
import time

import avro.datafile
import avro.io
import jobs
import numpy
import rig

ROWS = 20_000


def newest(at, topic, version):
    """The last record of each key, once the snapshot of that version is to be seen: a broker writes
    the markers of a committed transaction after it has said so, and kcat does not wait for them."""
    for _ in range(100):
        last = {r.key.decode(): r.value for r in at.kcat(topic)}
        if last.get("model/latest") == str(version).encode():
            break
        time.sleep(0.1)
    return last


def manifest_of(last):
    """Version, Avro record and body, from what kcat reads."""
    version = int(last["model/latest"])
    record, = avro.datafile.DataFileReader(io.BytesIO(last[f"model/{version}/manifest"]),
                                           avro.io.DatumReader())
    chunks = [last[f"model/{version}/chunk/{j}"]
              for j in range((record["body_bytes"] + 262143) // 262144)]
    return version, record, b"".join(chunks)


def safetensors(body):
    n, = struct.unpack_from("<Q", body)
    head = json.loads(body[8:8 + n])
    at = 8 + n
    kinds = {"F32": "<f4", "F64": "<f8", "U64": "<u8"}
    return {name: numpy.frombuffer(body[at + t["data_offsets"][0]:at + t["data_offsets"][1]],
                                   kinds[t["dtype"]]).reshape(t["shape"])
            for name, t in head.items()}


def main():
    with jobs.Folder() as tmp, rig.Broker() as broker:
        at = jobs.Kafka(broker)
        at.put("rows", 4, jobs.csv_rows(ROWS, 4, seed=3), {"retention.ms": "-1"})
        job = jobs.Job(tmp, at, "read", "rows", jobs.DENSE)
        job.train().done()
        shown = jobs.run(jobs.MILLRACE, "model", "ls", job.file).stdout.decode()
        version, record, body = manifest_of(
            newest(at, "read.models", int(shown.splitlines()[-1].split()[0])))
        tensors = safetensors(body)
        export = tmp / "m.npz"
        jobs.run(jobs.MILLRACE, "model", "export", job.file, "--to", "npz", "-o", export)
        doc = json.loads(
            jobs.run(jobs.MILLRACE, "model", "export", job.file, "--to", "json").stdout)
        show = jobs.run(jobs.MILLRACE, "model", "show", job.file).stdout.decode()

        assert record["job"] == "read" and record["algo"] == "linear" and version >= 1, record
        assert record["records"] == ROWS == sum(r["records"] for r in record["ranges"])
        assert [(r["partition"], r["begin"], r["end"]) for r in record["ranges"]] == \
            [(p, 0, ROWS // 4) for p in range(4)], record["ranges"]
        with numpy.load(export) as npz:
            names = sorted(t["name"] for t in record["tensors"])
            assert sorted(npz.files) == sorted(tensors) == names
            for name, values in tensors.items():
                assert numpy.array_equal(npz[name], values), name
                assert numpy.array_equal(numpy.array(doc["tensors"][name], values.dtype),
                                         values), name
                low, high = re.search(rf"^  {name} .*min (\S+)  max (\S+)", show, re.M).groups()
                assert numpy.isclose(float(low), values.min(), rtol=1e-5), (low, values.min())
                assert numpy.isclose(float(high), values.max(), rtol=1e-5), (high, values.max())
        for m in record["measures"]:
            assert doc["measures"][m["name"]] == m["value"], m
            assert f"{m['value']:.9g}" in show, (m, show)
        print(f"model {version}: {len(body)} bytes, {len(tensors)} tensors: kcat, Avro, "
              "safetensors and numpy agree")


if __name__ == "__main__":
    main()
