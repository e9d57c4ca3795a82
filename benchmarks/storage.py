"""Reading from HDFS and S3 beside the plain clients, on one rank and two: ``python benchmarks/storage.py``.

Starts a real HDFS and a real S3 server here, so the servers work on the same cores as who reads; both sides pay that alike. In turn, each
a process of its own: the engine's ranges, the same bytes by plain ``hdfs`` or ``pyarrow.fs``, the engine on two ranks, two plain readers
of a half each that never talk (what the machine leaves of a second rank), and a CSV file to a table by both. Clocks run from when all
have imported and found their server to the last one's end. Writes every run to ``benchmarks/results/storage.json``.

On one machine two readers and their servers share the cores that one reader and its server had, so a second rank shows little. With
``--links 100 20`` each connection has so many MB/s, as a network or a disk gives it, and ``storage_links.json`` is written: there ranks
wait for links, not for cores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from _links import links
from _result import ROOT, write_result

sys.path.insert(0, str(ROOT))
SEED = 3
PIECE = 2 << 20
WAYS = ("engine", "plain", "engine on 2 ranks", "plain on 2 halves", "csv by engine", "csv by engine on 2 ranks", "csv by plain")


def main() -> None:
    """Start the servers, measure in turn, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--links", type=float, nargs=2, metavar=("HDFS", "S3"), help="MB/s of each connection to data nodes and to S3")
    parser.add_argument("--storage", choices=STORAGES, help="one of the two alone, in a result of its own")
    arguments = parser.parse_args()
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        file = write_csv(pathlib.Path(folder, "data.csv"), arguments.megabytes << 20)
        for name, rate in zip(STORAGES, arguments.links or (None, None), strict=True):
            if arguments.storage in (None, name):
                with STARTERS[name](pathlib.Path(folder, name), rate) as (address, web):
                    result[name] = measure_all(name, address, file, web, arguments.repeats)
    linked = {"links": dict(zip(STORAGES, arguments.links, strict=True))} if arguments.links else {}
    note = "servers and readers share the cores of one machine"
    if linked:
        note += ", but each connection is a link of so many MB/s, which leaves cores idle: what is waited for is the link"
    write_result(
        "_".join(["storage", *(["links"] if linked else []), *([arguments.storage] if arguments.storage else [])]),
        {"bytes": arguments.megabytes << 20, "note": note, **linked, **result},
        seed=SEED,
        packages=("samesum", "hdfs", "pyarrow", "moto"),
    )


@contextlib.contextmanager
def start_hdfs(folder: pathlib.Path, rate: float | None) -> Iterator[tuple[str, str]]:
    """An HDFS, its data nodes behind links of this many MB/s, if any: the address of the file to be, and of the name node."""
    from tests.cluster.hadoop import USER, Hadoop, Hdfs

    blocks = {"dfs.blocksize": 128 << 20}  # the default of HDFS
    names = None if rate is None else ["127.0.0.3", "127.0.0.4"]
    hdfs = Hdfs(Hadoop(folder, java_options=("-XX:+UseSerialGC",)), settings=blocks, names=names)
    try:
        with contextlib.ExitStack() as stack:
            if names is not None and rate is not None:
                ends = [(each.partition(":")[2], each) for each in hdfs.data_addresses]
                pairs = [(f"{name}:{port}", address) for name, (port, address) in zip(names, ends, strict=True)]
                stack.enter_context(links(rate * 1e6, pairs))
            hdfs.start()
            os.environ.update(hdfs.environment)
            yield f"{hdfs.url}/user/{USER}/data.csv", hdfs.web
    finally:
        hdfs.stop()


@contextlib.contextmanager
def start_s3(folder: pathlib.Path, rate: float | None) -> Iterator[tuple[str, str]]:
    """An S3 server, behind a link of this many MB/s, if any: the address of the object to be."""
    from tests.cluster.daemons import free_ports
    from tests.cluster.s3_server import S3Server

    s3 = S3Server(folder)
    try:
        with contextlib.ExitStack() as stack:
            s3.start()
            os.environ.update(s3.environment)
            if rate is not None:
                (port,) = free_ports(1)
                stack.enter_context(links(rate * 1e6, [(f"127.0.0.1:{port}", s3.endpoint.partition("://")[2])]))
                os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
            yield f"{s3.url}/data.csv", ""
    finally:
        s3.stop()


STARTERS = {"hdfs": start_hdfs, "s3": start_s3}
STORAGES = tuple(STARTERS)


def write_csv(path: pathlib.Path, size: int) -> pathlib.Path:
    """About ``size`` bytes of numbers and words."""
    draw = np.random.default_rng(SEED)
    rows = [f"{k},{draw.normal():.6f},{draw.normal():.6f},word{k % 97}\n" for k in range(20_000)]
    text = "".join(rows).encode()
    with path.open("wb") as file:
        file.write(b"id,x,y,word\n")
        while file.tell() < size:
            file.write(text)
    return path


