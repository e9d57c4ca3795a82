"""Trees as JSON and as text, for people and other programs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.encode.encoding import Encoding
from engine.models._trees.ensemble import CATEGORY, LEAF, SUBSET, TreeEnsemble


@dataclass(frozen=True)
class Split:
    """An inner node as it is shown: ``yes`` means present for an indicator, below ``value`` for a number, one of ``value`` for a subset."""

    kind: str  # indicator, integer, float or subset
    name: str
    value: float | list[str | None]
    yes: int
    no: int
    missing: int

    @property
    def condition(self) -> str:
        """What a row must fulfil to go to ``yes``."""
        if self.kind == "subset":
            return f"{self.name} in {json.dumps(self.value, ensure_ascii=False)}"
        return self.name if self.kind == "indicator" else f"{self.name}<{self.value!r}"


def dump_trees_to_json(ensemble: TreeEnsemble, encoding: Encoding, *, with_stats: bool) -> list[str]:
    """Each tree as a JSON object of ``vertices`` and ``edges``.

    A vertex has ``id``, ``type`` (leaf, indicator, integer, float or subset), ``value`` (in full: it reads back as the same number) and
    ``value_hexadecimal``, the eight bytes of the float64, little-endian; inner ones also ``name``, ``yes_child``, ``no_child`` and
    ``missing_child``; with statistics ``gain`` and ``cover``. ``yes`` is x < value, for an indicator: present. The value of a subset is a
    list of categories, ``yes`` being one of them, and has no hexadecimal form.
    """
    return [json.dumps(tree_document(ensemble, encoding, tree, with_stats=with_stats)) for tree in range(ensemble.n_trees)]


def tree_document(ensemble: TreeEnsemble, encoding: Encoding, tree: int, *, with_stats: bool) -> dict[str, Any]:
    """One tree's vertices and edges."""
    vertices: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    start, end = int(ensemble.tree_start[tree]), int(ensemble.tree_start[tree + 1])
    for i in range(start, end):
        split = read_split(ensemble, encoding, i)
        value = float(ensemble.value[i]) if split is None else split.value
        vertex: dict[str, Any] = {"id": i - start, "type": "leaf" if split is None else split.kind}
        if split is not None:
            vertex["name"] = split.name
        vertex["value"] = value
        if isinstance(value, float):
            vertex["value_hexadecimal"] = struct.pack("<d", value).hex()
        if split is not None:
            vertex |= {"yes_child": split.yes, "no_child": split.no, "missing_child": split.missing}
            edges += [{"src": i - start, "dst": split.yes, "value": "yes"}, {"src": i - start, "dst": split.no, "value": "no"}]
        if with_stats:
            vertex |= {"gain": float(ensemble.gain[i]), "cover": float(ensemble.cover[i])}
        vertices.append(vertex)
    return {"vertices": vertices, "edges": edges}


def read_split(ensemble: TreeEnsemble, encoding: Encoding, i: int) -> Split | None:
    """Node i (over all trees) as it is shown; None for a leaf."""
    if ensemble.kind[i] == LEAF:
        return None
    column = encoding.columns[ensemble.column[i]]
    yes, no = int(ensemble.yes[i]), int(ensemble.no[i])
    missing = yes if ensemble.missing_yes[i] else no
    threshold = float(ensemble.threshold[i])
    if ensemble.kind[i] == CATEGORY:
        return Split("indicator", f"{column.source}={column.categories[int(threshold)]}", 1.0, yes, no, missing)
    if ensemble.kind[i] == SUBSET:
        return Split("subset", column.name, [column.categories[c] for c in ensemble.members(i)], yes, no, missing)
    if column.kind == "indicator":  # 1 where present, missing elsewhere
        present = yes if threshold > 1.0 else no
        return Split("indicator", column.name, 1.0, present, missing, missing)
    return Split(column.kind, column.name, threshold, yes, no, missing)


def dump_trees_to_text(ensemble: TreeEnsemble, encoding: Encoding, *, with_stats: bool) -> list[str]:
    """Each tree as text, one node a line, children indented below their parent."""
    return ["\n".join(tree_lines(ensemble, encoding, tree, with_stats=with_stats)) + "\n" for tree in range(ensemble.n_trees)]


def tree_lines(ensemble: TreeEnsemble, encoding: Encoding, tree: int, *, with_stats: bool) -> Iterator[str]:
    """One tree's lines, depth first, the yes branch before the no branch."""
    yield f"booster[{tree}]:"
    start = int(ensemble.tree_start[tree])
    waiting = [(0, 0)]
    while waiting:
        node, depth = waiting.pop()
        i, indent = start + node, "\t" * depth
        split = read_split(ensemble, encoding, i)
        cover = f",cover={float(ensemble.cover[i])!r}" if with_stats else ""
        if split is None:
            yield f"{indent}{node}:leaf={float(ensemble.value[i])!r}{cover}"
            continue
        gain = f",gain={float(ensemble.gain[i])!r}" if with_stats else ""
        yield f"{indent}{node}:[{split.condition}] yes={split.yes},no={split.no},missing={split.missing}{gain}{cover}"
        waiting += [(split.no, depth + 1), (split.yes, depth + 1)]
