"""The progress table: the recorded text to the last character, which rows are shown, and the bar of a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

from engine.progress import ProgressTable, format_value, is_shown, make_preamble

COLUMNS = ["Iteration", "Elapsed Time", "Training-accuracy", "Training-log_loss"]

# as published for mushroom.csv and 10 iterations, without the prefix of a job's log
GOLDEN = """\
Boosted trees classifier:
--------------------------------------------------------
Number of examples          : 8124
Number of classes           : 2
Number of feature columns   : 22
Number of unpacked features : 22
+-----------+--------------+-------------------+-------------------+
| Iteration | Elapsed Time | Training-accuracy | Training-log_loss |
+-----------+--------------+-------------------+-------------------+
| 1         | 0.124934     | 0.999631          | 0.438946          |
| 2         | 0.245594     | 0.999631          | 0.298226          |
| 3         | 0.355051     | 0.999631          | 0.209494          |
| 4         | 0.489932     | 0.999631          | 0.150114          |
| 5         | 0.605267     | 0.999631          | 0.109027          |
| 6         | 1.255561     | 0.999631          | 0.080002          |
| 10        | 1.665121     | 0.999631          | 0.024130          |
+-----------+--------------+-------------------+-------------------+
"""
TIMES = [0.124934, 0.245594, 0.355051, 0.489932, 0.605267, 1.255561, 1.3, 1.4, 1.5, 1.665121]
LOSSES = [0.438946, 0.298226, 0.209494, 0.150114, 0.109027, 0.080002, 0.059165, 0.043689, 0.032431, 0.024130]


def print_mushroom(table: ProgressTable) -> None:
    counts = {"Number of examples": 8124, "Number of classes": 2, "Number of feature columns": 22, "Number of unpacked features": 22}
    table.stage("Reading")
    table.preamble(make_preamble("Boosted trees classifier", counts))
    for number, (seconds, loss) in enumerate(zip(TIMES, LOSSES, strict=True), start=1):
        table.row(dict(zip(COLUMNS, [number, seconds, 0.99963072, loss], strict=True)))
    table.finish()


def shown(n_rows: int, clock: list[float] | None = None, columns: tuple[str, ...] = ("Iteration",)) -> list[int]:
    """Numbers of the rows that are printed; ``clock`` gives the time of the start and of every row."""
    stream, times = io.StringIO(), [0.0] * (n_rows + 1) if clock is None else clock
    now = [times[0]]
    table = ProgressTable(columns, stream=stream, clock=lambda: now[0])
    for number in range(1, n_rows + 1):
        now[0] = times[number]
        table.row({"Iteration": number})
    table.finish()
    return [int(number) for number in re.findall(r"\| (\d+)", stream.getvalue())]


def test_the_recorded_table() -> None:
    stream = io.StringIO()
    print_mushroom(ProgressTable(COLUMNS, stream=stream, total=10))
    assert stream.getvalue() == GOLDEN


def test_silence() -> None:
    for options in ({"verbose": False}, {"comm_rank": 1}):
        stream = io.StringIO()
        print_mushroom(ProgressTable(COLUMNS, stream=stream, **options))
        assert stream.getvalue() == ""


def test_rows_that_are_shown() -> None:
    assert [n for n in range(1, 20_000) if is_shown(n)] == [*range(1, 7), 10, 50, 100, 500, 1000, 5000, 10_000]
    assert shown(12) == [1, 2, 3, 4, 5, 6, 10, 12]
    assert shown(10) == [1, 2, 3, 4, 5, 6, 10]
    assert shown(3) == [1, 2, 3]
    assert shown(0) == []


def test_a_row_after_ten_seconds_of_silence() -> None:
    assert shown(20, [float(3 * n) for n in range(21)]) == [1, 2, 3, 4, 5, 6, 10, 14, 18, 20]
    assert shown(9, [0.0] * 8 + [9.9, 10.0]) == [1, 2, 3, 4, 5, 6, 9]


def test_nothing_to_show_is_no_table() -> None:
    stream = io.StringIO()
    table = ProgressTable(COLUMNS, stream=stream)
    table.finish()
    table.finish()
    assert stream.getvalue() == ""


def test_messages_come_between_rows() -> None:
    stream = io.StringIO()
    table = ProgressTable(["Iteration"], stream=stream)
    table.row({"Iteration": 1})
    table.message("Checkpointing to x")
    table.row({"Iteration": 2})
    table.finish()
    assert stream.getvalue().splitlines()[3:] == ["| 1         |", "Checkpointing to x", "| 2         |", "+-----------+"]


def test_values_keep_to_their_column() -> None:
    assert format_value(0.5, 9) == "0.500000"
    assert format_value(1234567.5, 13) == "1.234568e+06"
    assert format_value(123456.5, 13) == "123456.500000"
    assert format_value(float("nan"), 9) == "nan"
    assert format_value(12, 9) == "12"


def test_a_pipe_gets_plain_text_at_once_and_no_rich() -> None:
    code = (
        "import sys; from engine.progress import ProgressTable\n"
        "t = ProgressTable(['Iteration'], total=3); t.stage('Reading'); t.preamble(['x:'])\n"
        "t.row({'Iteration': 1}); print('rich' in sys.modules, file=sys.stderr); import os; os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "x:\n+-----------+\n| Iteration |\n+-----------+\n| 1         |\n"
    assert done.stderr == "False\n"


def run_on_terminal(code: str, environment: dict[str, str]) -> str:
    """What a program writes to a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env={**os.environ, **environment})
    os.close(follower)
    output = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not chunk:
            break
        output += chunk
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return output.decode()


def on_screen(output: str) -> list[str]:
    """The lines that stay on a terminal: a carriage return and 'erase line' make a line empty, 'up' goes back one."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", output):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\r":
            column = 0
        elif token.startswith("\x1b["):
            if token.endswith("A"):
                row -= int(token[2:-1] or 1)
            elif token.endswith("K"):
                lines[row] = ""
        else:
            lines[row] = lines[row][:column].ljust(column) + token + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


TERMINAL_PROGRAM = """
import sys, time, warnings
sys.path.insert(0, '.')
from tests.test_progress import COLUMNS, print_mushroom
from engine.progress import ProgressTable
class Slow(ProgressTable):
    def row(self, values):
        time.sleep(0.05)
        super().row(values)
print_mushroom(Slow(COLUMNS, total=10))
"""


def test_a_terminal_keeps_the_table_and_loses_the_bar() -> None:
    output = run_on_terminal(TERMINAL_PROGRAM, {"TERM": "xterm", "COLUMNS": "100", "LINES": "40", "NO_COLOR": "1"})
    assert "Training" in output
    assert "10/10" in output
    assert on_screen(output) == GOLDEN.splitlines()


def test_a_dumb_terminal_gets_plain_text() -> None:
    output = run_on_terminal(TERMINAL_PROGRAM, {"TERM": "dumb"})
    assert output.replace("\r\n", "\n") == GOLDEN
