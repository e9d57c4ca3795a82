"""The table that training prints, row by row; on a terminal with a bar below it.

Rows 1 to 6, then 10, 50, 100, 500, ..., the last one, and one after ten seconds of silence; in a pipe plain text, each row at once.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TextIO

FIRST_ROWS = 6
SILENCE = 10.0  # seconds
RULE_WIDTH = 56


class Recorder(Protocol):
    """What takes a table's lines in the place of standard output, as the progress log of a job does."""

    def write(self, lines: Sequence[str]) -> None:
        """Lines that belong together: a preamble, a header, the rule at the end."""

    def message(self, line: str) -> None:
        """A line between the rows."""

    def checkpoint(self, path: str, line: str) -> None:
        """The line of a checkpoint at ``path``."""

    def resumed(self, iteration: int, line: str) -> None:
        """The line of a training that goes on after an iteration."""

    def row(self, number: int, values: Mapping[str, Any]) -> None:
        """Every row, by the number of its iteration."""

    def show_row(self, number: int, line: str) -> None:
        """Those rows that are shown."""


_recorders: list[Recorder] = []


@contextlib.contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Give what tables print meanwhile to ``recorder`` instead."""
    _recorders.append(recorder)
    try:
        yield
    finally:
        _recorders.remove(recorder)


class ProgressTable:
    """Prints preamble and table on rank 0 if ``verbose``; elsewhere the same calls print nothing.

    ``columns`` are the header; rows are mappings from them to ints and floats. ``total`` is the number of rows to come, for the
    bar. ``clock`` gives seconds.
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        verbose: bool = True,
        comm_rank: int = 0,
        total: int | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.head(columns)
        self._speaks = verbose and comm_rank == 0
        self._total = total
        self._clock = clock
        self._stream = stream if stream is not None else sys.stdout
        self._recorder = _recorders[-1] if _recorders and self._speaks and stream is None else None
        self._bar = make_bar(self._stream) if self._speaks and self._recorder is None else None
        self._held_back: Mapping[str, Any] | None = None
        self._has_header = False
        self._last_print = clock()

    def head(self, columns: Sequence[str], n_rows: int = 0) -> None:
        """Set the header, before the first row; ``n_rows``: rows that an earlier run has shown."""
        self.columns = list(columns)
        self.widths = [max(len(column), 8) for column in columns]
        self._n_rows = n_rows

    def stage(self, description: str, total: int | None = None, *, in_bytes: bool = False) -> None:
        """Show on the bar what is being done now, of ``total`` steps or bytes if that is known; nothing in a pipe."""
        if self._bar is not None:
            self._bar.stage(description, total, in_bytes=in_bytes)

    def advance(self, steps: int) -> None:
        """Tell the bar that some steps of the stage are done."""
        if self._bar is not None:
            self._bar.advance(steps)

    def preamble(self, lines: Iterable[str]) -> None:
        """Print lines above the table and what will head it; on a terminal the bar turns to training."""
        self._print(*lines)
        self.stage("Training", self._total)

    def row(self, values: Mapping[str, Any]) -> None:
        """Take the next row: show it if it is one of those shown, else keep it in case it is the last."""
        self._n_rows += 1
        self.advance(1)
        if self._recorder is not None:
            self._recorder.row(self._n_rows, values)
        if is_shown(self._n_rows) or self._clock() - self._last_print >= SILENCE:
            self._print_row(values)
        else:
            self._held_back = values

    def message(self, line: str) -> None:
        """Print a line between the rows."""
        if self._recorder is not None:
            self._recorder.message(line)
        else:
            self._print(line)

    def checkpoint(self, path: object) -> None:
        """Say that a checkpoint is about to be written."""
        line = f"Checkpointing to {path}"
        if self._recorder is not None:
            self._recorder.checkpoint(str(path), line)
        else:
            self._print(line)

    def resumed(self, iteration: int, note: str = "") -> None:
        """Say that training goes on after an iteration, before the first row."""
        line = f"Resumed training from checkpoint at iteration {iteration}{note}"
        if self._recorder is not None:
            self._recorder.resumed(iteration, line)
        else:
            self._print(line)

    def finish(self) -> None:
        """Print the last row, if it has not been, and the rule below it; take the bar away. May be called twice."""
        if self._held_back is not None:
            self._print_row(self._held_back)
        if self._has_header:
            self._print(self._rule())
            self._has_header = False
        self.close()

    def close(self) -> None:
        """Take the bar away without a word, as after an error. May be called at any time."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print_row(self, values: Mapping[str, Any]) -> None:
        if not self._has_header:
            self._print(self._rule(), self._cells(self.columns), self._rule())
            self._has_header = True
        cells = self._cells([format_value(values[c], w) for c, w in zip(self.columns, self.widths, strict=True)])
        if self._recorder is not None:
            self._recorder.show_row(self._n_rows, cells)
        else:
            self._print(cells)
        self._held_back = None
        self._last_print = self._clock()

    def _rule(self) -> str:
        return "+" + "+".join("-" * (width + 2) for width in self.widths) + "+"

    def _cells(self, texts: Iterable[str]) -> str:
        return "|" + "|".join(f" {text.ljust(width)} " for text, width in zip(texts, self.widths, strict=True)) + "|"

    def _print(self, *lines: str) -> None:
        if not self._speaks:
            return
        if self._recorder is not None:
            self._recorder.write(lines)
            return
        for line in lines:
            if self._bar is not None:
                self._bar.print(line)
            else:
                print(line, file=self._stream, flush=True)


def is_shown(number: int) -> bool:
    """Whether the row of this number, from 1, is always shown: 1 to 6, 10, 50, 100, 500, 1000, ..."""
    if number <= FIRST_ROWS:
        return True
    while number % 10 == 0:
        number //= 10
    return number in (1, 5)


def format_value(value: Any, width: int) -> str:
    """A cell: integers as they are, floats with six decimals, or in powers of ten where these do not fit into ``width``."""
    if isinstance(value, float):
        text = f"{value:.6f}"
        return text if len(text) <= width else f"{value:.6e}"
    return str(value)


def make_preamble(name: str, counts: Mapping[str, int]) -> list[str]:
    """The lines above a table: the model's name, a rule, and what it is trained on, ``label : count`` each."""
    width = max(len(label) for label in counts)
    return [f"{name}:", "-" * RULE_WIDTH, *(f"{label.ljust(width)} : {count}" for label, count in counts.items())]


def make_bar(stream: TextIO) -> Bar | None:
    """A bar if ``stream`` is a terminal that can move its cursor, else None."""
    if not stream.isatty():
        return None
    from rich.console import Console

    console = Console(file=stream)
    return Bar(console) if console.is_terminal and not console.is_dumb_terminal else None


class Bar:
    """A bar at the bottom of the terminal that vanishes at the end; printed lines stay above it."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._progress: Any = None
        self._task: Any = None

    def stage(self, description: str, total: int | None, *, in_bytes: bool = False) -> None:
        """Begin a stage: a new bar in place of the last one; without a ``total`` it only shows that time passes."""
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.close()
        count = [] if total is None else [DownloadColumn()] if in_bytes else [MofNCompleteColumn()]
        # standard output and error go through the console too, so a warning does not break into the bar
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), *count, TimeElapsedColumn(), console=self._console, transient=True
        )
        self._task = self._progress.add_task(description, total=total)
        self._progress.start()

    def advance(self, steps: int) -> None:
        """Some steps of the stage are done."""
        if self._progress is not None:
            self._progress.advance(self._task, steps)

    def print(self, line: str) -> None:
        """Print a line as it is, above the bar."""
        self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
