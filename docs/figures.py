"""Draw the figures of the page on architecture: ``python docs/figures.py`` writes ``images/rooms.svg`` and ``images/level.svg``.

Plain SVG on a light ground of its own, so that it can be read on a dark page too.
"""

from __future__ import annotations

import pathlib
from html import escape

IMAGES = pathlib.Path(__file__).resolve().parent / "images"
INK, FAINT, GROUND = "#263238", "#607d8b", "#f7f9fa"
BLUE, ORANGE, GREEN, GREY = "#d6e8f5", "#fbe3d0", "#dcefdc", "#e8ecef"
FONT = "system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif"


class Drawing:
    """Boxes, arrows and text; positions are in pixels from the upper left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="{FONT}">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
            f'<path d="M0 0 8 4 0 8z" fill="{FAINT}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="8" fill="{GROUND}"/>',
        ]

    def box(self, left: float, top: float, width: float, height: float, name: str, *lines: str, fill: str = GREY) -> None:
        """A box with a name in bold and lines below it."""
        self._parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{FAINT}"/>')
        middle, first = left + width / 2, top + height / 2 - 9 * len(lines) + 5
        self.text(middle, first, name, bold=True)
        for number, line in enumerate(lines, 1):
            self.text(middle, first + 18 * number, line, size=12)

    def text(self, x: float, y: float, words: str, *, size: int = 14, bold: bool = False, anchor: str = "middle", color: str = INK) -> None:
        """Words, by default around ``x``."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{color}"{weight}>{escape(words)}</text>')

    def arrow(self, x1: float, y1: float, x2: float, y2: float, *, both: bool = False) -> None:
        """A line with a tip at its end, or at both."""
        start = ' marker-start="url(#tip)"' if both else ""
        self._parts.append(
            f'<path d="M{x1} {y1} {x2} {y2}" stroke="{FAINT}" stroke-width="1.6" fill="none" marker-end="url(#tip)"{start}/>'
        )

    def save(self, name: str) -> None:
        """Write the file."""
        (IMAGES / name).write_text("\n".join([*self._parts, "</svg>"]) + "\n")


def draw_rooms() -> None:
    """Which way data flows through the folders, and where ranks talk."""
    drawing = Drawing(920, 470, "Which way data flows through the folders")
    drawing.box(20, 20, 880, 56, "launch", "clusters, jobs and their handles, who supervises the ranks; the command samesum", fill=GREEN)
    drawing.arrow(460, 76, 460, 112)
    drawing.text(472, 99, "a JobSpec, as JSON: no Python object passes", size=12, anchor="start", color=FAINT)
    drawing.box(
        20, 114, 880, 56, "engine.run, engine.job", "what every rank runs of a job: events, checkpoints, the model, the result", fill=GREEN
    )
    stages = [
        ("engine.storage", ("local disks, HDFS, S3:", "a range in,", "a whole file out"), GREY),
        ("engine.data", ("this rank's rows,", "as Arrow batches,", "types joined"), BLUE),
        ("engine.encode", ("bins,", "design matrix,", "graph block"), BLUE),
        ("engine.models", ("sums of own rows,", "one reduce,", "the same decision"), BLUE),
        ("engine.model_io", ("model.json,", "arrays.safetensors:", "the same bytes"), GREY),
    ]
    drawing.arrow(640, 170, 640, 200)
    for number, (name, lines, fill) in enumerate(stages):
        left = 20 + 180 * number
        drawing.box(left, 202, 160, 96, name, *lines, fill=fill)
        if number:
            drawing.arrow(left - 20, 250, left - 1, 250)
    drawing.box(
        280, 356, 260, 96, "engine._kernels", "Cython: arrays in, arrays filled;", "no files, no MPI,", "no Python objects", fill=ORANGE
    )
    drawing.box(
        600,
        356,
        260,
        96,
        "engine.collectives",
        "the only place where ranks talk:",
        "exact sums, errors on all ranks,",
        "who is missing",
        fill=ORANGE,
    )
    drawing.arrow(600, 298, 500, 354, both=True)
    drawing.arrow(680, 298, 720, 354, both=True)
    drawing.arrow(440, 298, 420, 354, both=True)
    drawing.save("rooms.svg")


def draw_level() -> None:
    """What ranks do by themselves and together in one level of a tree."""
    drawing = Drawing(920, 400, "One level of a tree on three ranks")
    lefts = [150, 405, 660]
    for rank, left in enumerate(lefts):
        drawing.text(left + 110, 32, f"rank {rank}", bold=True)
        drawing.box(left, 46, 220, 60, "own rows", "integers, summed by bin", fill=BLUE)
        drawing.arrow(left + 110, 106, left + 110, 130)
        drawing.arrow(left + 110, 172, left + 110, 196)
        drawing.box(left, 198, 220, 46, "best split of own columns", fill=BLUE)
        drawing.arrow(left + 110, 244, left + 110, 268)
        drawing.arrow(left + 110, 310, left + 110, 334)
        drawing.box(left, 336, 220, 46, "rows move to children", fill=BLUE)
    drawing.box(150, 132, 730, 40, "reduce histograms: sums of integers, in any order", fill=ORANGE)
    drawing.box(150, 270, 730, 40, "choose splits: the best one of all, the same on every rank", fill=ORANGE)
    for top, word in ((76, "alone"), (156, "together"), (226, "alone"), (294, "together"), (364, "alone")):
        drawing.text(20, top, word, size=13, anchor="start", color=FAINT)
    drawing.save("level.svg")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    draw_rooms()
    draw_level()
