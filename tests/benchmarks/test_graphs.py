"""The benchmarks of graphs run, do equal work, write their results and make tables of them."""

import json
import pathlib
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def scaling():
    """The module that predicts; scripts find their neighbours by their folder."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import graph_scaling

        yield graph_scaling
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.slow
def test_contenders_do_equal_work(tmp_path):
    options = ["--scale", "9", "--repeats", "1", "--folder", tmp_path / "graphs", "--results", tmp_path]
    for section in ("rank", "labels", "report"):
        done = subprocess.run([sys.executable, BENCHMARKS / "graphs.py", section, *options], stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0
    for section in ("rank", "labels"):
        runs = json.loads((tmp_path / f"graphs_{section}_9.json").read_text())["runs"]
        sums = {f"{run['name']} {run.get('precision')} {run['ranks']}": run["checksum"] for run in runs if run["name"] != "bandwidth"}
        assert len(sums) >= 2
        assert max(sums.values()) == pytest.approx(min(sums.values()), rel=1e-6)
        double = {run["checksum"] for run in runs if run["name"].startswith("samesum") and "precision" not in run}
        assert len(double) == 1
    report = (tmp_path / "graphs.md").read_text()
    assert "| scipy | " in report
    assert "| samesum labels, 2 threads | " in report
    assert "bytes an edge" in report


def test_the_cost_model(scaling):
    """Work is shared out evenly; of two ranks each needs about half of all values, of many ranks fewer."""
    network = scaling.Network(latency=0.0, bandwidth=1e9)
    work, exchange = scaling.seconds(2, network, speed=1e9)
    assert work == pytest.approx(scaling.TWITTER_EDGES / 2 / 1e9)
    assert exchange == pytest.approx(8 * scaling.TWITTER_VERTICES / 2 / 1e9)
    assert scaling.seconds(1024, network, speed=1e9)[1] < scaling.seconds(64, network, speed=1e9)[1]
    slow = scaling.seconds(1024, scaling.Network(latency=1e-3, bandwidth=1e9), speed=1e9)[1]
    assert slow - scaling.seconds(1024, network, speed=1e9)[1] == pytest.approx(2 * 10 * 1e-3)
