"""The room that a cluster and its queues have, as the ResourceManager's pages for programs say it: supervisors have no driver to ask."""

from __future__ import annotations

import json
import pathlib
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.errors import OptionError
from launch.yarn import hadoop

if TYPE_CHECKING:
    from launch.yarn.applications import Node

ANSWER_WITHIN = 5.0  # seconds
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Room(NamedTuple):
    """What the running nodes have, and what is free of it: memory in MB, of single nodes too, and vcores."""

    nodes: int
    memory: int
    free_memory: int
    largest: int
    vcores: int
    free_vcores: int
    largest_free: int


class Queue(NamedTuple):
    """A queue: the most that it may ever have, and what it uses, in MB and vcores."""

    name: str
    memory: int
    used_memory: int
    vcores: int
    used_vcores: int


def say_room(room: Room | None, queue: Queue | None) -> str:
    """What is known of both, in words; empty where nothing is."""
    said = []
    if queue is not None:
        said.append(
            f"queue {queue.name!r} uses {queue.used_memory} of at most {queue.memory} MB and {queue.used_vcores} of at most "
            f"{queue.vcores} vcores"
        )
    if room is not None:
        said.append(
            f"{room.nodes} nodes have {room.free_memory} of {room.memory} MB and {room.free_vcores} of {room.vcores} vcores free, at most "
            f"{room.largest_free} MB on one node"
        )
    return "; ".join(said)


def ask(folder: pathlib.Path, queue: str) -> tuple[Room | None, Queue | None]:
    """The room of the cluster that a folder of settings is for, and of a queue of it; None for what nobody says."""
    for address in web_addresses(folder):
        try:
            room = room_of(_get(f"{address}/ws/v1/cluster/nodes?states=RUNNING"))
            return room, queue_of(_get(f"{address}/ws/v1/cluster/scheduler"), queue, room)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # another ResourceManager, or one that answers only whom it knows
    return None, None


def web_addresses(folder: pathlib.Path) -> list[str]:
    """Where the ResourceManagers of the settings have their pages."""
    try:
        settings = hadoop.settings_of(folder)
    except OptionError:
        return []
    is_safe = settings.get("yarn.http.policy") == "HTTPS_ONLY"
    name, scheme, port = ("webapp.https.address", "https", 8090) if is_safe else ("webapp.address", "http", 8088)
    found = []
    for which in ["", *(f".{each.strip()}" for each in settings.get("yarn.resourcemanager.ha.rm-ids", "").split(",") if each.strip())]:
        if address := settings.get(f"yarn.resourcemanager.{name}{which}"):
            found.append(f"{scheme}://{address}")
        elif host := settings.get(f"yarn.resourcemanager.hostname{which}"):
            found.append(f"{scheme}://{host}:{port}")
    return found


def room_on(nodes: Sequence[Node]) -> Room:
    """The room that nodes have, as a driver knows them."""
    memory, vcores = sum(each.memory for each in nodes), sum(each.vcores for each in nodes)
    free = [each.memory - each.used_memory for each in nodes]
    free_vcores = vcores - sum(each.used_vcores for each in nodes)
    largest = max((each.memory for each in nodes), default=0)
    return Room(len(nodes), memory, sum(free), largest, vcores, free_vcores, max(free, default=0))


def room_of(answer: Mapping[str, Any]) -> Room:
    """The room of the nodes in the ResourceManager's answer."""
    nodes = (answer["nodes"] or {}).get("node", [])
    free, used = [int(each["availMemoryMB"]) for each in nodes], [int(each["usedMemoryMB"]) for each in nodes]
    free_vcores = sum(int(each["availableVirtualCores"]) for each in nodes)
    used_vcores = sum(int(each["usedVirtualCores"]) for each in nodes)
    largest = max(map(sum, zip(free, used, strict=True)), default=0)
    return Room(len(nodes), sum(free) + sum(used), sum(free), largest, free_vcores + used_vcores, free_vcores, max(free, default=0))


def queue_of(answer: Mapping[str, Any], name: str, room: Room) -> Queue | None:
    """A queue in the ResourceManager's answer, of the capacity scheduler or the fair one; None if it is not there."""
    info = answer["scheduler"]["schedulerInfo"]
    for queue in _walk(info.get("rootQueue", info)):
        if name in (queue.get("queueName"), queue.get("queuePath")):
            used = queue.get("resourcesUsed") or queue.get("usedResources") or {}
            most = queue.get("maxResources")
            share = float(queue.get("absoluteMaxCapacity", 100.0)) / 100
            memory, vcores = (most["memory"], most["vCores"]) if most else (room.memory * share, room.vcores * share)
            return Queue(name, int(memory), int(used.get("memory", 0)), int(vcores), int(used.get("vCores", 0)))
    return None


def _walk(queue: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield queue
    below = queue.get("queues") or queue.get("childQueues") or {}
    each = below.get("queue", []) if isinstance(below, Mapping) else below
    for child in [each] if isinstance(each, Mapping) else each:
        yield from _walk(child)


def _get(url: str) -> Any:
    with _OPENER.open(urllib.request.Request(url, headers={"Accept": "application/json"}), timeout=ANSWER_WITHIN) as answer:
        return json.load(answer)
