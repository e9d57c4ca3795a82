"""Write every command, option and exit code of ``samesum`` into ``docs/command_line.md``, between its markers, from the code.

``python docs/command_line.py`` writes; with ``--check`` it only says whether the page is as the code is, by its exit code.
"""

from __future__ import annotations

import inspect
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from engine.spec import GRAPH_TOOLKITS, TOOLKITS
from launch.cli.app import ORDER, app
from launch.cli.codes import EXPLANATIONS
from launch.cli.groups import Reading

PAGE = pathlib.Path(__file__).resolve().parent / "command_line.md"
ALL_TOOLKITS = (*TOOLKITS, *GRAPH_TOOLKITS)
KINDS = {
    "all": ALL_TOOLKITS,
    "all of rows": TOOLKITS,
    "all of graphs": GRAPH_TOOLKITS,
    "trees": tuple(name for name in TOOLKITS if "boosted" in name or "forest" in name),
    "boosted trees": tuple(name for name in TOOLKITS if "boosted" in name),
    "forests": tuple(name for name in TOOLKITS if "forest" in name),
    "linear models": TOOLKITS[4:],
    "classifiers": tuple(name for name in TOOLKITS if "classifier" in name),
}
TYPES = {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: ""}


class Word(NamedTuple):
    """An argument or option as the page shows it."""

    panel: str
    spelled: str
    help: str
    is_argument: bool
    is_required: bool


class Command(NamedTuple):
    """A command as the page shows it."""

    name: str
    help: str
    words: list[Word]
    is_hidden: bool


