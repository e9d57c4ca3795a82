"""Plots: what is drawn is what the model says, in the axes that were given and nowhere else; names are words, whatever is in them."""

import math
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

import engine
from engine.errors import DataError, FieldError, OptionError
from engine.models._plots.plotting import MODULES
from engine.models._plots.sheet import BLUE, ORANGE, shorten

mpl.use("Agg")
WEIRD = ["$x_1$ is a very long name indeed, longer than what fits", "_under", "<b>&amp;</b>\n{%s}", "größe"]
QUICK = {"verbose": False, "num_threads": 1}


@pytest.fixture(autouse=True)
def close_figures():
    plt.close("all")
    yield
    plt.close("all")


def table(n_rows=300, n_classes=2, seed=0):
    """Features with names that are no words, and a target."""
    rng = np.random.default_rng(seed)
    data = {name: rng.normal(size=n_rows) for name in WEIRD[:3]}
    data[WEIRD[3]] = rng.choice(["$\\alpha$", "_b", "red"], n_rows)
    score = data[WEIRD[0]] + (data[WEIRD[3]] == "red")
    data["y"] = np.array(["$a$", "_b", "c", "d"])[np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))]
    return data


def numbers(**options):
    data = table()
    return {**data, "y": data[WEIRD[0]] * 2.0 + 0.1 * data[WEIRD[1]], **options}


