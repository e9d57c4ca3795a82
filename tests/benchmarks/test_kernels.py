"""Every kernel is called as it wants to be, and so is NumPy beside it."""

import pathlib

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


def test_every_case_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kernels

    cases = list(kernels.make_cases(3000, 2))
    assert len({case.name for case in cases}) == len(cases) > 40
    for case in cases:
        times = kernels.measure(case, 2)
        assert case.n_elements > 0, case.name
        assert len(times["kernel_ns"]) == len(times["numpy_ns"]) == 2, case.name
