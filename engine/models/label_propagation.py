"""Label propagation: vertices without a label take on those of their neighbours."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.threads import useful_threads
from engine.encode.adjacency import load_edges_both, load_edges_in
from engine.encode.graph_partition import Adjacency
from engine.errors import warn
from engine.model_io import Arrays
from engine.models._graphs.checkpoints import fingerprint_graph
from engine.models._graphs.columns import check_weights, read_labels
from engine.models._graphs.creating import CONVERGED, LIMIT, Call, check_attribute
from engine.models._graphs.model import GraphModel
from engine.models._graphs.output import gather_by_number, gather_results
from engine.models._graphs.rows import arrange_rows
from engine.models._graphs.spreading import Spreading
from engine.models._options import check_column_name, check_flag, check_option
from engine.progress import make_preamble

__all__ = ["LabelPropagation", "create"]

CHANGE = "Average l2 change in class probability"
COLUMNS = ["Iteration", CHANGE]
OSCILLATING = "oscillating"
MOST_ITERATIONS = 1000
UNIFORM = 1e-10  # a largest probability so near to 1/K says nothing


class LabelPropagation(GraphModel):
    """Distributions of classes of all vertices; made by :func:`create` or :func:`engine.load_model`."""

    toolkit: ClassVar[str] = "label_propagation"
    array_names: ClassVar[tuple[str, ...]] = ("codes", "probabilities")

    def _results(self) -> dict[str, Any]:
        document = self._document
        return {
            "labels": self._table,
            "classes": list(document["classes"]),
            "num_classes": len(document["classes"]),
            "num_labeled_vertices": document["num_labeled_vertices"],
        }

    def _table(self) -> pa.Table:
        """Id, label, predicted label and the probability of every class, P0 and so on, of every vertex."""
        codes, values = self._arrays["codes"], self._arrays["probabilities"]
        classes = self._document["classes"]
        kind = pa.array(classes).type
        name = self._document["options"]["label_field"]
        columns = {**self._ids(), name: take(classes, codes, kind), "predicted_label": take(classes, predict(codes, values), kind)}
        return pa.table({**columns, **{f"P{c}": pa.array(np.ascontiguousarray(values[:, c])) for c in range(len(classes))}})

    def _graph_lines(self) -> list[tuple[str, Any]]:
        return [("Number of classes", self.get("num_classes")), ("Number of labeled vertices", self.get("num_labeled_vertices"))]


def create(
    graph: Any,
    label_field: str,
    *,
    threshold: float = 1e-3,
    weight_field: str | None = None,
    self_weight: float = 1.0,
    undirected: bool = False,
    max_iterations: int | None = None,
    model_checkpoint_path: str | os.PathLike[str] | None = None,
    model_checkpoint_interval: int = 5,
    resume_from_checkpoint: str | os.PathLike[str] | None = None,
    verbose: bool = True,
    num_threads: int | None = None,
    comm: Communicator | None = None,
    **kwargs: Any,
) -> LabelPropagation:
    """Give every vertex of a graph a distribution of classes. Collective.

    Every rank calls it. The same graph and options give the same distributions, byte for byte, on any number of ranks and threads. Labelled
    vertices keep their class; all others begin with 1/K of each of K classes, and in every iteration take on the mean of their own
    distribution, with weight ``self_weight``, and those of the vertices that have edges to them.

    Args:
        graph: An ``engine.Graph``. Self-loops count, and parallel edges count each.
        label_field: Vertex attribute with the labels: strings, integers, booleans or floats, missing where there is none. At least one
            label, at most 1000 different ones.
        threshold: Stop when the distributions changed by less in an iteration, by the mean over the vertices without a label of the
            Euclidean distance; at least 0.
        weight_field: Edge attribute: the weight of a neighbour. 0, or from 1e-30 to 1e30. None: all alike.
        self_weight: Weight of a vertex for itself, 0 to 1e30.
        undirected: Whether edges count in both directions.
        max_iterations: Most iterations, at least 1; None: 1000.
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
        DataError: An attribute is not there or cannot be used, or there is no label at all.
        StorageError: A file cannot be read or written.
        ModelFileError: The checkpoint is damaged.
        CommunicationError: The ranks were called with different options.
        TypeError: ``graph`` is no graph.
    """
    return spread_labels(locals())


def spread_labels(arguments: Mapping[str, Any]) -> LabelPropagation:
    """Check the ``arguments`` of :func:`create`, iterate, and describe the result; collective."""
    began = time.perf_counter()
    call = Call(LabelPropagation.toolkit, arguments, checks=CHECKS, columns=COLUMNS)
    with contextlib.closing(call.table):
        codes, classes = read_labels(call.partition, call.options["label_field"], call.comm)
        counts = np.array([np.count_nonzero(codes >= 0)])
        call.comm.allreduce_sum(counts, name="count labels")
        values, stop_reason = iterate(call, codes, len(classes), int(counts[0]))
    arrays = gather_results(call.partition, {"codes": codes, "probabilities": values}, call.comm)
    rows = call.course.rows
    result = {
        "classes": classes,
        "num_labeled_vertices": int(counts[0]),
        "num_iterations": len(rows),
        "delta": rows[-1][CHANGE],
        "converged": stop_reason == CONVERGED,
        "stop_reason": stop_reason,
    }
    document = {**call.describe(COLUMNS), **result}
    return LabelPropagation(document, arrays, call.describe_run(time.perf_counter() - began), rank=call.comm.rank)


def iterate(call: Call, codes: NDArray[np.int32], n_classes: int, n_labelled: int) -> tuple[NDArray[np.float64], str]:
    """Distributions of this rank's vertices, and why there were no more iterations; collective."""
    partition, comm, course = call.partition, call.comm, call.course
    edges = load_edges(call)
    reads = np.diff(edges.indptr) if call.options["undirected"] else partition.out_degrees
    spreading = Spreading(
        arrange_rows(partition, edges, reads, comm, num_threads=call.num_threads),
        codes,
        n_vertices=partition.n_vertices,
        n_classes=n_classes,
        self_weight=call.options["self_weight"],
        num_threads=useful_threads(call.num_threads, partition.n_edges_local * n_classes),
        comm=comm,
    )
    unlabelled = partition.n_vertices - n_labelled
    counts = {"Number of vertices": partition.n_vertices, "Number of edges": partition.n_edges, "Number of classes": n_classes}
    call.table.preamble(
        make_preamble("Label propagation", {**counts, "Number of labeled vertices": n_labelled, "Number of unlabeled vertices": unlabelled})
    )
    if unlabelled == 0 and comm.rank == 0:
        warn(f"every vertex has a label in {call.options['label_field']!r}: there is nothing to predict")
    if course.needs_fingerprint:
        checkpoint = course.find(fingerprint_graph(partition, edges, {"labels": codes}, comm))
        if checkpoint is not None:
            own = slice(partition.first, partition.first + partition.n_local)
            spreading.go_on_from(*(np.ascontiguousarray(checkpoint.arrays[name][own]) for name in ("values", "values_before")))

    def state() -> Arrays:
        values = {"values": spreading.values, "values_before": spreading.values_before}
        return {name: gather_by_number(partition, own, comm, name="gather classes") for name, own in values.items()}

    del edges
    while not (stop_reason := why_stop(course.rows, call.options)):
        step = spreading.step()
        share = max(unlabelled, 1)
        course.add({CHANGE: step.change / share, "leap": step.leap / share, "changed": step.n_changed}, state)
    call.table.finish()
    values = spreading.values
    spreading.close()
    return values, stop_reason


