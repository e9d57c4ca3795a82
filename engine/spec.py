"""JobSpec: what one job is to do, as JSON. It is the only contract between ``launch``, which writes it, and ``engine.run``, which reads it.

Reading is strict: a key that is not known here, a value of another type or a newer version is an :class:`OptionError` that names it, so
that a misspelt option never trains another model than the one asked for. Options of toolkits are checked by the toolkits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from engine.errors import OptionError

VERSION = 1
TASKS = ("train", "predict", "evaluate", "head", "schema")
TOOLKITS = (
    "boosted_trees_classifier",
    "boosted_trees_regression",
    "random_forest_classifier",
    "random_forest_regression",
    "linear_regression",
    "logistic_classifier",
    "svm_classifier",
)
GRAPH_TOOLKITS = ("pagerank", "label_propagation")
# What each task cannot do without, and what means nothing to it.
_NEEDED = {"train": ("toolkit", "target", "output"), "predict": ("model", "output"), "evaluate": ("model",), "head": (), "schema": ()}
_FOREIGN = {
    "train": ("model", "output_type"),
    "predict": ("toolkit", "target", "features", "options", "graph"),
    "evaluate": ("toolkit", "target", "features", "options", "output_type", "graph"),
    "head": ("toolkit", "target", "model", "output_type", "output", "graph"),
    "schema": ("toolkit", "target", "features", "model", "output_type", "output", "graph"),
}
# The same for training on graphs.
_NEEDED_ON_GRAPHS = ("output", "graph")
_FOREIGN_ON_GRAPHS = (*_FOREIGN["train"], "target", "features")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where the rows are and how to read them: the arguments of ``engine.Dataset``.

    ``paths`` are files, globs, folders or addresses, in the order of their rows; ``format`` None goes by extension.
    """

    paths: tuple[str, ...]
    format: str | None = None
    delimiter: str = ","
    header: bool = True
    null_values: tuple[str, ...] = ("", "NA", "null")
    column_types: dict[str, str] | None = None
    comment: str | None = None


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """How the data is a graph: the arguments of ``engine.Graph``, where the data are its edges.

    Columns are said by name or position; ``vertices`` are files as the data is; ``table`` is a file for the result of every vertex.
    """

    src: str | int = 0
    dst: str | int = 1
    vid: str | int = 0
    vertices: tuple[str, ...] | None = None
    table: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job. ``train`` needs a toolkit, a target and an output folder; ``predict`` a model and an output file; ``evaluate`` a model.
    ``head`` and ``schema`` show rows and columns.

    For a toolkit of graphs ``train`` needs a ``graph`` instead of a target.

    ``options`` are the keyword arguments of the toolkit's ``create``, where a ``validation_set`` is a path or a list of them, read as the
    data is. ``output`` is the folder of the trained model, or the file of predictions or metrics. ``debug`` shows tracebacks.
    """

    task: str
    data: DataSpec
    toolkit: str | None = None
    target: str | None = None
    features: tuple[str, ...] | None = None
    graph: GraphSpec | None = None
    options: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    output_type: str | None = None
    output: str | None = None
    verbose: bool = True
    num_threads: int | None = None
    debug: bool = False

    def __post_init__(self) -> None:
        """Refuse a job that lacks something, or says something that its task would not look at."""
        if self.task not in TASKS:
            raise OptionError(f"expected task to be one of {', '.join(TASKS)}, got {self.task!r}")
        on_graph = self.toolkit in GRAPH_TOOLKITS
        job = f"{self.task} job" + (f" of {self.toolkit}" if on_graph else "")
        for name in _NEEDED_ON_GRAPHS if on_graph else _NEEDED[self.task]:
            if getattr(self, name) is None:
                raise OptionError(f"expected {name!r} in a {job}, got none: add it")
        for name in _FOREIGN_ON_GRAPHS if on_graph else _FOREIGN[self.task]:
            if getattr(self, name):
                raise OptionError(f"{name!r} means nothing in a {job}, got {getattr(self, name)!r}: leave it out")
        if self.toolkit is not None and self.toolkit not in (*TOOLKITS, *GRAPH_TOOLKITS):
            raise OptionError(f"expected toolkit to be one of {', '.join((*TOOLKITS, *GRAPH_TOOLKITS))}, got {self.toolkit!r}")
        if self.graph is not None and not on_graph:
            raise OptionError(f"'graph' means nothing in a {job} of {self.toolkit}, got {self.graph!r}: leave it out")
        if self.num_threads is not None and self.num_threads < 1:
            raise OptionError(f"expected num_threads to be 1 or more, got {self.num_threads!r}: leave it out for all cores")
        if not self.data.paths:
            raise OptionError("expected at least one path in 'data.paths', got none")

    def to_json(self) -> str:
        """The job as JSON text, every field said."""
        return json.dumps({"version": VERSION, **_as_json(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """The inverse of :meth:`to_json`; what is not said has its default. Raises :class:`OptionError` for anything unexpected."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise OptionError(f"expected a job as JSON, got {_shorten(text)}: {error}") from None
        if not isinstance(value, dict):
            raise OptionError(f"expected a job as a JSON object, got {_shorten(text)}")
        version = value.pop("version", VERSION)
        if not _is_int(version) or not 1 <= version <= VERSION:
            raise OptionError(f"expected a job of version 1 to {VERSION}, got {version!r}: install the release of samesum that wrote it")
        data_value, graph_value = value.pop("data", {}), value.pop("graph", None)
        job = _read_fields(value, _JOB_FIELDS, "")
        data = _read_fields(data_value, _DATA_FIELDS, "data.")
        graph = None if graph_value is None else GraphSpec(**_read_fields(graph_value, _GRAPH_FIELDS, "graph."))
        if "paths" not in data:
            raise OptionError("expected 'data.paths' in a job, got none: add the files to read")
        if "task" not in job:
            raise OptionError(f"expected 'task' in a job, got none: add one of {', '.join(TASKS)}")
        return cls(data=DataSpec(**data), graph=graph, **job)


