"""JobSpec: what one job is to do, as JSON. It is the only contract between ``launch``, which writes it, and ``engine``, which reads it.

Reading is strict: a key that is not known here, a value of another type or a newer version is an :class:`OptionError` that names it, so
that a misspelt option never trains another model than the one asked for. Options of toolkits are checked by the toolkits.

Version 2 added ``resources``, ``script``, ``validation``, and what is kept of rows and columns; jobs of version 1 are read as before.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from engine.errors import OptionError
from engine.masking import SECRET_NAMES
from engine.spec_fields import (
    BOOL,
    COLUMN,
    INT,
    NUMBER,
    OPTIONS,
    SPLITS,
    STRING,
    STRING_MAP,
    STRINGS,
    as_json,
    is_int,
    nested,
    or_null,
    read_fields,
    shorten,
)

VERSION = 2
TASKS = ("train", "predict", "evaluate", "script")
BACKENDS = ("local", "yarn", "slurm", "pbs")
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
_NEEDED = {
    "train": ("data", "toolkit", "target", "output"),
    "predict": ("data", "model", "output"),
    "evaluate": ("data", "model"),
    "script": ("script", "resources"),
}
_FOREIGN = {
    "train": ("model", "output_type", "script"),
    "predict": ("report", "toolkit", "target", "features", "options", "graph", "validation", "script"),
    "evaluate": ("report", "toolkit", "target", "features", "options", "output_type", "graph", "validation", "script"),
    "script": ("report", "data", "toolkit", "target", "features", "options", "graph", "validation", "model", "output_type", "output"),
}
# The same for training on graphs.
_NEEDED_ON_GRAPHS = ("data", "output", "graph")
_FOREIGN_ON_GRAPHS = (*_FOREIGN["train"], "target", "features", "validation")
# What the supervisor says to its ranks.
_OWN_VARIABLES = re.compile(r"SAMESUM_(JOB|ATTEMPT|GANG|SCRATCH|HEARTBEAT_DIR|AGENT)(_|$)")


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where the rows are and how to read them: the arguments of ``engine.Dataset``.

    ``paths`` are files, globs, folders or addresses, in the order of their rows; ``format`` None goes by extension. ``columns`` are those
    selected, None for all; each of ``splits`` is a random split: its fraction, its seed, and whether the first part is meant.
    """

    paths: tuple[str, ...]
    format: str | None = None
    delimiter: str = ","
    header: bool = True
    null_values: tuple[str, ...] = ("", "NA", "null")
    column_types: dict[str, str] | None = None
    comment: str | None = None
    skip_lines: int = 0
    columns: tuple[str, ...] | None = None
    splits: tuple[tuple[float, int, bool], ...] = ()


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """How the data is a graph: the arguments of ``engine.Graph``, where the data are its edges.

    Columns are said by name or position; ``vertices`` are files as the data is, unless ``vertex_data`` says how they are read;
    ``edge_fields`` and ``vertex_fields`` are the columns to keep, None for all; ``table`` is a file for the result of every vertex.
    """

    src: str | int = 0
    dst: str | int = 1
    vid: str | int = 0
    vertices: tuple[str, ...] | None = None
    vertex_data: DataSpec | None = None
    edge_fields: tuple[str, ...] | None = None
    vertex_fields: tuple[str, ...] | None = None
    table: str | None = None

    def __post_init__(self) -> None:
        """Refuse vertices said twice."""
        if self.vertices is not None and self.vertex_data is not None:
            raise OptionError("expected 'graph.vertices' or 'graph.vertex_data' in a job, got both: leave one out")


