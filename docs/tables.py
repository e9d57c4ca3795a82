"""Write what ``benchmarks/scaling.py --predict`` prints into ``docs/scaling.md``, between its markers: ``python docs/tables.py``."""

from __future__ import annotations

import pathlib
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parent
BEGIN, END = (f"<!-- made by docs/tables.py: {edge} -->" for edge in ("begin", "end"))


def main() -> None:
    """Replace the tables by those of the last measurement."""
    script = DOCS.parent / "benchmarks" / "scaling.py"
    done = subprocess.run([sys.executable, script, "--predict"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    page = DOCS / "scaling.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{done.stdout.strip()}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