class _Type(NamedTuple):
    """What a field of the JSON may hold, and how to say so."""

    expected: str
    accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_string, value))


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float) or (isinstance(value, list) and all(map(_is_scalar, value)))


def _is_option(value: Any) -> bool:
    return _is_scalar(value) or (isinstance(value, dict) and all(map(_is_scalar, value.values())))


def _or_null(kind: _Type) -> _Type:
    return _Type(f"{kind.expected} or null", lambda value: value is None or kind.accepts(value))


_STRING = _Type("a string", _is_string)
_STRINGS = _Type("a list of strings", _is_strings)
_BOOL = _Type("true or false", lambda value: isinstance(value, bool))
_INT = _Type("an integer", _is_int)
_COLUMN = _Type("the name or position of a column", lambda value: _is_string(value) or _is_int(value))
_STRING_MAP = _Type("an object of strings", lambda value: isinstance(value, dict) and all(map(_is_string, value.values())))
_OPTIONS = _Type(
    "an object of plain values, lists or objects", lambda value: isinstance(value, dict) and all(map(_is_option, value.values()))
)

_DATA_FIELDS = {
    "paths": _STRINGS,
    "format": _or_null(_STRING),
    "delimiter": _STRING,
    "header": _BOOL,
    "null_values": _STRINGS,
    "column_types": _or_null(_STRING_MAP),
    "comment": _or_null(_STRING),
}
_GRAPH_FIELDS = {
    "src": _COLUMN,
    "dst": _COLUMN,
    "vid": _COLUMN,
    "vertices": _or_null(_STRINGS),
    "table": _or_null(_STRING),
}
_JOB_FIELDS = {
    "task": _STRING,
    "toolkit": _or_null(_STRING),
    "target": _or_null(_STRING),
    "features": _or_null(_STRINGS),
    "options": _OPTIONS,
    "model": _or_null(_STRING),
    "output_type": _or_null(_STRING),
    "output": _or_null(_STRING),
    "verbose": _BOOL,
    "num_threads": _or_null(_INT),
    "debug": _BOOL,
}


def _read_fields(value: Any, known: Mapping[str, _Type], prefix: str) -> dict[str, Any]:
    """The fields of a JSON object as keyword arguments, lists as tuples."""
    if not isinstance(value, dict):
        raise OptionError(f"expected {prefix.rstrip('.')!r} to be an object, got {_shorten(json.dumps(value))}")
    for name, item in value.items():
        if name not in known:
            raise OptionError(f"unknown key {prefix + name!r} in a job: it has {', '.join(prefix + key for key in known)}")
        if not known[name].accepts(item):
            raise OptionError(f"expected {prefix + name!r} to be {known[name].expected}, got {_shorten(json.dumps(item))}")
    return {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}


def _as_json(spec: JobSpec | DataSpec | GraphSpec) -> dict[str, Any]:
    """The fields of a spec, tuples as lists."""
    values = {item.name: getattr(spec, item.name) for item in fields(spec)}
    return {
        name: _as_json(value) if isinstance(value, DataSpec | GraphSpec) else list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def _shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
