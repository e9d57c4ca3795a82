"""What a user installs: the source archive builds, and its wheel works in an empty environment, far from the sources, without MPI."""

import email
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from packaging.requirements import Requirement

import engine

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = "from setuptools import build_meta; import sys; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def run(*command, folder, **environment):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SAMESUM_KERNELS")}, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The source archive, made from a copy of the sources."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("sdist")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    names = (
        listed.stdout.decode().split("\0")[:-1]
        if listed.returncode == 0
        else [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
    )
    for name in names:
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-c", BUILD, "build_sdist", out, folder=copy)
    return next(out.glob("samesum-*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(archive, tmp_path_factory):
    """The wheel, built from what the source archive holds and nothing else."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    parallel = source / "parallel.cfg"
    parallel.write_text("[build_ext]\nparallel = 2\n")
    run(
        sys.executable,
        "-c",
        BUILD,
        "build_wheel",
        out,
        folder=next(source.glob("samesum-*")),
        CFLAGS="-O0",
        DIST_EXTRA_CONFIG=str(parallel),
    )
    return next(out.glob("samesum-*.whl"))


def test_the_archive_holds_sources(archive):
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    sources = {str(path.relative_to(ROOT)) for kind in ("pyx", "pxd", "h") for path in (ROOT / "engine" / "_kernels").glob(f"*.{kind}")}
    assert sources | {"setup.py", "pyproject.toml", "samesum.py", "LICENSE", "README.md", "engine/py.typed", "launch/cli/app.py"} <= names
    assert [name for name in names if name.endswith((".c", ".so"))] == ["launch/yarn/ports.c"]
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "build"))]


def test_the_wheel_holds_what_runs(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata = file.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    kernels = {path.stem for path in (ROOT / "engine" / "_kernels").glob("*.pyx")}
    assert {name.split("/")[2].partition(".")[0] for name in names if name.endswith(".so")} == {*kernels, "_ports"}
    assert {"samesum.py", "engine/__init__.py", "engine/py.typed", "launch/cli/app.py", "launch/py.typed"} <= names
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {"engine", "launch", "samesum.py"}
    assert not [name for name in names if name.endswith((".pyx", ".pxd", ".c", ".h"))]
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not [line for line in needed if "mpi" in line]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_version_is_said_once(wheel):
    with zipfile.ZipFile(wheel) as file:
        metadata = email.message_from_bytes(file.read(next(name for name in file.namelist() if name.endswith("/METADATA"))))
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert metadata["Version"] == engine.__version__ == cited[1]
    assert re.search(r"^## \[Unreleased\]$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_wheel_works_far_from_the_sources(wheel, tmp_path):
    """In an environment with the base dependencies only: no mpi4py, no test tools."""
    place, work = tmp_path / "venv", tmp_path / "work"
    work.mkdir()
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    packages = pathlib.Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=work).stdout.strip())
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, folder=work)
    link_dependencies(wheel, packages)
    (work / "t.csv").write_text("x,y\n" + "".join(f"{n},{'ab'[n > 20]}\n" for n in range(40)))
    create = "import samesum as ss, sys\nmodel = ss.boosted_trees_classifier.create('t.csv', target='y', max_iterations=2)\n"
    create += "assert model.evaluate('t.csv')['accuracy'] == 1\nassert 'mpi4py' not in sys.modules\n"
    create += (
        "import importlib.util\nassert importlib.util.find_spec('mpi4py') is None\nassert importlib.util.find_spec('pytest') is None\n"
    )
    assert "| 2         |" in run(python, "-c", create, folder=work).stdout
    command = place / "bin" / "samesum"
    assert "train" in run(command, "--help", folder=work).stdout
    run(command, "train", "boosted_trees_classifier", "t.csv", "--target", "y", "--output", "m", "--quiet", folder=work)
    run(command, "predict", "m", "t.csv", "--output", "p.csv", folder=work)
    assert (work / "p.csv").read_text().splitlines()[1:3] == ['"a"', '"a"']


def link_dependencies(wheel, packages):
    """Link what the wheel needs, and what that needs, from this environment: as if it were installed, without asking a registry."""
    with zipfile.ZipFile(wheel) as file:
        metadata = email.message_from_bytes(file.read(next(name for name in file.namelist() if name.endswith("/METADATA"))))
    open_requirements = metadata.get_all("Requires-Dist")
    linked = set()
    while open_requirements:
        requirement = Requirement(open_requirements.pop())
        if requirement.name in linked or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        linked.add(requirement.name)
        distribution = importlib.metadata.distribution(requirement.name)
        open_requirements += distribution.requires or []
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
