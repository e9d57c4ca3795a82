"""PageRank beside a dense twin and networkx: all rules, small and strange graphs, any number of ranks and threads."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest

import engine
from engine.errors import DataError, OptionError
from engine.models import pagerank
from engine.models._graphs import exchange
from tests.graph_oracles import TOYS, Toy, karate, random_toy, rank_densely
from tests.threads_comm import run_ranks

RULES = [
    dict(zip(("dangling", "normalize", "weight_field", "personalization", "initial"), values, strict=True))
    for values in itertools.product(("drop", "redistribute"), (False, True), (None, "w"), (None, "wish"), (None, "first"))
]


def create(graph, **options):
    return pagerank.create(graph, verbose=False, **options)


def ranks_of(model, toy):
    """Ranks by number of vertex."""
    table = model.pagerank
    at = np.arange(toy.n) if toy.positions is None else np.asarray(toy.positions)
    assert table["__id"].to_numpy()[at].tolist() == list(range(toy.n))
    return table["pagerank"].to_numpy()[at]


def content(model):
    """All that may not depend on ranks and threads."""
    document, arrays, _ = model._content()
    return document, {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "-".join(str(value) for value in rules.values()))
def test_every_combination_of_rules(rules):
    toy = random_toy(1)
    model = create(toy.on(), threshold=0.0, max_iterations=7, **rules)
    expected, changes = rank_densely(toy, 7, **rules)
    np.testing.assert_allclose(ranks_of(model, toy), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(model.progress[pagerank.CHANGE].to_numpy(), changes, rtol=1e-11)
    assert {name: model[name] for name in rules} == rules
    assert model.delta == model.progress[pagerank.CHANGE][-1].as_py()


@pytest.mark.parametrize("rules", [{}, {"dangling": "redistribute", "normalize": True}, {"weight_field": "w", "personalization": "wish"}])
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_any_number_of_ranks_and_threads(rules, precision, size, monkeypatch):
    toy = random_toy(2)
    options = {**rules, "precision": precision, "threshold": 1e-9, "max_iterations": 30}
    alone = content(create(toy.on(), **options))
    uneven = np.array([0, *np.sort(np.random.default_rng(size).integers(0, toy.n + 1, size - 1)), toy.n])
    for reach, bounds, threads in (("all", None, 1), ("needed", None, 2), ("needed", uneven, 1), ("all", uneven, 2)):
        make_plan = exchange.make_plan
        monkeypatch.setattr("engine.models._graphs.rows.make_plan", lambda *args, reach_=reach, make=make_plan: make(*args[:4], reach_))
        models = run_ranks(size, lambda comm, b=bounds, t=threads: create(toy.on(comm, b), num_threads=t, **options))
        assert all(content(model) == alone for model in models)


def test_more_ranks_than_vertices():
    toy = TOYS["chain"]
    models = run_ranks(9, lambda comm: create(toy.on(comm)))
    assert all(content(model) == content(create(toy.on())) for model in models)


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("rules", [{}, {"dangling": "redistribute"}, {"dangling": "redistribute", "normalize": True}])
def test_small_graphs(name, rules):
    toy = TOYS[name]
    model = create(toy.on(), threshold=0.0, max_iterations=5, **rules)
    np.testing.assert_allclose(ranks_of(model, toy), rank_densely(toy, 5, **rules)[0], rtol=1e-13)
    if rules.get("dangling") == "redistribute":
        assert sum(ranks_of(model, toy)) == pytest.approx(1.0 if "normalize" in rules else toy.n)


def test_a_chain_by_hand():
    """Each vertex has what is reset and 0.85 of the rank before it; the first iteration changes ranks by 0.85 at the first vertex."""
    model = create(Toy([0, 1], [1, 2], 3).on(), threshold=0.0, max_iterations=3)
    assert model.pagerank["pagerank"].to_pylist() == [0.15, 0.15 + 0.85 * 0.15, 0.15 + 0.85 * (0.15 + 0.85 * 0.15)]
    assert model.progress[pagerank.CHANGE].to_pylist() == pytest.approx([0.85, 0.85**2, 0.85**3])


@pytest.mark.parametrize(("weight", "personalized"), [(None, False), ("weight", False), ("weight", True)])
def test_karate_club_as_networkx_ranks_it(weight, personalized):
    import networkx

    toy = karate()
    toy = dataclasses.replace(toy, vertices={"wish": [float(v % 3) for v in range(toy.n)]})
    graph = networkx.karate_club_graph().to_directed()
    wishes = dict(enumerate(toy.vertices["wish"])) if personalized else None
    expected = networkx.pagerank(graph, weight=weight, personalization=wishes, tol=1e-15, max_iter=1000)
    options = {"weight_field": weight, "personalization": "wish" if personalized else None}
    model = create(toy.on(), dangling="redistribute", normalize=True, threshold=1e-14, max_iterations=1000, **options)
    np.testing.assert_allclose(model.pagerank["pagerank"].to_numpy(), [expected[v] for v in range(toy.n)], rtol=1e-11)


def test_it_stops_when_ranks_change_less_than_the_threshold():
    toy = random_toy(3)
    model = create(toy.on(), threshold=1e-3, max_iterations=100)
    changes = model.progress[pagerank.CHANGE].to_numpy()
    assert changes[-1] < 1e-3 <= changes[-2]
    assert (model.converged, model.stop_reason, model.num_iterations) == (True, "converged", len(changes))
    limited = create(toy.on(), threshold=1e-3, max_iterations=2)
    assert (limited.converged, limited.stop_reason, limited.num_iterations) == (False, "max_iterations", 2)


def test_a_warm_start_goes_on_where_the_first_run_ended():
    toy = random_toy(4)
    first = create(toy.on(), threshold=0.0, max_iterations=4)
    warm = dataclasses.replace(toy, vertices={"first": ranks_of(first, toy).tolist()})
    again = create(warm.on(), threshold=0.0, max_iterations=3, initial="first")
    assert ranks_of(again, toy).tolist() == ranks_of(create(toy.on(), threshold=0.0, max_iterations=7), toy).tolist()


def test_single_precision_is_near():
    toy = random_toy(5)
    double, single = (ranks_of(create(toy.on(), precision=kind), toy) for kind in ("float64", "float32"))
    assert 0 < np.abs(single / double - 1).max() < 1e-6


def test_a_graph_without_vertices():
    model = create(Toy([], [], 0).on())
    assert (model.pagerank.num_rows, model.delta, model.num_iterations) == (0, 0.0, 1)


def test_saving_and_loading(tmp_path):
    for ids in (None, [f"v{number}é" for number in range(60)]):
        toy = dataclasses.replace(random_toy(6), ids=ids)
        model = create(toy.on(), dangling="redistribute")
        model.save(tmp_path / "model")
        loaded = engine.load_model(tmp_path / "model")
        assert content(loaded) == content(model)
        assert loaded.pagerank.equals(model.pagerank)
        assert loaded.pagerank.schema.types == [pa.int64() if ids is None else pa.string(), pa.float64(), pa.float64()]
        assert (loaded.dangling, loaded.num_vertices, loaded.num_edges) == ("redistribute", 60, 240)
        assert "dangling                       : redistribute" in loaded.summary("str")


def test_the_table_that_is_printed(capsys):
    pagerank.create(Toy([0, 1], [1, 2], 3).on(), max_iterations=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["PageRank:", "-" * 56, "Number of vertices : 3", "Number of edges    : 2"]
    assert lines[5:8] == [
        "| Iteration | L1 change in pagerank |",
        "+-----------+-----------------------+",
        "| 1         | 0.850000              |",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_probability": 1.5}, r"reset_probability must be a number in \[0, 1\], got 1.5"),
        ({"reset_probability": -0.1}, "reset_probability"),
        ({"threshold": -1.0}, "threshold must be a number >= 0, got -1.0"),
        ({"threshold": float("nan")}, "threshold"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"dangling": "keep"}, "dangling must be one of 'drop', 'redistribute', got 'keep'"),
        ({"precision": "single"}, "precision"),
        ({"normalize": 1}, "normalize must be True or False, got 1"),
        ({"damping": 0.85}, "unknown option 'damping'"),
        ({"resume_from_checkpoint": "auto"}, "model_checkpoint_path"),
        ({"weight_field": 3}, "weight_field must be the name of a column, got 3"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(OptionError, match=message):
        create(random_toy(1).on(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"personalization": "whish"}, r"personalization 'whish' is no column of the vertices \(did you mean 'wish'\?\)"),
        ({"initial": "label"}, "initial 'label': expected numbers, got string"),
        ({"personalization": "negative"}, "personalization 'negative' has -1.0 for vertex 59"),
        ({"personalization": "zero"}, "personalization 'zero' is 0 for every vertex"),
        ({"initial": "infinite"}, "initial 'infinite' has inf for vertex 0"),
        ({"initial": "nan"}, "initial 'nan' has nan for vertex 1"),
        ({"weight_field": "huge"}, "weight_field 'huge' has 1e\\+200"),
        ({"weight_field": "below"}, "weight_field 'below'"),
        ({"weight_field": "x"}, "'x'"),
    ],
)
def test_attributes_that_cannot_be_used_are_every_ranks_error(options, message):
    toy = random_toy(1)
    columns = {
        **toy.vertices,
        "negative": [1.0] * 59 + [-1.0],
        "zero": [0] * 60,
        "infinite": [float("inf")] + [1.0] * 59,
        "nan": [None, float("nan")] + [1.0] * 58,
    }
    weights = {"huge": np.full(240, 1e200), "below": np.full(240, -1.0)}
    toy = dataclasses.replace(toy, vertices=columns, edges=weights)

    def fail(comm):
        with pytest.raises(DataError, match=message) as caught:
            create(toy.on(comm), **options)
        return str(caught.value)

    assert len(set(run_ranks(3, fail))) == 1
    fail(None)


def test_a_graph_is_needed():
    with pytest.raises(TypeError, match=r"expected an engine.Graph as graph, got 'edges.csv'"):
        create("edges.csv")


def test_one_rank_of_others_options_is_an_error():
    from engine.errors import CommunicationError

    def fail(comm):
        with pytest.raises(CommunicationError, match="dangling"):
            create(random_toy(1).on(comm), dangling="drop" if comm.rank else "redistribute")

    run_ranks(2, fail)
