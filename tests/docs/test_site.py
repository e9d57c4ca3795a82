"""The site's own rules: it asks no other host for anything, and takes along the files that its pages link to."""

import importlib.util
import types

import pytest
from mkdocs.config import load_config
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import get_files

from tests.docs.pages import DOCS, ROOT


@pytest.fixture(scope="module")
def hooks():
    description = importlib.util.spec_from_file_location("hooks_of_the_manual", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://host.example/a.js"></script>'),
        ("a.html", "<link rel=stylesheet href=//host.example/a.css>"),
        ("a.html", '<p><img alt="a" src="http://host.example/a.png"></p>'),
        ("a.css", "@font-face { src: url(https://host.example/a.woff2) }"),
        ("a.css", '@import "//host.example/a.css";'),
    ],
)
def test_a_site_that_needs_another_host_is_refused(hooks, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(PluginError, match="must need no other host"):
        hooks.on_post_build(types.SimpleNamespace(site_dir=str(tmp_path)))


def test_links_for_people_and_own_files_are_no_such_thing(hooks, tmp_path):
    text = '<a href="https://host.example">there</a><link rel="canonical" href="https://host.example/a"><img src="images/a.png">'
    (tmp_path / "a.html").write_text(text)
    (tmp_path / "a.css").write_text("a { background: url(data:image/svg+xml;base64,) }")
    hooks.on_post_build(types.SimpleNamespace(site_dir=str(tmp_path)))


def test_files_of_the_repository_come_along(hooks):
    config = load_config(str(ROOT / "mkdocs.yml"))
    config.plugins._current_plugin = None  # as mkdocs sets it around hooks
    files = hooks.on_files(get_files(config), config)
    result = files.get_file_from_path("files/benchmarks/results/same_bytes.json")
    assert result.abs_src_path == str(ROOT / "benchmarks" / "results" / "same_bytes.json")
    page = types.SimpleNamespace(file=files.get_file_from_path("numbers.md"))
    markdown = "[a](../benchmarks/results/same_bytes.json) [b](scaling.md#graphs) [c](https://host.example/d)"
    led = hooks.on_page_markdown(markdown, page, config, files)
    assert led == "[a](files/benchmarks/results/same_bytes.json) [b](scaling.md#graphs) [c](https://host.example/d)"
