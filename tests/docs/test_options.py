"""The pages are complete: every option with its default, every field and method of a model, every setting, every public name."""

import importlib
import inspect
import re

import pytest

import engine
import engine.sklearn
import engine.spec
import engine.turi
import launch
from engine.data.dataset import Dataset
from engine.graph import Graph
from engine.models._plots.plotting import MODULES
from launch.job import Job
from launch.sweep import Sweep
from tests.docs.pages import DOCS, run_page

TOOLKITS = [*engine.spec.TOOLKITS, *engine.spec.GRAPH_TOOLKITS]
# Members that other code of the engine uses and no page needs to speak of.
NOT_FOR_USERS = {
    "from_saved",
    "as_initial",
    "column_deviations",
    "toolkit",
    "plots",
    "has_errors",
    "output_types",
    "metrics",
    "array_names",
    "tracked_metrics",
}
GRAPH_INSIDE = {"of", "as_source", "from_source"}
DATASET_INSIDE = {
    "input_bytes",
    "is_from_files",
    "is_text",
    "is_borrowed",
    "with_default_types",
    "as_spec",
    "read_local",
    "open_local",
    "open_text",
    "names_of",
    "known_num_rows",
}
CLUSTERS = {"local_cluster": "jobs", "hadoop_cluster": "yarn", "slurm_cluster": "slurm_pbs", "pbs_cluster": "slurm_pbs"}


def documented_options(page):
    """Name and default, as they are written, of every row of the table of options."""
    table = page.partition("| option | default |")[2].partition("\n\n")[0]
    return {name: default.strip("`") for name, default in re.findall(r"^\| `(\w+)` \| (`[^`]*`|\S+) \|", table, re.MULTILINE)}


def options_of(function):
    """Name and default of every parameter that has a name of its own."""
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: "required" if p.default is p.empty else repr(p.default)
        for p in parameters
        if p.kind is not p.VAR_KEYWORD and p.name not in ("self", "data")
    }


def words_of(page):
    """Every word that a page's text sets as code, a path through attributes taken apart."""
    page = re.sub(r"^ *```.*?^ *```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return {word for code in re.findall(r"`([^`]+)`", page) for word in re.findall(r"\w+", code)}


def public_members(kind):
    """Methods and properties of a class, without those of its inside."""
    return {name for name in dir(kind) if not name.startswith("_")} - NOT_FOR_USERS


def read(name):
    return (DOCS / f"{name}.md").read_text()


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_option_has_a_row(toolkit):
    options = options_of(importlib.import_module(f"engine.models.{toolkit}").create)
    documented = documented_options(read(toolkit))
    assert {name: documented.get(name) for name in options} == options


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_function_and_its_own_options_are_on_the_page(toolkit):
    module = importlib.import_module(f"engine.models.{toolkit}")
    functions = [getattr(module, name) for name in module.__all__ if inspect.isfunction(getattr(module, name))]
    assert {name for each in functions for name in (each.__name__, *options_of(each))} - words_of(read(toolkit)) == set()


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_field_and_method_is_on_the_page(toolkit):
    model = run_page(DOCS / f"{toolkit}.md")[1]["model"]
    assert {*model.list_fields(), *public_members(type(model))} - words_of(read(toolkit)) == set()


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_setting_of_a_cluster_is_on_its_page(cluster):
    settings = options_of(importlib.import_module(f"launch.{cluster}").create)
    assert set(settings) - {"name"} - words_of(read(CLUSTERS[cluster])) == set()


def test_datasets_graphs_and_jobs_are_on_their_pages():
    assert documented_options(read("data")) == options_of(Dataset.__init__)
    assert public_members(Dataset) - DATASET_INSIDE - words_of(read("data")) == set()
    assert {*options_of(Graph.__init__), *public_members(Graph) - GRAPH_INSIDE} - words_of(read("graphs")) == set()
    assert public_members(Job) - {"address_of"} - words_of(read("jobs")) == set()
    assert public_members(Sweep) - words_of(read("slurm_pbs")) == set()


def test_every_option_of_a_plot_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\S+) \|", read("plots"), re.MULTILINE)
    expected = {}
    for kind, module in MODULES.items():
        draw = getattr(importlib.import_module(f"engine.models._plots.{module}"), f"draw_{kind}")
        parameters = [p for p in inspect.signature(draw).parameters.values() if p.name not in ("model", "sheet")]
        expected.update({(kind, p.name): "required" if p.default is p.empty else repr(p.default) for p in parameters})
    assert {(kind, option): default.strip("`") for kind, option, default in rows} == expected


def test_every_public_name_is_in_the_reference():
    described = " ".join(page.read_text() for page in sorted((DOCS / "api").glob("*.md")))
    names = {name.rpartition(".")[2] for name in re.findall(r"^::: ([\w.]+)", described, re.MULTILINE)} | set(
        re.findall(r"`\w+\.(\w+)`", described)
    )
    public = {*engine.__all__, *launch.__all__, *engine.sklearn.__all__, *engine.turi.__all__}
    assert public - names == set()
