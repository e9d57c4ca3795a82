"""What every model can do: show its fields, describe itself, be saved."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from engine.encode.features import near
from engine.errors import FieldError, OptionError
from engine.model_io import Arrays, write_model
from engine.notebook import sections_to_html

LABEL_WIDTH = 30
DECIMALS = 4

Sections = list[tuple[str, list[tuple[str, Any]]]]


class Model(ABC):
    """A trained model: fields by name, as ``model['field']``, ``model.field`` or ``model.get('field')``.

    ``fields`` maps each name to a value, or to a function that gives it when asked. ``rank`` is the rank that trained it, which decides
    who writes; None, for a loaded model, means whichever this process is.
    """

    toolkit: ClassVar[str]
    plots: ClassVar[tuple[str, ...]] = ("learning_curve",)

    def __init__(self, fields: Mapping[str, Any | Callable[[], Any]], *, rank: int | None) -> None:
        self._fields = dict(fields)
        self._rank = rank

    def get(self, field: str) -> Any:
        """The value of a field. Raises :class:`FieldError`, a KeyError and an AttributeError, for a name that is no field."""
        if field not in self._fields:
            raise FieldError(f"no field {field!r}{near(str(field), list(self._fields))}; the fields are {', '.join(self._fields)}")
        value = self._fields[field]
        return value() if callable(value) else value

    def __getitem__(self, field: str) -> Any:
        return self.get(field)

    def __getattr__(self, name: str) -> Any:
        # while unpickling or copying there are no fields yet, and asking for them would come back here
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.get(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._fields})

    def list_fields(self) -> list[str]:
        """The names of all fields."""
        return list(self._fields)

    def get_current_options(self) -> dict[str, Any]:
        """The options that it was trained with, by name."""
        document, _, run = self._content()
        names = [*document["options"], *(run.get("options") or {}), *(["class_weights"] if "class_weights" in self._fields else [])]
        return {name: self.get(name) for name in names}

    def summary(self, output: str | None = None) -> Any:
        """Print a description (``output`` None or 'stdout'), or return it: 'str' as text, 'dict' as titles and lists of (label, value)."""
        if output is None or output == "stdout":
            print(self)  # noqa: T201 - what was asked for
            return None
        if output == "str":
            return repr(self)
        if output == "dict":
            sections = self._sections()
            return {"section_titles": [title for title, _ in sections], "sections": [lines for _, lines in sections]}
        raise OptionError(f"output must be None, 'stdout', 'str' or 'dict', got {output!r}")

    def plot(self, kind: str | None = None, data: Any = None, *, ax: Any = None, **options: Any) -> Any:
        """Draw one of the ``plots`` that this model has, None being the first, and return its matplotlib Axes. Needs ``samesum[plot]``.

        ``ax``: the axes to draw in; nothing else of their figure is touched. None makes a figure, which a notebook shows, as ``plt.show()``
        does. The plots and their ``options``:

        - 'learning_curve': a metric by iteration. ``metric``: which, None being the last that was tracked; ``log``: whether its axis is
          logarithmic, None for where it falls by large factors.
        - 'importance', of trees: splits by column. ``most=20``: how many columns; ``by_feature=False``: categories of a feature as one.
        - 'tree', of trees: one of them. ``index=0``; ``max_depth=3``: levels below the root, None for all; ``stats=True``: gain and cover.
        - 'coefficients', of linear models: with intervals. ``confidence=0.95``; ``most=20``; ``standardized=False``: times the standard
          deviations of columns; ``label``: one class of more than two.
        - 'roc_curve', of models with probabilities, and 'confusion_matrix', of classifiers: ``data`` is a dataset with the target, which
          :meth:`evaluate` then reads (collective), or what it returned. Of matrices ``normalized=False``: shares instead of numbers.
        - 'ranks', of PageRank: the share of vertices with a rank or more.

        Raises :class:`OptionError`, :class:`DataError` where there is nothing to draw, :class:`MissingPackageError`.
        """
        from engine.models._plots.plotting import plot

        return plot(self, kind, data, ax, options)

    def _repr_html_(self) -> str:
        """What notebooks show: the summary."""
        return sections_to_html(
            type(self).__name__, [(title, [(label, shown(value)) for label, value in s]) for title, s in self._sections()]
        )

    def __repr__(self) -> str:
        lines = [label_line("Class", type(self).__name__)]
        for title, section in self._sections():
            lines += ["", title, "-" * len(title), *(label_line(label, value) for label, value in section)]
        return "\n".join(lines) + "\n"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a directory, at any address, as :func:`engine.load_model` reads it; a model that is there is replaced.

        All ranks may call this, or rank 0 alone: rank 0 writes, and no rank waits for another. Raises :class:`StorageError`.
        """
        if self._writes:
            document, arrays, run = self._content()
            write_model(path, document, arrays, run)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied as what :meth:`save` writes."""
        from engine.models.loading import restore_model

        return restore_model, (self.toolkit, *self._content())

    @property
    def _writes(self) -> bool:
        """Whether this is the rank that writes files."""
        return (self._rank if self._rank is not None else rank_of_process()) == 0

    @abstractmethod
    def _sections(self) -> Sections:
        """Titles, and labels with values, of the description."""

    @abstractmethod
    def _content(self) -> tuple[dict[str, Any], Arrays, dict[str, Any]]:
        """What is saved: document, arrays, run."""


def label_line(label: str, value: Any) -> str:
    """One line of a description."""
    return f"{label.ljust(LABEL_WIDTH)} : {shown(value)}"


def shown(value: Any) -> Any:
    """A value as it is described."""
    return round(value, DECIMALS) if isinstance(value, float) else value


def rank_of_process() -> int:
    """This process's rank if MPI has been started, else 0; starts nothing and talks to nobody."""
    if "mpi4py.MPI" not in sys.modules:
        return 0
    from engine.collectives.mpi import world

    return int(world().Get_rank())
