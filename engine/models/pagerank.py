"""PageRank: how often a walk along the edges of a graph, which now and then jumps to any vertex, comes by each vertex."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.row_layout import sum_rows
from engine.collectives.agree import agree, raise_on_all
from engine.collectives.communicator import Communicator
from engine.collectives.exact import sum_exact
from engine.collectives.threads import useful_threads
from engine.encode.adjacency import load_edges_in, load_edges_out
from engine.encode.graph_partition import Adjacency
from engine.errors import DataError
from engine.model_io import Arrays
from engine.models._graphs.checkpoints import fingerprint_graph
from engine.models._graphs.columns import check_weights, read_numbers
from engine.models._graphs.creating import CONVERGED, LIMIT, Call, check_attribute
from engine.models._graphs.model import GraphModel
from engine.models._graphs.output import gather_by_number, gather_results
from engine.models._graphs.ranking import Ranking, Start
from engine.models._graphs.rows import arrange_rows
from engine.models._options import check_flag
from engine.progress import make_preamble

__all__ = ["PageRank", "create"]

CHANGE = "L1 change in pagerank"
COLUMNS = ["Iteration", CHANGE]


class PageRank(GraphModel):
    """Ranks of all vertices; made by :func:`create` or :func:`engine.load_model`."""

    toolkit: ClassVar[str] = "pagerank"
    plots: ClassVar[tuple[str, ...]] = (*GraphModel.plots, "ranks")
    array_names: ClassVar[tuple[str, ...]] = ("pagerank", "delta")

    def _results(self) -> dict[str, Any]:
        return {"pagerank": self._table}

    def _table(self) -> pa.Table:
        """Id, rank, and by how much it changed in the last iteration, of every vertex."""
        return pa.table({**self._ids(), **{name: pa.array(self._arrays[name]) for name in self.array_names}})


def create(
    graph: Any,
    *,
    reset_probability: float = 0.15,
    threshold: float = 1e-2,
    max_iterations: int = 20,
    dangling: str = "drop",
    normalize: bool = False,
    weight_field: str | None = None,
    personalization: str | None = None,
    initial: str | None = None,
    precision: str = "float64",
    model_checkpoint_path: str | os.PathLike[str] | None = None,
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    num_threads: int | None = None,
    comm: Communicator | None = None,
    **kwargs: Any,
) -> PageRank:
    """Rank the vertices of a graph. Collective.

    Every rank calls it. The same graph and options give the same ranks, byte for byte, on any number of ranks and threads. With r the
    reset probability and n vertices, ``rank_i = r + (1 - r) * sum over edges j -> i of rank_j / (edges out of j)``, starting from 1.

    Args:
        graph: An ``engine.Graph``. Self-loops count, and parallel edges count each.
        reset_probability: Chance of a jump at each step, 0 to 1.
        threshold: Stop when the ranks changed by less in an iteration, all together; at least 0, which means never.
        max_iterations: Most iterations, at least 1.
        dangling: What becomes of the rank of vertices without edges out, which they give to nobody: 'drop' (nothing), or 'redistribute'
            (it goes to all vertices, as resets do).
        normalize: Whether ranks are shares: they start from 1/n, and resets add up to r instead of n r.
        weight_field: Edge attribute: a vertex gives its rank to its neighbours in proportion to it. 0, or from 1e-30 to 1e30. None: all
            edges alike.
        personalization: Vertex attribute: resets lead to vertices in proportion to it. 0, or from 1e-30 to 1e30; missing is 0. None: to
            all alike.
        initial: Vertex attribute with ranks to start from, such as those of an earlier model; missing is the usual start.
        precision: 'float64', or 'float32' for what vertices give to each other, which is half as much to read and send; ranks are float64.
        model_checkpoint_path: Folder for checkpoints ``model_checkpoint_<N>``, of which the last two are kept; None for none.
        model_checkpoint_interval: Iterations from checkpoint to checkpoint; 0 for none.
        resume_from_checkpoint: The path of a checkpoint of the same graph and options (but max_iterations), or 'auto' for the newest whole
            one in model_checkpoint_path, if there is one. The result is that of a run that was never interrupted.
        verbose: Whether the first rank prints the progress table.
        num_threads: Threads of each rank; None takes SAMESUM_NUM_THREADS, OMP_NUM_THREADS, or its share of the node's cores.
        comm: The ranks that hold the graph; None takes them from it.
        **kwargs: Refused, with the name that may have been meant.

    Returns:
        The model, whole on every rank.

    Raises:
        OptionError: An option is unknown or outside its range.
        DataError: An attribute is not there or cannot be used.
        StorageError: A file cannot be read or written.
        ModelFileError: The checkpoint is damaged.
        CommunicationError: The ranks were called with different options.
        TypeError: ``graph`` is no graph.
    """
    return rank_vertices(locals())


def rank_vertices(arguments: Mapping[str, Any]) -> PageRank:
    """Check the ``arguments`` of :func:`create`, iterate, and describe the result; collective."""
    began = time.perf_counter()
    call = Call(PageRank.toolkit, arguments, checks=CHECKS, columns=COLUMNS)
    with contextlib.closing(call.table):
        values, stop_reason = iterate(call)
    arrays = gather_results(call.partition, values, call.comm)
    rows = call.course.rows
    result = {
        "num_iterations": len(rows),
        "delta": rows[-1][CHANGE],
        "converged": stop_reason == CONVERGED,
        "stop_reason": stop_reason,
    }
    document = {**call.describe(COLUMNS), **result}
    return PageRank(document, arrays, call.describe_run(time.perf_counter() - began), rank=call.comm.rank)


def iterate(call: Call) -> tuple[Arrays, str]:
    """Rank and last change of this rank's vertices, and why there were no more iterations; collective."""
    options, comm, partition = call.options, call.comm, call.partition
    edges = load_edges(call)
    start = make_start(call)
    ranking = Ranking(
        arrange_rows(partition, edges, partition.out_degrees, comm, num_threads=call.num_threads),
        start,
        n_vertices=partition.n_vertices,
        reset_probability=options["reset_probability"],
        redistribute=options["dangling"] == "redistribute",
        normalize=options["normalize"],
        precision=options["precision"],
        num_threads=useful_threads(call.num_threads, partition.n_edges_local),
        comm=comm,
    )
    course = call.course
    call.table.preamble(make_preamble("PageRank", {"Number of vertices": partition.n_vertices, "Number of edges": partition.n_edges}))
    if course.needs_fingerprint:
        columns = {"start": start.ranks, **({} if start.teleport is None else {"personalization": start.teleport})}
        checkpoint = course.find(fingerprint_graph(partition, edges, columns, comm))
        if checkpoint is not None:
            own = slice(partition.first, partition.first + partition.n_local)
            ranking.go_on_from(checkpoint.arrays["pagerank"][own], checkpoint.arrays["delta"][own])

    def state() -> Arrays:
        values = {"pagerank": ranking.ranks, "delta": ranking.deltas}
        return {name: gather_by_number(partition, own, comm, name="gather ranks") for name, own in values.items()}

    del edges
    while not (stop_reason := why_stop(course.rows, options)):
        course.add({CHANGE: ranking.step()}, state)
    call.table.finish()
    values = {"pagerank": ranking.ranks, "delta": ranking.deltas}
    ranking.close()
    return values, stop_reason


