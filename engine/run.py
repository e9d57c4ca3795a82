"""What every rank of a job runs: read the job, do its task together with the other ranks, write what comes of it on rank 0.

The one argument is a job, as a file or as text, or the working directory of one, of which :mod:`engine.job` takes care.
An error that all ranks found ends each of them with code 1, and rank 0 prints it in one line; a job that cannot be meant ends with 2.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pathlib
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.errors import EngineError, MissingFileError, OptionError, StorageError
from engine.model_io import check_replaceable
from engine.outputs import METRICS, PAGES, TABLES, check_output, is_folder_of_parts, metrics_as_json, put_metrics, put_table
from engine.spec import DataSpec, JobSpec

if TYPE_CHECKING:
    from engine.data.dataset import Dataset

# Arguments of `create` that a job says elsewhere than in its options.
_RESERVED = ("dataset", "graph", "target", "features", "verbose", "num_threads", "comm")
# The field of each toolkit of graphs that has a row for every vertex.
_TABLES = {"pagerank": "pagerank", "label_propagation": "labels"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the job that the one argument says: a path of a JSON file, the JSON text itself, or a working directory; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if len(words) != 1:
        return _report(OptionError(f"expected one argument, a job as a JSON file or as JSON text, got {len(words)}"), None, debug=False)
    comm, debug = None, False
    warnings.showwarning = lambda message, *_: sys.stderr.write(f"samesum: warning: {message}\n")  # type: ignore[assignment]
    try:
        comm = resolve(None)
        if is_working_dir(words[0]):
            from engine.job import run_attempt

            run_attempt(words[0], comm)
            return 0
        with agree(comm, "reading the job"):
            spec = read_job(words[0])
        debug = spec.debug
        run_job(spec, comm)
    except EngineError as error:
        if comm is None and is_working_dir(words[0]):
            from engine.job import note_own_error

            note_own_error(error, rank=0)  # this rank has not found the others, so it may be any
        if comm is not None and comm.size > 1 and not error.found_by_all:
            raise  # other ranks know nothing of it: the hook of uncaught errors ends them all
        return _report(error, comm, debug=debug)
    except KeyboardInterrupt:
        return 130
    return 0


def is_working_dir(argument: str) -> bool:
    """Whether a job's argument is a folder rather than a file or the job itself."""
    if argument.lstrip().startswith("{"):
        return False
    return os.path.isdir(storage.local_path(argument)) if storage.is_local(argument) else storage.suffix_of(argument) != ".json"


