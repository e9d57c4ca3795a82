"""The pages of the manual, and the blocks of code in them."""

import contextlib
import functools
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import NamedTuple

from matplotlib import pyplot as plt

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# Pages whose shell blocks run as well.
IN_A_SHELL = ("quickstart",)
BLOCK = re.compile(r"^(?:<!-- not run: ([^\n]+) -->\n\n)?```(\w*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
# What differs from run to run: times of iterations, where jobs are and what they are called.
MASKS = ((r"(\| \d+ +\| )\d+\.\d{6} +\|", r"\1time |"), (r"\S*/jobs(/dml_job_[0-9a-f-]{36})?", "jobs"))


class Block(NamedTuple):
    """Code, what the page shows of its output, and why it is not run, if it is not."""

    language: str
    code: str
    shown: str
    reason: str

    @property
    def is_python(self):
        return self.language in ("python", "py")


def blocks_of(page):
    """All fenced blocks but the outputs, in their order."""
    return [Block(language, code, shown, reason) for reason, language, code, shown in BLOCK.findall(page.read_text())]


def mask(text):
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return text


@functools.cache
def run_page(page):
    """Run a page's blocks in a folder of their own: what each printed beside what is shown, and the names left behind."""
    names, outputs = {}, []
    home = pathlib.Path.cwd()
    with tempfile.TemporaryDirectory(prefix="samesum-page-") as folder, changed("SAMESUM_CONFIG_DIR", f"{folder}/config"):
        pathlib.Path(folder, "examples").symlink_to(ROOT / "examples")
        os.chdir(folder)
        try:
            for block in blocks_of(page):
                if block.language == "python" and not block.reason:
                    with contextlib.redirect_stdout(io.StringIO()) as printed:
                        exec(block.code, names)
                    outputs.append((mask(printed.getvalue()), mask(block.shown)))
                elif block.language == "sh" and not block.reason and page.stem in IN_A_SHELL:
                    outputs.append((mask(run_shell(block.code)), mask(block.shown)))
        finally:
            os.chdir(home)
            plt.close("all")
    return outputs, names


def run_shell(code):
    """What a shell prints of a block, with this Python and its commands before all others."""
    environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def changed(name, value):
    """One environment variable, for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
