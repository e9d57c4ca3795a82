"""Blocks of a real HDFS are read by ranks that are on their hosts, and every model has the bytes of the one from local files."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

import samesum
from engine import storage
from engine.collectives.serial import SerialComm
from engine.data.placement import FileBlocks, count_local_bytes
from engine.job import run_attempt
from engine.spec import DataSpec, JobSpec, Resources
from engine.working_dir import WorkingDir
from tests.cluster.conftest import new_folder
from tests.cluster.hadoop import BLOCK_BYTES
from tests.mpi_jobs import run_ranks

ONE, TWO = "127.0.0.1", "127.0.0.2"  # the data nodes
TRIES = 64  # each puts a block on the wanted one of two hosts with even chances
MODEL_FILES = ("model.json", "arrays.safetensors")

# Each rank takes one of the names that it is told for its host's; then trainings, or the attempt of a job.
SCRIPT = """
import os, sys
from mpi4py import MPI
os.environ["SAMESUM_HOST_NAMES"] = sys.argv[1].split(",")[MPI.COMM_WORLD.Get_rank()]
from engine.collectives.default import resolve
if len(sys.argv) == 3:
    from engine.job import run_attempt
    run_attempt(sys.argv[2], resolve(None))
else:
    import samesum
    for toolkit in sys.argv[4:]:
        getattr(samesum, toolkit).create(sys.argv[2], target="y", verbose=False, max_iterations=3).save(f"{sys.argv[3]}/{toolkit}")
"""
TOOLKITS = ("boosted_trees_regression", "linear_regression")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Local files, each of which is a block of HDFS."""
    folder = tmp_path_factory.mktemp("parts")
    draw = np.random.default_rng(9)
    for part in range(4):
        rows = draw.normal(size=(9000, 4))
        lines = [f"{a:.17f},{b:.17f},{c:.17f},{a * b + c + noise:.17f}\n" for a, b, c, noise in rows]
        (folder / f"part-{part}.csv").write_text("a,b,c,y\n" + "".join(lines))
    assert all(BLOCK_BYTES // 2 < path.stat().st_size < BLOCK_BYTES for path in folder.iterdir())
    return folder


def put_on(folder, parts, hosts):
    """Put the files there, each on its host; their blocks, as the name node says."""
    blocks = []
    for path, host in zip(sorted(parts.iterdir()), hosts, strict=True):
        address = storage.join(folder, path.name)
        for _ in range(TRIES):
            storage.put_file(address, path)
            found = storage.block_hosts(address)
            if [block.hosts for block in found] == [[host]]:
                break
        else:
            raise AssertionError(f"{address} never came to {host}")
        blocks.append(FileBlocks(path.stat().st_size, is_whole=False, blocks=found))
    return blocks


def share_by_number(blocks, hosts):
    """The share that is local where ranks keep their numbers."""
    local = count_local_bytes(blocks, [[host] for host in hosts])
    return local.trace() / sum(file.size for file in blocks)


def saved(folder):
    return [(pathlib.Path(folder) / name).read_bytes() for name in MODEL_FILES]


def link(parts, folder, count):
    """A folder of the first of the files."""
    folder.mkdir()
    for path in sorted(parts.iterdir())[:count]:
        (folder / path.name).symlink_to(path)
    return folder


def bytes_read(folder):
    return json.loads((folder / "run.json").read_text())["bytes_read"]


def test_ranks_read_blocks_of_their_own_hosts(hdfs, parts, tmp_path):
    address, hosts = new_folder(hdfs), (ONE, TWO, ONE, TWO)
    blocks = put_on(address, parts, [ONE, ONE, TWO, TWO])
    assert share_by_number(blocks, hosts) == pytest.approx(0.5, abs=0.01)
    job = run_ranks(4, ["-c", SCRIPT, ",".join(hosts), address, str(tmp_path), *TOOLKITS], timeout=300)
    assert job.code == 0, job.err
    for toolkit in TOOLKITS:
        assert bytes_read(tmp_path / toolkit)["share_local"] > 0.95
        getattr(samesum, toolkit).create(str(parts), target="y", verbose=False, max_iterations=3).save(tmp_path / "local" / toolkit)
        assert saved(tmp_path / toolkit) == saved(tmp_path / "local" / toolkit)


def test_more_ranks_than_blocks(hdfs, parts, tmp_path):
    one, address = link(parts, tmp_path / "one", 1), new_folder(hdfs)
    put_on(address, one, [TWO])
    job = run_ranks(3, ["-c", SCRIPT, f"{ONE},{TWO},nowhere", address, str(tmp_path), "linear_regression"], timeout=300)
    assert job.code == 0, job.err
    assert 0.2 < bytes_read(tmp_path / "linear_regression")["share_local"] < 0.5  # one of three ranks has a copy
    samesum.linear_regression.create(str(one), target="y", verbose=False, max_iterations=3).save(tmp_path / "local")
    assert saved(tmp_path / "linear_regression") == saved(tmp_path / "local")


def test_a_job_says_how_much_its_workers_read_from_their_own_machines(hdfs, parts, tmp_path):
    address, hosts = new_folder(hdfs), (TWO, ONE)
    blocks = put_on(address, link(parts, tmp_path / "two", 2), [ONE, TWO])
    assert share_by_number(blocks, hosts) < 0.01
    spec = JobSpec(
        task="train",
        toolkit="linear_regression",
        data=DataSpec(paths=(address,)),
        target="y",
        options={"max_iterations": 3},
        resources=Resources(num_workers=2, num_threads=1),
    )
    alone, together = (WorkingDir.create(str(tmp_path / name), spec) for name in ("alone", "together"))
    run_attempt(alone.address, SerialComm())
    job = run_ranks(2, ["-c", SCRIPT, ",".join(hosts), together.address], timeout=300)
    assert job.code == 0, job.err
    assert (together.result() or {})["state"] == "SUCCESS"
    note = json.loads(pathlib.Path(together.attempt_path(1, "run.json")).read_text())
    assert note["bytes_read_locally"] > 0.95 * note["bytes_read"]
    share = 100 * note["bytes_read_locally"] / note["bytes_read"]
    assert f"{share:.0f}% of it from disks of the workers' own machines" in together.progress()
    assert saved(together.attempt_path(1, "model")) == saved(alone.attempt_path(1, "model"))