def read_job(argument: str) -> JobSpec:
    """The job in JSON text (it begins with a brace) or in the file of that name."""
    if argument.lstrip().startswith("{"):
        return JobSpec.from_json(argument)
    try:
        return JobSpec.from_json(pathlib.Path(argument).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"expected a job file, got {argument!r}: no such file (working directory {os.getcwd()!r})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"could not read the job file {argument!r}: {error}") from error


def run_job(spec: JobSpec, comm: Communicator) -> Any:
    """Do the job's task; gives the model of a training. Collective: every rank calls it with the same job."""
    if spec.task not in ("train", "predict", "evaluate"):
        raise OptionError(f"a {spec.task} job is for a supervisor to run: submit it")
    tasks: dict[str, Callable[[JobSpec, Communicator], Any]] = {"train": train, "predict": predict, "evaluate": evaluate}
    task = tasks[spec.task] if spec.graph is None else train_on_graph
    return task(spec, comm) if spec.report is None else reported(task, spec, comm)


def reported(train: Callable[[JobSpec, Communicator], Any], spec: JobSpec, comm: Communicator) -> Any:
    """Train, and write a page about it. Collective."""
    from engine.report.training import Stopwatch, write_report

    with agree(comm, "preparing the job"):
        if comm.rank == 0:
            check_output(spec.report or "", PAGES)
    stopwatch = Stopwatch(comm)
    model = train(spec, comm)
    with agree(comm, "writing the report"):
        write_report(model, spec, stopwatch, comm)
    return model


def train(spec: JobSpec, comm: Communicator) -> Any:
    """Train the toolkit's model, save it in the folder ``output``, and return it. Collective."""
    with agree(comm, "preparing the job"):
        check_options(spec)
        if comm.rank == 0:
            check_replaceable(spec.output or "")
        dataset = open_dataset(spec)
        options = dict(spec.options)
        if spec.validation is not None:
            options["validation_set"] = open_rows(spec.validation)
        elif (validation := options.get("validation_set")) not in (None, "auto"):
            options["validation_set"] = open_dataset(spec, [validation] if isinstance(validation, str) else validation)
    toolkit = importlib.import_module(f"engine.models.{spec.toolkit}")
    features = None if spec.features is None else list(spec.features)
    model = toolkit.create(
        dataset,
        target=spec.target,
        features=features,
        verbose=spec.verbose,
        num_threads=spec.num_threads,
        comm=comm,
        **options,
    )
    with agree(comm, "saving the model"):
        model.save(spec.output)
    return model


def train_on_graph(spec: JobSpec, comm: Communicator) -> Any:
    """Load the graph, train and return the toolkit's model, save it as ``output``, and write its table if one is wanted. Collective."""
    from engine.data.placement import near_blocks
    from engine.graph import Graph

    assert spec.graph is not None
    with agree(comm, "preparing the job"):
        check_options(spec)
        if comm.rank == 0:
            check_replaceable(spec.output or "")
            if spec.graph.table is not None:
                check_output(spec.graph.table, TABLES)
        edges = open_dataset(spec)
        vertices = None if spec.graph.vertices is None else open_dataset(spec, spec.graph.vertices)
        if spec.graph.vertex_data is not None:
            vertices = open_rows(spec.graph.vertex_data)
    comm = near_blocks(comm, edges)
    names = ("src", "dst", "vid", "edge_fields", "vertex_fields")
    columns: dict[str, Any] = {name: getattr(spec.graph, name) for name in names}
    graph = Graph(edges, vertices, **columns, num_threads=spec.num_threads, comm=comm)
    toolkit = importlib.import_module(f"engine.models.{spec.toolkit}")
    model = toolkit.create(graph, verbose=spec.verbose, num_threads=spec.num_threads, comm=comm, **spec.options)
    with agree(comm, "saving the model"):
        model.save(spec.output)
        if spec.graph.table is not None and comm.rank == 0:
            put_table(model[_TABLES[spec.toolkit or ""]], spec.graph.table)
    return model


def predict(spec: JobSpec, comm: Communicator) -> None:
    """Write the model's predictions for every row, in input order. Collective.

    ``output`` is a file, ``.csv`` or ``.parquet``, or, ending with a slash, a folder of part files of Parquet.
    """
    import pyarrow as pa

    from engine.models._predicting import name_of_predictions
    from engine.models.loading import load_model

    output = spec.output or ""
    with agree(comm, "preparing the job"):
        if comm.rank == 0 and not is_folder_of_parts(output):
            check_output(output, TABLES)
        dataset, model = open_dataset(spec), load_model(spec.model or "")
        kind = choose_output_type(model, spec)
    if is_folder_of_parts(output):
        model.predict(dataset, output_type=kind, output=output, num_threads=spec.num_threads, comm=comm)
        return
    values = model.predict(dataset, output_type=kind, num_threads=spec.num_threads, comm=comm)
    with agree(comm, "writing the predictions"):
        if comm.rank == 0:
            put_table(pa.table({name_of_predictions(kind): values}), output)


def evaluate(spec: JobSpec, comm: Communicator) -> None:
    """Print the model's metrics as JSON; with ``output``, write them there, the ROC curve included. Collective."""
    from engine.models.loading import load_model

    with agree(comm, "preparing the job"):
        if comm.rank == 0 and spec.output is not None:
            check_output(spec.output, METRICS)
        dataset, model = open_dataset(spec), load_model(spec.model or "")
        check_task(model, spec)
    metrics = metrics_as_json(model.evaluate(dataset, num_threads=spec.num_threads, comm=comm))
    with agree(comm, "writing the metrics"):
        if comm.rank == 0:
            if spec.output is not None:
                put_metrics(metrics, spec.output)
            shown = {name: value for name, value in metrics.items() if name != "roc_curve"}
            sys.stdout.write(json.dumps(shown, indent=2) + "\n")


def open_dataset(spec: JobSpec, paths: Sequence[str] | None = None) -> Dataset:
    """The job's data, or that at ``paths`` read in the same way; not read yet."""
    assert spec.data is not None
    return open_rows(spec.data if paths is None else replace(spec.data, paths=tuple(paths)))


def open_rows(data: DataSpec) -> Dataset:
    """The rows that are described; not read yet."""
    from engine.data.dataset import Dataset

    dataset = Dataset(
        list(data.paths),
        format=data.format,
        delimiter=data.delimiter,
        header=data.header,
        null_values=list(data.null_values),
        column_types=data.column_types,
        comment=data.comment,
        skip_lines=data.skip_lines,
    )
    for fraction, seed, first in data.splits:
        dataset = dataset.random_split(fraction, seed=seed)[0 if first else 1]
    return dataset if data.columns is None else dataset.select(list(data.columns))


def check_options(spec: JobSpec) -> None:
    """Refuse what would say an argument of ``create`` twice; the toolkit checks the options themselves."""
    for name in spec.options:
        if name in _RESERVED:
            raise OptionError(f"{name!r} is no option of {spec.toolkit}: say it outside of 'options'")


def choose_output_type(model: Any, spec: JobSpec) -> str:
    """What to predict: what the job says, else what ``predict`` does by itself, such as the class."""
    check_task(model, spec)
    return spec.output_type or str(inspect.signature(model.predict).parameters["output_type"].default)


def check_task(model: Any, spec: JobSpec) -> None:
    """Refuse to predict or evaluate rows with what is no model of rows."""
    if not hasattr(model, spec.task):
        raise OptionError(f"a model of {model.toolkit} has no rows to {spec.task}; its result for every vertex is in the model")


def _report(error: EngineError, comm: Communicator | None, *, debug: bool) -> int:
    """Print an error once; the exit code says whether the job was wrong or its work failed."""
    if comm is None or comm.rank == 0:
        if debug:
            traceback.print_exception(error)
        else:
            sys.stderr.write(f"samesum: error: {' '.join(str(error).split())}\n")
    return 2 if isinstance(error, OptionError) else 1
