"""What a tree keeps of the nodes that it has grown, beside a recursive reading of the same rules."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from engine._kernels.finishing import Limits, finish_nodes
from engine._kernels.nodes import NODE
from hypothesis import given
from hypothesis import strategies as st

LIMB = 1 << 26
LEAF, NUMERIC, CATEGORY, SUBSET = range(4)
N_CATEGORIES = np.array([0, 5, 0], dtype=np.int64)  # a column of two cuts, one of categories, one that is constant
CUT_START, CUT = np.array([0, 2, 2, 2], dtype=np.int64), np.array([0.5, 1.5])
OUTPUTS = (np.uint8, np.int32, np.int32, np.float64, np.uint8, np.int32, np.int32, np.float64, np.float64, np.float64)
NAMES = ("kind", "column", "code", "threshold", "missing_yes", "yes", "no", "value", "gain", "cover")
PLAIN = {"g_unit": 0.25, "h_unit": 0.5, "reg_lambda": 1.0, "reg_alpha": 0.0, "min_child_weight": 0.0, "least_gain": 1e-6, "step_size": 0.3}


@dataclasses.dataclass
class Node:
    """A node as it grew, with the integers that its rows' gradients and hessians sum up to."""

    place: int
    grown: np.void
    children: list[Node]
    is_chosen: bool
    g: int = 0
    h: int = 0
    gain: float = 0.0
    is_leaf: bool = False


def grow(nodes, chosen, sums):
    """The root of a tree with sums in every node."""
    made = [Node(place, grown, [], not len(chosen) or bool(chosen[place])) for place, grown in enumerate(nodes)]
    of_leaves = iter(sums.tolist())
    child = 1
    for node in made:
        if node.grown["column"] >= 0:
            node.children, child = made[child : child + 2], child + 2
        else:
            node.g, node.h = (high * LIMB + low for high, low in np.reshape(next(of_leaves), (2, 2)).tolist())
    for node in made[::-1]:
        if node.children:
            node.g, node.h = (sum(getattr(each, name) for each in node.children) for name in "gh")
    return made[0]


def weight_of(node, limits):
    g, h = node.g * limits["g_unit"], node.h * limits["h_unit"] + limits["reg_lambda"]
    shrunk = math.copysign(max(abs(g) - limits["reg_alpha"], 0.0), g)
    return min(max(-shrunk / h if h > 0 else 0.0, node.grown["lower"]), node.grown["upper"])


def score_of(node, limits, is_bounded):
    """Twice what a leaf's best weight takes from the loss."""
    g, h, w = node.g * limits["g_unit"], node.h * limits["h_unit"] + limits["reg_lambda"], weight_of(node, limits)
    if is_bounded:
        return -(2 * g * w + h * w * w + 2 * limits["reg_alpha"] * abs(w))
    return max(abs(g) - limits["reg_alpha"], 0.0) ** 2 / h if h > 0 else 0.0


def cut_back(node, limits, is_bounded):
    """Make leaves of what may not stay, from the bottom up."""
    for each in node.children:
        cut_back(each, limits, is_bounded)
    node.is_leaf = not node.children or not node.is_chosen
    if node.is_leaf:
        return
    node.gain = sum(score_of(each, limits, is_bounded) for each in node.children) - score_of(node, limits, is_bounded)
    too_light = min(each.h for each in node.children) * limits["h_unit"] < limits["min_child_weight"]
    node.is_leaf = too_light or (node.gain < limits["least_gain"] and all(each.is_leaf for each in node.children))


def expected(nodes, chosen, sums, limits, *, is_bounded=False, has_sets=False):
    """The nodes that stay as rows of ``NAMES``, and the node that each leaf of growth ends in."""
    root = grow(nodes, chosen, sums)
    cut_back(root, limits, is_bounded)
    kept, homes, n_sets = [root], {}, 0
    for node in kept:
        if not node.is_leaf:
            kept += node.children
        else:
            homes |= dict.fromkeys(leaves_below(node), node.place)
    number = {node.place: at for at, node in enumerate(kept)}
    rows = []
    for node in kept:
        cover = node.h * limits["h_unit"]
        if node.is_leaf:
            rows.append((LEAF, -1, -1, 0.0, 0, -1, -1, weight_of(node, limits) * limits["step_size"], 0.0, cover))
            continue
        column, code, missing = (int(node.grown[name]) for name in ("column", "code", "missing_yes"))
        yes, no = node.children
        if N_CATEGORIES[column]:
            kind, threshold, goes_yes = (SUBSET, n_sets, 0) if has_sets else (CATEGORY, code, 0)
            n_sets += has_sets
        else:
            cuts = CUT[CUT_START[column] : CUT_START[column + 1]]
            kind, threshold = NUMERIC, cuts[code] if code < len(cuts) else math.inf
            goes_yes = int(yes.h >= no.h) if missing == 2 else missing
        rows.append((kind, column, code, threshold, goes_yes, number[yes.place], number[no.place], 0.0, node.gain, cover))
    return rows, [number[homes[place]] for place in sorted(homes)]


