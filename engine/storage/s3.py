"""Objects of S3 and what speaks its protocol, by Arrow; the put that only creates by botocore.

An object appears whole when its upload ends. There are no renames: folders are written file by file, their manifest last.
Credentials are found as Amazon's tools find them (environment, profiles, roles), and nothing of ours repeats them.
"""

from __future__ import annotations

import functools
import os
import pathlib
import urllib.parse
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from engine.errors import MissingFileError, StorageError
from engine.storage.address import join, split
from engine.storage.remote import RemoteStore, Status, by_name
from engine.storage.remote_file import RemoteHandle
from engine.storage.retry import RetriableError, persist
from engine.storage.store import Entry
from engine.storage.traffic import count_read

Result = TypeVar("Result")
CONNECT_TIMEOUT, REQUEST_TIMEOUT = 10.0, 60.0  # seconds
_LATER = (
    "NETWORK_CONNECTION",
    "SLOW_DOWN",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_FAILURE",
    "THROTTLING",
    "REQUEST_TIMEOUT",
    "REQUEST_EXPIRED",
    "curlCode",
    "HTTP status 500",
    "HTTP status 502",
    "HTTP status 503",
    "HTTP status 504",
)
_REFUSALS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "INVALID_ACCESS_KEY_ID": "S3 does not know the access key; check the credentials",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is not that of the access key; check the credentials",
    "ACCESS_DENIED": "access denied: the credentials may be wrong, or not allowed to do this",
    "INVALID_CLIENT_TOKEN_ID": "the session token is not valid; get new credentials",
}
_WRITER = "samesum-writer"  # names who wrote an object, where an answer may be lost