def why_stop(rows: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
    """Why the iterations in ``rows`` are all there will be; '' if they are not."""
    if rows and rows[-1][CHANGE] < options["threshold"]:
        return CONVERGED
    return LIMIT if len(rows) >= options["max_iterations"] else ""


def load_edges(call: Call) -> Adjacency:
    """The edges into this rank's vertices, with their weights if there is a field of them; collective."""
    field = call.options["weight_field"]
    edges = load_edges_in(call.partition, call.comm, field)
    with agree(call.comm, "reading weights"):
        check_weights(edges.weights, field)
    return edges


def make_start(call: Call) -> Start:
    """What ranks start from; collective. Raises :class:`DataError` on every rank."""
    options, comm, partition = call.options, call.comm, call.partition
    total = 1.0 if options["normalize"] else float(partition.n_vertices)
    even = 1.0 / max(partition.n_vertices, 1) if options["normalize"] else 1.0
    ranks, wishes = np.full(partition.n_local, even), None
    with agree(comm, "reading the vertices"):
        if options["initial"] is not None:
            ranks = read_numbers(partition, options["initial"], "initial", missing=even)
        if options["personalization"] is not None:
            wishes = read_numbers(partition, options["personalization"], "personalization", missing=0.0)
    largest = sum_exact(comm, ranks, name="sum of the first ranks") if options["initial"] is not None else 0.0
    if wishes is not None:
        wished = sum_exact(comm, wishes, name="sum of personalization")
        if wished == 0.0:
            error = DataError(f"personalization {options['personalization']!r} is 0 for every vertex: expected a positive number for one")
            raise_on_all(comm, error, "reading the vertices")
        wishes = wishes * (total / wished)
    return Start(sum_out(call), wishes, ranks, max(total, largest))


def sum_out(call: Call) -> NDArray[np.float64]:
    """The weight of all edges out of each of this rank's vertices; collective."""
    if call.options["weight_field"] is None:
        return call.partition.out_degrees.astype(np.float64)
    out = load_edges_out(call.partition, call.comm, call.options["weight_field"], num_threads=call.num_threads)
    sums = np.empty(call.partition.n_local)
    sum_rows(out.indptr, out.weights, sums)
    return sums


CHECKS = {
    "normalize": check_flag,
    "weight_field": check_attribute,
    "personalization": check_attribute,
    "initial": check_attribute,
}
