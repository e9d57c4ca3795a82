"""What every rank of a job runs: read the job, do its task together with the other ranks, write what comes of it on rank 0.

The one argument is a job, as a file or as text, or the working directory of one, of which :mod:`engine.job` takes care.
An error that all ranks found ends each of them with code 1, and rank 0 prints it in one line; a job that cannot be meant ends with 2.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import pathlib
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.errors import EngineError, MissingFileError, OptionError, StorageError
from engine.model_io import check_replaceable, local_folder
from engine.spec import JobSpec

if TYPE_CHECKING:
    import pyarrow as pa

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


def run_job(spec: JobSpec, comm: Communicator) -> None:
    """Do the job's task. Collective: every rank calls it with the same job."""
    if spec.task not in ("train", "predict", "evaluate"):
        raise OptionError(f"a {spec.task} job is for a supervisor to run: submit it")
    tasks: dict[str, Callable[[JobSpec, Communicator], None]] = {"train": train, "predict": predict, "evaluate": evaluate}
    task = tasks[spec.task] if spec.graph is None else train_on_graph
    task(spec, comm)


def train(spec: JobSpec, comm: Communicator) -> None:
    """Train the toolkit's model and save it in the folder ``output``. Collective."""
    with agree(comm, "preparing the job"):
        check_options(spec)
        check_replaceable(pathlib.Path(local_folder(spec.output or "")))
        dataset = open_dataset(spec)
        options = dict(spec.options)
        if (validation := options.get("validation_set")) not in (None, "auto"):
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


def train_on_graph(spec: JobSpec, comm: Communicator) -> None:
    """Load the graph, train the toolkit's model, save it in the folder ``output``, and write its table if one is wanted. Collective."""
    from engine.graph import Graph

    assert spec.graph is not None
    table: tuple[pathlib.Path, Any] | None = None
    with agree(comm, "preparing the job"):
        check_options(spec)
        check_replaceable(pathlib.Path(local_folder(spec.output or "")))
        table = None if spec.graph.table is None else check_output(spec.graph.table, _TABLE_WRITERS)
        edges = open_dataset(spec)
        vertices = None if spec.graph.vertices is None else open_dataset(spec, spec.graph.vertices)
    columns = {"src": spec.graph.src, "dst": spec.graph.dst, "vid": spec.graph.vid}
    graph = Graph(edges, vertices, **columns, num_threads=spec.num_threads, comm=comm)  # type: ignore[arg-type]
    toolkit = importlib.import_module(f"engine.models.{spec.toolkit}")
    model = toolkit.create(graph, verbose=spec.verbose, num_threads=spec.num_threads, comm=comm, **spec.options)
    with agree(comm, "saving the model"):
        model.save(spec.output)
        if table is not None and comm.rank == 0:
            path, write = table
            put_file(path, lambda partial: write(model[_TABLES[spec.toolkit or ""]], partial))


def predict(spec: JobSpec, comm: Communicator) -> None:
    """Write the model's predictions for every row, in input order, to the file ``output``, ``.csv`` or ``.parquet``. Collective."""
    import pyarrow as pa

    from engine.models.loading import load_model

    with agree(comm, "preparing the job"):
        path, write = check_output(spec.output or "", _TABLE_WRITERS)
        dataset, model = open_dataset(spec), load_model(spec.model or "")
        kind = choose_output_type(model, spec)
    values = model.predict(dataset, output_type=kind, num_threads=spec.num_threads, comm=comm)
    name = "prediction" if kind == "value" else kind
    with agree(comm, "writing the predictions"):
        if comm.rank == 0:
            put_file(path, lambda partial: write(pa.table({name: values}), partial))


def evaluate(spec: JobSpec, comm: Communicator) -> None:
    """Print the model's metrics as JSON; with ``output``, write them there, the ROC curve included. Collective."""
    from engine.models.loading import load_model

    with agree(comm, "preparing the job"):
        path = None if spec.output is None else check_output(spec.output, {".json": None})[0]
        dataset, model = open_dataset(spec), load_model(spec.model or "")
        check_task(model, spec)
    metrics = {name: _as_json(value) for name, value in model.evaluate(dataset, num_threads=spec.num_threads, comm=comm).items()}
    with agree(comm, "writing the metrics"):
        if comm.rank == 0:
            if path is not None:
                put_file(path, lambda partial: partial.write_text(json.dumps(metrics) + "\n"))
            shown = {name: value for name, value in metrics.items() if name != "roc_curve"}
            sys.stdout.write(json.dumps(shown, indent=2) + "\n")


def open_dataset(spec: JobSpec, paths: Sequence[str] | None = None) -> Dataset:
    """The job's data, or that at ``paths`` read in the same way; not read yet."""
    from engine.data.dataset import Dataset

    data = spec.data
    assert data is not None
    return Dataset(
        list(data.paths if paths is None else paths),
        format=data.format,
        delimiter=data.delimiter,
        header=data.header,
        null_values=list(data.null_values),
        column_types=data.column_types,
        comment=data.comment,
    )


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


def check_output(output: str, kinds: dict[str, Any]) -> tuple[pathlib.Path, Any]:
    """The path of an output file and what its extension stands for; found before the work, so that no work is lost."""
    path = pathlib.Path(output).expanduser()
    if path.suffix.lower() not in kinds:
        raise OptionError(f"expected an output file with the extension {' or '.join(kinds)}, got {output!r}")
    if path.is_dir():
        raise OptionError(f"expected an output file, got the folder {output!r}")
    return path, kinds[path.suffix.lower()]


def put_file(path: pathlib.Path, write: Callable[[pathlib.Path], Any]) -> None:
    """Write a file beside its place and move it there when it is whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        raise StorageError(f"could not write {str(path)!r}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _write_csv(table: pa.Table, path: pathlib.Path) -> None:
    """Lists become columns, one for each place, as ``probability_vector[0]``: CSV knows no lists."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
            columns[name] = column
            continue
        width = pc.max(pc.list_value_length(column)).as_py() or 0
        columns.update({f"{name}[{place}]": pc.list_element(column, place) for place in range(width)})
    csv.write_csv(pa.table(columns), path)


def _write_parquet(table: pa.Table, path: pathlib.Path) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path)


_TABLE_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}


def _as_json(value: Any) -> Any:
    """A metric as JSON knows it: tables as an object of columns, what is no number as null."""
    if hasattr(value, "to_pydict"):
        return {name: [_as_json(item) for item in column] for name, column in value.to_pydict().items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value


def _report(error: EngineError, comm: Communicator | None, *, debug: bool) -> int:
    """Print an error once; the exit code says whether the job was wrong or its work failed."""
    if comm is None or comm.rank == 0:
        if debug:
            traceback.print_exception(error)
        else:
            sys.stderr.write(f"samesum: error: {' '.join(str(error).split())}\n")
    return 2 if isinstance(error, OptionError) else 1