def leaves_below(node):
    return [place for each in node.children for place in leaves_below(each)] if node.children else [node.place]


def finish(nodes, chosen, sums, limits, *, is_bounded=False, has_sets=False):
    n = len(nodes)
    place, leaf_node = np.empty(n, dtype=np.int64), np.empty(len(sums), dtype=np.int64)
    out = [np.empty(n, dtype=dtype) for dtype in OUTPUTS]
    asked = Limits(**limits, is_bounded=is_bounded)
    n_kept = finish_nodes(nodes, chosen, sums, asked, CUT_START, CUT, N_CATEGORIES, has_sets, place, *out, leaf_node)
    return list(zip(*(array[:n_kept].tolist() for array in out), strict=True)), leaf_node.tolist()


def make_nodes(splits):
    """Nodes in the order of growth; ``splits``: for node after node None, or its column, code and direction of missing values."""
    nodes = []
    n_open = 1
    for split in splits:
        if not n_open:
            break
        n_open -= 1
        nodes.append((-1, 0, 0) if split is None else split)
        n_open += 0 if split is None else 2
    nodes += [(-1, 0, 0)] * n_open
    out = np.zeros(len(nodes), dtype=NODE)
    for name, values in zip(("column", "code", "missing_yes"), zip(*nodes, strict=True), strict=True):
        out[name] = values
    out["lower"], out["upper"] = -np.inf, np.inf
    return out


SPLIT = st.one_of(st.none(), st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)))


@given(
    splits=st.lists(SPLIT, max_size=20),
    seed=st.integers(0, 10**6),
    has_chosen=st.booleans(),
    is_bounded=st.booleans(),
    has_sets=st.booleans(),
    penalties=st.sampled_from([(1.0, 0.0), (0.0, 0.0), (0.5, 3.0)]),
    least=st.sampled_from([(0.0, 1e-6), (20.0, 1e-6), (0.0, 10.0), (30.0, 5.0)]),
)
def test_against_the_rules(splits, seed, has_chosen, is_bounded, has_sets, penalties, least):
    draw = np.random.default_rng(seed)
    nodes = make_nodes(splits)
    n_leaves = int((nodes["column"] < 0).sum())
    sums = np.stack([draw.integers(low, high, n_leaves) for low, high in ((-1, 2), (-900, 900), (0, 1), (0, 3 * LIMB // 10**6))], axis=1)
    if is_bounded:
        nodes["lower"], nodes["upper"] = -0.5, draw.uniform(-0.4, 0.4, len(nodes))
    chosen = np.empty(0, dtype=np.uint8)
    if has_chosen:  # who is taken back has nobody below who is not
        chosen = (nodes["column"] >= 0).astype(np.uint8)
        child = 1
        for place in range(len(nodes)):
            chosen[place] &= draw.random() < 0.7 or place == 0
            if nodes["column"][place] >= 0:
                chosen[child : child + 2] &= chosen[place]
                child += 2
    limits = PLAIN | dict(zip(("reg_lambda", "reg_alpha", "min_child_weight", "least_gain"), (*penalties, *least), strict=True))
    options = {"is_bounded": is_bounded, "has_sets": has_sets}
    rows, homes = finish(nodes, chosen, sums, limits, **options)
    wanted_rows, wanted_homes = expected(nodes, chosen, sums, limits, **options)
    assert homes == wanted_homes
    assert len(rows) == len(wanted_rows)
    for row, wanted in zip(rows, wanted_rows, strict=True):
        assert row == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_sums_beyond_a_low_limb():
    """Low limbs may hold the carries of many ranks; what nodes hold in the end does not depend on how a sum was cut into limbs."""
    nodes = make_nodes([(0, 0, 2)])
    plain = np.array([[3, 7, 5, LIMB - 1], [-3, 9, 4, 2]], dtype=np.int64)
    carried = plain + np.array([[-2, 2 * LIMB, -9, 9 * LIMB], [1, -LIMB, 0, 0]])
    none = np.empty(0, dtype=np.uint8)
    assert finish(nodes, none, carried, PLAIN) == finish(nodes, none, plain, PLAIN)


def test_what_is_no_tree():
    nodes, sums, none = make_nodes([(0, 0, 0), (1, 1, 0)]), np.zeros((3, 4), dtype=np.int64), np.empty(0, dtype=np.uint8)
    with pytest.raises(ValueError, match="two children of each of 2 splits"):
        finish(nodes[:4], none, sums, PLAIN)
    with pytest.raises(ValueError, match="two children of each of 2 splits"):
        finish(nodes, none, sums[:2], PLAIN)
    nodes["column"][0] = 3
    with pytest.raises(ValueError, match="columns below 3, got 3"):
        finish(nodes, none, sums, PLAIN)
    with pytest.raises(ValueError, match="arrays for 5 nodes"):
        finish(make_nodes([(0, 0, 0), (1, 1, 0)]), np.ones(4, dtype=np.uint8), sums, PLAIN)
