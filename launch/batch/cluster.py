"""What clusters of batch systems have in common: workers on whole nodes for a limited time, files in folders that all nodes share."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from engine import storage
from engine.errors import OptionError
from engine.spec import BatchResources
from launch import clusters
from launch.clusters import Cluster
from launch.local_cluster import SMALLEST_MEMORY, check_environment

DEFAULT_MEMORY = 2048  # MB of each worker
DEFAULT_WARNING = 120  # seconds
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d{1,2})(?::(\d{1,2}))?")


def check_shared_folder(name: str, value: Any) -> str:
    """A folder of this machine, which the nodes must have too."""
    address = clusters.check_address(name, value)
    if not storage.is_local(address):
        raise OptionError(f"{name} must be a folder that this machine and all nodes share, got {address!r}")
    return address


def check_time_limit(name: str, value: Any) -> int | None:
    """Minutes, from a number of them or from text such as ``'12:00:00'`` (hours, minutes, seconds) or ``'2-00:00:00'`` (days before)."""
    if isinstance(value, str) and (match := _CLOCK.fullmatch(value.strip())):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        value = (24 * days + hours) * 60 + minutes + (seconds > 0)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} must be minutes, or text such as '12:00:00' or '2-00:00:00', got {value!r}")
    return value


def check_optional_name(name: str, value: Any) -> str | None:
    """Text of one line, or None."""
    return None if value is None else clusters.check_name(name, value)


def check_names(name: str, value: Any) -> list[str]:
    """A list of texts of one line each."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise OptionError(f"{name} must be a list of texts, got {value!r}")
    return [clusters.check_name(f"each of {name}", each) for each in value]


def check_mpi(name: str, value: Any) -> str:
    """A word that says what starts ranks."""
    if not isinstance(value, str) or not re.fullmatch(r"\w+", value):
        raise OptionError(f"{name} must be 'mpiexec', or what `srun --mpi=list` shows, such as 'pmi2' or 'pmix', got {value!r}")
    return value


def check_mpiexec(name: str, value: Any) -> str:
    """What starts ranks where there is no ``srun``."""
    if value != "mpiexec":
        raise OptionError(f"{name} must be 'mpiexec' on PBS, got {value!r}")
    return str(value)


@dataclass(kw_only=True, repr=False)
class BatchCluster(Cluster):
    """Workers in allocations of a batch system, ``num_workers`` in all, an equal number on each of ``nodes``."""

    OF_BATCH: ClassVar[tuple[str, ...]] = ("nodes", "time_limit", "warning", "account", "mpi", "python", "modules", "directives")
    queue_setting: ClassVar[str]  # what its queues are called
    checks: ClassVar[Mapping[str, clusters.Check]] = {
        "name": clusters.check_name,
        "working_dir": check_shared_folder,
        "nodes": clusters.check_integer(1),
        "num_workers": clusters.check_integer(1),
        "num_threads": clusters.check_integer(1),
        "worker_memory": clusters.check_integer(SMALLEST_MEMORY),
        "time_limit": check_time_limit,
        "warning": clusters.check_integer(1),
        "account": check_optional_name,
        "modules": check_names,
        "directives": check_names,
        "python": check_optional_name,
        "node_tmp_dir": clusters.check_address,
        "hdfs_tmp_dir": clusters.check_optional_address,
        "max_restarts": clusters.check_integer(0),
        "hang_timeout": clusters.check_seconds,
        "environment": check_environment,
    }

    nodes: int = 1
    time_limit: int | None = None
    warning: int = DEFAULT_WARNING
    account: str | None = None
    modules: list[str] = field(default_factory=list)
    directives: list[str] = field(default_factory=list)
    mpi: str = "mpiexec"
    python: str | None = None
    hang_timeout: float = 600.0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ranks_per_node(self) -> int:
        """Workers on each node."""
        return self.num_workers // self.nodes

    @property
    def shown_limit(self) -> str:
        """How the time limit is printed."""
        return "the queue's" if self.time_limit is None else f"{self.time_limit} min"

    def can_read(self, address: str) -> bool:
        """Nodes share their file systems with this machine."""
        return True

    def resources(self) -> dict[str, Any]:
        """The settings that a job carries with it."""
        settings = asdict(self)
        batch = BatchResources(
            queue=settings[self.queue_setting],
            modules=tuple(self.modules),
            directives=tuple(self.directives),
            **{name: settings[name] for name in ("nodes", "time_limit", "warning", "account", "mpi", "python")},
        )
        own = {*BatchCluster.OF_BATCH, self.queue_setting, "name", "working_dir"}
        return {"backend": self.kind, **{name: value for name, value in settings.items() if name not in own}, "batch": batch}


def lines_of(queue_label: str, queue: str) -> tuple[tuple[str, str], ...]:
    """How the settings are printed."""
    return (
        ("Name:", "name"),
        ("Working directory", "working_dir"),
        ("", ""),
        ("Number of nodes:", "nodes"),
        ("Workers per node", "ranks_per_node"),
        ("Worker memory (in mb)", "worker_memory"),
        ("Worker num of threads", "num_threads"),
        ("Time limit", "shown_limit"),
        (queue_label, queue),
        ("Account", "account"),
        ("Started by", "mpi"),
        ("Node temp directory", "node_tmp_dir"),
    )


def settings_of(
    *,
    working_dir: str | os.PathLike[str],
    nodes: int,
    ranks_per_node: int,
    worker_memory: int | None,
    node_tmp_dir: str | os.PathLike[str] | None,
    hdfs_tmp_dir: str | os.PathLike[str] | None,
    modules: Sequence[str],
    directives: Sequence[str],
    environment: Mapping[str, str] | None,
    warning: int | None,
    time_limit: int | str | None,
    **others: Any,
) -> dict[str, Any]:
    """The settings of a cluster from the arguments of ``create``, with what is not given."""
    minutes = check_time_limit("time_limit", time_limit)
    per_node = clusters.check_integer(1)("ranks_per_node", ranks_per_node)
    usual = DEFAULT_WARNING if minutes is None else min(DEFAULT_WARNING, 15 * minutes)
    found = {
        **others,
        "working_dir": os.fspath(working_dir),
        "nodes": nodes,
        "num_workers": clusters.check_integer(1)("nodes", nodes) * per_node,
        "worker_memory": DEFAULT_MEMORY if worker_memory is None else worker_memory,
        "node_tmp_dir": tempfile.gettempdir() if node_tmp_dir is None else os.fspath(node_tmp_dir),
        "hdfs_tmp_dir": None if hdfs_tmp_dir is None else os.fspath(hdfs_tmp_dir),
        "modules": modules,
        "directives": directives,
        "environment": dict(environment or {}),
        "time_limit": minutes,
        "warning": usual if warning is None else warning,
    }
    if minutes is not None and clusters.check_integer(1)("warning", found["warning"]) >= 60 * minutes:
        raise OptionError(f"warning must be fewer seconds than the time limit of {minutes} min has, got {warning!r}")
    return found
