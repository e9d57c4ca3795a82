"""Addresses: what says where a file is. Plain paths and ``file://`` are local; others are told by their scheme.

Names in ``hdfs://`` and ``s3://`` addresses are taken as they stand; only ``file://`` and ``http(s)://`` know percent signs.
"""

from __future__ import annotations

import os
import pathlib
import re
import urllib.parse

from engine.errors import StorageError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_QUOTED = ("file", "http", "https")
PathLike = str | os.PathLike[str]


def scheme_of(address: PathLike) -> str:
    """The scheme in lower case; empty for a plain path."""
    match = _SCHEME.match(os.fspath(address))
    return match.group(1).lower() if match else ""


def is_local(address: PathLike) -> bool:
    """Whether it is a plain path or a ``file://`` address."""
    return scheme_of(address) in ("", "file")


def reads_ranges(address: PathLike) -> bool:
    """Whether ranges of it come over a network, so that it pays to say what will be read."""
    return scheme_of(address) in ("hdfs", "s3")


def local_form(address: PathLike) -> pathlib.Path:
    """The path that a local address means, ``~`` and ``file://`` resolved."""
    text = os.fspath(address)
    if scheme_of(text):
        text = urllib.parse.unquote(urllib.parse.urlsplit(text).path)
    return pathlib.Path(text).expanduser()


def split(address: str) -> tuple[str, str, str]:
    """Scheme, authority (``host:port``, or a bucket) and path of an address that has a scheme; the path begins with a slash or is empty."""
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    return scheme.lower(), authority, slash + path


def without_secrets(address: PathLike) -> str:
    """The address as messages may show it: without the query of a web address, which may be a signature."""
    text = os.fspath(address)
    return re.sub(r"\?.*", "?...", text, flags=re.DOTALL) if scheme_of(text) in ("http", "https") else text


def check_no_password(address: str) -> None:
    """Raise ``StorageError`` for an address that names a user; only its scheme and host are repeated."""
    if not is_local(address) and "@" in (authority := split(address)[1].partition("?")[0]):
        host = f"{scheme_of(address)}://{authority.rpartition('@')[2]}/..."
        raise StorageError(f"expected an address without user and password, got one of {host}; docs/storage.md says where they belong")


def join(address: PathLike, *names: str) -> str:
    """The address of ``names`` below a folder."""
    text = os.fspath(address)
    scheme = scheme_of(text)
    if not scheme:
        return os.path.join(text, *names)
    quoted = [urllib.parse.quote(name) if scheme in _QUOTED else name for name in names]
    return "/".join([text.rstrip("/") if split(text)[2] else text, *quoted])


def parent(address: PathLike) -> str:
    """The address of the folder that holds it; that of a root is itself."""
    text = os.fspath(address)
    if not scheme_of(text):
        return os.path.dirname(text.rstrip("/")) or ("/" if text.startswith("/") else ".")
    scheme, authority, path = split(text)
    return f"{scheme}://{authority}{path.rstrip('/').rpartition('/')[0] or '/'}"


def name_of(address: PathLike) -> str:
    """The last name of an address, without a query."""
    return pathlib.PurePosixPath(_path_part(address)).name


def suffix_of(address: PathLike) -> str:
    """The file name's last suffix in lower case, as ``'.csv'``; of an ``http(s)://`` address without its query."""
    return pathlib.PurePosixPath(_path_part(address)).suffix.lower()


def _path_part(address: PathLike) -> str:
    text = os.fspath(address)
    scheme = scheme_of(text)
    if scheme in _QUOTED:
        return urllib.parse.unquote(urllib.parse.urlsplit(text).path)
    return split(text)[2] if scheme else text
