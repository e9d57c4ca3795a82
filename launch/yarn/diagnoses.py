"""Why a container ended: YARN's words read, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

from launch.memory import enough, say_wanted

MB = 1 << 20
NEARLY_ALL = 0.8  # of a container's memory: an end above it that nobody explains is taken to be the kernel's doing
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_PORTS = re.compile(r"no port from \d+ to \d+ is free on this node")
_USED = re.compile(r"([\d.]+) ?([KMGT]?B) of ([\d.]+) ?([KMGT]?B) physical memory used", re.IGNORECASE)
# Exit codes of YARN: what they mean, and whether the container may be had again without counting as a failure.
CODES = {
    -100: ("Container was released or its node was lost.", True),
    -101: ("Container terminated as the disks of its node failed.", True),
    -102: ("Container was preempted.", True),
    -103: ("Container terminated due to exceeding allocated virtual memory.", False),
    -104: ("Container terminated due to exceeding allocated physical memory.", False),
    -105: ("Container was ended by its application master.", False),
    -106: ("Container was ended by the ResourceManager.", True),
    -107: ("Container was ended after its application had finished.", False),
    -108: ("Container was ended by the container scheduler.", True),
}
# What YARN says of the same where there is no code.
_WORDS = {
    "physical memory": -104,
    "virtual memory": -103,
    "preempted": -102,
    "released on a *lost* node": -100,
    "lost node": -100,
    "disks failed": -101,
    "killed by resourcemanager": -106,
    "killed by the applicationmaster": -105,
    "after application finished": -107,
    "container scheduler": -108,
}


class Diagnosis(NamedTuple):
    """Why a container ended: ``text`` is shown, ``cause`` as jobs know it, ``remedy`` where there is one, ``used`` bytes at its end.

    ``is_free``: it does not count as a restart. ``said`` is what YARN said of it, in one line.
    """

    text: str
    cause: str = "lost"
    remedy: str = ""
    is_free: bool = False
    used: int | None = None
    said: str = ""


# A worker that says nothing, of which YARN says nothing either: it takes ten minutes to notice that a node is gone.
SILENT = Diagnosis("Container does not answer: its node may be lost.", is_free=True)


def diagnose(message: str, otherwise: str = "", *, share: float = 0.0, used: int | None = None, wanted: int = 0) -> Diagnosis:
    """The diagnosis in YARN's message of a container; ``otherwise`` what to say where there is none.

    ``used`` bytes is the most that its rank was seen to use, ``share`` that of its memory: control groups end a container without a word.
    ``wanted`` bytes is what it had asked for then.
    """
    return _diagnose(message, otherwise, share, used, wanted)._replace(said=_in_one_line(message))


def _diagnose(message: str, otherwise: str, share: float, used: int | None, wanted: int) -> Diagnosis:
    lower = message.lower()
    code = next((code for words, code in _WORDS.items() if words in lower), None)
    code = code if code is not None else next((code for code in CODES if re.search(rf"exit ?(code|status):? *{code}\b", lower)), None)
    if code is None and share > NEARLY_ALL:
        text = "Container was ended by SIGKILL when its memory was nearly full. (137)"
        return Diagnosis(text, "memory", remedy_of(used, wanted), used=used)
    if code is None:
        return Diagnosis(_in_one_line(message) or otherwise or "Report not found in log.")
    text, is_free = CODES[code]
    text = f"{text} ({code})"
    if code in (-103, -104):
        used = max(used_bytes(message) or 0, used or 0) or None
        return Diagnosis(text, "memory", remedy_of(used, wanted), used=used)
    return Diagnosis(text, is_free=is_free)


def last_words(logs: str) -> str:
    """What an application master that ended without a result said last, in the logs that YARN has gathered; empty if it said nothing."""
    if found := _PORTS.findall(logs):
        return f"{found[-1]}: give the cluster other ports by start_port and end_port, or end what listens there"
    for name in ("application.driver.log", "application.master.log"):  # the supervisor's, then skein's
        log = re.escape(name)
        for text in reversed(re.findall(rf"^LogType:{log}\n.*?^LogContents:\n(.*?)^End of LogType:{log}", logs, re.DOTALL | re.MULTILINE)):
            if lines := [line.strip() for line in text.splitlines() if line.strip()]:
                return f"{name} ends with: {' '.join(lines[-3:])[-400:]}"
    return ""


def _in_one_line(message: str) -> str:
    return " ".join(message.split())[:400]


def used_bytes(message: str) -> int | None:
    """The memory that a container used when YARN ended it, by YARN's words."""
    match = _USED.search(message)
    return int(float(match[1]) * _UNITS[match[2].upper()]) if match else None


def remedy_of(used: int | None, wanted: int = 0) -> str:
    """The container size that would do, as far as one can tell: the rank may have been about to ask for more."""
    if used is None:
        return "give a larger container_size, or more containers"
    size = enough(used, wanted)
    return f"{used / MB:.1f} MB were used{say_wanted(used, wanted)}: give container_size={size} or more, or use more containers"
