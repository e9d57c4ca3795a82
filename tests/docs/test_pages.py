"""The examples of the pages run and print what is shown, and links lead somewhere."""

import contextlib
import io
import pathlib
import re

import pytest
from matplotlib import pyplot as plt

from engine.spec import TOOLKITS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# What differs from run to run: times of iterations, where jobs are and what they are called.
MASKS = ((r"(\| \d+ +\| )\d+\.\d{6} +\|", r"\1time |"), (r"\S*/jobs(/dml_job_[0-9a-f-]{36})?", "jobs"))
WITH_EXAMPLES = [page for page in PAGES if "```python" in page.read_text()]


def test_the_pages_have_examples():
    assert {page.stem for page in WITH_EXAMPLES} >= set(TOOLKITS)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_examples_print_what_is_shown(page, tmp_path, monkeypatch):
    """All Python blocks of a page, one after the other; what one prints is in the text block right after it."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMESUM_CONFIG_DIR", str(tmp_path / "config"))
    names = {}
    for code, shown in re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", page.read_text(), re.MULTILINE | re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        assert masked(printed.getvalue()) == masked(shown)


def masked(text):
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_exist(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link
