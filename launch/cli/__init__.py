"""The command ``samesum``: one module for each group of commands, every word of an option once, every answer shown in one place."""

from __future__ import annotations

from launch.cli.app import main

__all__ = ["main"]
