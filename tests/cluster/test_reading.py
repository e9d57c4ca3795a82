"""Data on a real HDFS and a real S3 server: the same rows on any number of ranks, and no byte is fetched twice that need not be."""

from __future__ import annotations

import bz2
import gzip
import json
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from engine import storage
from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.data.stream import open_stream
from engine.errors import DataError
from engine.models import linear_regression
from tests.cluster.conftest import new_folder
from tests.cluster.hadoop import BLOCK_BYTES
from tests.mpi_jobs import plain_environment, run_ranks
from tests.reading import read_everywhere

ROWS, FEW = 60_000, 4000
HEADER_BYTES = 64 << 10
SLACK = 4 * HEADER_BYTES  # headers, footers, records that reach into the next rank's range

# Reads the dataset that it is told, twice where it is told so, as one rank; says how many rows and bytes it read.
SCRIPT = """
import json, sys
from engine import storage
from engine.collectives.default import resolve
from engine.data.dataset import Dataset
from engine.data.stream import open_stream
from engine.data.shard import read_shard
comm = resolve(None)
dataset, passes = Dataset(sys.argv[1], **json.loads(sys.argv[2])), int(sys.argv[3])
if passes:
    stream = open_stream(dataset, comm)
    rows = [sum(batch.num_rows for batch in stream.batches()) for _ in range(passes)][-1]
else:
    rows = read_shard(dataset, comm).table.num_rows
facts = comm.gather_objects([rows, storage.bytes_read().total], name="facts")
if comm.rank == 0:
    print("facts", json.dumps(facts))
"""


@pytest.fixture(scope="module")
def table():
    """Numbers, and text with quotes, line ends and missing values."""
    rng = np.random.default_rng(5)
    words = np.array(["plain words for this row, which are " + "many " * 20, 'a "quoted" word', "two\nlines", "", "ünï"])
    return pa.table(
        {
            "id": np.arange(ROWS),
            "x": rng.normal(size=ROWS),
            "y": rng.normal(size=ROWS),
            "text": words[rng.integers(0, len(words), ROWS)],
            "z": rng.integers(0, 1 << 60, ROWS),
        }
    )


def write(table, path):
    """A local file of the kind that the name says."""
    if path.name.endswith(".parquet"):
        parquet.write_table(table, path, row_group_size=len(table) // 8, compression="none", use_dictionary=False)
    elif path.suffix in (".arrow", ".arrows"):
        with (pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream)(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=len(table) // 7)
    else:
        csv.write_csv(table, path.with_suffix(".plain"))
        text = path.with_suffix(".plain").read_bytes()
        packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}
        path.write_bytes(packers.get(path.suffix, bytes)(text))
    return path


@pytest.fixture(scope="module")
def files(table, tmp_path_factory):
    """Local files of every kind, by name."""
    folder = tmp_path_factory.mktemp("files")
    names = ("t.csv", "t.csv.gz", "t.csv.bz2", "t.csv.zst", "t.parquet", "t.arrow", "t.arrows")
    return {name: write(table.slice(0, FEW), folder / f"few-{name}") for name in names} | {
        f"many.{suffix}": write(table, folder / f"many.{suffix}") for suffix in ("csv", "parquet")
    }


def server_of(request, address):
    return request.getfixturevalue("hdfs" if address.startswith("hdfs:") else "s3")


def served(server, address):
    """Bytes of a file that the server has been asked for."""
    name = storage.name_of(storage.parent(address)) + "/" + storage.name_of(address)
    return sum(length for path, _, length in server.served() if path.endswith(name))


def bytes_served(server, address, before, facts):
    """Bytes that the server has been asked for since, which are those that the ranks say; its log may be some moments late."""
    said = sum(read for _, read in facts)
    deadline = time.monotonic() + 10
    while (total := served(server, address) - before) != said and time.monotonic() < deadline:
        time.sleep(0.05)
    assert total == said
    return total


def read_on_ranks(ranks, address, passes=0, **settings):
    options = json.dumps(settings.pop("options", {}))
    job = run_ranks(ranks, ["-c", SCRIPT, address, options, str(passes)], timeout=100, **settings)
    assert job.code == 0, job.err
    return json.loads(next(line for line in job.out.splitlines() if line.startswith("facts")).partition(" ")[2])


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.bz2", "t.csv.zst", "t.parquet", "t.arrow", "t.arrows"])
def test_the_rows_are_those_of_the_local_file(remote, files, name):
    address = storage.join(remote, name)
    storage.put_file(address, files[name])
    storage.file_cache().clear()
    expected = Dataset(files[name]).head(FEW)
    assert expected.num_rows == FEW
    assert read_everywhere(lambda: Dataset(address)).equals(expected)
    assert Dataset(address).head(3).equals(expected.slice(0, 3))


def test_folders_of_parts_and_edges(remote, tmp_path):
    for part in range(5):
        storage.put_bytes(f"{remote}/parts/part-{part}.csv", b"a,b\n" + b"".join(b"%d,x\n" % (100 * part + k) for k in range(part * 7)))
    storage.put_bytes(f"{remote}/parts/_SUCCESS", b"")
    table = read_everywhere(lambda: Dataset(f"{remote}/parts"))
    assert table["a"].to_pylist() == [100 * part + k for part in range(5) for k in range(part * 7)]
    edges = "# from to\n" + "".join(f"{k}\t{k * k % 97}\n" for k in range(300))
    storage.put_bytes(f"{remote}/edges.txt", edges.encode())
    table = read_everywhere(lambda: Dataset(f"{remote}/edges.txt", format="snap"))
    assert table["X2"].to_pylist() == [k * k % 97 for k in range(300)]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["many.csv", "many.parquet"])
