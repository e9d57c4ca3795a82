"""An application's description for YARN: a pure function of a job, which starts nothing."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from engine import storage
from engine.errors import OptionError
from engine.spec import JobSpec, YarnResources
from launch.yarn import hadoop, ports

MASTER_MB = 1024  # the application master's JVM and the supervisor
ATTEMPTS = 1000  # of the application master, which is started anew and goes on from the last checkpoint: as many as the cluster allows
OPENED = "--add-opens=java.base/java.util=ALL-UNNAMED"  # skein's templates look into maps, which Java since 16 allows only so
PAGE, PAGE_PATH = "job", "/pages/job/"  # the job's page among those of its application
ENVIRONMENT, PACKAGES, PROGRAM = "environment", "packages", "program.py"  # as containers call what they bring along


def describe(
    spec: JobSpec, address: str, *, conf: pathlib.Path, user: str, nodes: Sequence[str] = (), public: Sequence[str] = ()
) -> dict[str, Any]:
    """The application of the job in the working directory ``address``, as skein takes it.

    Workers are asked for on ``nodes`` rather than elsewhere; ``public`` are the archives that every user may read.
    """
    resources = spec.resources
    assert resources is not None
    assert resources.yarn is not None
    yarn = resources.yarn
    if resources.worker_memory is None:
        raise OptionError("expected 'resources.worker_memory' in a job on YARN, got none: say how large its containers are")
    files = files_of(spec, conf, public)
    said = {"HADOOP_USER_NAME": user, "LC_ALL": "C.UTF-8"}
    return {
        "name": f"samesum {address.rstrip('/').rpartition('/')[2]}",
        "queue": yarn.queue,
        "node_label": yarn.node_label or "",
        "tags": sorted({"samesum", spec.toolkit or spec.task, *yarn.tags}),
        "max_attempts": ATTEMPTS,
        "master": {
            "resources": {"memory": f"{MASTER_MB} MiB", "vcores": 1},
            "script": script(yarn, "launch.yarn.supervisor", [address], said),
            "files": {**files, **files_of_master(conf)},
            "env": {
                "LD_PRELOAD": f"$PWD/{ports.LIBRARY}",
                "SAMESUM_PORT_RANGE": f"{yarn.start_port}:{yarn.end_port}",
                "JDK_JAVA_OPTIONS": OPENED,
            },
            "log_level": "WARN",
        },
        "services": {
            "worker": {
                "instances": resources.num_workers,
                "resources": {"memory": f"{resources.worker_memory} MiB", "vcores": resources.num_threads or 1},
                "script": script(yarn, "launch.yarn.worker", [], said),
                "files": files,
                "max_restarts": 0,  # the supervisor asks for others
                "allow_failures": True,
                **({"nodes": list(nodes), "relax_locality": True} if nodes else {}),
            }
        },
    }


def files_of(spec: JobSpec, conf: pathlib.Path, public: Sequence[str] = ()) -> dict[str, Any]:
    """What containers bring along: settings of HDFS, the user's program, and environments.

    A node unpacks these once and keeps them: for the jobs of all users if all may read them, else for the next jobs of the user.
    """
    assert spec.resources is not None
    assert spec.resources.yarn is not None
    files: dict[str, Any] = {
        name: {"source": f"file://{(conf / name).absolute()}", "type": "FILE"} for name in hadoop.SHIPPED if (conf / name).is_file()
    }
    if spec.script is not None:
        path = spec.script.path
        files[PROGRAM] = {"source": f"file://{path}" if storage.is_local(path) else path, "type": "FILE"}
    archives: dict[str, str] = {}
    if spec.resources.yarn.archive is not None:
        archives[ENVIRONMENT] = spec.resources.yarn.archive
    archives |= {f"{PACKAGES}{number}": archive for number, archive in enumerate(spec.resources.yarn.packages)}
    for name, archive in archives.items():
        files[name] = {"source": archive, "type": "ARCHIVE", "visibility": "PUBLIC" if archive in public else "PRIVATE"}
    return files


def files_of_master(conf: pathlib.Path) -> dict[str, Any]:
    """What the application master has beside: the library that keeps its ports, and the address of the ResourceManager."""
    files = {ports.LIBRARY: {"source": f"file://{ports.library()}", "type": "FILE"}}
    if (conf / hadoop.YARN_SITE).is_file():
        files[hadoop.YARN_SITE] = {"source": f"file://{(conf / hadoop.YARN_SITE).absolute()}", "type": "FILE"}
    return files


def script(yarn: YarnResources, module: str, arguments: Sequence[str], said: Mapping[str, str]) -> str:
    """The lines of shell that start a process in a container."""
    interpreter = f'"$PWD/{ENVIRONMENT}/bin/python"' if yarn.python is None else shlex.quote(yarn.python)
    packages = ":".join(f"$PWD/{PACKAGES}{number}" for number in range(len(yarn.packages)))
    lines = [f"export {name}={shlex.quote(value)}" for name, value in said.items()]
    lines += ['export HADOOP_CONF_DIR="$PWD"', "unset PYTHONHOME LD_PRELOAD JDK_JAVA_OPTIONS"]
    lines += [f'export PYTHONPATH="{packages}"' if packages else "unset PYTHONPATH"]
    return "\n".join([*lines, f"exec {interpreter} -m {module} {shlex.join(arguments)}".rstrip(), ""])
