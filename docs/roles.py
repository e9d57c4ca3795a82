"""Docstrings name functions and classes as Sphinx does; in the manual they are code."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|attr|data|exc):`~?([\w.]+)`")


class Roles(griffe.Extension):
    """Turns roles into code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Every function, class and module, once it is loaded."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(r"``\1``", obj.docstring.value)
