"""The Hadoop that a machine is set up for: its folder of settings, its ``yarn`` command, its Java, and what to do where one is missing."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import socket
import subprocess
from xml.etree import ElementTree

from engine.errors import JobError, OptionError
from engine.storage import kerberos

YARN_SITE = "yarn-site.xml"
SHIPPED = ("core-site.xml", "hdfs-site.xml")  # what containers need to find HDFS
ANSWER_WITHIN = 60.0  # seconds for the command
GATHERED = (b"SUCCEEDED", b"FAILED", b"TIME_OUT", b"DISABLED")  # what YARN says of logs when it gathers no more
CONNECT_WITHIN = 5.0  # seconds


def conf_dir(given: str | None) -> pathlib.Path:
    """The folder with ``yarn-site.xml``: the one given, else ``YARN_CONF_DIR`` or ``HADOOP_CONF_DIR``. Raises :class:`OptionError`."""
    found = given or os.environ.get("YARN_CONF_DIR") or os.environ.get("HADOOP_CONF_DIR")
    if not found:
        raise OptionError(
            "no settings of Hadoop: give hadoop_conf_dir, or set HADOOP_CONF_DIR to the folder with core-site.xml, hdfs-site.xml and "
            "yarn-site.xml of your cluster"
        )
    folder = pathlib.Path(found).expanduser()
    for name in (YARN_SITE, "core-site.xml"):
        if not (folder / name).is_file():
            raise OptionError(f"no {name} in {str(folder)!r}: give hadoop_conf_dir the folder with the settings of your cluster")
    return folder


def use(given: str | None) -> pathlib.Path:
    """The same folder, which from then on is this process's for HDFS too if ``HADOOP_CONF_DIR`` is not set."""
    folder = conf_dir(given)
    os.environ.setdefault("HADOOP_CONF_DIR", str(folder))
    return folder


def settings_of(folder: pathlib.Path, name: str = YARN_SITE) -> dict[str, str]:
    """The settings in a file of Hadoop's."""
    try:
        root = ElementTree.parse(folder / name).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise OptionError(f"could not read {str(folder / name)!r}: {error}") from None
    return {(each.findtext("name") or "").strip(): (each.findtext("value") or "").strip() for each in root.iter("property")}


def resource_manager(folder: pathlib.Path) -> str:
    """The address of the ResourceManager that the settings name. Raises :class:`OptionError` if they name none."""
    settings = settings_of(folder)
    if address := settings.get("yarn.resourcemanager.address"):
        return address
    if host := settings.get("yarn.resourcemanager.hostname"):
        return f"{host}:8032"
    if ids := settings.get("yarn.resourcemanager.ha.rm-ids"):
        names = [settings.get(f"yarn.resourcemanager.hostname.{each.strip()}", each.strip()) for each in ids.split(",")]
        return " or ".join(names)
    raise OptionError(
        f"{str(folder / 'yarn-site.xml')!r} names no ResourceManager (yarn.resourcemanager.hostname or .address): without it Hadoop would "
        "talk to 0.0.0.0:8032, whoever that is"
    )


def check_resource_manager(folder: pathlib.Path) -> None:
    """See that somebody answers at the ResourceManager's address. Raises :class:`OptionError`: Hadoop itself would try for minutes."""
    address = resource_manager(folder)
    host, _, port = address.partition(":")
    if not port.isdecimal():
        return  # one of several, which only Hadoop knows to choose from
    try:
        socket.create_connection((host, int(port)), CONNECT_WITHIN).close()
    except OSError as error:
        raise OptionError(
            f"no ResourceManager answers at {address}, as {str(folder / 'yarn-site.xml')!r} says ({error}): is it running, and is this the "
            "folder of the cluster that you mean?"
        ) from None


def check_commands() -> None:
    """See that ``yarn`` and Java are there. Raises :class:`OptionError`."""
    if shutil.which("yarn") is None:
        raise OptionError("no 'yarn' command on the PATH: install Hadoop's client on this machine, or add its bin folder to the PATH")
    home = os.environ.get("JAVA_HOME")
    if home and not pathlib.Path(home, "bin", "java").exists():
        raise OptionError(f"JAVA_HOME is {home!r}, where there is no bin/java: set it to where Java is installed")
    if not home and shutil.which("java") is None:
        raise OptionError("no Java on this machine: install one that Hadoop supports, such as openjdk-17-jre-headless, or set JAVA_HOME")


def logs_are_gathered(folder: pathlib.Path, application: str) -> bool:
    """Whether no node has logs of an application that has ended left to gather. Raises :class:`JobError` if YARN does not say."""
    said = _run(folder, "application", "-status", application)
    found = re.search(rb"Log Aggregation Status\s*:\s*(\w+)", said)
    return found is not None and found[1] in GATHERED


def fetch_logs(folder: pathlib.Path, application: str) -> bytes:
    """The logs of all containers that YARN has gathered so far. Raises :class:`JobError` if there are none."""
    said = _run(folder, "logs", "-applicationId", application)
    if b"Container: " not in said:
        raise JobError(f"YARN has no logs of {application} (yet)")
    return said


def _run(folder: pathlib.Path, *arguments: str) -> bytes:
    """What the ``yarn`` command prints. Raises :class:`JobError` if it fails, or gives no answer in time."""
    try:
        with kerberos.ticket_for_others() as ticket:
            done = subprocess.run(
                ["yarn", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={**os.environ, "HADOOP_CONF_DIR": str(folder), "YARN_CONF_DIR": str(folder), **ticket},
                timeout=ANSWER_WITHIN,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JobError(f"'yarn {arguments[0]}' gave no answer: {error}") from None
    if done.returncode:
        raise JobError(f"'yarn {arguments[0]}' failed: {done.stderr[-300:].decode(errors='replace').strip()}")
    return done.stdout
