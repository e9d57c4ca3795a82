"""What becomes of offers, children and questions of a level's nodes."""

from __future__ import annotations

import numpy as np
import pytest
from engine._kernels.nodes import NODE, OFFER, make_children, take_best
from engine._kernels.partition import QUESTION, ask_questions
from hypothesis import given
from hypothesis import strategies as st

GAINS = st.lists(st.lists(st.sampled_from([1e-6, 0.5, 2.0, 2.5]), min_size=3, max_size=3), min_size=1, max_size=5)


@given(gains=GAINS)
def test_the_first_of_the_best_offers_is_taken(gains):
    offers = np.zeros((len(gains), 3), dtype=OFFER)
    for rank, of_rank in enumerate(gains):
        offers[rank] = [(gain, gain / 2, 10 * rank + k, k + 1, rank % 3, 0) for k, gain in enumerate(of_rank)]
    offers.flags.writeable = False
    nodes, winner = np.full(3, np.array((5, 9, 4, 0, 0, -1, 1, -1, 0, 0, 0), dtype=NODE)), np.empty(3, dtype=np.int64)
    take_best(offers, nodes, winner)
    for k in range(3):
        best = max(range(len(gains)), key=lambda rank: (gains[rank][k], -rank))
        assert winner[k] == best
        assert nodes[k].tolist() == (5, 9, 4, gains[best][k], gains[best][k] / 2, -1, 1, 10 * best + k, k + 1, best % 3, 0)


@given(counts=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=6))
def test_children_share_their_parents_rows(counts):
    """Rows of this rank and of the others, those that say yes and those that say no; nodes that do not split have no children."""
    parents = np.zeros(len(counts), dtype=NODE)
    begin = 0
    for k, (yes, no, other_yes, other_no, _) in enumerate(counts):
        parents[k]["begin"], parents[k]["end"], parents[k]["n_rows"] = begin, begin + yes + no, yes + no + other_yes + other_no
        begin += yes + no
    split = np.flatnonzero([each[-1] for each in counts])
    yes, all_yes = (np.array([counts[k][0] + more * counts[k][2] for k in split], np.int64) for more in (0, 1))
    children, smaller = np.zeros(2 * len(split), dtype=NODE), np.empty(len(split), dtype=np.int64)
    make_children(parents, split, yes, all_yes, children, smaller)
    for at, k in enumerate(split):
        yes_here, no_here, yes_there, no_there, _ = counts[k]
        first, second = children[2 * at], children[2 * at + 1]
        middle = parents[k]["begin"] + yes_here
        assert (first["begin"], first["end"], second["begin"], second["end"]) == (parents[k]["begin"], middle, middle, parents[k]["end"])
        assert (first["n_rows"], second["n_rows"]) == (yes_here + yes_there, no_here + no_there)
        assert children[smaller[at]]["n_rows"] == min(first["n_rows"], second["n_rows"])
        assert smaller[at] == 2 * at + (first["n_rows"] > second["n_rows"])


def test_what_columns_ask():
    """Numbers: codes up to one; categories: one code; sets: what is in the node's own row, whatever the code."""
    columns = np.array([(3, 0, 0, 0, 0, -1), (1, 1, -1, 0, 0, -1), (2, 0, 0, -1, 0, 0)], dtype=QUESTION)
    missing = np.array([8, -1, -1], dtype=np.int32)
    nodes = np.zeros(5, dtype=NODE)
    nodes["column"], nodes["code"], nodes["missing_yes"] = [0, -1, 1, 2, 0], [4, 0, 7, 2, 5], [1, 0, 2, 2, 0]
    which = np.array([0, 2, 3, 4])
    out = np.empty(4, dtype=QUESTION)
    ask_questions(nodes, which, columns, missing, out)
    assert out.tolist() == [(3, 0, 0, 4, 8, -1), (1, 1, 7, 7, -1, -1), (2, 0, 0, -1, -1, 2), (3, 0, 0, 5, -1, -1)]


def test_arrays_that_do_not_fit_are_refused():
    nodes, offers = np.zeros(2, dtype=NODE), np.zeros((1, 3), dtype=OFFER)
    with pytest.raises(ValueError, match="expected offers for 2 nodes, got 3"):
        take_best(offers, nodes, np.empty(2, dtype=np.int64))
    one, two = np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match="expected two children of each of 1 nodes, got 2"):
        make_children(nodes, one, one, one, nodes, two)
    with pytest.raises(ValueError, match="room for the questions of 1 nodes, got 0"):
        ask_questions(nodes, one, np.zeros(1, dtype=QUESTION), np.zeros(1, dtype=np.int32), np.empty(0, dtype=QUESTION))
