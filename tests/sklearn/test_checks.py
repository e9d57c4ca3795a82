"""scikit-learn's own checks, and parameters that are the toolkits' options."""

import inspect
import json
import os
import pathlib
import subprocess
import sys

import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils._test_common.instance_generator import _get_expected_failed_checks
from sklearn.utils.estimator_checks import check_estimator

import engine
import engine.sklearn
from tests.sklearn.samples import LINEAR, NAMES, make

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What scikit-learn expects of its own estimator: weights are not the same as rows that are left out or repeated.
EXPECTED = _get_expected_failed_checks(HistGradientBoostingClassifier())
NOT_PARAMETERS = {"dataset", "target", "features", "sample_weight", "offset", "comm", "kwargs"}
ALL_CHECKS = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import check_estimator
import engine.sklearn
found = {}
for name in engine.sklearn.__all__:
    results = check_estimator(getattr(engine.sklearn, name)(num_threads=1), on_skip=None, on_fail=None)
    found[name] = [(each["check_name"], each["status"]) for each in results]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def results():
    """Every check's result by estimator, of a process in which none is left out: one asks for a variable that is set before imports."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", ALL_CHECKS], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_every_check_passes(results, name):
    """But for what fails for scikit-learn's own HistGradientBoosting as well."""
    assert len(results[name]) > 50
    assert {check for check, status in results[name] if status != "passed"} <= set(EXPECTED)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LINEAR)
def test_weights_are_repeated_rows_where_columns_are_not_rescaled(name):
    """The one check that fails asks this; scales of columns count every row once, whatever its weight."""
    options = {"solver": "newton", "max_iterations": 100, "convergence_threshold": 1e-9} if name == "SVMClassifier" else {}
    check_estimator(make(name, feature_rescaling=False, **options), on_skip=None)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_options_of_create(name):
    own = getattr(engine.sklearn, name)
    create = inspect.signature(getattr(engine, own.toolkit).create).parameters.values()
    options = {p.name: False if p.name == "verbose" else p.default for p in create if p.name not in NOT_PARAMETERS}
    assert own().get_params() == options
    assert list(own().get_params()) == sorted(options)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_kept_as_they_are(name):
    seed = object()
    estimator = make(name, random_seed=seed)
    assert estimator.random_seed is seed
    assert clone(make(name, max_iterations=3)).get_params() == make(name, max_iterations=3).get_params()


@pytest.mark.parametrize("name", NAMES)
def test_options_are_checked_when_fitting(name):
    with pytest.raises(engine.errors.OptionError, match="max_iterations must be an integer >= 1, got -1"):
        make(name, max_iterations=-1).fit([[0.0], [1.0]], [0, 1])
