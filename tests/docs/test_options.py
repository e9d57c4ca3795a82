"""Every page of a toolkit has a row, with the default, for every option of its ``create``."""

import importlib
import inspect
import pathlib
import re

import pytest

import engine.spec

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
