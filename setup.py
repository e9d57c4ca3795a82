"""Builds the Cython kernels and a small library that programs are started with; everything else is said in pyproject.toml.

``SAMESUM_BOUNDSCHECK=1`` turns bounds and overflow-free indexing checks on in every kernel, for a test run.
``SAMESUM_OPENMP=0`` builds single-threaded kernels; a compiler without OpenMP does so by itself, with a note.
``SAMESUM_KERNELS=0`` installs without them: the Makefile builds them in place, so that only changed ones are built again.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = pathlib.Path("engine/_kernels")
PORTS = pathlib.Path("launch/yarn/ports.c")
# No contraction to fused multiply-adds: the same operations must give the same bits on every x86-64 machine.
OPTIMISATION = [] if "-O" in os.environ.get("CFLAGS", "") else ["-O3"]
COMPILE_FLAGS = [
    *OPTIMISATION,
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-mprefer-vector-width=512",
    "-fno-strict-aliasing",  # residuals are doubles in the room that their integers take next
    "-Wno-unused-function",
    "-Wno-discarded-qualifiers",
]


def compiler_has_openmp() -> bool:
    """Compile a one-line OpenMP program, as the only honest way to know."""
    if os.environ.get("SAMESUM_OPENMP") == "0":
        return False
    program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "probe.c")
        source.write_text(program)
        command = [*os.environ.get("CC", "cc").split(), "-fopenmp", str(source), "-o", str(source.with_suffix(""))]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def directives() -> dict[str, bool | int]:
    """Cython directives: checks are off unless the build asks for them."""
    checked = os.environ.get("SAMESUM_BOUNDSCHECK") == "1"
    return {
        "language_level": 3,
        "boundscheck": checked,
        "wraparound": False,
        "cdivision": True,
        "initializedcheck": checked,
        "embedsignature": True,
        "freethreading_compatible": True,
    }


def extensions() -> list[Extension]:
    """One extension per kernel file, and a library that has nothing to do with Python but its name."""
    if os.environ.get("SAMESUM_KERNELS") == "0":
        return []
    openmp = compiler_has_openmp()
    if not openmp:
        print("samesum: building without OpenMP: kernels will run on one thread per rank", file=sys.stderr)
    flags = ["-fopenmp"] if openmp else []
    kernels = [
        Extension(
            f"engine._kernels.{source.stem}",
            [str(source)],
            include_dirs=[numpy.get_include(), str(KERNELS)],
            extra_compile_args=COMPILE_FLAGS + flags,
            extra_link_args=flags,
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        )
        for source in sorted(KERNELS.glob("*.pyx"))
    ]
    return [*kernels, Extension("launch.yarn._ports", [str(PORTS)], extra_compile_args=["-Wall", "-Wextra"])]


if __name__ == "__main__":  # cythonize starts processes that may import this file again
    setup(ext_modules=cythonize(extensions(), compiler_directives=directives(), nthreads=os.cpu_count() or 1, quiet=True))
