"""The cost model says what its formula says, and the tables come from what was measured."""

import pathlib
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def scaling():
    """The script as a module; scripts find their neighbours by their folder."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import scaling

        yield scaling
    finally:
        sys.path.remove(str(BENCHMARKS))


def make_run(ranks, training, *spent):
    exchanges = [{"reduce histograms": {"calls": 120, "bytes": 12_000_000, "seconds": seconds}} for seconds in spent]
    return {"ranks": ranks, "training": training, "communication": exchanges}


MEASURED = {
    "rows": 1000,
    "rounds": 20,
    "depth": 6,
    "runs": [make_run(1, 10.0, 0.0), make_run(2, 6.5, 0.5, 0.75), make_run(4, 4.0, 0.5, 0.5, 1.0, 2.0)],
}
SUMS = {"runs": [{"bytes": 1000, "reduce_scatter": [2e-6, 1e-6, 3e-6]}]}


def test_the_model_is_fitted_to_one_and_two_ranks(scaling):
    cost = scaling.fit_cost(MEASURED, SUMS)
    assert (cost.shared, cost.fixed) == (8.0, 2.0)
    assert (cost.calls, cost.n_bytes, cost.add) == (120, 12_000_000, pytest.approx(2e-9))


def test_seconds_are_work_latency_and_bytes(scaling):
    cost = scaling.Cost(shared=8.0, fixed=2.0, calls=100, n_bytes=1000, add=1e-3)
    network = scaling.Network(latency=1e-3, bandwidth=1e3)
    assert cost.seconds(1, network) == pytest.approx(10.0)
    assert cost.seconds(8, network, rows=2.0) == pytest.approx(2.0 + 2.0 + 100 * 3 * 1e-3 + 875 * 2e-3)


def test_work_without_exchanges_scales_to_what_is_fixed(scaling):
    cost = scaling.Cost(shared=8.0, fixed=2.0, calls=0, n_bytes=0, add=0.0)
    seconds = [cost.seconds(ranks, scaling.NETWORKS["10 Gb/s"]) for ranks in scaling.PREDICTED]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] == pytest.approx(2.0, rel=0.01)


def test_tables_show_calls_bytes_and_waiting(scaling):
    assert "| 2 | reduce histograms | 1.00 | 100,000 |" in scaling.tabulate_levels(MEASURED)
    assert "| 4 | 3 | 2.00 | 0.50 | 1.50 |" in scaling.tabulate_ranks(MEASURED)
    table = scaling.tabulate_predictions(MEASURED, scaling.fit_cost(MEASURED, SUMS))
    assert len(table) == 2 + len(scaling.PREDICTED)


def test_a_release_that_counts_nothing_is_named(scaling, monkeypatch, tmp_path):
    monkeypatch.setattr(scaling.subprocess, "run", lambda *_, **__: None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "run.json").write_text('{"seconds": {}}')
    with pytest.raises(SystemExit, match="expected 'communication'"):
        scaling.measure(str(tmp_path), 1, 1)