@dataclass(frozen=True, kw_only=True)
class ScriptSpec:
    """A program in Python for the ranks, with its arguments."""

    path: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class YarnResources:
    """What a job on YARN asks for beside its workers.

    ``python`` is an interpreter that all nodes have; without one ``archive``, the address of a packed environment, is unpacked on them.
    ``packages`` are addresses of archives with packages for it. ``conf_dir`` is the folder with Hadoop's settings on the machine that
    submits. Ports of MPI are from ``start_port`` to ``end_port``; all containers must be there ``start_within`` seconds after the
    application's start, or are given back and asked for again; with ``min_containers`` the job goes on with that many, or more, if not
    all have come. ``tags`` are those of the application. ``view_users`` may look at it on a
    cluster with Kerberos, beside its owner.
    """

    conf_dir: str | None = None
    archive: str | None = None
    python: str | None = None
    packages: tuple[str, ...] = ()
    queue: str = "default"
    node_label: str | None = None
    start_port: int = 9100
    end_port: int = 9200
    start_within: float = 300.0
    min_containers: int | None = None
    tags: tuple[str, ...] = ()
    view_users: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BatchResources:
    """What a job of a batch system, Slurm or PBS, asks for beside its workers, an equal number of which is on each of ``nodes``.

    ``time_limit`` in minutes, None for the queue's own; ``warning``: how many seconds before it the job ends, to go on from its last
    checkpoint when it is scheduled anew. ``queue`` is Slurm's partition. ``modules`` are loaded by the script, ``directives`` added to it
    as they are. ``mpi``: what starts ranks, ``mpiexec`` or what ``srun --mpi`` takes. ``python`` is an interpreter that all nodes have.
    """

    nodes: int = 1
    time_limit: int | None = None
    warning: int = 120
    queue: str | None = None
    account: str | None = None
    modules: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    mpi: str = "mpiexec"
    python: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no batch system can do."""
        for name, least in (("nodes", 1), ("time_limit", 1), ("warning", 1)):
            value = getattr(self, name)
            if value is not None and not (is_int(value) and value >= least):
                raise OptionError(f"expected 'resources.batch.{name}' to be an integer of {least} or more, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job in a working directory runs on.

    ``worker_memory`` is the memory of each worker in MB (2**20 bytes), above which it is ended; None for a share of the machine that
    nobody watches. ``max_restarts``: how often the ranks are started anew after a loss; ``hang_timeout``: after how many seconds
    without progress of any rank they count as lost, 0 for never. ``node_tmp_dir`` is the folder for caches on the workers' machines,
    ``hdfs_tmp_dir`` the one for staged data, on any storage. ``environment`` is added to that of the ranks; no secret belongs there.
    ``yarn`` is for jobs on YARN, ``batch`` for those of Slurm and PBS.
    """

    backend: str = "local"
    num_workers: int = 1
    num_threads: int | None = None
    worker_memory: int | None = None
    max_restarts: int = 3
    hang_timeout: float = 600.0
    node_tmp_dir: str | None = None
    hdfs_tmp_dir: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    yarn: YarnResources | None = None
    batch: BatchResources | None = None

    def __post_init__(self) -> None:
        """Refuse what no cluster can do."""
        if self.backend not in BACKENDS:
            raise OptionError(f"expected 'resources.backend' to be one of {', '.join(BACKENDS)}, got {self.backend!r}")
        for name, least in (("num_workers", 1), ("num_threads", 1), ("worker_memory", 16), ("max_restarts", 0)):
            value = getattr(self, name)
            if value is not None and not (is_int(value) and value >= least):
                raise OptionError(f"expected 'resources.{name}' to be an integer of {least} or more, got {value!r}")
        if not (math.isfinite(self.hang_timeout) and self.hang_timeout >= 0):
            raise OptionError(f"expected 'resources.hang_timeout' to be seconds, 0 or more (0 for never), got {self.hang_timeout!r}")
        for name in self.environment:
            if not name or "=" in name or "\0" in name + self.environment[name]:
                raise OptionError(f"expected names and values of variables in 'resources.environment', got {name!r}")
            if SECRET_NAMES.search(name):
                raise OptionError(
                    f"'resources.environment.{name}' looks like a secret, and a job's description can be read by others: keep "
                    "credentials in the files or roles where the storage's client looks for them"
                )
            if _OWN_VARIABLES.match(name):
                raise OptionError(f"'resources.environment.{name}' is for the supervisor to say: leave it out")
        fewest = None if self.yarn is None else self.yarn.min_containers
        if fewest is not None and not 1 <= fewest <= self.num_workers:
            raise OptionError(f"expected 'resources.yarn.min_containers' from 1 to the {self.num_workers} workers, got {fewest!r}")
        if self.batch is not None and self.num_workers % self.batch.nodes:
            raise OptionError(
                f"expected as many workers on each node, got {self.num_workers} workers on {self.batch.nodes} nodes: give a multiple"
            )


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job. ``train`` needs a toolkit, a target and an output folder; ``predict`` a model and an output file; ``evaluate`` a model.

    For a toolkit of graphs ``train`` needs a ``graph`` instead of a target. ``script`` runs a program of its own on all ranks.

    ``options`` are the keyword arguments of the toolkit's ``create``, where a ``validation_set`` is a path or a list of them, read as the
    data is; ``validation`` is one that is read in its own way. ``output`` is the folder of the trained model, or the file of predictions or
    metrics. A job with ``resources`` has a working directory, in which its results are, so that an ``output`` is not needed; there
    ``model_checkpoint_path`` is ``'auto'``, its folder ``checkpoints``, if the options do not say anything else. ``staged`` is a folder of
    data that was written for this job alone, and is removed when it has ended; ``submitted`` is when it was, in seconds since 1970.
    ``report`` is a file for the page of a training that has no working directory. ``debug`` shows tracebacks.
    """

    task: str
    data: DataSpec | None = None
    toolkit: str | None = None
    target: str | None = None
    features: tuple[str, ...] | None = None
    graph: GraphSpec | None = None
    validation: DataSpec | None = None
    options: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    output_type: str | None = None
    output: str | None = None
    report: str | None = None
    script: ScriptSpec | None = None
    resources: Resources | None = None
    staged: str | None = None
    submitted: float | None = None
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
            if getattr(self, name) is None and not (name == "output" and self.resources is not None):
                raise OptionError(f"expected {name!r} in a {job}, got none: add it")
        for name in _FOREIGN_ON_GRAPHS if on_graph else _FOREIGN[self.task]:
            if getattr(self, name):
                raise OptionError(f"{name!r} means nothing in a {job}, got {getattr(self, name)!r}: leave it out")
        if self.toolkit is not None and self.toolkit not in (*TOOLKITS, *GRAPH_TOOLKITS):
            raise OptionError(f"expected toolkit to be one of {', '.join((*TOOLKITS, *GRAPH_TOOLKITS))}, got {self.toolkit!r}")
        if self.graph is not None and not on_graph:
            raise OptionError(f"'graph' means nothing in a {job} of {self.toolkit}, got {self.graph!r}: leave it out")
        if self.report is not None and self.resources is not None:
            raise OptionError(f"'report' means nothing in a job with a working directory, which has report.html, got {self.report!r}")
        if self.num_threads is not None and self.num_threads < 1:
            raise OptionError(f"expected num_threads to be 1 or more, got {self.num_threads!r}: leave it out for all cores")
        if self.validation is not None and self.options.get("validation_set") is not None:
            raise OptionError("expected 'validation' or 'options.validation_set' in a job, got both: leave one out")
        if self.data is not None and not self.data.paths:
            raise OptionError("expected at least one path in 'data.paths', got none")

    def to_json(self) -> str:
        """The job as JSON text, every field said."""
        return json.dumps({"version": VERSION, **as_json(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """The inverse of :meth:`to_json`; what is not said has its default. Raises :class:`OptionError` for anything unexpected."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise OptionError(f"expected a job as JSON, got {shorten(text)}: {error}") from None
        if not isinstance(value, dict):
            raise OptionError(f"expected a job as a JSON object, got {shorten(text)}")
        version = value.pop("version", VERSION)
        if not is_int(version) or not 1 <= version <= VERSION:
            raise OptionError(f"expected a job of version 1 to {VERSION}, got {version!r}: install the release of samesum that wrote it")
        if "task" not in value:
            raise OptionError(f"expected 'task' in a job, got none: add one of {', '.join(TASKS)}")
        return cls(**read_fields(value, _JOB_FIELDS))


