"""What a checkpoint of a graph toolkit holds: values of all vertices by number, progress, options, and a fingerprint of the graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._kernels.row_layout import hash_entries
from engine.checkpoint import Checkpoint, checkpoint_path, find_checkpoint, share_checkpoint, write_checkpoint
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.encode.graph_partition import Adjacency, GraphPartition
from engine.errors import DataError, ModelFileError, OptionError
from engine.model_io import Arrays
from engine.progress import ProgressTable

MAY_CHANGE = ("max_iterations",)
TIME_COLUMN = "Elapsed Time"


def fingerprint_graph(
    partition: GraphPartition, adjacency: Adjacency, columns: Mapping[str, NDArray[Any]], comm: Communicator
) -> dict[str, Any]:
    """What tells this graph, and the columns of its vertices that are used, from others, on any number of ranks; collective."""
    hashes = np.zeros(1 + len(columns), dtype=np.uint64)
    hashes[0] = hash_entries(adjacency.indptr, adjacency.neighbours, adjacency.weights, partition.first)
    each = np.arange(partition.n_local + 1, dtype=np.int64)
    for at, values in enumerate(columns.values(), start=1):
        numbers = np.zeros(partition.n_local, dtype=np.uint32)
        hashes[at] = hash_entries(each, numbers, np.ascontiguousarray(values, dtype=np.float64), partition.first)
    comm.allreduce_sum(hashes, name="hash the graph")
    named = {name: f"{int(value):016x}" for name, value in zip(["edges", *columns], hashes, strict=True)}
    return {"num_vertices": partition.n_vertices, "num_edges": partition.n_edges, **named}


@dataclass
class Course:
    """Iterations of a graph toolkit so far, where they are kept, and where they are shown; the same on every rank."""

    toolkit: str
    options: dict[str, Any]
    folder: str | None
    interval: int
    resume: str | None
    table: ProgressTable
    comm: Communicator

    def __post_init__(self) -> None:
        """Begin the clock."""
        self.rows: list[dict[str, Any]] = []
        self._fingerprint: dict[str, Any] = {}
        self._began = time.perf_counter()

    @property
    def writes(self) -> bool:
        """Whether there will be checkpoints."""
        return self.folder is not None and self.interval > 0

    @property
    def needs_fingerprint(self) -> bool:
        """Whether checkpoints are written or read."""
        return self.writes or self.resume is not None

    def find(self, fingerprint: dict[str, Any]) -> Checkpoint | None:
        """The checkpoint to go on from, its progress being this one's from now on; None for a fresh start. Collective."""
        self._fingerprint = fingerprint
        if self.resume is None:
            return None
        resume = self.resume
        checkpoint = share_checkpoint(self.comm, lambda: find_checkpoint(resume, self.folder, self._check))
        if checkpoint is not None:
            self.rows = [dict(row) for row in checkpoint.content["progress"]]
            times = list(checkpoint.run.get("elapsed_time", []))
            for row, seconds in zip(self.rows, times, strict=False):
                row[TIME_COLUMN] = seconds
            if times:
                self._began = time.perf_counter() - times[-1]
            self.table.head(self.table.columns, len(self.rows))
            self.table.resumed(checkpoint.iteration)
        return checkpoint

    def add(self, values: Mapping[str, Any], state: Callable[[], Arrays]) -> None:
        """Note an iteration, show it, and write a checkpoint of ``state()`` if it is time; collective."""
        number = len(self.rows) + 1
        self.rows.append({"Iteration": number, **values, TIME_COLUMN: time.perf_counter() - self._began})
        self.table.row(self.rows[-1])
        if self.writes and number % self.interval == 0:
            self._write(number, state())

    def _write(self, number: int, arrays: Arrays) -> None:
        with agree(self.comm, "writing a checkpoint"):
            if self.comm.rank == 0:
                folder = self.folder or ""
                content = {
                    "options": self.options,
                    "fingerprint": self._fingerprint,
                    "progress": [{name: value for name, value in row.items() if name != TIME_COLUMN} for row in self.rows],
                }
                run = {"elapsed_time": [row.get(TIME_COLUMN) for row in self.rows]}
                path = checkpoint_path(folder, number)
                self.table.checkpoint(path)
                write_checkpoint(folder, Checkpoint(path, number, content, arrays, run), toolkit=self.toolkit, named=self.resume)

    def _check(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint of another training: :class:`OptionError`, :class:`DataError`, or :class:`ModelFileError`."""
        content, where = checkpoint.content, f"checkpoint {checkpoint.path!r}"
        try:
            if content["toolkit"] != self.toolkit:
                raise OptionError(f"{where} is of toolkit {content['toolkit']!r}, expected {self.toolkit!r}")
            for name in {**content["options"], **self.options}:
                expected, got = content["options"].get(name), self.options.get(name)
                if name not in MAY_CHANGE and expected != got:
                    raise OptionError(f"{where} was made with {name}={expected!r}, got {got!r}: resume with the same options")
            for name in {**content["fingerprint"], **self._fingerprint}:
                expected, got = content["fingerprint"].get(name), self._fingerprint.get(name)
                if expected != got:
                    raise DataError(f"{where} is of another graph: its {name} is {expected!r}, got {got!r}; resume with the same graph")
            if len(content["progress"]) != checkpoint.iteration:
                raise ModelFileError(f"{where} is damaged: it has no progress of {checkpoint.iteration} iterations; use another")
            for array in checkpoint.arrays.values():
                if len(array) != content["fingerprint"]["num_vertices"] or array.dtype != np.float64:
                    raise ModelFileError(f"{where} is damaged: its values are not those of its vertices; use another")
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(f"{where} is damaged: {error!r}; use another") from error
