"""Where containers are asked for: on the nodes that hold the blocks of a job's data. YARN gives others where these have no room."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from engine import storage
from engine.errors import StorageError
from engine.spec import DataSpec, JobSpec

FILES = 64  # whose blocks are asked for, of those that a job reads
WITHIN = 5.0  # seconds to ask
NODES = 100  # that a request names at most: the scheduler keeps one entry for each


def preferred_nodes(spec: JobSpec, nodes: Sequence[str]) -> list[str]:
    """The nodes that hold most of what a job reads, the one with the most bytes first; none where nobody says, or where all do."""
    held = bytes_by_host(_files(spec))
    names = {name: name for name in nodes}
    if held.keys() - names.keys():  # a data node may be called otherwise than the node manager beside it
        names = {address: name for name in nodes for address in _addresses(name)} | names
    by_node: Counter[str] = Counter()
    for host, n_bytes in held.items():
        if name := next((names[each] for each in (host, *_addresses(host)) if each in names), None):
            by_node[name] += n_bytes
    if by_node.keys() >= set(nodes):
        return []
    return [name for name, _ in sorted(by_node.items(), key=lambda item: (-item[1], item[0]))][:NODES]


def bytes_by_host(files: Sequence[str]) -> Counter[str]:
    """Bytes of blocks by the host that holds them, for files evenly taken from these; fewer of them where that takes long."""
    until = time.monotonic() + WITHIN
    held: Counter[str] = Counter()
    step = max(1, len(files) // FILES)
    for file in files[::step]:
        with contextlib.suppress(StorageError):
            for block in storage.block_hosts(file):
                for host in block.hosts:
                    held[host] += block.length
        if time.monotonic() > until:
            break
    return held


def _files(spec: JobSpec) -> list[str]:
    """The files that a job reads, on storage that may say where they are; a job that does not find them says so itself."""
    sources: Iterable[DataSpec | None] = (spec.data, spec.validation, spec.graph.vertex_data if spec.graph is not None else None)
    found: list[str] = []
    for source in sources:
        paths = [] if source is None else [path for path in source.paths if path.startswith("hdfs://")]
        with contextlib.suppress(StorageError):
            found += storage.list_files(paths) if paths else []
    return found


def _addresses(host: str) -> list[str]:
    """The addresses of a host, as data nodes and node managers may be called by one or the other."""
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except OSError:
        return []
