"""Where jobs run: what all kinds of cluster have in common, and the clusters that are kept by name in the user's configuration folder.

A kind of cluster is a module ``launch.<kind>_cluster`` with its class and a function ``create``. A cluster's settings are fields; setting
one checks it and keeps the cluster as it is then. Jobs that were submitted before keep the settings that they were submitted with.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from engine import storage
from engine.errors import MissingFileError, OptionError, StorageError

KINDS = ("local", "hadoop", "slurm", "pbs")
LABEL_WIDTH = 24
Check = Callable[[str, Any], Any]


def check_integer(least: int) -> Check:
    """A check for integers from ``least``."""

    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise OptionError(f"{name} must be an integer of {least} or more, got {value!r}")
        return value

    return check


def check_seconds(name: str, value: Any) -> float:
    """A number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise OptionError(f"{name} must be a number of seconds, 0 or more, got {value!r}")
    return float(value)


def check_name(name: str, value: Any) -> str:
    """Text of one line that is not empty."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise OptionError(f"{name} must be text of one line, got {value!r}")
    return value


def check_address(name: str, value: Any) -> str:
    """A folder, as an absolute path where it is local."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise OptionError(f"{name} must be a path or an address, got {value!r}")
    return absolute(os.fspath(value)).rstrip("/") or "/"


def absolute(path: str) -> str:
    """A path of this machine from its root on, a slash at its end kept; an address as it is."""
    if not storage.is_local(path):
        return path
    return os.path.abspath(storage.local_path(path)) + ("/" if path.endswith("/") else "")


def check_optional_address(name: str, value: Any) -> str | None:
    """A folder, or None."""
    return None if value is None else check_address(name, value)


@dataclass(kw_only=True, repr=False)
class Cluster:
    """A place where jobs run. Subclasses say which settings they have, how each is checked and how they are printed.

    ``lines`` are labels and the settings beside them, an empty label being an empty line. ``checks`` has every setting.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    lines: ClassVar[tuple[tuple[str, str], ...]]
    brings_programs: ClassVar[bool] = False  # whether jobs bring a user's program along from the machine that submits them
    checks: ClassVar[Mapping[str, Check]]

    name: str
    working_dir: str
    num_workers: int
    num_threads: int
    worker_memory: int
    node_tmp_dir: str
    hdfs_tmp_dir: str | None = None
    max_restarts: int = 3

    def __setattr__(self, setting: str, value: Any) -> None:
        if setting not in self.checks:
            raise OptionError(f"a {self.title.lower()} has no setting {setting!r}; its settings are {', '.join(self.checks)}")
        if setting == "name" and "name" in vars(self):
            raise OptionError(f"a cluster keeps its name {self.name!r}, got {value!r}: create another cluster")
        is_whole = vars(self).keys() == self.checks.keys()
        super().__setattr__(setting, self.checks[setting](setting, value))
        if is_whole:
            environments.keep(self)

    def __str__(self) -> str:
        """The settings, one a line."""
        lines = [f"        {label.ljust(LABEL_WIDTH)} : {getattr(self, setting)}" if label else "" for label, setting in self.lines]
        return "\n".join([f"{self.title}:", *lines])

    __repr__ = __str__

    def get_num_workers(self) -> int:
        """The number of workers; each is one rank."""
        return self.num_workers

    def enter(self) -> None:
        """Have this process, and those that it starts, reach the cluster."""

    def can_read(self, address: str) -> bool:
        """Whether workers can read what this machine finds at ``address``."""
        return not storage.is_local(address)

    def reads_in_place(self, address: str) -> bool:
        """Whether workers read data at ``address`` from there; else jobs get a copy."""
        return self.can_read(address)

    def resources(self) -> dict[str, Any]:
        """The settings that a job carries with it."""
        return {"backend": self.kind, **{name: value for name, value in asdict(self).items() if name not in ("name", "working_dir")}}


class Environments(Mapping[str, Cluster]):
    """The clusters that are kept, by name. Each is a file of settings in the user's configuration folder; ``del`` forgets one."""

    def __getitem__(self, name: str) -> Cluster:
        try:
            return _read_cluster(_file_of(name))
        except MissingFileError:
            raise KeyError(f"no cluster {name!r}; there is {', '.join(map(repr, self)) or 'none yet'}: create it") from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_read_settings(path)["name"] for path in _folder().glob("*.json")))

    def __len__(self) -> int:
        return len(list(_folder().glob("*.json")))

    def __delitem__(self, name: str) -> None:
        try:
            _file_of(name).unlink()
        except FileNotFoundError:
            raise KeyError(f"no cluster {name!r}; there is {', '.join(map(repr, self)) or 'none'}") from None

    def __repr__(self) -> str:
        return f"Environments({', '.join(map(repr, self))})"

    def keep(self, cluster: Cluster) -> None:
        """Write a cluster's settings down, in place of those that were kept under its name."""
        settings = {"kind": cluster.kind, **asdict(cluster)}
        storage.put_bytes(str(_file_of(cluster.name)), json.dumps(settings, ensure_ascii=False, indent=2).encode() + b"\n")


environments = Environments()


def find_cluster(env: Any) -> Cluster:
    """A cluster, or the one that is kept under the name ``env``. Raises :class:`OptionError` for anything else."""
    if isinstance(env, Cluster):
        env.enter()
        return env
    if not isinstance(env, str):
        raise OptionError(f"env must be a cluster, as local_cluster.create makes one, or the name of one, got {env!r}")
    if env not in environments:
        known = ", ".join(map(repr, environments)) or "none yet"
        raise OptionError(f"env must be a cluster or the name of one that was created, got {env!r}; there is {known}")
    found = environments[env]
    found.enter()
    return found


def _folder() -> pathlib.Path:
    """Where clusters are kept: under ``SAMESUM_CONFIG_DIR``, else ``samesum`` in ``XDG_CONFIG_HOME`` or ``~/.config``."""
    if own := os.environ.get("SAMESUM_CONFIG_DIR"):
        return pathlib.Path(own).expanduser() / "clusters"
    shared = os.environ.get("XDG_CONFIG_HOME")
    return (pathlib.Path(shared) if shared else pathlib.Path.home() / ".config") / "samesum" / "clusters"


def _file_of(name: str) -> pathlib.Path:
    """The file of a cluster: readable, and another one for every name, whatever is in it."""
    readable = re.sub(r"[^\w-]+", "_", name)[:40]
    return _folder() / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:12]}.json"


def _read_settings(path: pathlib.Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"no cluster is kept in {str(path)!r}") from None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"could not read the cluster kept in {str(path)!r}: {error}; remove the file, create the cluster anew"
        ) from error
    if not isinstance(settings, dict) or not {"kind", "name"} <= settings.keys():
        raise StorageError(f"expected the settings of a cluster in {str(path)!r}; remove the file and create the cluster anew")
    return settings


def _read_cluster(path: pathlib.Path) -> Cluster:
    settings = _read_settings(path)
    kind = settings.pop("kind")
    if kind not in KINDS:
        raise OptionError(f"{str(path)!r} keeps a cluster of kind {kind!r}, which this release does not have: install a newer samesum")
    of_kind: type[Cluster] = importlib.import_module(f"launch.{kind}_cluster").CLUSTER
    known = {field.name for field in fields(of_kind)}
    return of_kind(**{name: value for name, value in settings.items() if name in known})