def measure_all(name: str, address: str, file: pathlib.Path, web: str, repeats: int) -> dict[str, Any]:
    """All ways on one storage; the first round warms the servers and does not count."""
    from engine import storage

    storage.put_file(address, file)
    size = file.stat().st_size
    runs = []
    for repeat in range(repeats + 1):
        run = {way: size / measure(way, address, web) / 1e6 for way in WAYS}
        if repeat:
            runs.append(run)
        print(name, "  ".join(f"{way} {rate:.0f} MB/s" for way, rate in run.items()), flush=True)
    median = {way: statistics.median(run[way] for run in runs) for way in WAYS}
    ratios = {
        "engine / plain": ratio(runs, "engine", "plain"),
        "2 ranks / 1 rank": ratio(runs, "engine on 2 ranks", "engine"),
        "2 ranks / plain": ratio(runs, "engine on 2 ranks", "plain"),
        "2 plain halves / 1 plain": ratio(runs, "plain on 2 halves", "plain"),
        "csv: engine / plain": ratio(runs, "csv by engine", "csv by plain"),
        "csv: 2 ranks / 1 rank": ratio(runs, "csv by engine on 2 ranks", "csv by engine"),
    }
    print(name, "  ".join(f"{what} {value:.2f}" for what, value in ratios.items()), flush=True)
    return {"megabytes_per_second": median, "ratios": ratios, "runs": runs}


def ratio(runs: list[dict[str, float]], way: str, other: str) -> float:
    """The median over rounds of what is measured in the same round."""
    return statistics.median(run[way] / run[other] for run in runs)


def measure(way: str, address: str, web: str) -> float:
    """Seconds from when all processes are ready to the last one's end."""
    parts = 2 if "2" in way else 1
    with tempfile.TemporaryDirectory() as folder:
        begin = pathlib.Path(folder, "begin")
        command = [sys.executable, __file__, "--reader", way, address, web, str(begin)]
        if way.startswith("plain") or way == "csv by plain":
            commands = [[*command, str(part), str(parts)] for part in range(parts)]
        else:
            launcher = [str(pathlib.Path(sys.executable).with_name("mpiexec")), "-n", "2"] if parts == 2 else []
            commands = [[*launcher, *command, "0", "1"]]
        jobs = [subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for each in commands]
        while len(list(pathlib.Path(folder).glob("ready-*"))) < parts:
            if any(job.poll() for job in jobs):
                raise SystemExit(f"{way} failed:\n{jobs[0].communicate()[1]}")
            time.sleep(0.01)
        began = time.monotonic()
        begin.touch()
        said = [job.communicate() for job in jobs]
        ends = [json.loads(line) for out, _ in said for line in out.splitlines()]
        if any(job.returncode for job in jobs) or len(ends) != parts:
            raise SystemExit(f"{way} failed:\n{said[0][1]}")
    return float(max(ends) - began)


def read(way: str, address: str, web: str, begin: str, *numbers: str) -> None:
    """What each process runs: get ready, wait for the others, read, say when it ended."""
    part, parts = map(int, numbers)
    act = {"plain": plain, "csv by plain": csv_by_plain, "plain on 2 halves": plain}.get(way)
    run = by_engine(way, address) if act is None else act(address, web, part, parts)
    start = pathlib.Path(begin)
    start.with_name(f"ready-{os.getpid()}").touch()
    while not start.exists():
        time.sleep(0.001)
    run()
    sys.stdout.write(json.dumps(time.monotonic()) + "\n")
    sys.stdout.flush()


def by_engine(way: str, address: str) -> Any:
    """Ranges of this rank, or its rows."""
    from engine import storage
    from engine.collectives.default import resolve
    from engine.data.dataset import Dataset
    from engine.data.shard import read_shard

    comm = resolve(None)
    size = storage.file_size(address)
    first, last = comm.rank * size // comm.size, (comm.rank + 1) * size // comm.size

    def read_ranges() -> None:
        with storage.open_file(address, [(first, last)]) as file:
            file.seek(first)
            left = last - first
            while left:
                left -= len(storage.read_fully(file, min(PIECE, left)))

    return (lambda: read_shard(Dataset(address), comm)) if way.startswith("csv") else read_ranges


def plain(address: str, web: str, part: int, parts: int) -> Any:
    """The same bytes by the client that people use."""
    if address.startswith("hdfs:"):
        client, path = hdfs_client(address, web)
        size = client.status(path)["length"]
        first, last = part * size // parts, (part + 1) * size // parts

        def read_hdfs() -> None:
            with client.read(path, offset=first, length=last - first, chunk_size=PIECE) as chunks:
                assert sum(map(len, chunks)) == last - first

        return read_hdfs
    file = s3_file(address)
    size = file.size()
    first, last = part * size // parts, (part + 1) * size // parts

    def read_s3() -> None:
        at = first
        while at < last:
            at += len(file.read_at(min(4 * PIECE, last - at), at))

    return read_s3


def csv_by_plain(address: str, web: str, part: int, parts: int) -> Any:
    """The file to a table by ``pyarrow.csv``, from the client's bytes."""
    from pyarrow import csv

    if address.startswith("hdfs:"):
        client, path = hdfs_client(address, web)

        def read_hdfs() -> None:
            with client.read(path) as reader:
                csv.read_csv(io.BytesIO(reader.read()))

        return read_hdfs
    file = s3_file(address)
    return lambda: csv.read_csv(file)


def hdfs_client(address: str, web: str) -> tuple[Any, str]:
    """A client of the ``hdfs`` package, and the path."""
    import hdfs

    return hdfs.InsecureClient(web, user=os.environ["HADOOP_USER_NAME"]), "/" + address.split("/", 3)[3]


def s3_file(address: str) -> Any:
    """An object by Arrow."""
    from pyarrow import fs

    endpoint = os.environ["AWS_ENDPOINT_URL"].partition("://")[2]
    return fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1").open_input_file(address.partition("://")[2])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--reader"]:
        read(*sys.argv[2:])
    else:
        main()
