"""Write what the benchmarks' ``--predict`` prints into ``docs/scaling.md``, between its markers: ``python docs/tables.py``."""

from __future__ import annotations

import pathlib
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parent
BENCHMARKS = DOCS.parent / "benchmarks"
SCRIPTS = {"": "scaling", " (linear models)": "linear_scaling"}  # by the name of the block


def main() -> None:
    """Replace the tables by those of the last measurements."""
    page = DOCS / "scaling.md"
    text = page.read_text()
    for name, script in SCRIPTS.items():
        if not (BENCHMARKS / "results" / f"{script}.json").exists():
            print(f"{script} has no results: its tables stay as they are")
            continue
        begin, end = (f"<!-- made by docs/tables.py{name}: {edge} -->" for edge in ("begin", "end"))
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n{predict(script)}\n\n{end}{rest.split(end)[1]}"
    page.write_text(text)


def predict(script: str) -> str:
    """The tables that a benchmark prints of what it measured last."""
    command = [sys.executable, BENCHMARKS / f"{script}.py", "--predict"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
