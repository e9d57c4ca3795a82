"""Fields, descriptions, dumps and files of hand-made models."""

from __future__ import annotations

import copy
import json
import pathlib
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from engine.errors import EngineError, FieldError, ModelFileError, OptionError
from engine.model_io import read_model, write_model
from engine.models._trees.checks import check_ensemble
from engine.models._trees.dump import dump_trees_to_json, dump_trees_to_text
from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET
from engine.models.boosted_trees_classifier import BoostedTreesClassifier
from engine.models.loading import load_model
from tests.models.hand_made import (
    CATEGORY_SPLIT,
    ENCODING,
    NUMBER_SPLIT,
    OPTIONS,
    SUBSET_SPLIT,
    make_classifier,
    make_regression,
    make_rows,
    one_split,
    to_table,
)
from tests.oracles import walk_tree
from tests.threads_comm import run_ranks

REPR = """\
Class                          : BoostedTreesClassifier

Schema
------
Number of examples             : 100
Number of feature columns      : 6
Number of unpacked features    : 7
Number of classes              : 2

Settings
--------
Number of trees                : 4
Max tree depth                 : 6
Training time (sec)            : 1.5
Training accuracy              : 0.25
Training log_loss              : 0.25
"""


def test_fields() -> None:
    model = make_classifier(["no", "yes"])
    assert model.features == ["age", "width", "colour", "v", "m", "tags"]
    assert model.unpacked_features == ["age", "width", "colour", "v[0]", "v[1]", "m[k]", "tags"]
    assert (model.num_features, model.num_unpacked_features) == (6, 7)
    assert model["classes"] == ["no", "yes"]
    assert model.num_classes == 2
    assert model.get("num_examples_per_class") == {"no": 50, "yes": 51}
    assert {name: model.get(name) for name in OPTIONS} == OPTIONS
    assert (model.num_trees, model.num_examples, model.target, model.training_time) == (4, 100, "y", 1.5)
    assert (model.training_accuracy, model.training_log_loss) == (0.25, 0.25)
    assert model.validation_accuracy is None
    assert model.validation_log_loss is None
    assert model.num_validation_examples == 0
    assert model.trees_json == model.dump_to_json()
    assert model.progress.column_names == ["Iteration", "Elapsed Time", "Training-accuracy", "Training-log_loss"]
    assert model.progress["Elapsed Time"].to_pylist() == [0.1, 0.2, 0.3, 0.4]
    for name in model.list_fields():
        assert name in dir(model)
        model.get(name)
    regression = make_regression()
    assert regression.training_rmse == 0.25
    assert regression.training_max_error == 0.25
    assert "classes" not in regression.list_fields()


def test_fields_cannot_be_changed_from_outside() -> None:
    model = make_classifier(["no", "yes"])
    model.classes.append("x")
    model.features.clear()
    assert model.classes == ["no", "yes"]
    assert len(model.features) == 6
    assert not hasattr(model, "nothing")
    assert not hasattr(model, "_nothing")
    assert copy.deepcopy(model).classes == ["no", "yes"]


