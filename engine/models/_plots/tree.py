"""The plot of one tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from engine.errors import OptionError
from engine.models._options import Limits, check_flag
from engine.models._plots.sheet import BLUE, GREY, ORANGE, Sheet, shorten, text_colour

NAME = 22  # columns of a name
LINE = 18  # columns of a condition on one line
SHOWN = 3  # categories of a set
FONT = 8.0
CHARACTER, ROW, GAP = 0.07, 0.17, 0.35  # inches of a character and of a line of text, and between boxes
DEPTH = Limits(int, 0)
MOST_LEAVES = 300  # side by side; an image of more is larger than programs take


@dataclass
class Place:
    """Where a node is drawn: in leaves from the left, in levels from the top. ``inside``: nodes below it, where those are left out."""

    x: float
    level: int
    inside: int = 0


def draw_tree(model: Any, sheet: Sheet, *, index: int = 0, max_depth: int | None = 3, stats: bool = True) -> None:
    """Tree number ``index``: rows that fulfil a node's condition go left. A box's second line has gain and cover of the split.

    ``max_depth``: levels below the root that are drawn, None for all; of what is below, the number of nodes is. ``stats``: whether gain and
    cover are written.
    """
    if not Limits(int, 0, model.num_trees - 1).accepts(index):
        raise OptionError(f"index must be {Limits(int, 0, model.num_trees - 1)}, the number of a tree, got {index!r}")
    if max_depth is not None and not DEPTH.accepts(max_depth):
        raise OptionError(f"max_depth must be {DEPTH} or None, got {max_depth!r}")
    nodes = {node["id"]: node for node in model.tree(index)["vertices"]}
    places = arrange(nodes, max_depth)
    leaves, levels = max(place.x for place in places.values()) + 1, max(place.level for place in places.values())
    if leaves > MOST_LEAVES:
        raise OptionError(
            f"max_depth {max_depth!r} would draw {leaves:g} boxes side by side, expected up to {MOST_LEAVES}: pass a smaller one"
        )
    with_stats = check_flag("stats", stats)
    texts = {number: describe_node(nodes[number], place, with_stats=with_stats) for number, place in places.items()}
    widest = max(len(line) for text in texts.values() for line in text)
    highest = max(len(text) for text in texts.values())
    axes = sheet.open(max(4.0, (GAP + CHARACTER * widest) * leaves), GAP + (2.0 * GAP + ROW * highest) * (levels + 1))
    for number, place in places.items():
        node = nodes[number]
        for side in ("yes_child", "no_child") if node.get("yes_child") in places else ():
            draw_branch(axes, place, places[node[side]], side.removesuffix("_child"), is_missing=node["missing_child"] == node[side])
        draw_node(axes, node, place, "\n".join(texts[number]))
    axes.set(xlim=(-0.5, leaves - 0.5), ylim=(-levels - 0.5, 0.5))
    axes.axis("off")
    axes.set_title(title_of(model, index), fontsize=FONT + 2, parse_math=False)


def arrange(nodes: Mapping[int, Any], max_depth: int | None) -> dict[int, Place]:
    """Places of all nodes down to ``max_depth``: leaves side by side, others above the middle of their children."""
    level = {0: 0}
    for number in sorted(nodes):  # children come after their parents
        for side in ("yes_child", "no_child"):
            if side in nodes[number]:
                level[nodes[number][side]] = level[number] + 1
    inside = dict.fromkeys(nodes, 0)
    for number in sorted(nodes, reverse=True):
        node = nodes[number]
        inside[number] = sum(1 + inside[node[side]] for side in ("yes_child", "no_child") if side in node)
    places: dict[int, Place] = {}
    waiting, free = [0], 0
    while waiting:
        number = waiting.pop()
        node = nodes[number]
        is_last = "yes_child" not in node or level[number] == max_depth
        if is_last:
            places[number] = Place(free, level[number], inside[number])
            free += 1
        elif node["yes_child"] in places:
            places[number] = Place((places[node["yes_child"]].x + places[node["no_child"]].x) / 2, level[number])
        else:
            waiting += [number, node["no_child"], node["yes_child"]]
    return places


def draw_branch(axes: Axes, parent: Place, child: Place, name: str, *, is_missing: bool) -> None:
    """A line to a child, with the answer that leads there."""
    axes.plot([parent.x, child.x], [-parent.level, -child.level], color=GREY, linewidth=1.0, zorder=1)
    label = f"{name}, missing" if is_missing else name
    x, y = (parent.x + child.x) / 2, -(parent.level + child.level) / 2
    box = {"facecolor": axes.get_facecolor(), "edgecolor": "none", "pad": 0.8}
    axes.text(x, y, label, ha="center", va="center", fontsize=FONT - 1.5, color=GREY, bbox=box, zorder=2)


def draw_node(axes: Axes, node: Mapping[str, Any], place: Place, text: str) -> None:
    """A box of text; that of a leaf is blue for a value of 0 or more, and orange below."""
    is_leaf = node["type"] == "leaf"
    colour = GREY if not is_leaf else BLUE if node["value"] >= 0.0 else ORANGE
    box = {"boxstyle": "round,pad=0.35", "facecolor": axes.get_facecolor(), "edgecolor": colour, "linewidth": 1.6 if is_leaf else 1.0}
    style = {"fontsize": FONT, "color": text_colour(), "bbox": box, "zorder": 3, "parse_math": False}
    axes.text(place.x, -place.level, text, ha="center", va="center", **style)


def describe_node(node: Mapping[str, Any], place: Place, *, with_stats: bool) -> list[str]:
    """The lines in the box of a node."""
    is_leaf = node["type"] == "leaf"
    lines = [f"{node['value']:+.4g}"] if is_leaf else condition_of(node)
    if with_stats:
        lines += [] if is_leaf else [f"gain {node['gain']:.4g}"]
        lines.append(f"cover {node['cover']:.4g}")
    return [*lines, f"… {place.inside} nodes below"] if place.inside else lines


def condition_of(node: Mapping[str, Any]) -> list[str]:
    """What a row must fulfil to go to the left, on one line or two."""
    value = node["value"]
    if node["type"] == "indicator":  # 'column=category', and either may hold such a sign
        parts = [str(node["name"])] if len(node["name"]) <= LINE else str(node["name"]).split("=", 1)
        return [shorten(parts[0].replace("=", " = ", 1), NAME), *(f"= {shorten(part, NAME)}" for part in parts[1:])]
    if node["type"] == "subset":
        more = f", … {len(value) - SHOWN} more" if len(value) > SHOWN else ""
        return [f"{shorten(node['name'], NAME)} in", f"{', '.join(shorten(each, NAME // 2) for each in value[:SHOWN])}{more}"]
    name, limit = shorten(node["name"], NAME), f"< {value:.6g}"
    return [f"{name} {limit}"] if len(name) + len(limit) < LINE else [name, limit]


def title_of(model: Any, index: int) -> str:
    """The tree's number, and of more than two classes the class that it scores."""
    classes = model.classes if "classes" in model.list_fields() else []
    return f"Tree {index}" if len(classes) <= 2 else f"Tree {index}: class {shorten(classes[index % len(classes)], NAME)}"
