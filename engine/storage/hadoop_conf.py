"""Where the name nodes of an ``hdfs://`` address answer WebHDFS: from the address, from Hadoop's settings, from the environment.

Hadoop's settings are ``core-site.xml`` and ``hdfs-site.xml`` in ``HADOOP_CONF_DIR`` (else ``$HADOOP_HOME/etc/hadoop``).
"""

from __future__ import annotations

import os
import pathlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import NamedTuple

from engine.errors import StorageError
from engine.storage.address import split

_PORTS = {"http": 9870, "https": 9871}
_RPC_PORTS = ("8020", "9000")  # of which people are used to write the one or the other
_VARIABLE = re.compile(r"\$\{([^}$\s]+)\}")
_MOST_VARIABLES = 20


class Cluster(NamedTuple):
    """One HDFS: where its name nodes answer, whether they ask for Kerberos, and what tokens for it may call it."""

    urls: tuple[str, ...]
    kerberos: bool
    services: tuple[str, ...] = ()


def find_cluster(authority: str) -> Cluster:
    """The cluster that ``hdfs://<authority>/`` means; empty means that of ``fs.defaultFS``.

    Raises ``StorageError`` if nothing says where it is.
    """
    conf = hadoop_conf()
    kerberos = conf.get("hadoop.security.authentication", "simple").lower() == "kerberos"
    option = os.environ.get("SAMESUM_WEBHDFS_URL", "")
    authority = authority or _default_authority(conf)
    if known := _known_urls(conf, authority):
        return Cluster(known, kerberos, (f"ha-hdfs:{authority}", _with_port(authority)))
    if option:
        urls = tuple(url.strip().rstrip("/") for url in re.split("[;,]", option) if url.strip())
        return Cluster(urls, kerberos, (_with_port(authority),))
    if not authority:
        raise StorageError(
            "could not find the name node of 'hdfs:///': name it in the address (hdfs://host/path), set HADOOP_CONF_DIR to a folder whose "
            "core-site.xml has fs.defaultFS, or set SAMESUM_WEBHDFS_URL"
        )
    scheme = _schemes(conf)[0]
    host, _, port = authority.partition(":")
    url = f"{scheme}://{host}:{_PORTS[scheme] if not port or port in _RPC_PORTS else port}"
    return Cluster((url,), kerberos, (_with_port(authority),))


def conf_folder() -> str:
    """The folder of Hadoop's settings; empty where the environment names none."""
    home = os.environ.get("HADOOP_HOME")
    return os.environ.get("HADOOP_CONF_DIR") or (os.path.join(home, "etc", "hadoop") if home else "")


def hadoop_conf() -> dict[str, str]:
    """Hadoop's settings, those of ``hdfs-site.xml`` first; empty without any. Raises ``StorageError`` for a file that is no XML."""
    found: dict[str, str] = {}
    folder = conf_folder()
    for name in ("core-site.xml", "hdfs-site.xml") if folder else ():
        path = pathlib.Path(folder, name)
        if path.exists():
            found.update(_read_site(path))
    return {name: _expanded(value, found) for name, value in found.items()}


def _read_site(path: pathlib.Path) -> dict[str, str]:
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        raise StorageError(f"could not read Hadoop's settings in {str(path)!r}: {error}") from error
    pairs = ((each.findtext("name") or "", each.findtext("value") or "") for each in root.iter("property"))
    return {name.strip(): value.strip() for name, value in pairs if name.strip()}


def _expanded(value: str, found: Mapping[str, str]) -> str:
    """With ``${name}`` replaced by another setting, ``${env.NAME}`` by the environment, as Hadoop does."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("env."):
            return os.environ.get(name[4:], match[0])
        return found.get(name, match[0])

    for _ in range(_MOST_VARIABLES):
        after = _VARIABLE.sub(replace, value)
        if after == value:
            break
        value = after
    return value


def _default_authority(conf: Mapping[str, str]) -> str:
    default = conf.get("fs.defaultFS") or conf.get("fs.default.name", "")
    return split(default)[1] if default.startswith("hdfs://") else ""


def _schemes(conf: Mapping[str, str]) -> tuple[str, ...]:
    policy = conf.get("dfs.http.policy", "HTTP_ONLY").upper()
    return {"HTTPS_ONLY": ("https",), "HTTP_AND_HTTPS": ("https", "http")}.get(policy, ("http",))


def _known_urls(conf: Mapping[str, str], authority: str) -> tuple[str, ...]:
    """The web addresses of the name nodes of a name service, or of a name node that the settings name."""
    if not authority:
        return ()
    services = _words(conf.get("dfs.nameservices", ""))
    if authority in services:
        nodes = _words(conf.get(f"dfs.ha.namenodes.{authority}", ""))
        suffixes = [f".{authority}.{node}" for node in nodes] or [f".{authority}"]
        urls = [_web_url(conf, suffix, "") for suffix in suffixes]
        return tuple(url for url in urls if url)
    for suffix in ("", *(f".{service}" for service in services), *_node_suffixes(conf, services)):
        rpc = conf.get(f"dfs.namenode.rpc-address{suffix}") or (_default_authority(conf) if not suffix and not services else "")
        if rpc and _with_port(rpc) == _with_port(authority):
            url = _web_url(conf, suffix, authority.partition(":")[0])
            return (url,) if url else ()
    return ()


def _node_suffixes(conf: Mapping[str, str], services: list[str]) -> list[str]:
    return [f".{service}.{node}" for service in services for node in _words(conf.get(f"dfs.ha.namenodes.{service}", ""))]


def _web_url(conf: Mapping[str, str], suffix: str, host: str) -> str:
    """``scheme://host:port`` by the policy's first scheme; ``host`` stands for an address that means any interface, or for none."""
    scheme = _schemes(conf)[0]
    found = conf.get(f"dfs.namenode.{scheme}-address{suffix}", "")
    rpc = conf.get(f"dfs.namenode.rpc-address{suffix}", "").partition(":")[0]
    name, _, port = found.partition(":")
    name = (host or rpc) if name in ("", "0.0.0.0") else name
    return f"{scheme}://{name}:{port or _PORTS[scheme]}" if name else ""


def _with_port(authority: str) -> str:
    return authority if ":" in authority else f"{authority}:{_RPC_PORTS[0]}"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
