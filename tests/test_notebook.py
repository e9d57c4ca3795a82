"""What notebooks show: escaped, bounded, of every class, with no colour of its own that a dark page would swallow."""

import html.parser
import re

import pytest

import engine
from engine.notebook import LONGEST, escape, sections_to_html, table_to_html

EVIL = "<script>alert('&')</script>\"'"


class Checker(html.parser.HTMLParser):
    """Well-formed, of a few tags; collects the text."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert not checker.open
    assert checker.tags <= {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "br"}
    colours = re.findall(r"(?:^|[;'\s])(?:color|background)\s*:\s*([^;']+)", text)
    assert set(colours) <= {"inherit", "none"}
    return checker.text


def test_tables_and_sections_are_escaped():
    assert read(sections_to_html(EVIL, [(EVIL, [(EVIL, 3), ("b", EVIL)])])) == [EVIL, EVIL, EVIL, "3", "b", EVIL]
    assert read(table_to_html(EVIL, [(EVIL, "string")], [(EVIL,), (None,)], EVIL)) == [EVIL, EVIL, "string", EVIL, "None", EVIL]
    assert read(table_to_html("nothing", [], [], "why")) == ["nothing", "why"]


def test_long_values_are_cut():
    assert escape("x" * LONGEST) == "x" * LONGEST
    assert escape("<" * (LONGEST + 1)) == "&lt;" * (LONGEST - 1) + "…"


def test_datasets_show_their_first_rows(tmp_path):
    data = engine.Dataset({EVIL: [f"value {i}" for i in range(9)], "number": range(9)})
    text = read(data._repr_html_())
    assert text[1:] == [EVIL, "string", "number", "int64", *(x for i in range(5) for x in (f"value {i}", str(i))), "The first 5 rows"]
    wide = engine.Dataset({f"c{i}": [i] for i in range(50)})
    assert read(wide._repr_html_())[-1] == "The first 1 rows and 38 more columns"
    empty = engine.Dataset({"x": []})
    assert read(empty._repr_html_())[-1] == "The first 0 rows"
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,\n")
    assert read(engine.Dataset(str(tmp_path / "t.csv"))._repr_html_())[1:] == [
        *("a", "int64", "b", "string", "1", "x", "2", "None", "The first 2 rows")
    ]


def test_datasets_that_cannot_be_read_say_why(tmp_path):
    title, note = read(engine.Dataset(str(tmp_path / "<no>.csv"))._repr_html_())
    assert title.startswith("Dataset(")
    assert "no such file" in note


@pytest.mark.parametrize("toolkit", ["boosted_trees_classifier", "linear_regression", "pagerank"])
def test_models_show_their_summary(toolkit):
    if toolkit == "pagerank":
        model = engine.pagerank.create(engine.Graph({"s": [1], "t": [2]}), verbose=False)
    else:
        model = getattr(engine, toolkit).create({EVIL: [1.0, 2.0, 3.0, 5.0], "y": [0, 1, 1, 0]}, "y", verbose=False)
    text = read(model._repr_html_())
    described = model.summary("dict")
    assert text[0] == type(model).__name__
    assert [title for title in text if title in described["section_titles"]] == described["section_titles"]
    assert {label for section in described["sections"] for label, _ in section} <= set(text)


def test_graphs_show_their_size_and_fields():
    graph = engine.Graph({"s": [1, 2], "t": [2, 3], EVIL: [1.0, 2.0]}, src="s", dst="t")
    assert read(graph._repr_html_()) == [
        *("Graph", "Schema", "Number of vertices", "3", "Number of edges", "2", "Vertex fields", "none", "Edge fields", EVIL)
    ]
