"""Data for a job: as it is where the cluster can read it, else written where it can, as Parquet, with a bar that counts the bytes."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pathlib
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import engine
from engine import storage
from engine.errors import OptionError
from engine.spec import DataSpec, GraphSpec
from launch.clusters import Cluster, absolute
from launch.processes import process_of

PART_BYTES = 64 << 20  # of Arrow memory in a file: what the bar advances by
OWNER_FILE = "job.json"  # beside what was staged: for which job, and by whom


def staging_folder(base: str) -> str:
    """Where in ``hdfs_tmp_dir`` the data of this user's jobs are staged."""
    return storage.join(base, os.environ.get("HADOOP_USER_NAME") or getpass.getuser())


class Staging:
    """What is written for one job, in a folder of its own: ``<hdfs_tmp_dir>/<user>/<job>``, else ``staged`` in the job's directory."""

    def __init__(self, cluster: Cluster, job_address: str) -> None:
        self.cluster = cluster
        base = cluster.hdfs_tmp_dir
        self.job_address = job_address
        self.folder = (
            storage.join(job_address, "staged") if base is None else storage.join(staging_folder(base), storage.name_of(job_address))
        )
        self.is_used = False

    def begin(self) -> None:
        """Say whose the folder is, before anything is written there: whoever finds it later knows when it may go."""
        if not self.is_used:
            self.is_used = True
            if self.cluster.hdfs_tmp_dir is not None:
                storage.put_bytes(storage.join(self.folder, OWNER_FILE), owner_of(self.job_address))

    def remove(self) -> None:
        """Remove what was written, as when the job could not be submitted after all."""
        if self.is_used:
            storage.remove(self.folder)

    def data(self, name: str, data: Any) -> DataSpec:
        """How the job reads ``data``, whatever ``create`` takes; ``name``: what it is to the job.

        Raises ``DataError`` for what is no data, ``MissingFileError`` for files of this machine that are not there.
        """
        dataset = engine.as_dataset(data)
        spec = dataset.as_spec()
        if spec is not None:
            paths = tuple(absolute(path) for path in spec.paths)
            if local := [path for path in paths if storage.is_local(path)]:
                storage.list_files(local)
            if all(map(self.cluster.reads_in_place, paths)):
                return DataSpec(**{**vars(spec), "paths": paths})
        return DataSpec(paths=(self._write_rows(name, dataset),), format="parquet")

    def graph(self, graph: Any) -> tuple[DataSpec, GraphSpec]:
        """How the job loads a graph, from its description or from one that is loaded here."""
        if hasattr(graph, "as_source"):
            graph = graph.as_source()
        if not hasattr(graph, "edge_fields"):
            raise OptionError(f"graph must be engine.Graph.source(edges, vertices, src=..., dst=..., vid=...) or a Graph, got {graph!r}")
        vertices = None if graph.vertices is None else self.data("vertices", graph.vertices)
        return self.data("edges", graph.edges), GraphSpec(
            src=graph.src,
            dst=graph.dst,
            vid=graph.vid,
            vertex_data=vertices,
            edge_fields=None if graph.edge_fields is None else tuple(graph.edge_fields),
            vertex_fields=None if graph.vertex_fields is None else tuple(graph.vertex_fields),
        )

    def model(self, name: str, model: Any) -> str:
        """The address of a model, given by its address, by the job that trained it, or as itself, which is saved for this job."""
        if hasattr(model, "get_results"):
            model = model.get_results()
        if isinstance(model, str | os.PathLike):
            return self.readable(name, model)
        if not callable(getattr(model, "save", None)):
            raise OptionError(f"{name} must be a model, the path of one or the job that trained one, got {model!r}")
        address = storage.join(self.folder, name)
        self.begin()
        model.save(address)
        return address

    def readable(self, name: str, path: str | os.PathLike[str]) -> str:
        """The path as the cluster finds it. Raises ``OptionError`` for one that only this machine has."""
        address = absolute(os.fspath(path))
        if not self.cluster.can_read(address):
            raise OptionError(f"{name} must be where the cluster can read it, got {address!r} of this machine: copy it there")
        return address

    def _write_rows(self, name: str, dataset: Any) -> str:
        """Write rows as a folder of Parquet files, one after the other."""
        from pyarrow import parquet

        address = storage.join(self.folder, name)
        self.begin()
        storage.make_folder(address)
        total = None if dataset.is_from_files else dataset.input_bytes
        n_rows = n_bytes = 0
        with tempfile.TemporaryDirectory(prefix="samesum-staging-") as folder, bar_of_bytes(f"Staging {name}", total) as advance:
            path = pathlib.Path(folder, "part.parquet")
            for number, table in enumerate(_cut(dataset.batches())):
                parquet.write_table(table, path)
                storage.put_file(storage.join(address, f"part-{number:05d}.parquet"), path)
                advance(table.nbytes)
                n_rows, n_bytes = n_rows + table.num_rows, n_bytes + path.stat().st_size
        sys.stderr.write(f"Staged {name}: {n_rows:,} rows, {n_bytes:,} bytes of Parquet in {address}\n")
        return address


def owner_of(job_address: str) -> bytes:
    """What the folder of staged data says of itself: which job it is for, and which process is submitting that."""
    own = process_of(os.getpid())
    about = {"working_dir": job_address, "host": socket.gethostname(), "pid": os.getpid(), "started": own.started if own else 0}
    return json.dumps({**about, "time": time.time()}).encode()


@contextlib.contextmanager
def bar_of_bytes(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A function to call with the size of what is done, for a bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)


def _cut(batches: Iterator[Any]) -> Iterator[Any]:
    """Tables of about as many bytes as a file is to have."""
    import pyarrow as pa

    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if sum(each.nbytes for each in held) >= PART_BYTES:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)
