"""A Hadoop cluster: jobs are applications of YARN, their workers its containers, and their files are on HDFS."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import engine
from engine import storage
from engine.errors import MissingFileError, OptionError
from engine.spec import YarnResources
from launch import clusters
from launch.clusters import Cluster, environments
from launch.yarn import hadoop, ports, security

SETTINGS_FILE = "samesum.json"  # in the folder of the installation
SMALLEST_CONTAINER = 256  # MB
# What is neither given nor in the installation's settings.
DEFAULTS = {"node_tmp_dir": "/tmp", "hdfs_tmp_dir": "hdfs:///tmp"}
_NEEDED = ("num_containers", "container_size", "num_vcores")


def check_port(name: str, value: Any) -> int:
    """A port that a user may have."""
    port = clusters.check_integer(1024)(name, value)
    if port > 65535:
        raise OptionError(f"{name} must be a port of at most 65535, got {port!r}")
    return port


def check_optional_name(name: str, value: Any) -> str | None:
    """Text of one line, or None."""
    return None if value is None else clusters.check_name(name, value)


def check_optional_count(name: str, value: Any) -> int | None:
    """An integer from 1, or None."""
    return None if value is None else clusters.check_integer(1)(name, value)


def check_conf_dir(name: str, value: Any) -> str | None:
    """A folder with the settings of Hadoop, or None."""
    return None if value is None else clusters.check_address(name, value)


def check_packages(name: str, value: Any) -> list[str] | None:
    """Requirements that pip understands, or None."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(each, str) and each for each in value):
        raise OptionError(f"{name} must be a list of packages as pip takes them, such as ['polars>=1'], got {value!r}")
    return list(value)


def check_users(name: str, value: Any) -> list[str] | None:
    """Names of users, or None."""
    if value is None:
        return None
    if isinstance(value, str) or not all(isinstance(each, str) and each.strip() for each in value):
        raise OptionError(f"{name} must be a list of users, ['*'] for all, got {value!r}")
    return list(value)


def check_tags(name: str, value: Any) -> list[str] | None:
    """Words that YARN takes as tags, in small letters as it keeps them, or None."""
    if value is None:
        return None
    words = [] if isinstance(value, str) else list(value)
    if not words or not all(isinstance(each, str) and each.isascii() and each.isprintable() and 0 < len(each) <= 100 for each in words):
        raise OptionError(f"{name} must be a list of words in ASCII of at most 100 letters, got {value!r}")
    return [each.lower() for each in words]


