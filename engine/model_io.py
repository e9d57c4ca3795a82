"""Model folders: ``model.json`` says what the model is, ``arrays.safetensors`` holds its numbers, ``run.json`` how it came about.

The first two depend on the model alone, byte for byte; whatever may differ between equal runs is in ``run.json``, which may be missing.
They are the same on every kind of storage. A folder appears whole or not at all: ``model.json`` has the checksums of all that the model is,
and is written last. Nothing here needs MPI, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import storage
from engine.errors import MissingFileError, ModelFileError, StorageError
from engine.storage.replacing import check_replaceable_folder

FORMAT = "samesum model"
FORMAT_VERSION = 1
MODEL_FILE, ARRAYS_FILE, RUN_FILE = "model.json", "arrays.safetensors", "run.json"

Arrays = dict[str, NDArray[Any]]


class Packed(NamedTuple):
    """The files of a model."""

    model: bytes
    arrays: bytes
    run: bytes


def write_model(
    path: str | os.PathLike[str], document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], run: Mapping[str, Any]
) -> None:
    """Write a model folder, at any address.

    ``document`` and ``run`` hold JSON values with string keys (floats of any kind), ``document['toolkit']`` names the toolkit; ``arrays``
    are numeric, of any shape. A model that is there already is replaced once the new one is complete; any other file, or folder with
    something in it, is refused. Raises :class:`StorageError`.
    """
    put_model(address_of(path), pack_model(document, arrays, run))


def read_model(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays, dict[str, Any] | None]:
    """The document, the arrays and the run (None without ``run.json``) of a model folder, as :func:`write_model` got them.

    Raises :class:`MissingFileError` if there is no such folder, :class:`ModelFileError` if a file in it is missing, damaged or of a
    newer release.
    """
    folder = address_of(path)
    envelope = read_envelope(folder)
    arrays = read_arrays(folder, str(envelope.get("arrays_sha256")))
    run = read_run(folder)
    return dict(decode(envelope["document"])), arrays, None if run is None else dict(decode(run))


def holds(path: str | os.PathLike[str], packed: Packed) -> bool:
    """Whether this very model, whole, is at ``path``; how it came about may differ. Raises :class:`StorageError`."""
    folder = address_of(path)
    try:
        same = storage.read_bytes(storage.join(folder, MODEL_FILE)) == packed.model
        return same and storage.read_bytes(storage.join(folder, ARRAYS_FILE)) == packed.arrays
    except MissingFileError:
        return False


def address_of(path: str | os.PathLike[str]) -> str:
    """A path or address as text."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else path
    if not isinstance(text, str) or not text:
        raise StorageError(f"expected the path of a model directory, got {path!r}")
    return text.rstrip("/") or "/"


def check_replaceable(address: str) -> None:
    """Refuse to write over anything but a model, the rest of one, or an empty folder."""
    ours = (MODEL_FILE, ARRAYS_FILE, RUN_FILE)
    check_replaceable_folder(address_of(address), what="model", manifest=MODEL_FILE, is_ours=lambda name: name in ours)


def pack_model(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], run: Mapping[str, Any]) -> Packed:
    """The three files, of which the first two depend on ``document`` and ``arrays`` alone."""
    from safetensors.numpy import save

    # without metadata the file's order is a function of dtypes and names alone
    numbers = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    encoded = encode(document)
    envelope = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "document_sha256": hashlib.sha256(canonical(encoded)).hexdigest(),
        "arrays_sha256": hashlib.sha256(numbers).hexdigest(),
        "document": encoded,
    }
    return Packed(_as_text(envelope), numbers, _as_text(encode(run)))


def put_model(address: str, packed: Packed) -> None:
    """Write the files of a model in place of what :func:`check_replaceable` allows. Raises :class:`StorageError`."""
    try:
        check_replaceable(address)
        # on this machine beside the target, where its folder can be renamed
        above = storage.local_path(address).absolute().parent if storage.is_local(address) else None
        if above is not None:
            above.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{storage.name_of(address)[:100]}.", suffix=".new", dir=above) as scratch:
            folder = pathlib.Path(scratch, "model")
            folder.mkdir()
            for name, content in zip((MODEL_FILE, ARRAYS_FILE, RUN_FILE), packed, strict=True):
                (folder / name).write_bytes(content)
            storage.put_folder(address, folder, last=MODEL_FILE)
    except StorageError as error:
        if str(error).startswith("cannot save"):
            raise
        raise type(error)(f"cannot save the model to {address!r}: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot save the model to {address!r}: {error.strerror or error}") from error


def read_envelope(folder: str) -> dict[str, Any]:
    """The checked content of ``model.json``."""
    remedy = "train or copy the model again"
    file = storage.join(folder, MODEL_FILE)
    try:
        content = storage.read_bytes(file)
    except MissingFileError:
        if not storage.exists(folder):
            raise MissingFileError(f"no model directory {folder!r}; expected the path that a model was saved to") from None
        raise ModelFileError(f"{file!r} is missing: {folder!r} is no model directory, or not all of it was copied") from None
    envelope = parse_json(file, content, remedy)
    if not isinstance(envelope, dict) or envelope.get("format") != FORMAT or not isinstance(envelope.get("format_version"), int):
        raise ModelFileError(f"{file!r} does not describe a samesum model; {remedy}")
    if envelope["format_version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{file!r} was written by a newer samesum: it has format {envelope['format_version']}, this release reads up to "
            f"{FORMAT_VERSION}; install a newer samesum"
        )
    document = envelope.get("document")
    if not isinstance(document, dict) or envelope.get("document_sha256") != hashlib.sha256(canonical(document)).hexdigest():
        raise ModelFileError(f"{file!r} is damaged: its content does not match its checksum; {remedy}")
    return envelope


def read_arrays(folder: str, sha256: str) -> Arrays:
    """The arrays of a safetensors file, if its bytes are those that ``model.json`` speaks of."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    file = storage.join(folder, ARRAYS_FILE)
    try:
        content = storage.read_bytes(file)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ModelFileError(f"{file!r} is damaged or belongs to another model: its checksum differs; copy or train the model again")
        return dict(load(content))
    except MissingFileError:
        raise ModelFileError(f"{file!r} is missing: not all of the model was copied; copy or train it again") from None
    except SafetensorError as error:
        raise ModelFileError(f"{file!r} cannot be read: {error}; copy or train the model again") from error


def read_run(folder: str) -> Any:
    """The JSON value of ``run.json``; None without it."""
    file = storage.join(folder, RUN_FILE)
    try:
        content = storage.read_bytes(file)
    except MissingFileError:
        return None
    return parse_json(file, content, f"the model itself is whole: delete {RUN_FILE} to load it without its times and machines")


def parse_json(file: str, content: bytes, remedy: str) -> Any:
    """The JSON value that a file has."""
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{file!r} is damaged or cut short ({error}); {remedy}") from error


def _as_text(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()


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