class S3Store(RemoteStore):
    """``s3://bucket/key``; keys are taken as they stand."""

    # --- reading ---

    def status(self, address: str) -> Status | None:
        """An object, or a prefix that some object has."""
        (found,) = self._ask("read", address, lambda files, path: files.get_file_info([path]))
        if found.type == fs.FileType.NotFound:
            return None
        if found.type == fs.FileType.Directory:
            return Status(True, 0, ())
        return Status(False, int(found.size), self.stamp(address))

    def list_folder(self, address: str) -> list[Entry]:
        """Objects and prefixes one level below."""
        try:
            found = self._ask("list", address, lambda files, path: files.get_file_info(fs.FileSelector(path)))
        except MissingFileError:
            there = self.status(address)
            if there is None:
                raise
            if there.is_folder:  # its first object has come since
                return self.list_folder(address)
            raise StorageError(f"could not list {address!r}: it is no folder") from None
        return by_name([Entry(each.base_name, each.type == fs.FileType.Directory, max(0, int(each.size or 0))) for each in found])

    def file_size(self, address: str) -> int:
        """Size of an object."""
        return self.open_handle(address).size

    def stamp(self, address: str) -> tuple[int | str, ...]:
        """Size and tag of an object."""
        return self.open_handle(address).stamp

    def exists(self, address: str) -> bool:
        """Whether there is an object, or a prefix that some object has."""
        (found,) = self._ask("look for", address, lambda files, path: files.get_file_info([path]))
        return bool(found.type != fs.FileType.NotFound)

    def open_handle(self, address: str) -> RemoteHandle:
        """Ranges of an object."""
        try:
            return _Handle(address, self._ask("read", address, lambda files, path: files.open_input_file(path)))
        except MissingFileError:
            if self.exists(address):
                raise StorageError(f"could not read {address!r}: it is a folder") from None
            raise

    # --- writing ---

    def put_bytes(self, address: str, data: bytes) -> None:
        """One upload, visible when it has ended."""
        self._write(address, lambda: pa.py_buffer(data))

    def put_file(self, address: str, source: pathlib.Path) -> None:
        """One upload, visible when it has ended."""
        with open(source, "rb"):  # Arrow's error of a missing file says less
            pass
        self._write(address, lambda: _mapped(source))

    def create_bytes(self, address: str, data: bytes) -> bool:
        """A conditional put: ``If-None-Match: *``."""
        _, bucket, path = split(address)
        client, writer, is_unclear = _botocore_client(_identity()), uuid.uuid4().hex, False

        def put() -> bool:
            nonlocal is_unclear
            try:
                client.put_object(Bucket=bucket, Key=path.lstrip("/"), Body=data, IfNoneMatch="*", Metadata={_WRITER: writer})
            except _botocore_errors() as error:
                status, text = _botocore_answer(error)
                if status == 412:
                    return is_unclear and self._writer_of(client, address) == writer
                if status is None or status == 409 or status >= 500:
                    is_unclear = is_unclear or status != 409
                    raise RetriableError(text) from None
                raise OSError(text) from None
            return True

        return self._persist("write", address, put)

    def put_folder(self, address: str, source: pathlib.Path, *, last: str) -> None:
        """Remove the manifest, write the files and remove those of before, write the manifest."""
        files = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        self.remove(join(address, last))
        old = self._ask(
            "write", address, lambda files, path: files.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
        )
        prefix = _path(address) + "/"
        for name in files:
            if name != last:
                self.put_file(join(address, *pathlib.PurePosixPath(name).parts), source / name)
        for each in old:
            if each.type == fs.FileType.File and each.path.removeprefix(prefix) not in files:
                self.remove(join(address, each.path.removeprefix(prefix)))
        self.put_file(join(address, last), source / last)

    def remove(self, address: str) -> None:
        """An object, or all whose keys begin so."""
        (found,) = self._ask("remove", address, lambda files, path: files.get_file_info([path]))
        if found.type == fs.FileType.File:
            self._ask("remove", address, lambda files, path: files.delete_file(path))
        elif found.type == fs.FileType.Directory:
            self._ask("remove", address, lambda files, path: files.delete_dir(path))

    def make_folder(self, address: str, mode: int) -> None:
        """Nothing: there are no folders."""

    def _write(self, address: str, source: Callable[[], Any]) -> None:
        def write(files: Any, path: str) -> None:
            # One write: leaving early by an exception would end the upload with half of the data.
            with files.open_output_stream(path, compression=None) as stream:  # else names that end in .gz are packed
                stream.write(source())

        self._ask("write", address, write)

    def _writer_of(self, client: Any, address: str) -> str | None:
        _, bucket, path = split(address)
        try:
            found = client.head_object(Bucket=bucket, Key=path.lstrip("/"))
        except _botocore_errors() as error:
            raise RetriableError(_botocore_answer(error)[1]) from None
        return found.get("Metadata", {}).get(_WRITER)

    # --- asking ---

    def _ask(self, verb: str, address: str, action: Callable[[Any, str], Result]) -> Result:
        files = _file_system(_identity(), split(address)[1], *_endpoint())
        return self._persist(verb, address, lambda: action(files, _path(address)))

    def _persist(self, verb: str, address: str, action: Callable[[], Result]) -> Result:
        try:
            return persist(f"{verb} {address!r}", lambda: translated(verb, address, action))
        except StorageError as error:
            if address in str(error):
                raise
            raise StorageError(f"could not {verb} {address!r}: {error}") from None


class _Handle:
    """An object that is being read, by requests that may go beside each other."""

    streams = False

    def __init__(self, address: str, file: Any) -> None:
        self.address = address
        self._file = file
        self.size = int(file.size())
        metadata = file.metadata() or {}
        tag = next((value for name, value in metadata.items() if _text(name).lower() == "etag"), b"")
        self.stamp: tuple[int | str, ...] = (self.size, _text(tag))

    def close(self) -> None:
        """Nothing: connections are Arrow's."""

    def fetch(self, offset: int, length: int, until: int = 0) -> bytes:
        """One request."""

        def fetch() -> bytes:
            data: bytes = self._file.read_at(length, offset)
            if len(data) < length:
                raise RetriableError("the answer ended early")
            return data

        data = persist(f"read {self.address!r}", lambda: translated("read", self.address, fetch))
        count_read(len(data), None)
        return data