_DATA_FIELDS = {
    "paths": STRINGS,
    "format": or_null(STRING),
    "delimiter": STRING,
    "header": BOOL,
    "null_values": STRINGS,
    "column_types": or_null(STRING_MAP),
    "comment": or_null(STRING),
    "skip_lines": INT,
    "columns": or_null(STRINGS),
    "splits": SPLITS,
}
_DATA = or_null(nested(DataSpec, _DATA_FIELDS, needed="paths"))
_GRAPH_FIELDS = {
    "src": COLUMN,
    "dst": COLUMN,
    "vid": COLUMN,
    "vertices": or_null(STRINGS),
    "vertex_data": _DATA,
    "edge_fields": or_null(STRINGS),
    "vertex_fields": or_null(STRINGS),
    "table": or_null(STRING),
}
_YARN_FIELDS = {
    "conf_dir": or_null(STRING),
    "archive": or_null(STRING),
    "python": or_null(STRING),
    "packages": STRINGS,
    "queue": STRING,
    "node_label": or_null(STRING),
    "start_port": INT,
    "end_port": INT,
    "start_within": NUMBER,
    "min_containers": or_null(INT),
    "tags": STRINGS,
    "view_users": STRINGS,
}
_BATCH_FIELDS = {
    "nodes": INT,
    "time_limit": or_null(INT),
    "warning": INT,
    "queue": or_null(STRING),
    "account": or_null(STRING),
    "modules": STRINGS,
    "directives": STRINGS,
    "mpi": STRING,
    "python": or_null(STRING),
}
_RESOURCE_FIELDS = {
    "backend": STRING,
    "num_workers": INT,
    "num_threads": or_null(INT),
    "worker_memory": or_null(INT),
    "max_restarts": INT,
    "hang_timeout": NUMBER,
    "node_tmp_dir": or_null(STRING),
    "hdfs_tmp_dir": or_null(STRING),
    "environment": STRING_MAP,
    "yarn": or_null(nested(YarnResources, _YARN_FIELDS)),
    "batch": or_null(nested(BatchResources, _BATCH_FIELDS)),
}
_JOB_FIELDS = {
    "task": STRING,
    "data": _DATA,
    "toolkit": or_null(STRING),
    "target": or_null(STRING),
    "features": or_null(STRINGS),
    "graph": or_null(nested(GraphSpec, _GRAPH_FIELDS)),
    "validation": _DATA,
    "options": OPTIONS,
    "model": or_null(STRING),
    "output_type": or_null(STRING),
    "output": or_null(STRING),
    "report": or_null(STRING),
    "script": or_null(nested(ScriptSpec, {"path": STRING, "args": STRINGS}, needed="path")),
    "resources": or_null(nested(Resources, _RESOURCE_FIELDS)),
    "staged": or_null(STRING),
    "submitted": or_null(NUMBER),
    "verbose": BOOL,
    "num_threads": or_null(INT),
    "debug": BOOL,
}
