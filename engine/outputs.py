"""What a job leaves beside models: tables and metrics, each a file that appears whole or not at all, at any address."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine import storage
from engine.errors import OptionError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = {".csv": "csv", ".parquet": "parquet"}  # formats by extension
METRICS = {".json": "json"}
PAGES = {".html": "html"}


def check_output(output: str, formats: Mapping[str, str]) -> str:
    """The format of an output file, by its extension; found before the work, so that no work is lost.

    Raises :class:`OptionError`, :class:`StorageError`.
    """
    suffix = storage.suffix_of(output)
    if suffix not in formats:
        raise OptionError(f"expected an output file with the extension {' or '.join(formats)}, got {output!r}")
    storage.check_writable(output)
    if _is_folder(output):
        raise OptionError(f"expected an output file, got the folder {output!r}")
    return formats[suffix]


def is_folder_of_parts(output: str) -> bool:
    """Whether an output is to be a folder to which every rank writes its part: its address ends with a slash."""
    return output.endswith("/")


def put_table(table: pa.Table, output: str) -> None:
    """Write a table to a file, ``.csv`` or ``.parquet``. Raises :class:`StorageError`, ``DataError`` for what CSV has no text for."""
    from engine.data.table_files import write_table

    form = check_output(output, TABLES)
    put_written(output, lambda path: write_table(table, path, form))


def put_metrics(metrics: Mapping[str, Any], output: str) -> None:
    """Write metrics, as :func:`metrics_as_json` gives them, to a file. Raises :class:`StorageError`."""
    storage.put_bytes(output, (json.dumps(metrics) + "\n").encode())


def put_written(output: str, write: Callable[[str], Any]) -> None:
    """A file of what ``write`` writes to a local path. Raises :class:`StorageError`."""
    try:
        above = os.path.dirname(os.path.abspath(storage.local_path(output))) if storage.is_local(output) else None
        if above is not None:
            os.makedirs(above, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".samesum-", dir=above) as scratch:
            path = os.path.join(scratch, storage.name_of(output))
            write(path)
            if above is None:
                storage.put_file(output, path)
            else:
                os.replace(path, storage.local_path(output))
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"could not write {output!r}: {error.strerror or error}") from error


def metrics_as_json(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics as JSON knows them: tables as objects of columns, what is no number as null."""
    return {name: _as_json(value) for name, value in metrics.items()}


def _as_json(value: Any) -> Any:
    if hasattr(value, "to_pydict"):
        return {name: [_as_json(item) for item in column] for name, column in value.to_pydict().items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value


def _is_folder(address: str) -> bool:
    try:
        storage.list_folder(address)
    except StorageError:
        return False
    return True