@dataclass(kw_only=True, repr=False)
class HadoopCluster(Cluster):
    """Workers in containers of YARN; made by :func:`create`."""

    kind: ClassVar[str] = "hadoop"
    title: ClassVar[str] = "Hadoop Cluster"
    brings_programs: ClassVar[bool] = True
    lines: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Name:", "name"),
        ("Cluster path", "dist_path"),
        ("", ""),
        ("Number of Containers:", "num_workers"),
        ("Container Size (in mb)", "worker_memory"),
        ("Container num of vcores", "num_threads"),
        ("Port range", "port_range"),
        ("Node temp directory", "node_tmp_dir"),
        ("HDFS temp directory", "hdfs_tmp_dir"),
        ("", ""),
        ("Additional packages", "additional_packages"),
    )
    checks: ClassVar[dict[str, clusters.Check]] = {
        "name": clusters.check_name,
        "working_dir": clusters.check_address,
        "dist_path": clusters.check_address,
        "hadoop_conf_dir": check_conf_dir,
        "num_workers": clusters.check_integer(1),
        "num_threads": clusters.check_integer(1),
        "worker_memory": clusters.check_integer(SMALLEST_CONTAINER),
        "start_port": check_port,
        "end_port": check_port,
        "node_tmp_dir": clusters.check_address,
        "hdfs_tmp_dir": clusters.check_optional_address,
        "additional_packages": check_packages,
        "queue": check_optional_name,
        "node_label": check_optional_name,
        "python": check_optional_name,
        "principal": check_optional_name,
        "keytab": clusters.check_optional_address,
        "view_users": check_users,
        "archive": check_optional_name,
        "tags": check_tags,
        "start_within": clusters.check_seconds,
        "min_containers": check_optional_count,
        "max_restarts": clusters.check_integer(0),
        "hang_timeout": clusters.check_seconds,
    }
    # Other names of the same settings.
    ALIASES: ClassVar[dict[str, str]] = {
        "num_containers": "num_workers",
        "container_size": "worker_memory",
        "num_vcores": "num_threads",
        "turi_dist_path": "dist_path",
    }

    dist_path: str
    hadoop_conf_dir: str | None = None
    start_port: int = 9100
    end_port: int = 9200
    additional_packages: list[str] | None = field(default=None)
    queue: str | None = None
    node_label: str | None = None
    python: str | None = None
    archive: str | None = None
    principal: str | None = None
    keytab: str | None = None
    view_users: list[str] | None = field(default=None)
    tags: list[str] | None = field(default=None)
    start_within: float = 300.0
    min_containers: int | None = None
    hang_timeout: float = 600.0

    def __setattr__(self, setting: str, value: Any) -> None:
        super().__setattr__(self.ALIASES.get(setting, setting), value)

    def __getattr__(self, setting: str) -> Any:
        if setting in HadoopCluster.ALIASES:
            return getattr(self, HadoopCluster.ALIASES[setting])
        raise AttributeError(f"a hadoop cluster has no setting {setting!r}")

    def reads_in_place(self, address: str) -> bool:
        """Data are read from HDFS alone: containers have no credentials of S3, and perhaps no way to the web."""
        return address.startswith("hdfs://")

    @property
    def port_range(self) -> str:
        """The ports that a job listens at, as they are printed."""
        return f"{self.start_port} - {self.end_port}"

    def enter(self) -> None:
        """Have this process find the cluster, as the user that its keytab says."""
        hadoop.use(self.hadoop_conf_dir)
        security.use_keytab(self.principal, self.keytab)

    def resources(self) -> dict[str, Any]:
        """The settings that a job carries with it."""
        from launch.yarn.installing import packages_of

        ports.check_enough(self.start_port, self.end_port, self.num_workers)
        settings = asdict(self) | {"archive": self.find_archive()}
        yarn = {name: settings[name] for name in ("archive", "python", "queue", "node_label", "start_port", "end_port", "start_within")}
        yarn["queue"] = self.queue or "default"
        yarn["min_containers"] = self.min_containers
        yarn["packages"] = packages_of(self.dist_path, self.additional_packages)
        yarn["conf_dir"] = self.hadoop_conf_dir
        yarn["view_users"] = tuple(self.view_users or ())
        yarn["tags"] = tuple(self.tags or ())
        common = ("num_workers", "num_threads", "worker_memory", "max_restarts", "hang_timeout", "node_tmp_dir", "hdfs_tmp_dir")
        return {"backend": "yarn", **{name: settings[name] for name in common}, "yarn": YarnResources(**yarn)}

    def find_archive(self) -> str | None:
        """The packed environment of this release: the one that was there when the cluster was described, or one installed since.

        Raises :class:`OptionError` if that of another release is installed.
        """
        if self.archive is None or f"-{engine.__version__}-" in storage.name_of(self.archive):
            return self.archive
        return check_version(self.dist_path, read_installation(self.dist_path))


CLUSTER = HadoopCluster


