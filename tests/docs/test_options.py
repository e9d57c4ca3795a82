"""Every page of a toolkit has a row, with the default, for every option of its ``create``; that of plots for every plot's."""

import importlib
import inspect
import pathlib
import re

import pytest

import engine.spec
from engine.models._plots.plotting import MODULES

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
TOOLKITS = [*engine.spec.TOOLKITS, *engine.spec.GRAPH_TOOLKITS]


def documented_options(page):
    """Name and default, as they are written, of every row of the table of options."""
    table = page.partition("| option | default |")[2].partition("\n\n")[0]
    return {name: default.strip("`") for name, default in re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.MULTILINE)}


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_every_option_has_a_row(toolkit):
    parameters = inspect.signature(importlib.import_module(f"engine.models.{toolkit}").create).parameters.values()
    options = {p.name: "required" if p.default is p.empty else repr(p.default) for p in parameters if p.kind is not p.VAR_KEYWORD}
    documented = documented_options((DOCS / f"{toolkit}.md").read_text())
    assert {name: documented.get(name) for name in options} == options


def test_every_option_of_a_plot_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\S+) \|", (DOCS / "plots.md").read_text(), re.MULTILINE)
    expected = {}
    for kind, module in MODULES.items():
        draw = getattr(importlib.import_module(f"engine.models._plots.{module}"), f"draw_{kind}")
        parameters = [p for p in inspect.signature(draw).parameters.values() if p.name not in ("model", "sheet")]
        expected.update({(kind, p.name): "required" if p.default is p.empty else repr(p.default) for p in parameters})
    assert {(kind, option): default.strip("`") for kind, option, default in rows} == expected
