"""A job survives its trip through JSON, and nothing that was not meant does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.errors import OptionError
from engine.spec import GRAPH_TOOLKITS, TOOLKITS, DataSpec, GraphSpec, JobSpec

TRAIN = {
    "task": "train",
    "toolkit": "boosted_trees_classifier",
    "data": {"paths": ["a.csv"]},
    "target": "label",
    "output": "model",
}

words = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
data_specs = st.builds(
    DataSpec,
    paths=st.lists(words, min_size=1, max_size=3).map(tuple),
    format=st.none() | words,
    delimiter=words,
    header=st.booleans(),
    null_values=st.lists(words, max_size=3).map(tuple),
    column_types=st.none() | st.dictionaries(words, words, max_size=3),
    comment=st.none() | words,
)
columns = words | st.integers()
graph_specs = st.builds(
    GraphSpec, src=columns, dst=columns, vid=columns, vertices=st.none() | st.lists(words, max_size=3).map(tuple), table=st.none() | words
)
common = {"data": data_specs, "verbose": st.booleans(), "num_threads": st.none() | st.integers(1, 99), "debug": st.booleans()}
jobs = st.one_of(
    st.builds(
        JobSpec,
        task=st.just("train"),
        toolkit=st.sampled_from(TOOLKITS),
        target=words,
        features=st.none() | st.lists(words, max_size=3).map(tuple),
        options=st.dictionaries(words, scalars | st.lists(scalars, max_size=2) | st.dictionaries(words, scalars, max_size=2), max_size=3),
        output=words,
        **common,
    ),
    st.builds(JobSpec, task=st.just("train"), toolkit=st.sampled_from(GRAPH_TOOLKITS), graph=graph_specs, output=words, **common),
    st.builds(JobSpec, task=st.just("predict"), model=words, output=words, output_type=st.none() | words, **common),
    st.builds(JobSpec, task=st.just("evaluate"), model=words, output=st.none() | words, **common),
)


@given(jobs)
def test_round_trip(job):
    assert JobSpec.from_json(job.to_json()) == job


def test_defaults():
    job = JobSpec.from_json(json.dumps(TRAIN))
    assert job.data == DataSpec(
        paths=("a.csv",), format=None, delimiter=",", header=True, null_values=("", "NA", "null"), column_types=None
    )
    assert (job.features, job.options, job.verbose, job.num_threads, job.debug) == (None, {}, True, None, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datum": 1}, "unknown key 'datum'"),
        ({"data": {"paths": ["a"], "sep": ";"}}, "unknown key 'data.sep'"),
        ({"data": {"paths": "a.csv"}}, "'data.paths' to be a list of strings"),
        ({"data": {"paths": []}}, "at least one path"),
        ({"data": {}}, "'data.paths' in a job"),
        ({"data": {"paths": ["a"], "header": 1}}, "'data.header' to be true or false, got 1"),
        ({"data": {"paths": ["a"], "column_types": {"a": 1}}}, "'data.column_types' to be an object of strings or null"),
        ({"data": ["a"]}, "'data' to be an object"),
        ({"task": "trian"}, "task to be one of train, predict, evaluate, script, got 'trian'"),
        ({"task": None}, "'task' to be a string, got null"),
        (
            {"toolkit": "boosted"},
            f"toolkit to be one of {', '.join((*TOOLKITS, *GRAPH_TOOLKITS))}, got 'boosted'",
        ),
        ({"toolkit": None}, "'toolkit' in a train job"),
        ({"toolkit": "pagerank", "target": None}, "'graph' in a train job of pagerank"),
        ({"toolkit": "pagerank", "graph": {}}, "'target' means nothing in a train job of pagerank, got 'label'"),
        ({"graph": {}}, "'graph' means nothing in a train job of"),
        ({"graph": {"source": 1}}, "unknown key 'graph.source'"),
        ({"graph": {"src": 1.5}}, "'graph.src' to be the name or position of a column, got 1.5"),
        ({"target": None}, "'target' in a train job"),
        ({"output": None}, "'output' in a train job"),
        ({"model": "m"}, "'model' means nothing in a train job, got 'm'"),
        ({"output_type": "class"}, "'output_type' means nothing"),
        ({"options": {"max_depth": {"a": {"b": 1}}}}, "'options' to be an object of plain values"),
        ({"features": "a,b"}, "'features' to be a list of strings or null"),
        ({"num_threads": 0}, "num_threads to be 1 or more, got 0"),
        ({"num_threads": True}, "'num_threads' to be an integer or null, got true"),
        ({"verbose": "no"}, "'verbose' to be true or false"),
        ({"version": 3}, "version 1 to 2, got 3"),
        ({"version": "1"}, "version 1 to 2, got '1'"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(OptionError) as caught:
        JobSpec.from_json(json.dumps({**TRAIN, **change}))
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_what_is_no_job(text):
    with pytest.raises(OptionError, match="expected a job as"):
        JobSpec.from_json(text)


def test_the_toolkits_are_those_of_the_engine():
    assert set(TOOLKITS) <= set(dir(engine))
    assert set(TOOLKITS) == {name for name in engine.__all__ if name.endswith(("_classifier", "_regression"))}
