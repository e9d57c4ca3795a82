"""From a call of ``model.plot`` to drawn axes: which plots there are, and who draws them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from engine.errors import MissingPackageError, OptionError
from engine.models._options import check_choice, refuse_unknown

# What draws each: ``draw_<kind>(model, sheet, ...)``, where what follows are the options of the plot, ``data`` among them if it needs some.
MODULES: Mapping[str, str] = MappingProxyType(
    {
        "learning_curve": "curves",
        "roc_curve": "curves",
        "ranks": "curves",
        "importance": "bars",
        "coefficients": "bars",
        "confusion_matrix": "matrix",
        "tree": "tree",
    }
)


def plot(model: Any, kind: str | None, data: Any, ax: Any, options: Mapping[str, Any]) -> Any:
    """Draw a plot of ``model`` in ``ax``, or in a new figure; returns the axes."""
    chosen = model.plots[0] if kind is None else check_choice("kind", kind, model.plots)
    try:
        from engine.models._plots.sheet import Sheet
    except ImportError as error:
        raise MissingPackageError("plot needs the package matplotlib; install it with: pip install 'samesum[plot]'") from error
    draw = getattr(importlib.import_module(f"engine.models._plots.{MODULES[chosen]}"), f"draw_{chosen}")
    known = [name for name in inspect.signature(draw).parameters if name not in ("model", "sheet")]
    given = dict(options) if data is None else {"data": data, **options}
    refuse_unknown({name: value for name, value in given.items() if name not in known}, [*known, "ax"])
    if "data" in known and data is None:
        raise OptionError(f"plot {chosen!r} needs data=: a dataset with the target, or what evaluate returned; got None")
    sheet = Sheet(ax)
    draw(model, sheet, **given)
    return sheet.axes
