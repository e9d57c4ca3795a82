"""Makes commands of functions: groups of options become single ones, one rank speaks for all, and an error is one line or a traceback.

A parameter of a command whose type is a dataclass is a group: in its place the command line has the dataclass's fields.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast, get_args

import typer

from engine.errors import EngineError
from launch.cli import words
from launch.cli.codes import ExitCode, code_of, leave
from launch.cli.ranks import launched_rank

Function = Callable[..., None]


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    on_every_rank: bool = False,
    options: Mapping[str, Any] | None = None,
    needs_words: bool = True,
    hidden: bool = False,
    text: str | None = None,
    panel: str | None = None,
) -> Callable[[Function], Function]:
    """Add the decorated function to ``app``, as the command ``name`` or its own name.

    ``options`` are annotations of further options, which the function gets as its argument of that name, those given alone. Unless
    ``on_every_rank``, only rank 0 of a launcher's ranks runs it. ``needs_words``: without arguments it shows its help. ``text`` is its
    help, else the docstring; ``panel`` the heading that it stands under.
    """

    def add(function: Function) -> Function:
        runs = _spread(function, options, on_every_rank=on_every_rank)
        add_to = app.command(name or function.__name__, help=text, no_args_is_help=needs_words, hidden=hidden, rich_help_panel=panel)
        add_to(runs)
        return function

    return add


def group(app: typer.Typer) -> Callable[[Function], Function]:
    """Have the decorated function run as the command that ``app`` is when none of its commands is named."""

    def add(function: Function) -> Function:
        app.callback(invoke_without_command=True)(_spread(function, None, on_every_rank=False))
        return function

    return add


def _spread(function: Function, options: Mapping[str, Any] | None, *, on_every_rank: bool) -> Function:
    """``function`` with the signature that the command line is to have."""
    signature = inspect.signature(function, eval_str=True)
    groups = {name: parameter.annotation for name, parameter in signature.parameters.items() if is_dataclass(parameter.annotation)}
    parameters = [each for parameter in signature.parameters.values() for each in _parameters_of(parameter, options or {})]
    if not any(parameter.name == "debug" for parameter in parameters):
        parameters.append(_keyword("debug", words.Debug, False))

    def run(**given: Any) -> None:
        if launched_rank() > 0 and not on_every_rank:
            return
        shows_traceback = given["debug"] if "debug" in signature.parameters else given.get("debug")
        arguments = {name: _take_group(group, given) for name, group in groups.items()}
        if options is not None:
            taken = {name: given.pop(name) for name in options}
            arguments["options"] = {name: value for name, value in taken.items() if value is not None}
        arguments.update((name, value) for name, value in given.items() if name in signature.parameters)
        try:
            function(**arguments)
            sys.stdout.flush()
        except BrokenPipeError:  # Click would end with 1
            raise leave(ExitCode.UNREAD) from None
        except EngineError as error:
            if not shows_traceback:
                raise
            traceback.print_exception(error)
            raise leave(code_of(error)) from None

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__doc__ = function.__doc__
    return run


def _parameters_of(parameter: inspect.Parameter, options: Mapping[str, Any]) -> Iterator[inspect.Parameter]:
    """A parameter of the command line, or those that a group or the further options stand for."""
    if parameter.name == "options":
        yield from (_keyword(name, word, _default_of(word)) for name, word in options.items())
    elif is_dataclass(parameter.annotation):
        yield from inspect.signature(cast(Function, parameter.annotation), eval_str=True).parameters.values()
    else:
        yield parameter


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default_of(word: Any) -> Any:
    """None for what may be left out."""
    return None if type(None) in get_args(get_args(word)[0]) else inspect.Parameter.empty


def _take_group(group: Any, given: dict[str, Any]) -> Any:
    return group(**{field.name: given.pop(field.name) for field in fields(group)})