def test_all_ranks_together_read_a_file_once(remote, request, files, name, ranks):
    server, address = server_of(request, remote), storage.join(remote, name)
    storage.put_file(address, files[name])
    size = storage.file_size(address)
    assert size > 3 * BLOCK_BYTES
    before = served(server, address)
    facts = read_on_ranks(ranks, address)
    assert sum(rows for rows, _ in facts) == ROWS
    total = bytes_served(server, address, before, facts)
    assert size - SLACK <= total <= size + ranks * HEADER_BYTES + SLACK
    share = size / ranks + (size / 8 if name == "many.parquet" else 0)  # rows of a group that two ranks share
    assert all(read <= share + 2 * SLACK for _, read in facts)


@pytest.mark.parametrize("ranks", [1, 3])
def test_without_a_cache_a_file_is_read_once_for_each_pass(remote, request, files, ranks):
    server, address = server_of(request, remote), storage.join(remote, "t.csv")
    storage.put_file(address, files["many.csv"])
    size = storage.file_size(address)
    for cache, passes in ((str(4 * size), 1), ("0", 3 + (ranks > 1))):
        before = served(server, address)
        facts = read_on_ranks(ranks, address, passes=2, SAMESUM_FILE_CACHE=cache)  # types are settled by a pass before
        assert sum(rows for rows, _ in facts) == ROWS
        total = bytes_served(server, address, before, facts)
        assert size * passes - SLACK <= total <= size * passes + 2 * ranks * HEADER_BYTES + SLACK, (cache, total / size)


def test_reads_of_columns_are_reads_of_their_bytes(remote, request, files):
    server, address = server_of(request, remote), storage.join(remote, "t.parquet")
    storage.put_file(address, files["many.parquet"])
    before = served(server, address)
    storage.file_cache().clear()
    assert Dataset(address).select(["x"]).head(ROWS).num_rows == ROWS
    total = served(server, address) - before
    assert total <= 8 * ROWS + 2 * HEADER_BYTES + (16 << 10)


def test_what_changes_while_it_is_read_is_noticed(remote, files):
    address = storage.join(remote, "t.csv")
    storage.put_file(address, files["t.csv"])
    stream = open_stream(Dataset(address), SerialComm())
    storage.put_bytes(address, b"id,x,y,text,z\n1,2,3,4,5\n")
    with pytest.raises(DataError, match="changed while it was being read"):
        list(stream.batches())


def test_the_share_of_local_bytes_is_counted(hdfs, files, tmp_path):
    address = storage.join(new_folder(hdfs), "t.csv")
    storage.put_file(address, files["many.csv"])
    hosts = Counter()
    for block in storage.block_hosts(address):
        hosts[block.hosts[0]] += block.length
    source = f"from engine import storage; storage.read_bytes({address!r}); print(list(storage.bytes_read()))"
    environment = plain_environment()
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True)
    local, remote = json.loads(done.stdout)
    assert local + remote == storage.file_size(address)
    # 127.0.0.1 is a name of this machine, the other data node's 127.0.0.2 is none: blocks are asked of who has them
    assert local == hosts["127.0.0.1"]


def test_a_saved_model_says_how_much_came_from_own_hosts(hdfs, files, tmp_path):
    address = storage.join(new_folder(hdfs), "t.csv")
    storage.put_file(address, files["t.csv"])
    storage.file_cache().clear()
    before = storage.bytes_read()
    linear_regression.create(address, target="y", features=["x"], verbose=False).save(tmp_path / "model")
    said = json.loads((tmp_path / "model" / "run.json").read_text())["bytes_read"]
    now = storage.bytes_read()
    assert said == {"total": now.total, "local": now.local, "share_local": now.local / now.total}
    assert now.total - before.total >= storage.file_size(address)


def test_a_data_node_that_goes_and_comes_back(hdfs, files):
    address = storage.join(new_folder(hdfs), "t.csv")
    storage.put_file(address, files["many.csv"])
    for node in hdfs.data_nodes:
        node.stop()
    reading = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, address, "{}", "0"],
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        reading.wait(timeout=4)
    for node in hdfs.data_nodes:
        node.start()
    out, err = reading.communicate(timeout=90)
    hdfs.wait_until_ready()
    assert reading.returncode == 0, err
    assert json.loads(out.partition(" ")[2])[0][0] == ROWS