@pytest.mark.parametrize("ask", [lambda m: m.max_dept, lambda m: m["max_dept"], lambda m: m.get("max_dept")])
@pytest.mark.parametrize("error", [FieldError, EngineError, KeyError, AttributeError])
def test_fields_that_are_not_there(ask: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        ask(make_regression())
    assert str(caught.value).startswith("no field 'max_dept' (did you mean 'max_depth'")
    assert "; the fields are features, unpacked_features" in str(caught.value)


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_classifier(["no", "yes"])
    assert repr(model) == REPR == model.summary(output="str")
    assert model.summary() is None
    assert model.summary(output="stdout") is None
    assert capsys.readouterr().out == 2 * (REPR + "\n")
    structure = model.summary(output="dict")
    assert structure["section_titles"] == ["Schema", "Settings"]
    assert structure["sections"][0][0] == ("Number of examples", 100)
    with pytest.raises(OptionError, match="output must be None, 'stdout', 'str' or 'dict', got 'html'"):
        model.summary("html")


def test_importance_counts_every_split() -> None:
    model = make_regression(seed=5)
    trees = model._ensemble
    table = model.get_feature_importance()
    assert table.column_names == ["name", "index", "count"]
    rows = {(row["name"], row["index"]): row["count"] for row in table.to_pylist()}
    expected = {("age", None): 0, ("width", None): 0, ("colour", None): 0}
    expected |= {("v", "0"): 0, ("v", "1"): 0, ("m", "k"): 0, ("tags", "new"): 0}
    for kind, column in zip(trees.kind, trees.column, strict=True):
        if kind != LEAF:
            source = ENCODING.columns[column]
            expected[source.source, None if source.item is None else str(source.item)] += 1
    assert (trees.kind == SUBSET).any()
    assert rows == expected
    order = list(expected)
    assert list(rows) == sorted(order, key=lambda key: (-expected[key], order.index(key)))


def test_importance_of_single_categories() -> None:
    model = make_regression()
    model._ensemble = CATEGORY_SPLIT
    assert CATEGORY_SPLIT.kind[0] == CATEGORY
    rows = {(row["name"], row["index"]): row["count"] for row in model.get_feature_importance().to_pylist()}
    assert {key: rows[key] for key in rows if key[0] == "colour"} == {
        ("colour", c): int(c == "grün") for c in ("blau", "grün", "red", None)
    }


def test_a_set_of_categories() -> None:
    (text,) = dump_trees_to_json(SUBSET_SPLIT, ENCODING, with_stats=False)
    vertex = json.loads(text)["vertices"][0]
    expected = {"id": 0, "type": "subset", "name": "colour", "value": ["grün", None], "yes_child": 1, "no_child": 2, "missing_child": 2}
    assert vertex == expected
    assert dump_trees_to_text(SUBSET_SPLIT, ENCODING, with_stats=False)[0].splitlines()[1] == (
        '0:[colour in ["grün", null]] yes=1,no=2,missing=2'
    )


def test_json_of_one_split() -> None:
    (text,) = dump_trees_to_json(NUMBER_SPLIT, ENCODING, with_stats=True)
    assert json.loads(text) == {
        "vertices": [
            {
                "id": 0,
                "type": "float",
                "name": "width",
                "value": 0.1,
                "value_hexadecimal": "9a9999999999b93f",
                "yes_child": 1,
                "no_child": 2,
                "missing_child": 1,
                "gain": 8.0,
                "cover": 10.0,
            },
            {"id": 1, "type": "leaf", "value": 1.5, "value_hexadecimal": "000000000000f83f", "gain": 0.0, "cover": 6.0},
            {"id": 2, "type": "leaf", "value": -0.25, "value_hexadecimal": "000000000000d0bf", "gain": 0.0, "cover": 4.0},
        ],
        "edges": [{"src": 0, "dst": 1, "value": "yes"}, {"src": 0, "dst": 2, "value": "no"}],
    }


def first_vertex(ensemble: Any) -> tuple[Any, ...]:
    vertex = json.loads(dump_trees_to_json(ensemble, ENCODING, with_stats=False)[0])["vertices"][0]
    assert "gain" not in vertex
    assert "cover" not in vertex
    return tuple(vertex[key] for key in ("type", "name", "value", "yes_child", "no_child", "missing_child"))


def test_names_and_kinds_of_splits() -> None:
    assert first_vertex(CATEGORY_SPLIT) == ("indicator", "colour=grün", 1.0, 1, 2, 2)
    assert first_vertex(one_split(NUMERIC, 0, 3.5, missing_yes=False)) == ("integer", "age", 3.5, 1, 2, 2)
    assert first_vertex(one_split(NUMERIC, 4, 3.5, missing_yes=False)) == ("float", "v[1]", 3.5, 1, 2, 2)
    assert first_vertex(one_split(NUMERIC, 5, 3.5, missing_yes=True)) == ("float", 'm["k"]', 3.5, 1, 2, 1)
    present_yes = one_split(NUMERIC, 6, 2.0, missing_yes=False)
    assert first_vertex(present_yes) == ("indicator", "tags=new", 1.0, 1, 2, 2)
    present_no = one_split(NUMERIC, 6, 0.5, missing_yes=True)
    assert first_vertex(present_no) == ("indicator", "tags=new", 1.0, 2, 1, 1)


def test_text_of_one_split() -> None:
    text = "booster[0]:\n0:[width<0.1] yes=1,no=2,missing=1,gain=8.0,cover=10.0\n\t1:leaf=1.5,cover=6.0\n\t2:leaf=-0.25,cover=4.0\n"
    assert dump_trees_to_text(NUMBER_SPLIT, ENCODING, with_stats=True) == [text]
    text = "booster[0]:\n0:[colour=grün] yes=1,no=2,missing=2\n\t1:leaf=1.5\n\t2:leaf=-0.25\n"
    assert dump_trees_to_text(CATEGORY_SPLIT, ENCODING, with_stats=False) == [text]


def walk_json(tree: dict[str, Any], row: Any) -> int:
    """The leaf that an encoded row reaches, by the JSON alone."""
    vertices = {vertex["id"]: vertex for vertex in tree["vertices"]}
    node = vertices[0]
    while node["type"] != "leaf":
        name = node["name"]
        names = [column.name for column in ENCODING.columns]
        if node["type"] == "subset":
            categories = ENCODING.columns[names.index(name)].categories
            code = row[names.index(name)]
            branch = "yes_child" if code >= 0 and categories[int(code)] in node["value"] else "no_child"
        elif name in names:
            threshold = struct.unpack("<d", bytes.fromhex(node["value_hexadecimal"]))[0]
            x = row[names.index(name)]
            branch = "missing_child" if np.isnan(x) else "yes_child" if node["type"] == "indicator" or x < threshold else "no_child"
        else:
            source, category = name.split("=")
            column = next(c for c in ENCODING.columns if c.source == source)
            code = column.categories.index(None if category == "None" else category)
            branch = "yes_child" if row[names.index(source)] == code else "no_child"
        node = vertices[node[branch]]
    return int(node["id"])


def test_json_says_where_every_row_goes() -> None:
    model = make_regression(seed=11)
    matrix = ENCODING.matrix(to_table(make_rows(60)))
    trees = [json.loads(text) for text in model.dump_to_json()]
    # an indicator is 1 or missing
    matrix[:, 6] = np.where(np.isnan(matrix[:, 6]), np.nan, 1.0)
    for number, tree in enumerate(trees):
        for row in matrix:
            assert walk_json(tree, row) == walk_tree(model._ensemble, number, row)


@pytest.mark.parametrize("make", [lambda: make_classifier(["a", "b", "ü"]), lambda: make_classifier([False, True]), make_regression])
def test_a_saved_model_is_the_same_model(make: Any, tmp_path: pathlib.Path) -> None:
    model = make()
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
    assert loaded.list_fields() == model.list_fields()
    for name in model.list_fields():
        assert loaded.get(name) == model.get(name)
        assert type(loaded.get(name)) is type(model.get(name))
    table = to_table(make_rows(30))
    assert loaded.predict(table).equals(model.predict(table))
    loaded.save(str(tmp_path / "again"))
    for file in (tmp_path / "model").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    (tmp_path / "model" / "run.json").unlink()
    bare = load_model(tmp_path / "model")
    assert bare.training_time is None
    assert bare.progress["Elapsed Time"].to_pylist() == [None] * 4
    assert bare.predict(table).equals(model.predict(table))


def test_rank_0_writes(tmp_path: pathlib.Path) -> None:
    source = make_regression()

    def save(comm: Any) -> bool:
        model = type(source)(source._document, ENCODING, source._ensemble, None, rank=comm.rank)
        path = tmp_path / str(comm.rank)
        model.save(path)
        return path.exists()

    assert run_ranks(3, save) == [True, False, False]


def test_loading_and_predicting_need_no_mpi(tmp_path: pathlib.Path) -> None:
    make_classifier(["a", "b"]).save(tmp_path / "model")
    code = (
        "import sys, engine; m = engine.load_model(sys.argv[1]); print(m.predict({'age': 1}));"
        "print('mpi4py' in sys.modules, 'mpi4py.MPI' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [make_classifier(["a", "b"]).predict({"age": 1}), "False", "False"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, a: d.update(toolkit="word_embeddings"), "toolkit 'word_embeddings', which this release does not have"),
        (lambda d, a: d.pop("encoding"), "KeyError.*encoding"),
        (lambda d, a: d.update(encoding={"sources": 3}), "is damaged"),
        (lambda d, a: d.pop("metrics"), "is damaged"),
        (lambda d, a: a.pop("yes"), "is damaged"),
        (lambda d, a: a.update(yes=a["yes"][:-1]), "yes has shape"),
        (lambda d, a: a["yes"].__setitem__(0, 0), "a yes branch leads outside its tree"),
        (lambda d, a: a["no"].__setitem__(0, 10_000), "a no branch leads outside its tree"),
        (lambda d, a: a["column"].__setitem__(0, 7), "a split asks for a column beyond the 7"),
        (lambda d, a: a["kind"].__setitem__(0, 4), "a node is of no known kind"),
        (lambda d, a: a["no"].__setitem__(0, a["yes"][0]), "the branches do not form trees"),
        (lambda d, a: d["ensemble"].update(link="logit"), "unknown link 'logit'"),
        (lambda d, a: a["set_start"].__setitem__(0, 1), "set_start does not divide the sets"),
        (lambda d, a: (a["kind"].__setitem__(0, 3), a["threshold"].__setitem__(0, 99)), "a set that there is not"),
        (
            lambda d, a: (a["kind"].__setitem__(0, 3), a["column"].__setitem__(0, 0), a["threshold"].__setitem__(0, 1)),
            "a category that there",
        ),
        (lambda d, a: a["set_bits"].__setitem__(slice(None), 1 << 4), "a category that there is not"),
        (lambda d, a: (a["kind"].__setitem__(0, 1), a["column"].__setitem__(0, 2)), "compares what cannot be ordered"),
        (lambda d, a: a["tree_start"].__setitem__(-1, 3), "tree_start does not divide the nodes"),
        (lambda d, a: d["ensemble"].update(n_outputs=3), "trees cannot be shared by 3 outputs"),
        (lambda d, a: (a["kind"].__setitem__(0, 2), a["column"].__setitem__(0, 0)), "a category that there is not"),
    ],
)
def test_model_files_that_no_release_wrote(change: Any, message: str, tmp_path: pathlib.Path) -> None:
    """Their checksums are right: kernels must be safe from what the files say."""
    make_classifier(["a", "b"], seed=4).save(tmp_path / "model")
    document, arrays, run = read_model(tmp_path / "model")
    arrays = {name: array.copy() for name, array in arrays.items()}
    assert arrays["kind"][0] != LEAF
    change(document, arrays)
    write_model(tmp_path / "model", document, arrays, run or {})
    with pytest.raises(ModelFileError, match=message):
        load_model(tmp_path / "model")


def test_trees_that_training_makes_are_accepted() -> None:
    for seed in range(5):
        model = make_regression(seed)
        assert check_ensemble(model._ensemble, ENCODING) is model._ensemble
    assert isinstance(make_classifier(["a", "b"]), BoostedTreesClassifier)