def create(  # noqa: PLR0917  # the order is that of its model
    name: str,
    dist_path: str | None = None,
    hadoop_conf_dir: str | os.PathLike[str] | None = None,
    num_containers: int | None = None,
    container_size: int | None = None,
    num_vcores: int | None = None,
    start_port: int = 9100,
    end_port: int = 9200,
    additional_packages: Sequence[str] | None = None,
    queue: str | None = None,
    node_label: str | None = None,
    python: str | None = None,
    *,
    turi_dist_path: str | None = None,
    principal: str | None = None,
    keytab: str | os.PathLike[str] | None = None,
    view_users: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
    start_within: float = 300.0,
    min_containers: int | None = None,
    max_restarts: int = 3,
    hang_timeout: float = 600.0,
) -> HadoopCluster:
    """Describe a Hadoop cluster, and keep the description under ``name``, in place of another one of that name.

    What is None comes from ``samesum.json`` in the installation, which ``samesum cluster install`` writes.

    Args:
        name: What it is called in :data:`launch.environments`.
        dist_path: The folder of the installation, such as ``hdfs:///apps/samesum``. Jobs get their directories in ``jobs`` below it.
        hadoop_conf_dir: The folder with ``yarn-site.xml`` and the other settings of Hadoop on this machine. None: ``HADOOP_CONF_DIR``.
        num_containers: Workers of a job; each is one rank, in a container of its own.
        container_size: Memory limit of each container in MB; 0.8 of it is for data. YARN ends a container that uses more.
        num_vcores: Vcores of each container, and threads of its rank, though never more than the node has cores.
        start_port: The first of the ports that the job may listen at: MPI between containers, and the application master.
        end_port: The last of them.
        additional_packages: Packages that are added to the environment of the workers, as ``pip`` takes them.
        queue: YARN's queue. None: ``default``.
        node_label: The label of the nodes on which workers are to run.
        python: An interpreter with samesum that all nodes have at this path. None: the packed environment of the installation.
        tags: Words by which YARN finds the applications of its jobs, beside ``samesum`` and the toolkit's name.
        turi_dist_path: Another name for ``dist_path``.
        principal: Who submits, on a cluster with Kerberos, by the keys in ``keytab``. None: whoever has a ticket by ``kinit``.
        keytab: The file with the keys of ``principal``.
        view_users: Who may look at jobs and their page beside their owner, on a cluster with Kerberos; ``['*']`` for everybody.
        start_within: Seconds in which the application master must be there, or the job fails and says what the queue has; and then all
            containers, or they are given back and asked for again after a random while, three times in all before the job fails.
        min_containers: With how many containers a job may begin, or go on after a loss, where no more have come within
            ``start_within``; the model is the same. None: with all of them.
        max_restarts: How often a job is started anew from its last checkpoint after a worker was lost by a failure; preempted containers
            and lost nodes do not count.
        hang_timeout: Seconds without any progress after which a job counts as hung and is started anew; 0 for never.

    Raises:
        OptionError: A setting is not what it must be, or is neither given nor in ``samesum.json``.
        StorageError: The installation could not be read.
    """
    dist_path = dist_path if dist_path is not None else turi_dist_path
    if dist_path is None:
        raise OptionError("dist_path must be the folder of the installation, such as 'hdfs:///apps/samesum', got None")
    address = clusters.check_address("dist_path", dist_path)
    conf = hadoop.use(None if hadoop_conf_dir is None else os.fspath(hadoop_conf_dir))
    hadoop.resource_manager(conf)
    keytab = clusters.check_optional_address("keytab", keytab)
    security.use_keytab(principal, keytab)
    given = {"num_containers": num_containers, "container_size": container_size, "num_vcores": num_vcores}
    installed = read_installation(address)
    settings = {**DEFAULTS, **installed, **{setting: value for setting, value in given.items() if value is not None}}
    if missing := [setting for setting in _NEEDED if settings.get(setting) is None]:
        raise OptionError(
            f"{', '.join(missing)} must be given: {storage.join(address, SETTINGS_FILE)!r} does not say "
            f"{'it' if len(missing) == 1 else 'them'}"
        )
    python = python if python is not None else installed.get("python")
    archive = None if python else installed.get("archive")
    if python is None and archive is None:
        raise OptionError(
            f"samesum is not installed in {address!r}: run `samesum cluster install {address}`, or give python, an interpreter that has "
            "samesum, at the same path on all nodes"
        )
    if archive is not None:
        check_version(address, installed)
    cluster = HadoopCluster(
        name=name,
        working_dir=storage.join(address, "jobs"),
        dist_path=address,
        hadoop_conf_dir=None if hadoop_conf_dir is None else os.fspath(hadoop_conf_dir),
        num_workers=settings["num_containers"],
        worker_memory=settings["container_size"],
        num_threads=settings["num_vcores"],
        start_port=start_port,
        end_port=end_port,
        node_tmp_dir=settings["node_tmp_dir"],
        hdfs_tmp_dir=settings["hdfs_tmp_dir"],
        additional_packages=None if additional_packages is None else list(additional_packages),
        queue=queue if queue is not None else installed.get("queue"),
        node_label=node_label,
        python=python,
        archive=archive,
        principal=principal,
        keytab=keytab,
        view_users=None if view_users is None else list(view_users),
        tags=None if tags is None else list(tags),
        start_within=start_within,
        min_containers=min_containers,
        max_restarts=max_restarts,
        hang_timeout=hang_timeout,
    )
    ports.check_enough(start_port, end_port, cluster.num_workers)
    if cluster.min_containers is not None and cluster.min_containers > cluster.num_workers:
        raise OptionError(f"min_containers must be at most num_containers, {cluster.num_workers}, got {cluster.min_containers}")
    environments.keep(cluster)
    return cluster


def check_version(address: str, installed: dict[str, Any]) -> str | None:
    """The packed environment of an installation. Raises :class:`OptionError` if it is that of another release."""
    if installed.get("version") != engine.__version__:
        raise OptionError(
            f"samesum {installed.get('version')} is installed in {address!r}, and this is samesum {engine.__version__}: run "
            f"`samesum cluster install {address}`"
        )
    return installed.get("archive")


def read_installation(address: str) -> dict[str, Any]:
    """The settings in the folder of an installation; none if it has no ``samesum.json``."""
    try:
        text = storage.read_bytes(storage.join(address, SETTINGS_FILE))
    except MissingFileError:
        return {}
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise OptionError(f"{storage.join(address, SETTINGS_FILE)!r} is damaged: {error}; install anew") from None
    return dict(settings)
