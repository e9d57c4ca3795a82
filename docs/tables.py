"""Write what scripts of ``benchmarks`` print with ``--predict`` into ``docs/scaling.md``, between markers: ``python docs/tables.py``."""

from __future__ import annotations

import pathlib
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parent
# The script of each place, by what its markers say.
PLACES = {"": "scaling.py", "graphs ": "graph_scaling.py"}


def main() -> None:
    """Replace the tables by those of the last measurements."""
    page = DOCS / "scaling.md"
    for place, name in PLACES.items():
        script = DOCS.parent / "benchmarks" / name
        done = subprocess.run(
            [sys.executable, script, "--predict"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
        )
        begin, end = (f"<!-- made by docs/tables.py: {place}{edge} -->" for edge in ("begin", "end"))
        before, rest = page.read_text().split(begin)
        page.write_text(f"{before}{begin}\n\n{done.stdout.strip()}\n\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
