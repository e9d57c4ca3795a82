"""Models that releases have saved load, and predict what they predicted then, bit by bit."""

import json

import pytest

import engine
from tests.golden_models import GOLDEN, PREDICTIONS, make, predict, toolkits

SAVED = [(release.name, toolkit) for release in sorted(GOLDEN.iterdir()) for toolkit in toolkits()]


@pytest.mark.parametrize(("release", "toolkit"), SAVED)
def test_a_model_of_a_release_predicts_the_same(release, toolkit):
    said = json.loads((GOLDEN / release / PREDICTIONS).read_text())
    assert predict(GOLDEN / release, toolkit) == said[toolkit]


def test_this_release_has_its_models_and_they_can_be_made_anew(tmp_path):
    assert (GOLDEN / engine.__version__).is_dir()
    make(tmp_path / "made")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {path.name for path in (GOLDEN / engine.__version__).iterdir()}
