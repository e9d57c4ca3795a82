"""A job survives its trip through JSON, and nothing that was not meant does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.errors import OptionError
from engine.spec import GRAPH_TOOLKITS, TOOLKITS, DataSpec, GraphSpec, JobSpec, Resources, ScriptSpec

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
    skip_lines=st.integers(0, 9),
    columns=st.none() | st.lists(words, max_size=3).map(tuple),
    splits=st.lists(st.tuples(st.floats(0, 1), st.integers(), st.booleans()), max_size=2).map(tuple),
)
resources = st.builds(
    Resources,
    num_workers=st.integers(1, 9),
    num_threads=st.none() | st.integers(1, 9),
    worker_memory=st.none() | st.integers(16, 9999),
    max_restarts=st.integers(0, 9),
    hang_timeout=st.floats(0, 1e6),
    node_tmp_dir=st.none() | words,
    hdfs_tmp_dir=st.none() | words,
    environment=st.dictionaries(st.sampled_from(["A", "PATH", "É"]), st.text("abc =é", max_size=5), max_size=2),
)
columns = words | st.integers()
graph_specs = st.builds(
    GraphSpec, src=columns, dst=columns, vid=columns, vertices=st.none() | st.lists(words, max_size=3).map(tuple), table=st.none() | words
)
common = {
    "data": data_specs,
    "resources": st.none() | resources,
    "verbose": st.booleans(),
    "num_threads": st.none() | st.integers(1, 99),
    "debug": st.booleans(),
}
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
    st.builds(
        JobSpec,
        task=st.just("train"),
        toolkit=st.just("svm_classifier"),
        target=words,
        validation=data_specs,
        **{**common, "resources": resources},
    ),
    st.builds(
        JobSpec, task=st.just("script"), script=st.builds(ScriptSpec, path=words, args=st.lists(words).map(tuple)), resources=resources
    ),
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
        ({"resources": 4}, "'resources' to be an object or null, got 4"),
        ({"resources": {"workers": 4}}, "unknown key 'resources.workers'"),
        ({"resources": {"num_workers": 0}}, "'resources.num_workers' to be an integer of 1 or more, got 0"),
        ({"resources": {"num_workers": 2.0}}, "'resources.num_workers' to be an integer, got 2.0"),
        ({"resources": {"worker_memory": 1}}, "'resources.worker_memory' to be an integer of 16 or more, got 1"),
        ({"resources": {"max_restarts": -1}}, "'resources.max_restarts' to be an integer of 0 or more, got -1"),
        ({"resources": {"hang_timeout": -1}}, "'resources.hang_timeout' to be seconds, 0 or more"),
        ({"resources": {"backend": "cloud"}}, "'resources.backend' to be one of local, yarn, slurm, pbs, got 'cloud'"),
        ({"resources": {"environment": {"A": 1}}}, "'resources.environment' to be an object of strings"),
        ({"resources": {"environment": {"A=": "b"}}}, "'resources.environment', got 'A='"),
        (
            {"resources": {"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}},
            "'resources.environment.AWS_SECRET_ACCESS_KEY' looks like a secret",
        ),
        ({"resources": {"environment": {"SAMESUM_GANG": "x"}}}, "'resources.environment.SAMESUM_GANG' is for the supervisor"),
        ({"validation": {"path": ["a"]}}, "unknown key 'validation.path'"),
        ({"validation": {}}, "'validation.paths' in a job"),
        ({"validation": {"paths": ["a"]}, "options": {"validation_set": "b"}}, "got both: leave one out"),
        ({"data": {"paths": ["a"], "splits": [[0.5, 1]]}}, "'data.splits' to be a list of [fraction, seed"),
        ({"graph": {"vertex_data": {"paths": 1}}}, "'graph.vertex_data.paths' to be a list of strings, got 1"),
        ({"script": {"args": []}}, "'script.path' in a job"),
        ({"script": {"path": "a.py"}}, "'script' means nothing in a train job"),
        ({"task": "script"}, "'script' in a script job"),
        ({"version": "1"}, "version 1 to 2, got '1'"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(OptionError) as caught:
        JobSpec.from_json(json.dumps({**TRAIN, **change}))
    assert words in str(caught.value)


def test_jobs_of_the_first_version_are_read_as_ever():
    text = (
        '{"version": 1, "task": "train", "data": {"paths": ["a.csv"], "format": null, "delimiter": ";", "header": true,'
        ' "null_values": ["NA"], "column_types": {"zip": "string"}, "comment": null}, "toolkit": "pagerank", "target": null,'
        ' "features": null, "graph": {"src": "a", "dst": 1, "vid": 0, "vertices": ["v.csv"], "table": null},'
        ' "options": {"threshold": 0.5}, "model": null, "output_type": null, "output": "m", "verbose": false, "num_threads": 2,'
        ' "debug": false}'
    )
    assert JobSpec.from_json(text) == JobSpec(
        task="train",
        toolkit="pagerank",
        data=DataSpec(paths=("a.csv",), delimiter=";", null_values=("NA",), column_types={"zip": "string"}),
        graph=GraphSpec(src="a", dst=1, vertices=("v.csv",)),
        options={"threshold": 0.5},
        output="m",
        verbose=False,
        num_threads=2,
    )


def test_a_secret_is_not_in_its_message():
    with pytest.raises(OptionError) as caught:
        Resources(environment={"MY_PASSWORD": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_resources_stand_for_an_output():
    given = {**TRAIN, "output": None, "resources": {}}
    assert JobSpec.from_json(json.dumps(given)).output is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_what_is_no_job(text):
    with pytest.raises(OptionError, match="expected a job as"):
        JobSpec.from_json(text)


def test_the_toolkits_are_those_of_the_engine():
    assert set(TOOLKITS) <= set(dir(engine))
    assert set(TOOLKITS) == {name for name in engine.__all__ if name.endswith(("_classifier", "_regression"))}
