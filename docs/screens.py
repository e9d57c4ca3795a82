"""Take the pictures of what users see: ``python docs/screens.py``, or with names: terminal, notebook, manual.

A terminal is a real one, of tmux, drawn by rich; chromium shows notebooks and the built manual (``make docs`` first).
Needs the extra ``docs``, tmux and chromium.
"""

from __future__ import annotations

import io
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from plots import IMAGES, run_page
from rich.console import Console
from rich.text import Text

DOCS = pathlib.Path(__file__).resolve().parent
ROOT = DOCS.parent
SITE = ROOT / ".build" / "site"
COLUMNS = 100
TRAIN = "samesum train boosted_trees_classifier examples/data/mushroom.csv --target label --max-iterations 5000 --output bst"
SUBMIT = "job=$(samesum submit boosted_trees_classifier examples/data/mushroom.csv --target label --cluster laptop | cut -f1)"
# File, title, rows of the screen, what is typed, and what the screen shows when the picture is taken.
SCREENS = (
    ("terminal_train", "samesum train", 24, (TRAIN,), r"\| 1000 .*Training"),
    ("terminal_job", "samesum progress --follow", 36, (SUBMIT, 'samesum progress --follow "$job"'), r"ended in SUCCESS"),
)
NOTEBOOK = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; display: flex; font: 13px sans-serif }}
div.page {{ padding: 16px; width: 418px }} div.page > div {{ margin-bottom: 10px }}
</style><div class="page" style="background: #fff; color: #222">{0}</div>
<div class="page" style="background: #151515; color: #ddd">{0}</div>"""
FRAMES = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; background: #cfd8dc; display: flex; gap: 16px; padding: 16px; align-items: flex-start }}
img {{ border-radius: 6px; box-shadow: 0 1px 6px #0006; display: block }}
</style>{0}"""


def main() -> None:
    """Take all pictures, or those that are named."""
    takers: dict[str, Callable[[], None]] = {"terminal": shoot_terminals, "notebook": shoot_notebook, "manual": shoot_manual}
    for name in sys.argv[1:] or takers:
        takers[name]()


def shoot_terminals() -> None:
    """Pictures of commands in a terminal."""
    with tempfile.TemporaryDirectory(prefix="samesum-", ignore_cleanup_errors=True) as folder:
        pathlib.Path(folder, "examples").symlink_to(ROOT / "examples")
        bin_folder = pathlib.Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "SAMESUM_CONFIG_DIR": f"{folder}/config", "PS1": "$ "}
        cluster = ["samesum", "cluster", "create", "laptop", "--num-workers", "2", "--working-dir", f"{folder}/jobs"]
        subprocess.run(cluster, cwd=folder, env=environment, check=True, capture_output=True)
        for name, title, rows, typed, shows in SCREENS:
            screen = capture(folder, environment, rows, typed, shows)
            draw_screen(screen, title, IMAGES / f"{name}.png")


def capture(folder: str, environment: dict[str, str], rows: int, typed: tuple[str, ...], shows: str) -> str:
    """Type lines into a terminal and give its screen, with its colours, once it shows what is waited for."""
    tmux = ["tmux", "-L", "samesum-docs", "-f", "/dev/null"]
    shell = ["env", *(f"{name}={environment[name]}" for name in ("PATH", "SAMESUM_CONFIG_DIR", "PS1")), "bash", "--norc", "--noprofile"]
    subprocess.run([*tmux, "new-session", "-d", "-x", str(COLUMNS), "-y", str(rows), shlex.join(shell)], cwd=folder, check=True)
    try:
        for line in typed:
            wait_for(r"(^|\n)\$\s*$", tmux)
            subprocess.run([*tmux, "send-keys", "-l", line], check=True)
            subprocess.run([*tmux, "send-keys", "Enter"], check=True)
        wait_for(shows, tmux)
        return read_screen(tmux, "-e")
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)


def wait_for(shows: str, tmux: list[str]) -> None:
    """Wait until the terminal's screen fits a pattern."""
    until = time.monotonic() + 120
    while not re.search(shows, read_screen(tmux), re.DOTALL):
        if time.monotonic() > until:
            sys.exit(f"the terminal never showed {shows!r}:\n{read_screen(tmux)}")
        time.sleep(0.02)


def read_screen(tmux: list[str], *options: str) -> str:
    """What is on the terminal's screen."""
    return subprocess.run([*tmux, "capture-pane", "-p", *options], capture_output=True, text=True, check=True).stdout


def draw_screen(screen: str, title: str, path: pathlib.Path) -> None:
    """A picture of a terminal's screen, its fonts those of this machine."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(screen.rstrip()))
    drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title=title), flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    width, height = (float(number) for number in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)[0])
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        page = pathlib.Path(folder, "screen.html")
        page.write_text(f'<!DOCTYPE html><meta charset="utf-8"><style>body {{ margin: 0 }} svg {{ display: block }}</style>{drawing}')
        shoot(page.as_uri(), path, int(width), int(height))


def shoot_notebook() -> None:
    """What notebooks show of a model and a dataset, on a light and on a dark page."""
    names = run_page(DOCS / "plots.md")
    mushrooms = names["ss"].Dataset(str(ROOT / "examples/data/mushroom.csv")).select(["label", "odor", "habitat"])
    content = "".join(each._repr_html_() for each in (names["model"], mushrooms))
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        page = pathlib.Path(folder, "page.html")
        page.write_text(NOTEBOOK.format(content.replace(f"{ROOT}/", "")))
        shoot(page.as_uri(), IMAGES / "notebook.png", 900, 550)


def shoot_manual() -> None:
    """The manual on a screen, light, and on a phone, dark."""
    page = (SITE / "boosted_trees_classifier.html").as_uri()
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        wide, narrow = pathlib.Path(folder, "wide.png"), pathlib.Path(folder, "narrow.png")
        shoot(page, wide, 1280, 844)
        shoot_phone(page, narrow, dark=True)
        both = pathlib.Path(folder, "both.html")
        both.write_text(FRAMES.format(f'<img src="{wide.name}" width="860"><img src="{narrow.name}" width="262">'))
        shoot(both.as_uri(), IMAGES / "manual.png", 1170, 599)


def shoot_phone(page: str, path: pathlib.Path, *, dark: bool = False) -> None:
    """A page as a phone of 390 pixels shows it. Chromium's own window is never that narrow, so the page is shown in a frame."""
    with tempfile.TemporaryDirectory(prefix="samesum-") as folder:
        frame = pathlib.Path(folder, "frame.html")
        frame.write_text(
            f"<!DOCTYPE html><style>body {{ margin: 0 }} iframe {{ border: 0; display: block }}</style>"
            f'<iframe src="{page}" width="390" height="844"></iframe>'
        )
        shoot(frame.as_uri(), path, 390, 844, dark=dark)


def shoot(address: str, path: pathlib.Path, width: int, height: int, *, dark: bool = False) -> None:
    """A picture of a page in chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium on the PATH: the pictures stay as they are")
    command = [browser, "--headless", "--disable-gpu", "--no-sandbox", "--hide-scrollbars", "--allow-file-access-from-files"]
    command += ["--virtual-time-budget=4000", f"--window-size={width},{height}"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    subprocess.run([*command, f"--screenshot={path}", address], check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()
