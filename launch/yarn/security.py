"""What a job on a secured Hadoop needs: who submits it, tokens for every HDFS that it names, and who may look at it.

Tokens are got by whoever submits, by skein's driver, travel with YARN's own messages to its containers, and lie there in a file that YARN
makes for each of them. YARN's ResourceManager renews them. Nothing of that is in a job's description.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import OptionError
from engine.spec import JobSpec
from engine.storage import kerberos
from engine.storage.tokens import VARIABLE
from engine.storage.webhdfs import certificates, user_name
from launch.yarn import hadoop

CERTIFICATES = "certificates.pem"  # as containers call what they bring along
_WEB_PORTS = (":9870", ":9871", ":50070", ":50470")


def use_keytab(principal: str | None, keytab: str | None) -> None:
    """Have this process, and those that it starts, known to Hadoop by a keytab; nothing if there is none.

    Raises :class:`OptionError` for half of what is needed, for a keytab that is not there, and in a process that is known as somebody else.
    """
    if principal is None and keytab is None:
        return
    if principal is None or keytab is None:
        raise OptionError(f"principal and keytab go together, got principal={principal!r} and keytab={keytab!r}")
    if not os.access(keytab, os.R_OK):
        reason = "it cannot be read by you" if pathlib.Path(keytab).exists() else "there is no such file"
        raise OptionError(f"keytab must be a file with keys of {principal!r}, got {keytab!r}: {reason}")
    for name, value in ((kerberos.PRINCIPAL, principal), (kerberos.KEYTAB, keytab)):
        if (known := os.environ.setdefault(name, value)) != value:
            raise OptionError(
                f"this process is known to Hadoop by {name}={known!r} already, and the cluster says {value!r}: use another process"
            )


def is_secured(conf: pathlib.Path) -> bool:
    """Whether the Hadoop of these settings asks for Kerberos."""
    return hadoop.settings_of(conf, "core-site.xml").get("hadoop.security.authentication", "simple").lower() == "kerberos"


def user_of(conf: pathlib.Path) -> str:
    """The user as whom containers read and write HDFS. Raises ``StorageError`` without a ticket where one is needed."""
    return re.split("[/@]", kerberos.principal())[0] if is_secured(conf) else user_name()


def secured(description: Mapping[str, Any], spec: JobSpec, address: str, conf: pathlib.Path, user: str) -> dict[str, Any]:
    """The description of the application of a job of ``user``'s with what security asks for."""
    viewers = [] if spec.resources is None or spec.resources.yarn is None else list(spec.resources.yarn.view_users)
    found = dict(description)
    if (path := certificates()) is not None and pathlib.Path(path).is_file():
        certificate = {CERTIFICATES: {"source": f"file://{pathlib.Path(path).absolute()}", "type": "FILE"}}
        found = _with_lines(found, f'export REQUESTS_CA_BUNDLE="$PWD/{CERTIFICATES}"', certificate)
    if is_secured(conf):
        found = _with_lines(found, f'chmod 600 "${VARIABLE}"')
        found["file_systems"] = file_systems([address, spec.to_json()])
        found["acls"] = {"enable": True, "view_users": viewers, "ui_users": [user, *viewers]}
    return found


def file_systems(texts: Iterable[str]) -> list[str]:
    """The name nodes and name services named in addresses, for each of which a token is needed beside that of the default one."""
    found = {authority for text in texts for authority in re.findall(r'hdfs://([^/"\s]+)', text)}
    for port in _WEB_PORTS:
        found = {authority.removesuffix(port) for authority in found}
    return [f"hdfs://{authority}" for authority in sorted(found)]


def _with_lines(description: dict[str, Any], line: str, files: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The description where every container brings more files along and begins with one more line of shell."""

    def changed(part: Mapping[str, Any]) -> dict[str, Any]:
        return {**part, "script": f"{line}\n{part['script']}", "files": {**part["files"], **(files or {})}}

    services = {name: changed(part) for name, part in description["services"].items()}
    return {**description, "master": changed(description["master"]), "services": services}
