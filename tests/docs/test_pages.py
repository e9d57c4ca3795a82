"""The code of the pages runs and prints what is shown, links lead somewhere, and tables are as the results are."""

import re
import subprocess
import sys

import pytest

from engine.spec import TOOLKITS
from tests.docs.pages import DOCS, PAGES, ROOT, blocks_of, run_page

WITH_EXAMPLES = [page for page in PAGES if any(block.language == "python" for block in blocks_of(page))]
name_of = {page: page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES}.get


def test_the_pages_have_examples():
    assert {page.stem for page in WITH_EXAMPLES} >= {*TOOLKITS, "quickstart"}


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=name_of)
def test_examples_print_what_is_shown(page):
    """All Python blocks of a page, one after the other; what one prints is in the text block right after it."""
    outputs, _ = run_page(page)
    for printed, shown in outputs:
        assert printed == shown


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_that_is_not_run_says_why(page):
    """``python`` runs; ``py`` does not, and the comment before it says why."""
    blocks = blocks_of(page)
    assert {block.language for block in blocks} <= {"python", "py", "sh", "text", ""}
    assert [block.code for block in blocks if (block.language == "py") != bool(block.is_python and block.reason)] == []
    assert re.findall(r"^[ \t]+```py.*", page.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_exist(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_tables_are_as_the_results_are():
    command = [sys.executable, ROOT / "docs" / "tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