def graph(n=60):
    rng = np.random.default_rng(1)
    return engine.Graph({"s": rng.integers(0, n, 4 * n), "t": rng.integers(0, n // 4, 4 * n)})


def drawn(axes):
    """Everything is rendered: a name that is no formula would raise here."""
    axes.figure.canvas.draw()
    return axes


def xy(line):
    return list(line.get_xdata()), list(line.get_ydata())


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


MODELS = {
    "boosted_trees_classifier": lambda **o: engine.boosted_trees_classifier.create(table(), "y", **QUICK, **o),
    "boosted_trees_regression": lambda **o: engine.boosted_trees_regression.create(numbers(), "y", **QUICK, **o),
    "random_forest_classifier": lambda **o: engine.random_forest_classifier.create(table(n_classes=4), "y", **QUICK, **o),
    "random_forest_regression": lambda **o: engine.random_forest_regression.create(numbers(), "y", **QUICK, **o),
    "linear_regression": lambda **o: engine.linear_regression.create(numbers(), "y", **QUICK, **o),
    "logistic_classifier": lambda **o: engine.logistic_classifier.create(table(n_classes=4), "y", **QUICK, **o),
    "svm_classifier": lambda **o: engine.svm_classifier.create(table(), "y", **QUICK, **o),
    "pagerank": lambda **o: engine.pagerank.create(graph(), **QUICK, **o),
    "label_propagation": lambda **o: engine.label_propagation.create(
        engine.Graph({"s": [1, 2, 3], "t": [2, 3, 4]}, pa.table({"id": [1, 4], "label": ["a", "b"]}), vid="id"), "label", **QUICK, **o
    ),
}
DATA = {"boosted_trees_classifier": table(), "svm_classifier": table()}


# --- every plot of every toolkit


@pytest.mark.parametrize("toolkit", MODELS)
def test_every_plot_draws_in_the_given_axes_and_nowhere_else(toolkit):
    model = MODELS[toolkit]()
    assert model.plots[0] == "learning_curve"
    for kind in model.plots:
        figure, (left, right) = plt.subplots(1, 2)
        data = DATA.get(toolkit, table(n_classes=4)) if kind in ("roc_curve", "confusion_matrix") else None
        assert model.plot(kind, data, ax=left) is left
        drawn(left)
        assert left.has_data()
        assert not right.has_data()
        assert plt.get_fignums() == [figure.number]
        assert figure.axes == [left, right]
        plt.close("all")
        fresh = model.plot(kind, data)
        assert plt.get_fignums() == [fresh.figure.number]
        assert drawn(fresh).figure.axes == [fresh]
        plt.close("all")


def test_the_toolkits_have_the_plots_that_mean_something():
    plots = {toolkit: set(make().plots) for toolkit, make in MODELS.items()}
    curve, trees = {"learning_curve"}, {"importance", "tree"}
    assert plots == {
        "boosted_trees_classifier": curve | trees | {"roc_curve", "confusion_matrix"},
        "boosted_trees_regression": curve | trees,
        "random_forest_classifier": curve | trees | {"roc_curve", "confusion_matrix"},
        "random_forest_regression": curve | trees,
        "linear_regression": curve | {"coefficients"},
        "logistic_classifier": curve | {"coefficients", "roc_curve", "confusion_matrix"},
        "svm_classifier": curve | {"coefficients", "confusion_matrix"},
        "pagerank": curve | {"ranks"},
        "label_propagation": curve,
    }
    assert set().union(*plots.values()) == set(MODULES)


@pytest.mark.parametrize("toolkit", MODELS)
def test_loaded_models_draw_the_same(toolkit, tmp_path):
    model = MODELS[toolkit]()
    model.save(tmp_path / "m")
    other = engine.load_model(tmp_path / "m")
    assert [xy(line) for line in other.plot().lines] == [xy(line) for line in model.plot().lines]


def test_settings_of_matplotlib_stay_as_they_are():
    before = dict(mpl.rcParams)
    for kind in ("learning_curve", "importance", "tree"):
        MODELS["boosted_trees_classifier"]().plot(kind)
    assert dict(mpl.rcParams) == before


# --- learning curves


def test_a_learning_curve_is_the_progress_table():
    model = MODELS["boosted_trees_classifier"](validation_set=table(seed=2), metric=["accuracy", "log_loss"])
    axes = model.plot()
    validation, training = axes.lines
    progress = model.progress.to_pydict()
    assert xy(training) == (progress["Iteration"], progress["Training-log_loss"])
    assert xy(validation) == (progress["Iteration"], progress["Validation-log_loss"])
    assert (training.get_color(), validation.get_color()) == (BLUE, ORANGE)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Iteration", "Log loss")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Validation rows", "Training rows"]
    axes = model.plot("learning_curve", metric="accuracy")
    assert xy(axes.lines[1])[1] == progress["Training-accuracy"]
    assert axes.get_yscale() == "linear"
    assert model.plot(log=True).get_yscale() == "log"


def test_a_dot_marks_where_early_stopping_cut():
    data, rng = table(), np.random.default_rng(5)
    noise = {**table(seed=9), "y": rng.permutation(table(seed=9)["y"])}
    model = engine.boosted_trees_classifier.create(data, "y", validation_set=noise, early_stopping_rounds=3, max_iterations=100, **QUICK)
    axes = model.plot()
    assert len(model.progress) > model.num_trees
    assert xy(axes.lines[2]) == ([model.num_trees], [model.validation_log_loss])
    assert axes.get_legend().get_texts()[2].get_text() == f"Kept: {model.num_trees} iterations"


def test_losses_that_fall_by_factors_are_on_a_logarithmic_axis():
    assert MODELS["boosted_trees_regression"](max_iterations=30).plot().get_yscale() == "log"
    assert MODELS["boosted_trees_regression"](max_iterations=30).plot(log=False).get_yscale() == "linear"
    assert MODELS["boosted_trees_regression"](max_iterations=2).plot().get_yscale() == "linear"


def test_graphs_have_one_curve_and_no_legend():
    model = MODELS["pagerank"]()
    axes = model.plot()
    assert xy(axes.lines[0])[1] == model.progress["L1 change in pagerank"].to_pylist()
    assert axes.get_legend() is None


def test_models_that_tracked_nothing_say_so():
    with pytest.raises(OptionError, match="train with metric='auto'"):
        MODELS["boosted_trees_classifier"](metric=None).plot()
    with pytest.raises(OptionError, match="metric must be one of 'accuracy', 'log_loss', got 'auc'"):
        MODELS["boosted_trees_classifier"]().plot(metric="auc")


# --- trees


def test_importance_is_the_table():
    model = MODELS["boosted_trees_classifier"]()
    rows = [row for row in model.get_feature_importance().to_pylist() if row["count"]]
    axes = model.plot("importance")
    assert [bar.get_width() for bar in axes.patches] == [row["count"] for row in rows]
    assert tick_labels(axes.yaxis)[0] == "$x_1$ is a very long name indeed, longe…"
    axes = model.plot("importance", most=2)
    assert len(axes.patches) == 2
    axes = model.plot("importance", by_feature=True)
    assert sum(bar.get_width() for bar in axes.patches) == sum(row["count"] for row in rows)
    assert len(axes.patches) <= 4
    with pytest.raises(OptionError, match="most must be an integer >= 1, got 0"):
        model.plot("importance", most=0)


def test_importance_of_a_model_without_splits():
    model = engine.boosted_trees_regression.create({"x": [1.0] * 9, "y": range(9)}, "y", **QUICK)
    assert not drawn(model.plot("importance")).patches
    assert [text.get_text() for text in drawn(model.plot("tree")).texts] == ["+0.945\ncover 9"]


def boxes(axes):
    return [text for text in axes.texts if text.get_bbox_patch().get_edgecolor()[3] > 0 and "\n" in text.get_text()]


def test_a_tree_is_drawn_from_the_root_down():
    data = {"x": [0.0, 1, 2, 3, None, 5], "c": ["a", "b", "a", "b", "a", "b"], "y": [0.0, 0, 4, 4, 4, 9]}
    model = engine.boosted_trees_regression.create(data, "y", max_depth=2, min_child_weight=0.0, **QUICK)
    vertices = model.tree(0)["vertices"]
    axes = drawn(model.plot("tree"))
    shown = boxes(axes)
    assert len(shown) == len(vertices)
    root = max(shown, key=lambda text: text.get_position()[1])
    assert root.get_text() == f"x < {vertices[0]['value']:g}\ngain {vertices[0]['gain']:.4g}\ncover {vertices[0]['cover']:.4g}"
    leaves = sorted((text.get_position()[0], float(text.get_text().split()[0])) for text in shown if "gain" not in text.get_text())
    assert [x for x, _ in leaves] == list(range(len(leaves)))
    assert [value for _, value in leaves] == [float(f"{value:.4g}") for value in in_order(vertices, 0)]
    colours = {to_hex(text.get_bbox_patch().get_edgecolor()) for text in shown if text.get_text().startswith("+")}
    assert colours == {BLUE}
    assert len([text for text in axes.texts if "missing" in text.get_text()]) == sum("name" in node for node in vertices)
    assert boxes(model.plot("tree", stats=False)) == []  # one line in every box


def in_order(vertices, number):
    """Values of leaves, the yes side first."""
    node = vertices[number]
    return [node["value"]] if node["type"] == "leaf" else in_order(vertices, node["yes_child"]) + in_order(vertices, node["no_child"])


def test_what_is_below_the_depth_is_counted():
    model = MODELS["boosted_trees_classifier"]()
    n_nodes = len(model.tree(2)["vertices"])
    [box] = boxes(drawn(model.plot("tree", index=2, max_depth=0)))
    assert box.get_text().splitlines()[-1] == f"… {n_nodes - 1} nodes below"
    assert len(boxes(drawn(model.plot("tree", index=2, max_depth=None)))) == n_nodes


def test_conditions_of_every_kind():
    rng = np.random.default_rng(0)
    tags = [["a=b"] if i % 3 else ["plain", "other"] for i in range(90)]
    data = {
        "tags": pa.array(tags),
        "vector": rng.normal(size=(90, 2)),
    }
    data["y"] = [3.0 * (i % 3 == 0) + number for i, number in enumerate(data["vector"][:, 0])]
    model = engine.boosted_trees_regression.create(data, "y", max_depth=3, **QUICK)
    texts = "\n".join(text.get_text() for text in drawn(model.plot("tree")).texts)
    assert "tags = a=b\n" in texts
    assert "vector[0]\n< " in texts
    levels = np.array([f"level {i:02}" for i in range(12)])[np.arange(1200) % 12]
    model = engine.boosted_trees_regression.create(
        {"sets of many": levels, "y": np.isin(np.arange(1200) % 12, [1, 5, 7, 9, 11]) * 1.0}, "y", categorical="partition", **QUICK
    )
    texts = [text.get_text() for text in drawn(model.plot("tree", stats=False)).texts]
    assert any(text.startswith("sets of many in\nlevel 01, level 05, level 07, … 2 more") for text in texts)


def test_trees_that_are_not_there_or_too_wide():
    model = MODELS["random_forest_classifier"](max_iterations=2)
    assert model.plot("tree", index=5).get_title() == "Tree 5: class _b"
    for index in (8, -1, 1.0, True):
        with pytest.raises(OptionError, match=r"index must be an integer in \[0, 7\]"):
            model.plot("tree", index=index)
    with pytest.raises(OptionError, match="max_depth must be an integer >= 0 or None, got -1"):
        model.plot("tree", max_depth=-1)
    with pytest.raises(OptionError, match="0 to 7, got 8"):
        model.tree(8)


def test_trees_that_are_too_wide_for_an_image(monkeypatch):
    monkeypatch.setattr("engine.models._plots.tree.MOST_LEAVES", 4)
    model = MODELS["boosted_trees_classifier"]()
    with pytest.raises(OptionError, match="max_depth None would draw [0-9]+ boxes side by side, expected up to 4: pass a smaller one"):
        model.plot("tree", max_depth=None)
    assert plt.get_fignums() == []
    assert model.plot("tree", max_depth=2).has_data()


# --- coefficients


def test_coefficients_have_their_intervals():
    model = MODELS["linear_regression"]()
    rows = model.get_coefficient_statistics(confidence=0.8).to_pylist()[1:]
    axes = drawn(model.plot("coefficients", confidence=0.8))
    segments = [segment for collection in axes.collections for segment in collection.get_segments()]
    assert [(segment[0][0], segment[1][0]) for segment in segments] == [(row["lower"], row["upper"]) for row in rows]
    filled, empty = axes.lines[1:]
    sure = [row["value"] for row in rows if row["lower"] > 0.0 or row["upper"] < 0.0]
    assert (list(filled.get_xdata()), len(empty.get_xdata())) == (sure, len(rows) - len(sure))
    assert tick_labels(axes.yaxis)[1:3] == ["_under", "<b>&amp;</b> {%s}"]
    assert len(model.plot("coefficients", most=2).get_yticks()) == 2


def test_coefficients_times_deviations():
    model = MODELS["linear_regression"]()
    columns = [table()[name] for name in WEIRD[:3]]
    deviations = model.column_deviations()
    np.testing.assert_allclose(deviations[:3], [column.std() for column in columns], rtol=1e-9)
    axes = model.plot("coefficients", standardized=True)
    segments = axes.collections[0].get_segments()
    rows = model.get_coefficient_statistics().to_pylist()[1:]
    np.testing.assert_allclose([segment[0][0] for segment in segments], [row["lower"] for row in rows] * deviations)
    assert axes.get_xlabel() == "Coefficient times standard deviation"
    with pytest.raises(OptionError, match="feature_rescaling=True"):
        MODELS["linear_regression"](feature_rescaling=False).plot("coefficients", standardized=True)


def test_coefficients_of_many_classes():
    model = MODELS["logistic_classifier"]()
    axes = drawn(model.plot("coefficients"))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["_b", "c", "d"]
    alone = drawn(model.plot("coefficients", label="c"))
    assert alone.get_legend() is None
    with pytest.raises(OptionError, match=r"label must be one of '_b', 'c', 'd', got '\$a\$'"):
        model.plot("coefficients", label="$a$")
    rng = np.random.default_rng(0)
    many = engine.logistic_classifier.create({"x": rng.normal(size=400), "y": rng.integers(0, 11, 400)}, "y", **QUICK)
    with pytest.raises(OptionError, match="up to 8 classes are drawn, the model has them of 10: pass label="):
        many.plot("coefficients")
    assert len(many.plot("coefficients", label=3).get_yticks()) == 1


def test_coefficients_without_errors_are_dots():
    axes = drawn(MODELS["svm_classifier"]().plot("coefficients"))
    assert len(axes.lines[1].get_xdata()) == 5
    model = engine.linear_regression.create({"c": ["a"] * 9, "y": range(9)}, "y", **QUICK)
    with pytest.raises(OptionError, match="no coefficient but the intercept"):
        model.plot("coefficients")


# --- classifiers


def test_a_roc_curve_is_that_of_the_evaluation():
    model, data = MODELS["boosted_trees_classifier"](max_iterations=2), table(seed=4)
    evaluation = model.evaluate(data)
    axes = model.plot("roc_curve", data)
    assert xy(axes.lines[1]) == ([*evaluation["roc_curve"]["fpr"].to_pylist(), 0.0], [*evaluation["roc_curve"]["tpr"].to_pylist(), 0.0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [f"_b, area {evaluation['auc']:.4f}"]
    again = model.plot("roc_curve", evaluation)
    assert xy(again.lines[1]) == xy(axes.lines[1])


def test_a_roc_curve_for_each_of_many_classes():
    model = MODELS["logistic_classifier"]()
    axes = drawn(model.plot("roc_curve", table(n_classes=4)))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["$a$", "_b", "c", "d"]
    assert len(drawn(model.plot("roc_curve", table(n_classes=3))).get_legend().get_texts()) == 3  # no rows of the fourth
    with pytest.raises(DataError, match="rows of a class and rows of others"):
        model.plot("roc_curve", one_class())


def one_class():
    return {**{name: values[:5] for name, values in table().items()}, "y": np.array(["no class"] * 5)}


def test_a_confusion_matrix_has_the_counts():
    model, data = MODELS["boosted_trees_classifier"](max_iterations=1), table(seed=4)
    counts = {(row["target_label"], row["predicted_label"]): row["count"] for row in model.evaluate(data)["confusion_matrix"].to_pylist()}
    axes = drawn(model.plot("confusion_matrix", data))
    shown = {(text.get_position()[1], text.get_position()[0]): int(text.get_text()) for text in axes.texts}
    assert shown == {(i, j): counts.get((a, p), 0) for i, a in enumerate(model.classes) for j, p in enumerate(model.classes)}
    shares = drawn(model.plot("confusion_matrix", model.evaluate(data), normalized=True)).images[0].get_array()
    np.testing.assert_allclose(np.asarray(shares).sum(axis=1), 1.0)


def test_a_confusion_matrix_with_classes_that_the_model_does_not_know():
    model = MODELS["boosted_trees_classifier"]()
    axes = drawn(model.plot("confusion_matrix", one_class()))
    assert tick_labels(axes.yaxis) == ["$a$", "_b", "no class"]
    assert tick_labels(axes.xaxis) == ["$a$", "_b"]


def test_a_confusion_matrix_of_a_hundred_classes():
    labels = np.arange(100)
    evaluation = {"confusion_matrix": pa.table({"target_label": labels, "predicted_label": labels, "count": labels + 1})}
    data = {"x": np.repeat(labels, 2).astype(float), "y": np.repeat(labels, 2)}
    model = engine.random_forest_classifier.create(data, "y", max_iterations=1, **QUICK)
    axes = drawn(model.plot("confusion_matrix", evaluation))
    assert axes.images[0].get_array().shape == (100, 100)
    assert not axes.texts


# --- ranks


def test_ranks_are_shares_of_vertices():
    model = engine.pagerank.create(engine.Graph({"s": [1, 2, 3, 4], "t": [5, 5, 5, 5]}), **QUICK)
    axes = drawn(model.plot("ranks"))
    x, y = xy(axes.lines[0])
    ranks = sorted(set(model.pagerank["pagerank"].to_pylist()), reverse=True)
    assert (x, y) == (ranks, [0.2, 1.0])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_many_ranks_are_thinned_and_zeros_left_out():
    n = 5000
    ids = np.arange(n)
    weights = {"id": ids, "w": (ids % 3 == 0) * (1.0 + ids)}
    model = engine.pagerank.create(engine.Graph({"s": [0], "t": [3]}, weights, vid="id"), personalization="w", max_iterations=2, **QUICK)
    x, y = xy(drawn(model.plot("ranks")).lines[0])
    ranks = np.array(model.pagerank["pagerank"])
    assert 100 < len(x) <= 2000
    assert min(x) == min(ranks[ranks > 0])
    assert y[-1] == pytest.approx(np.mean(ranks > 0))
    assert all(share == np.mean(ranks >= rank) for rank, share in zip(x[::50], y[::50], strict=True))


def test_ranks_that_are_all_zero():
    model = engine.pagerank.create(engine.Graph({"s": [1], "t": [2]}), reset_probability=0.0, max_iterations=5, **QUICK)
    with pytest.raises(DataError, match="expected a vertex whose rank is above 0"):
        model.plot("ranks")


# --- errors, and what is loaded


def test_unknown_plots_and_options():
    model = MODELS["linear_regression"]()
    with pytest.raises(OptionError, match="kind must be one of 'learning_curve', 'coefficients', got 'tree'"):
        model.plot("tree")
    with pytest.raises(OptionError, match=r"unknown option 'mots' \(did you mean 'most'\?\)"):
        model.plot("coefficients", mots=3)
    with pytest.raises(OptionError, match="unknown option 'data'"):
        model.plot("coefficients", table())
    classifier = MODELS["boosted_trees_classifier"]()
    with pytest.raises(OptionError, match="needs data="):
        classifier.plot("roc_curve")
    with pytest.raises(OptionError, match="needs the metric 'roc_curve', got an evaluation of 'accuracy'"):
        classifier.plot("roc_curve", classifier.evaluate(table(), metric="accuracy"))
    with pytest.raises(FieldError):
        model.plotted  # noqa: B018 - the error is what is asked


def test_refused_plots_leave_no_figure():
    classifier = MODELS["boosted_trees_classifier"]()
    for kind, options in (("tree", {"index": 99}), ("importance", {"most": 0}), ("learning_curve", {"metric": "x"})):
        with pytest.raises(OptionError):
            classifier.plot(kind, **options)
    assert plt.get_fignums() == []


def test_matplotlib_is_loaded_when_it_is_asked_for():
    code = "import sys, engine\nm = engine.linear_regression.create({'x': [1.0, 2, 4, 5], 'y': [1.0, 2, 3, 5]}, 'y', verbose=False)\n"
    code += "m.summary('str'), m._repr_html_(), m.predict({'x': 1.0})\nprint('matplotlib' in sys.modules)\n"
    code += "sys.modules['matplotlib'] = None\ntry:\n    m.plot()\nexcept ImportError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\nplot needs the package matplotlib; install it with: pip install 'samesum[plot]'\n"


@pytest.mark.parametrize(
    ("value", "most", "expected"),
    [
        ("short", 5, "short"),
        ("longer", 5, "long…"),
        ("東京東京", 8, "東京東京"),
        ("東京東京", 5, "東京…"),
        ("a\tb\n", 9, "a b "),
        (3, 9, "3"),
    ],
)
def test_shorten(value, most, expected):
    assert shorten(value, most) == expected


def test_values_that_are_missing_leave_gaps():
    model = MODELS["boosted_trees_classifier"](validation_set=table(seed=2))
    rows = model._document["progress"]["rows"]
    rows[3] = [*rows[3][:1], *[None] * (len(rows[3]) - 1)]
    assert math.isnan(drawn(model.plot()).lines[0].get_ydata()[3])