def why_stop(rows: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
    """Why the iterations in ``rows`` are all there will be; '' if they are not.

    What comes back every other iteration never converges: values that are near to those of two iterations ago, but not to the last ones.
    """
    if rows and (rows[-1][CHANGE] < options["threshold"] or rows[-1]["changed"] == 0):
        return CONVERGED
    if rows and rows[-1]["leap"] < options["threshold"]:
        return OSCILLATING
    return LIMIT if len(rows) >= (options["max_iterations"] or MOST_ITERATIONS) else ""


def load_edges(call: Call) -> Adjacency:
    """The edges that labels take to this rank's vertices; collective."""
    field = call.options["weight_field"]
    if call.options["undirected"]:
        edges = load_edges_both(call.partition, call.comm, field, num_threads=call.num_threads)
    else:
        edges = load_edges_in(call.partition, call.comm, field)
    with agree(call.comm, "reading weights"):
        check_weights(edges.weights, field)
    return edges


def predict(codes: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class of every vertex: its label's, else the most probable, the first of equals; -1 where all are equally probable."""
    best = values.argmax(axis=1) if len(values) else np.empty(0, dtype=np.int64)
    largest = values[np.arange(len(values)), best]
    best[np.abs(largest - 1.0 / values.shape[1]) < UNIFORM] = -1
    return np.where(codes >= 0, codes, best)


def take(classes: list[Any], codes: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Classes by their numbers, null for -1."""
    return pc.take(pa.array(classes, kind), pa.array(codes, mask=codes < 0))


def check_max_iterations(name: str, value: Any) -> int | None:
    """None stands for the most there can be."""
    return None if value is None else check_option(name, value)


CHECKS = {
    "label_field": check_column_name,
    "weight_field": check_attribute,
    "undirected": check_flag,
    "max_iterations": check_max_iterations,
}