def main() -> None:
    """Bring the page up to date, or check that it is."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = put_between(page, "exit codes", exit_codes())
    fresh = put_between(fresh, "commands", "\n\n".join(describe_all()))
    if sys.argv[1:] == ["--check"]:
        sys.exit(fresh != page and f"{PAGE.name} is not as the code is: run python docs/{pathlib.Path(__file__).name}")
    PAGE.write_text(fresh, encoding="utf-8")


def put_between(page: str, place: str, text: str) -> str:
    """The page with ``text`` between the markers of a place."""
    begin, end = (f"<!-- made by docs/command_line.py, {place}: {edge} -->" for edge in ("begin", "end"))
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"


def exit_codes() -> str:
    """A table of the exit codes."""
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| {int(code)} | {text} |" for code, text in EXPLANATIONS.items())])


def describe_all() -> Iterator[str]:
    """Sections for all commands, in their order, and last one for the words that most of them share."""
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    commands = {command.name: command for command in map(as_command, app.registered_commands) if not command.is_hidden}
    training: list[Word] = []
    for name in (*ORDER, *(name for name in commands if name not in ORDER)):
        if name in commands:
            yield describe_command("samesum", commands[name])
            continue
        own = groups[name].registered_callback
        if own is not None:  # what the group does without a command
            yield describe_command("samesum", as_command(own)._replace(name=name))
        inner = [as_command(info) for info in groups[name].registered_commands]
        if toolkits := [command for command in inner if command.name in ALL_TOOLKITS]:
            yield describe_toolkits(name, toolkits, training)
            training = list(dict.fromkeys(word for command in toolkits for word in command.words))
        yield from (describe_command(f"samesum {name}", command) for command in inner if command.name not in ALL_TOOLKITS)
    yield "\n\n".join(["## Reading data", *tabulate([(word, "") for word in READING])])


def describe_command(path: str, command: Command) -> str:
    """A section for one command."""
    own = [word for word in command.words if word not in READING]
    more = ["Also the words of [reading data](#reading-data)."] if len(own) < len(command.words) else []
    return "\n\n".join([f"## {path} {command.name}", command.help, *tabulate([(word, "") for word in own]), *more])


def describe_toolkits(group: str, commands: list[Command], said: list[Word]) -> str:
    """One section for the commands of all toolkits: each word once, with the toolkits that have it; not those that were ``said``."""
    toolkits_of: dict[Word, list[str]] = {}
    for command in commands:
        for word in command.words:
            toolkits_of.setdefault(word, []).append(command.name)
    names = ", ".join(f"`{command.name}`" for command in commands)
    rows = [(word, say_toolkits(toolkits)) for word, toolkits in toolkits_of.items() if word not in said and word not in READING]
    without = ", ".join(
        f"`{word.spelled.split()[0].rstrip(',')}`" for word in said if word.spelled not in {each.spelled for each in toolkits_of}
    )
    before = f" It takes the words of [samesum train](#samesum-train-toolkit) but for {without}." if said else ""
    intro = f"TOOLKIT is one of {names}.{before}"
    more = "Also the words of [reading data](#reading-data)."
    return "\n\n".join([f"## samesum {group} TOOLKIT", intro, *tabulate(rows, "toolkits"), more])


def say_toolkits(toolkits: list[str]) -> str:
    """These toolkits in few words."""
    for kind, of_kind in KINDS.items():
        if tuple(toolkits) == of_kind:
            return kind
    others = [name for name in ALL_TOOLKITS if name not in toolkits]
    return ", ".join(toolkits) if len(toolkits) <= len(others) else f"all but {', '.join(others)}"


def tabulate(words: list[tuple[Word, str]], third: str = "") -> Iterator[str]:
    """A table of words, arguments first, then panel by panel, with a third column if it is named."""
    if words:
        panels = list(dict.fromkeys(word.panel for word, _ in words))
        rows = sorted(words, key=lambda row: (not row[0].is_argument, panels.index(row[0].panel)))
        cells = [["word", "meaning", third], ["---"] * 3]
        cells += [[f"`{escape(word.spelled)}`", escape(word.help) + " **Required.**" * word.is_required, last] for word, last in rows]
        yield "\n".join(f"| {' | '.join(row if third else row[:2])} |" for row in cells)


def as_command(info: Any) -> Command:
    """A registered command with its words."""
    name = info.name or info.callback.__name__
    help_text = inspect.cleandoc(info.help or info.callback.__doc__ or "")
    parameters = inspect.signature(info.callback).parameters.values()
    return Command(
        name, help_text, [as_word(each) for each in parameters if get_args(each.annotation) and each.name != "debug"], info.hidden
    )


def as_word(parameter: inspect.Parameter) -> Word:
    """An argument or option of a command, from its annotation."""
    kind, info = get_args(parameter.annotation)[:2]
    is_argument = type(info).__name__ == "ArgumentInfo"
    is_required = parameter.default is inspect.Parameter.empty
    if is_argument:
        spelled = (info.metavar or parameter.name.upper()) + "..." * is_list(kind)
        return Word("", spelled if is_required else f"[{spelled}]", info.help, True, False)
    names = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str)]
    values = info.metavar if info.metavar is not None else TYPES[plain_type(kind)]
    word = f"--{parameter.name.replace('_', '-')}"
    spelled = ", ".join(names) or (f"{word}/--no-{word[2:]}" if plain_type(kind) is bool else word)
    return Word(info.rich_help_panel or "", f"{spelled} {values}".strip(), info.help + say_default(parameter.default), False, is_required)


def say_default(default: Any) -> str:
    """What the option is if it is not given, where its help does not say so."""
    return "" if default is None or default is inspect.Parameter.empty or default is False else f" Default: {default_text(default)}."


def default_text(default: Any) -> str:
    """A default as it would be typed."""
    return {True: "yes"}.get(default, f"`{default:g}`") if isinstance(default, int | float) else f"`{default}`"


def is_list(kind: Any) -> bool:
    """Whether a word may be given several times."""
    return any(getattr(each, "__origin__", None) is list for each in (kind, *get_args(kind)))


def plain_type(kind: Any) -> type:
    """The type of one value, of ``list[str] | None`` str."""
    found = next(each for each in (kind, *get_args(kind)) if each is not type(None) and (each in TYPES or is_list(each)))
    return found if found in TYPES else plain_type(get_args(found)[0])


def escape(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


READING = [as_word(parameter) for parameter in inspect.signature(Reading, eval_str=True).parameters.values()]

if __name__ == "__main__":
    main()
