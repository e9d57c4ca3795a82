"""Training rows: go through this rank's part of the data, encode and bin it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.threads import useful_threads
from engine.data.dataset import as_dataset
from engine.data.stream import Stream, open_stream
from engine.encode.bins import BinMatrix, BinSpec, encode_bins, fit_bins, place_columns
from engine.encode.categories import fit_encoding
from engine.encode.encoding import Encoding
from engine.encode.features import select_features
from engine.encode.labels import encode_classes, encode_numbers
from engine.encode.panels import panel_bytes, plan_panels
from engine.errors import DataError, warn
from engine.memory import Memory
from engine.models._trees.grower import HISTOGRAM_BYTES, pairs_at_once
from engine.models._trees.initial_model import InitialModel, join_encodings
from engine.models._trees.weights import join_weights, read_weights, resolve_class_weights
from engine.progress import ProgressTable

Task = Literal["classifier", "regression"]
BIN_ARRAYS = ("narrow bins", "wide bins", "panels of bins")
MOST_ROWS = 2**32 - 1  # of a rank: trees keep their order in 32 bits


@dataclass(frozen=True)
class Rows:
    """This rank's rows, encoded, with what all ranks know of them."""

    encoding: Encoding
    bins: BinMatrix
    y: NDArray[Any]  # class numbers, or float64
    weights: NDArray[np.float64] | None
    classes: list[Any] | None
    counts: list[int] | None
    class_weights: list[float] | None
    first_row: int
    n_rows: int
    initial_scores: NDArray[np.float64] | None  # [n_outputs, n_rows_local] of the model that training goes on from


def read_columns(
    data: Any,
    target: str,
    features: list[str] | None,
    *,
    sample_weight: str | None,
    comm: Communicator,
    table: ProgressTable,
    memory: Memory,
) -> tuple[Stream, list[str]]:
    """This rank's rows of the target, the weights and the feature columns, to go through, and the features' names; collective."""
    extra = [] if sample_weight is None else [sample_weight]
    with agree(comm, "opening the data"):
        dataset = as_dataset(data)
        names = select_features([name for name in dataset.columns if name not in extra], target, features)
        # ranks read about equally much, and the bar shows rank 0's part
        table.stage("Reading", dataset.input_bytes // comm.size, in_bytes=True)
    return open_stream(dataset, comm, [*names, target, *extra], keep_bytes=memory.spare // 4, on_bytes=table.advance), names


def encode_rows(
    stream: Stream,
    features: list[str],
    target: str,
    *,
    task: Task,
    options: dict[str, Any],
    initial: InitialModel | None = None,
    num_threads: int,
    comm: Communicator,
    memory: Memory,
) -> Rows:
    """Number the classes, fit the encoding and the bins on all ranks' rows, and encode this rank's; collective.

    The features are gone through twice: for their bins, and for their codes; those that are taken apart (vectors, maps, lists) thrice.
    """
    classes: list[Any] | None = None
    counts: list[int] | None = None
    class_weights: list[float] | None = None
    y: NDArray[Any]
    n = stream.n_rows_local
    with agree(comm, "encoding"):
        if n > MOST_ROWS:
            raise DataError(f"expected at most {MOST_ROWS} rows on each rank, got {n}; use more ranks")
    num_threads = useful_threads(num_threads, n * len(features))
    if task == "classifier":
        labels = encode_classes(stream, target=target, comm=comm)
        classes, counts, y = labels.classes, labels.counts, labels.codes
        with agree(comm, "weighting classes"):
            class_weights = resolve_class_weights(options["class_weights"], classes, counts)
    else:
        y = encode_numbers(stream, target=target, comm=comm)
    weights = None if options["sample_weight"] is None else read_weights(stream, name=options["sample_weight"], comm=comm)
    encoding = fit_encoding(stream, features, comm, max_categories=options["max_categories"])
    if initial is not None:
        with agree(comm, "going on from the initial model"):
            initial.check_classes(classes)
            encoding = join_encodings(encoding, initial.encoding)
    specs = fit_bins(stream, encoding, max_bins=options["max_bins"], seed=options["random_seed"], comm=comm, num_threads=num_threads)
    warn_all_missing(encoding, specs, stream.n_rows, comm)
    n_classes = len(classes or [])
    n_outputs = n_classes if n_classes > 2 else 1
    sizes = training_bytes(n, specs, n_outputs=n_outputs, max_depth=options["max_depth"], n_ranks=comm.size)
    memory.plan(sizes, mappable=BIN_ARRAYS, n_rows=n, n_bins=sum(spec.n_codes for spec in specs), comm=comm)
    bins: BinMatrix | None = None
    scores: NDArray[np.float64] | None = None
    with agree(comm, "encoding"):
        bins = encode_bins(stream, encoding, specs, num_threads=num_threads, allocate=memory.allocate)
        if initial is not None:
            parts = [initial.scores(pa.Table.from_batches([batch]), num_threads=num_threads) for batch in stream.batches(features)]
            scores = np.concatenate([np.empty((initial.ensemble.n_outputs, 0)), *parts], axis=1)
    assert bins is not None
    weights = join_weights(weights, class_weights, y)
    return Rows(encoding, bins, y, weights, classes, counts, class_weights, stream.first_row, stream.n_rows, scores)


def training_bytes(n_rows: int, specs: list[BinSpec], *, n_outputs: int, max_depth: int, n_ranks: int) -> dict[str, int]:
    """What the large arrays of training take on a rank with ``n_rows``, by name."""
    n_wide = int(place_columns([spec.n_codes for spec in specs])[0].sum())
    n_narrow = len(specs) - n_wide
    node_bytes = max(1, 16 * sum(spec.n_codes for spec in specs))
    level_bytes = node_bytes * min(2 ** (max_depth - 1), max(1, n_rows))
    batch_bytes = 2 * node_bytes * pairs_at_once(2 * node_bytes, n_ranks)
    return {
        "narrow bins": n_rows * n_narrow,
        "wide bins": 2 * n_rows * n_wide,
        "panels of bins": panel_bytes(plan_panels(n_narrow, n_wide, n_rows), n_rows),
        "gradients": 16 * n_rows,
        "packed gradients": 8 * n_rows,
        "order of rows": 3 * 4 * n_rows,  # of the data, of nodes, and the next one
        "leaves of rows": 4 * n_rows,
        "scores": 8 * n_rows * n_outputs,
        # those kept of the level before the last and of its parents, and a batch, before and after it is reduced
        "histograms": 2 * min(HISTOGRAM_BYTES, level_bytes // 2) + 2 * min(level_bytes, batch_bytes),
    }


def warn_all_missing(encoding: Encoding, specs: list[BinSpec], n_rows: int, comm: Communicator) -> None:
    """Warn, once, of features that hold nothing."""
    holding = {column.source for column, spec in zip(encoding.columns, specs, strict=True) if spec.has_values}
    empty = [name for name in encoding.sources if name not in holding]
    if empty and n_rows and comm.rank == 0:
        warn(f"every value is missing in column {', '.join(map(repr, empty))}: the model cannot use it")
