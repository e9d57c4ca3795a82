"""Model directories: ``model.json`` says what the model is, ``arrays.safetensors`` holds its numbers, ``run.json`` how it came about.

The first two depend on the model alone, byte for byte; whatever may differ between equal runs is in ``run.json``, which may be missing.
A directory appears whole or not at all. Nothing here needs MPI, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pathlib
import shutil
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import MissingFileError, ModelFileError, StorageError

FORMAT = "samesum model"
FORMAT_VERSION = 1
MODEL_FILE, ARRAYS_FILE, RUN_FILE = "model.json", "arrays.safetensors", "run.json"

Arrays = dict[str, NDArray[Any]]


def write_model(
    path: str | os.PathLike[str], document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], run: Mapping[str, Any]
) -> None:
    """Write a model directory.

    ``document`` and ``run`` hold JSON values with string keys (floats of any kind), ``document['toolkit']`` names the toolkit; ``arrays``
    are numeric, of any shape. A model that is there already is replaced once the new one is complete; any other file, or directory with
    something in it, is refused. Raises :class:`StorageError`.
    """
    target = pathlib.Path(os.path.abspath(local_folder(path)))
    try:
        check_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}.new")
        try:
            write_files(fresh, document, arrays, run)
            swap_in(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot save the model to {str(target)!r}: {error.strerror or error}") from error


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays, dict[str, Any] | None]:
    """The document, the arrays and the run (None without ``run.json``) of a model directory, as :func:`write_model` got them.

    Raises :class:`MissingFileError` if there is no such directory, :class:`ModelFileError` if a file in it is missing, damaged or of a
    newer release.
    """
    folder = pathlib.Path(local_folder(path))
    if not folder.is_dir():
        raise MissingFileError(f"no model directory {str(path)!r}; expected the path that a model was saved to")
    envelope = read_envelope(folder / MODEL_FILE)
    arrays = read_arrays(folder / ARRAYS_FILE, str(envelope.get("arrays_sha256")))
    run_file = folder / RUN_FILE
    remedy = f"the model itself is whole: delete {RUN_FILE} to load it without its times and machines"
    run = load_json(run_file, remedy) if run_file.exists() else None
    return dict(decode(envelope["document"])), arrays, None if run is None else dict(decode(run))


def local_folder(path: str | os.PathLike[str]) -> str:
    """A path as text; addresses of other storage are refused."""
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise StorageError(f"expected the path of a model directory, got {path!r}")
    if "://" in text:
        raise StorageError(f"models are kept in local folders; expected a path, got {text!r}: save locally and copy the folder")
    return os.path.expanduser(text)


def check_replaceable(target: pathlib.Path) -> None:
    """Refuse to write over anything but a model or an empty directory."""
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise StorageError(f"cannot save the model to {str(target)!r}: a file is there; choose another path")
    if any(target.iterdir()) and not (target / MODEL_FILE).is_file():
        raise StorageError(f"cannot save the model to {str(target)!r}: a directory that holds no model is there; choose another path")


def write_files(folder: pathlib.Path, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], run: Mapping[str, Any]) -> None:
    """Write the three files into a new folder and see them to the disk."""
    from safetensors.numpy import save_file

    folder.mkdir()
    # without metadata the file's order is a function of dtypes and names alone
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS_FILE)
    encoded = encode(document)
    envelope = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "document_sha256": hashlib.sha256(canonical(encoded)).hexdigest(),
        "arrays_sha256": hash_file(folder / ARRAYS_FILE),
        "document": encoded,
    }
    for name, value in ((MODEL_FILE, envelope), (RUN_FILE, encode(run))):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")
    for name in (MODEL_FILE, ARRAYS_FILE, RUN_FILE, ""):
        sync(folder / name)


def swap_in(fresh: pathlib.Path, target: pathlib.Path) -> None:
    """Put a complete folder in its place; what was there stays until then."""
    old = fresh.with_suffix(".old")
    had_one = target.exists()
    if had_one:
        os.rename(target, old)
    try:
        os.rename(fresh, target)
    except OSError:
        if had_one:
            os.rename(old, target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: pathlib.Path) -> None:
    """Wait until a file's or directory's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_envelope(file: pathlib.Path) -> dict[str, Any]:
    """The checked content of ``model.json``."""
    remedy = "train or copy the model again"
    if not file.exists():
        raise ModelFileError(f"{str(file)!r} is missing: {str(file.parent)!r} is no model directory, or not all of it was copied")
    envelope = load_json(file, remedy)
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT or not isinstance(envelope.get("format_version"), int):
        raise ModelFileError(f"{str(file)!r} does not describe a samesum model; {remedy}")
    if envelope["format_version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{str(file)!r} was written by a newer samesum: it has format {envelope['format_version']}, this release reads up to "
            f"{FORMAT_VERSION}; install a newer samesum"
        )
    document = envelope.get("document")
    if not isinstance(document, dict) or envelope.get("document_sha256") != hashlib.sha256(canonical(document)).hexdigest():
        raise ModelFileError(f"{str(file)!r} is damaged: its content does not match its checksum; {remedy}")
    return envelope


def read_arrays(file: pathlib.Path, sha256: str) -> Arrays:
    """The arrays of a safetensors file, if its bytes are those that ``model.json`` speaks of."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not file.exists():
        raise ModelFileError(f"{str(file)!r} is missing: not all of the model was copied; copy or train it again")
    try:
        if hash_file(file) != sha256:
            raise ModelFileError(
                f"{str(file)!r} is damaged or belongs to another model: its checksum differs; copy or train the model again"
            )
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{str(file)!r} cannot be read: {error}; copy or train the model again") from error


def load_json(file: pathlib.Path, remedy: str) -> Any:
    """The JSON value in a file."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{str(file)!r} is damaged or cut short ({error}); {remedy}") from error


def hash_file(file: pathlib.Path) -> str:
    """The SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def canonical(value: Any) -> bytes:
    """JSON in one spelling, for checksums."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def encode(value: Any) -> Any:
    """JSON-able values with NaN and infinity as ``{"$float": "nan"}``; keys that begin with ``$`` get another one."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"expected string keys in a model's document, got {list(value)!r}")
        return {f"${key}" if key.startswith("$") else key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(value: Any) -> Any:
    """The inverse of :func:`encode`."""
    if isinstance(value, dict):
        if list(value) == ["$float"]:
            return float(value["$float"])
        return {key.removeprefix("$"): decode(item) for key, item in value.items()}
    return [decode(item) for item in value] if isinstance(value, list) else value
