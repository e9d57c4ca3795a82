"""Label propagation beside a dense twin: all options, small and strange graphs, any labels, any number of ranks and threads."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest

import engine
from engine.errors import DataError, OptionError
from engine.models import label_propagation
from engine.models._graphs import exchange, spreading
from tests.graph_oracles import TOYS, Toy, chain, grid, karate, random_toy, spread_densely
from tests.threads_comm import run_ranks

OPTIONS = [
    dict(zip(("weight_field", "self_weight", "undirected"), values, strict=True))
    for values in itertools.product((None, "w"), (1.0, 0.0, 2.5), (False, True))
]


def create(graph, label_field="label", **options):
    return label_propagation.create(graph, label_field, verbose=False, **options)


def by_number(model, toy):
    """The table of labels by number of vertex."""
    at = np.arange(toy.n) if toy.positions is None else np.asarray(toy.positions)
    return model.labels.take(pa.array(at))


def probabilities(model, toy):
    """[n, K]."""
    table = by_number(model, toy)
    return np.column_stack([table[f"P{c}"].to_numpy() for c in range(model.num_classes)])


def with_labels(toy, labels):
    return dataclasses.replace(toy, vertices={"label": labels})


def codes_of(toy):
    """Numbers of the sorted classes."""
    labels = toy.vertices["label"]
    classes = sorted(
        {label for label in labels if label is not None}, key=lambda label: label.encode() if isinstance(label, str) else label
    )
    return [-1 if label is None else classes.index(label) for label in labels], len(classes)


def content(model):
    """All that may not depend on ranks and threads."""
    document, arrays, _ = model._content()
    return document, {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(str(value) for value in options.values()))
def test_every_combination_of_options(options):
    toy = random_toy(1)
    codes, n_classes = codes_of(toy)
    model = create(toy.on(), threshold=0.0, max_iterations=9, **options)
    expected, changes = spread_densely(toy, model.num_iterations, codes, n_classes, **options)
    np.testing.assert_allclose(probabilities(model, toy), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(model.progress[label_propagation.CHANGE].to_numpy(), changes, rtol=1e-9, atol=1e-12)
    assert {name: model[name] for name in options} == options


@pytest.mark.parametrize("n_classes", [1, 2, 4, 5, 12, 13, 16, 17, 40])
def test_any_number_of_classes(n_classes):
    toy = random_toy(2, n=80, m=500)
    codes = [number % n_classes if number < 45 else None for number in range(80)]
    toy = with_labels(toy, codes)
    model = create(toy.on(), threshold=0.0, max_iterations=4)
    expected, _ = spread_densely(toy, 4, [-1 if code is None else code for code in codes], n_classes)
    np.testing.assert_allclose(probabilities(model, toy), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("options", [{}, {"undirected": True, "weight_field": "w"}, {"self_weight": 0.0}])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_any_number_of_ranks_and_threads(options, size, monkeypatch):
    toy = random_toy(3)
    alone = content(create(toy.on(), **options, max_iterations=40))
    uneven = np.array([0, *np.sort(np.random.default_rng(size).integers(0, toy.n + 1, size - 1)), toy.n])
    for reach, bounds, threads in (("all", None, 1), ("needed", None, 2), ("needed", uneven, 1), ("all", uneven, 2)):
        make_plan = exchange.make_plan
        monkeypatch.setattr("engine.models._graphs.rows.make_plan", lambda *args, reach_=reach, make=make_plan: make(*args[:4], reach_))
        if options.get("undirected") and bounds is uneven:
            continue
        models = run_ranks(size, lambda comm, b=bounds, t=threads: create(toy.on(comm, b), num_threads=t, max_iterations=40, **options))
        assert all(content(model) == alone for model in models)


@pytest.mark.parametrize("toy", [grid(9), chain(30), random_toy(4, n=300, m=400)], ids=["grid", "chain", "random"])
@pytest.mark.parametrize("self_weight", [0.0, 1.0])
def test_rows_that_cannot_change_are_skipped_without_a_trace(toy, self_weight, monkeypatch):
    labels = ["b"] + [None] * (toy.n - 2) + ["a"]
    labels[toy.n // 3] = "a"
    toy = with_labels(toy, labels)
    computed = []
    step = spreading.Spreading.step
    monkeypatch.setattr(spreading.Spreading, "step", lambda self: computed.append(step(self)) or computed[-1])
    results = []
    for share in (spreading.FEW_CHANGED, 0.0, 1.0):
        monkeypatch.setattr(spreading, "FEW_CHANGED", share)
        results.append((content(create(toy.on(), threshold=0.0, max_iterations=60, self_weight=self_weight)), computed[:]))
        computed.clear()
    assert results[0][0] == results[1][0] == results[2][0]
    n_computed = [sum(step.n_computed for step in steps) for _, steps in results]
    assert n_computed[2] <= n_computed[0] <= n_computed[1]
    assert n_computed[2] < n_computed[1]


def test_a_chain_by_hand():
    """0 -> 1 -> 2 with 0 labelled: vertex 1 comes nearer by half, vertex 2 follows."""
    toy = with_labels(chain(3), ["a", None, "b"])
    model = create(toy.on(), threshold=0.0, max_iterations=3)
    assert model.labels.to_pydict() == {
        "__id": [0, 1, 2],
        "label": ["a", None, "b"],
        "predicted_label": ["a", "a", "b"],
        "P0": [1.0, 0.9375, 0.0],
        "P1": [0.0, 0.0625, 1.0],
    }
    assert (model.classes, model.num_labeled_vertices, model.stop_reason) == (["a", "b"], 2, "max_iterations")


def test_what_no_label_reaches_is_not_predicted():
    toy = with_labels(Toy([0, 3], [1, 4], 5), ["a", None, "b", None, None])
    model = create(toy.on())
    assert model.labels["predicted_label"].to_pylist() == ["a", "a", "b", None, None]
    assert probabilities(model, toy)[3:].tolist() == [[0.5, 0.5]] * 2
    assert (model.converged, model.stop_reason) == (True, "converged")


def test_a_vertex_without_neighbours_keeps_its_values_without_a_weight_for_itself():
    toy = with_labels(Toy([0], [1], 3), ["a", None, "b"])
    toy = dataclasses.replace(toy, n=4, vertices={"label": ["a", None, "b", None]})
    model = create(toy.on(), self_weight=0.0)
    assert probabilities(model, toy).tolist() == [[1, 0], [1, 0], [0, 1], [0.5, 0.5]]


def test_a_period_of_two_ends():
    """Two vertices that listen to each other, and little to a label each, swap their values again and again."""
    toy = Toy([0, 1, 2, 3], [1, 0, 0, 1], 4, {"w": [1.0, 1.0, 0.1, 0.1]}, {"label": [None, None, "a", "b"]})
    model = create(toy.on(), self_weight=0.0, weight_field="w", threshold=0.02)
    assert (model.converged, model.stop_reason, model.num_iterations) == (False, "oscillating", 2)
    assert model.delta > 0.02
    assert create(toy.on(), weight_field="w", threshold=0.02).stop_reason == "converged"


def test_oscillation_is_told_from_convergence():
    """x(t) is nearer to x(t - 2) than the threshold, but not to x(t - 1)."""
    rows = [{label_propagation.CHANGE: 0.5, "leap": 1e-9, "changed": 4}]
    options = {"threshold": 1e-3, "max_iterations": None}
    assert label_propagation.why_stop(rows, options) == "oscillating"
    assert label_propagation.why_stop([{**rows[0], label_propagation.CHANGE: 1e-4}], options) == "converged"
    assert label_propagation.why_stop([{**rows[0], "leap": 0.1}], options) == ""
    assert label_propagation.why_stop([{**rows[0], "leap": 0.1, "changed": 0}], options) == "converged"
    assert label_propagation.why_stop([{**rows[0], "leap": 0.1}] * 1000, options) == "max_iterations"


def test_karate_club():
    toy = karate()
    leaders = [club if at in (0, 33) else None for at, club in enumerate(toy.vertices["club"])]
    toy = dataclasses.replace(toy, vertices={"label": leaders})
    model = create(toy.on(), threshold=1e-6)
    joined = karate().vertices["club"]
    agree = sum(a == b for a, b in zip(model.labels["predicted_label"].to_pylist(), joined, strict=True))
    assert agree >= 32
    codes, n_classes = codes_of(toy)
    expected, _ = spread_densely(toy, model.num_iterations, codes, n_classes)
    np.testing.assert_allclose(probabilities(model, toy), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([3, None, -1, None], [-1, 3]),
        (["é", None, "z", None], ["z", "é"]),
        ([True, None, False, None], [False, True]),
        ([0.5, float("nan"), -0.0, None], [0.0, 0.5]),
        (["only", None, None, None], ["only"]),
    ],
)
def test_labels_of_any_type(labels, classes, tmp_path):
    toy = with_labels(Toy([0, 2], [1, 3], 4), labels)
    model = create(toy.on())
    assert model.classes == classes
    table = model.labels
    assert table["label"].to_pylist()[0] == labels[0]
    assert table["label"].to_pylist()[3] is None
    if len(classes) > 1:
        assert table["predicted_label"].to_pylist()[:2] == [labels[0]] * 2
    else:
        assert table["predicted_label"].to_pylist() == ["only", None, None, None]
    model.save(tmp_path / "model")
    loaded = engine.load_model(tmp_path / "model")
    assert loaded.labels.equals(table)
    assert content(loaded) == content(model)


def test_all_labelled_is_a_warning():
    toy = with_labels(chain(3), ["a", "b", "a"])
    with pytest.warns(UserWarning, match="every vertex has a label"):
        model = create(toy.on())
    assert (model.delta, model.converged, model.num_iterations) == (0.0, True, 1)
    assert model.labels["predicted_label"].to_pylist() == ["a", "b", "a"]


@pytest.mark.parametrize("name", [name for name in TOYS if TOYS[name].n > 1])
def test_small_graphs(name):
    toy = with_labels(TOYS[name], ["x"] + [None] * (TOYS[name].n - 2) + ["y"])
    codes, n_classes = codes_of(toy)
    model = create(toy.on(), threshold=0.0, max_iterations=6)
    expected, _ = spread_densely(toy, model.num_iterations, codes, n_classes)
    np.testing.assert_allclose(probabilities(model, toy), expected, rtol=1e-13)


def test_more_ranks_than_vertices():
    toy = with_labels(chain(4), ["x", None, None, "y"])
    models = run_ranks(9, lambda comm: create(toy.on(comm)))
    assert all(content(model) == content(create(toy.on())) for model in models)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -1e-3}, "threshold must be a number >= 0"),
        ({"self_weight": -1.0}, "self_weight"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"undirected": "yes"}, "undirected must be True or False"),
        ({"weights": "w"}, r"unknown option 'weights' \(did you mean 'self_weight' or 'weight_field'"),
        ({"label_field": ""}, "label_field must be the name of a column"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(OptionError, match=message):
        create(random_toy(1).on(), **options)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([None] * 60, "label_field 'label' has no label at all"),
        ([float("nan")] * 60, "label_field 'label' has no label at all"),
        ([[1]] * 60, "label_field 'label': expected strings, integers, booleans or floats, got list"),
        ([float("inf")] + [1.0] * 59, "label_field 'label' has inf"),
    ],
)
def test_labels_that_cannot_be_used_are_every_ranks_error(labels, message):
    toy = with_labels(random_toy(1), labels)

    def fail(comm):
        with pytest.raises(DataError, match=message):
            create(toy.on(comm))

    run_ranks(3, fail)


def test_too_many_classes_and_a_field_that_is_not_there():
    toy = with_labels(Toy([], [], 1001), list(range(1001)))
    with pytest.raises(DataError, match="has 1001 classes, expected at most 1000|at least 1001"):
        create(toy.on())
    with pytest.raises(DataError, match=r"label_field 'lable' is no column of the vertices \(did you mean 'label'"):
        create(toy.on(), "lable")


def test_the_table_that_is_printed(capsys):
    label_propagation.create(with_labels(chain(3), ["a", None, "b"]).on(), "label", max_iterations=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Label propagation:"
    assert "Number of unlabeled vertices : 1" in lines
    assert "| Iteration | Average l2 change in class probability |" in lines
