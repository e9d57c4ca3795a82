"""The benchmark of trees runs, writes its results, and judges them."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def report():
    """The module that judges; scripts find their neighbours by their folder."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import _trees.report

        yield _trees.report
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.slow
def test_every_scenario_runs(tmp_path, report):
    command = [sys.executable, BENCHMARKS / "trees.py", "--quick", "--results", tmp_path]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for scenario in report.SCENARIOS.values():
        result = json.loads((tmp_path / f"trees_{scenario.name}.json").read_text())
        found = {(run["setting"], run["engine"]) for run in result["runs"]}
        settings = scenario.shrink().settings
        installed = [name for name in ("samesum", "xgboost", "lightgbm", "sklearn") if importlib.util.find_spec(name)]
        assert found == {(s.label, engine) for s in settings for engine in s.engines if engine.split()[0] in installed}
        assert all(0 < run["log_loss"] < 1 and 0.5 < run["auc"] < 1 and run["total"] > 0 for run in result["runs"])
        judged = {verdict["figure"] for verdict in result["verdicts"]}
        assert judged == {*scenario.targets, "auc"}
        assert scenario.title in (tmp_path / "trees.md").read_text()


def make_runs(setting, repeat=0, **seconds):
    figures = {"log_loss": 0.5, "auc": 0.8, "peak_mb": 1.0}
    names = {engine: engine.replace("_", " ") for engine in seconds}
    return [{"repeat": repeat, "setting": setting, "engine": names[e], "train": s, "total": s, **figures} for e, s in seconds.items()]


def test_the_fastest_peer_on_as_many_cores_is_the_measure(report):
    floats = report.SCENARIOS["floats"]
    runs = make_runs("1 thread", samesum=4.0, xgboost=10.0, lightgbm=12.0)
    runs += make_runs("2 threads", samesum=3.0, xgboost=6.0, lightgbm=11.5) + make_runs("2 ranks", samesum=2.0, lightgbm_quantized=7.0)
    summary = report.summarise(floats, runs)
    trains = {v["setting"]: (v["peer"], v["ratio"], v["reached"]) for v in summary["verdicts"] if v["figure"] == "train"}
    assert trains == {
        "1 thread": ("xgboost", 2.5, True),
        "2 threads": ("xgboost", 2.0, False),
        "2 ranks": ("xgboost, 2 threads", 3.0, True),
    }
    assert summary["notes"] == ["lightgbm has no speed-up from its second thread: train 12.00 s, then 11.50 s"]


def test_a_worse_auc_and_a_failed_run_show(report):
    floats = report.SCENARIOS["floats"]
    runs = make_runs("1 thread", samesum=4.0, xgboost=10.0)
    runs[1]["auc"] += 0.001
    runs.append({"setting": "1 thread", "engine": "sklearn", "failed": "no memory"})
    summary = report.summarise(floats, runs)
    (auc,) = [verdict for verdict in summary["verdicts"] if verdict["figure"] == "auc"]
    assert auc["difference"] == pytest.approx(-0.001)
    assert not auc["reached"]
    assert summary["notes"] == ["sklearn, 1 thread: no memory"]


def test_quality_is_compared_on_the_data_that_both_have_seen(report):
    floats = report.SCENARIOS["floats"]
    own, peer, once = [0.80, 0.70, 0.75], [0.81, 0.71, 0.70], [0.804]
    runs = [run for repeat in range(3) for run in make_runs("1 thread", repeat, samesum=1.0, xgboost=2.0)]
    runs += make_runs("1 thread", 0, sklearn=3.0)
    for engine, values in {"samesum": own, "xgboost": peer, "sklearn": once}.items():
        for run, auc in zip((run for run in runs if run["engine"] == engine), values, strict=True):
            run["auc"] = auc
    summary = report.summarise(floats, runs)
    (auc,) = [verdict for verdict in summary["verdicts"] if verdict["figure"] == "auc"]
    assert (auc["peer"], auc["reached"]) == ("sklearn", False)
    assert (auc["own"], auc["best"], auc["difference"]) == pytest.approx((0.80, 0.804, -0.004))
    assert summary["medians"]["1 thread"]["samesum"]["auc"] == pytest.approx(0.75)


def test_a_run_that_hangs_is_tried_again(monkeypatch, report):
    import trees

    answers = [TimeoutError(), {"train": 1.0}]

    def answer(*_):
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(trees, "measure_once", answer)
    floats = report.SCENARIOS["floats"]
    assert trees.measure(floats, 0, "", floats.settings[0], "xgboost")["hung"] == 1
    answers[:] = [TimeoutError()] * trees.TRIES
    assert trees.measure(floats, 0, "", floats.settings[0], "xgboost")["failed"] == "hung 3 times"


def test_processes_that_do_not_end_are_ended(tmp_path, report):
    import trees

    with pytest.raises(TimeoutError):
        trees.run_together([[sys.executable, "-c", "import time; time.sleep(60)"]], tmp_path, threads=1, patience=0.2)
    failing = [[sys.executable, "-c", "import time; time.sleep(60)"], [sys.executable, "-c", "raise ValueError('no')"]]
    assert trees.run_together(failing, tmp_path, threads=1, patience=60.0) == "ValueError: no"


def test_medians_are_of_all_repeats(report):
    runs = [run for repeat, s in enumerate((1.0, 5.0, 2.0)) for run in make_runs("1 thread", repeat, samesum=s, xgboost=3 * s)]
    medians = report.summarise(report.SCENARIOS["floats"], runs)["medians"]["1 thread"]
    assert (medians["samesum"]["train"], medians["xgboost"]["train"]) == (2.0, 6.0)


def test_the_readme_lists_every_scenario(report, tmp_path):
    """Writing the made part again keeps the scenarios, whatever the results are."""
    text = (BENCHMARKS / "README.md").read_text()
    readme = tmp_path / "README.md"
    readme.write_text(text)
    report.update_readme(readme, BENCHMARKS / "results")
    assert readme.read_text() == text