def translated(verb: str, address: str, action: Callable[[], Result]) -> Result:
    """``action()`` with Arrow's errors as ours."""
    try:
        return action()
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"could not {verb} {address!r}: no such file") from error
    except (OSError, pa.ArrowException) as error:
        text = str(error)
        if any(word in text for word in _LATER):
            raise RetriableError(_short(text)) from None
        reason = next((words for code, words in _REFUSALS.items() if code in text), _short(text))
        raise StorageError(f"could not {verb} {address!r}: {reason}") from None


def _short(text: str) -> str:
    """Arrow's text without its preamble and the number of the request."""
    return text.partition("AWS Error ")[2].partition(" (Request ID")[0] or text.partition("\n")[0][:300]


def _path(address: str) -> str:
    _, bucket, path = split(address)
    if not bucket:
        raise StorageError(f"expected s3://bucket/key, got {address!r}")
    return f"{bucket}/{path.strip('/')}".rstrip("/")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _mapped(source: pathlib.Path) -> Any:
    if source.stat().st_size == 0:
        return pa.py_buffer(b"")
    return pa.memory_map(str(source)).read_buffer()


def _endpoint() -> tuple[str, str]:
    """The address of the server (empty: Amazon's) and the region, as the environment says them."""
    names = ("SAMESUM_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    endpoint = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return endpoint, os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


def _identity() -> int:
    """Of this process and what the environment says of who it is; a number, from which no secret can be read."""
    return hash((os.getpid(), *sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))))


@functools.cache
def _file_system(identity: int, bucket: str, endpoint: str, region: str) -> Any:
    """Arrow's client; a process that was forked makes its own, and so does who becomes somebody else."""
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "request_timeout": REQUEST_TIMEOUT, "allow_delayed_open": True}
    if endpoint:
        parts = urllib.parse.urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if not region and not endpoint:
        try:
            region = fs.resolve_s3_region(bucket)
        except (OSError, pa.ArrowException):
            region = ""  # the client's own error will name the bucket
    if region:
        options["region"] = region
    return fs.S3FileSystem(**options)


@functools.cache
def _botocore_client(identity: int) -> Any:
    try:
        import botocore.config
        import botocore.session
    except ImportError as error:
        raise StorageError("jobs and checkpoints on S3 need the put that only creates: install 'samesum[s3]'") from error
    endpoint, region = _endpoint()
    # It tries once: only who knows of a lost answer can tell what a later refusal means.
    config = botocore.config.Config(retries={"total_max_attempts": 1}, connect_timeout=CONNECT_TIMEOUT, read_timeout=REQUEST_TIMEOUT)
    session = botocore.session.get_session()
    where = {"endpoint_url": endpoint if "://" in endpoint else f"https://{endpoint}"} if endpoint else {}
    region = region or session.get_config_variable("region") or "us-east-1"
    return session.create_client("s3", region_name=region, config=config, **where)


def _botocore_errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _botocore_answer(error: Exception) -> tuple[int | None, str]:
    """The status of the answer (None: there was none) and why, in the words of Arrow's errors."""
    response = getattr(error, "response", None)
    if response is None:
        if type(error).__name__ == "NoCredentialsError":
            return 403, "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
        return None, "the server cannot be reached"
    code = str(response.get("Error", {}).get("Code", ""))
    known = {"NoSuchBucket": "NO_SUCH_BUCKET", "InvalidAccessKeyId": "INVALID_ACCESS_KEY_ID", "AccessDenied": "ACCESS_DENIED"}
    known["SignatureDoesNotMatch"] = "SIGNATURE_DOES_NOT_MATCH"
    return int(response["ResponseMetadata"]["HTTPStatusCode"]), known.get(code, code)
