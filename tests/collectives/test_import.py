"""Importing the engine, or loading a model, starts nothing."""

from __future__ import annotations

import pytest

from tests.mpi_jobs import run_python


@pytest.mark.parametrize("module", ["engine", "samesum"])
def test_import_is_light(module):
    job = run_python(f"""
import sys, time
began = time.perf_counter()
import {module}
print(time.perf_counter() - began)
print([name for name in ('mpi4py', 'mpi4py.MPI', 'numpy', 'pyarrow', 'engine._kernels.exact', 'launch') if name in sys.modules])
""")
    seconds, heavy = job.out.splitlines()
    print(f"import {module}: {float(seconds):.3f} s")
    assert heavy == "[]"
    assert float(seconds) < 1.5, "0.3 s at most on a machine that does nothing else"
    assert not job.err


def test_only_the_communicator_over_mpi_needs_mpi4py():
    job = run_python("""
import pkgutil, importlib, sys
sys.modules['mpi4py'] = None
import engine
without = []
for module in pkgutil.walk_packages(engine.__path__, 'engine.'):
    if module.name.endswith('__main__'):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError:
        without.append(module.name)
print(*without)
""")
    assert job.out.split() == ["engine.collectives.mpi", "engine.collectives.shared_memory"], job.out + job.err
