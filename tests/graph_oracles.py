"""Dense twins of the graph toolkits in plain NumPy, and graphs small enough for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collectives.serial import SerialComm
from tests.graphs import make_partition


@dataclass(frozen=True)
class Toy:
    """A graph as lists, from which every rank takes its part."""

    src: Any
    dst: Any
    n: int
    edges: dict[str, Any] = field(default_factory=dict)
    vertices: dict[str, Any] = field(default_factory=dict)
    ids: Any = None
    positions: Any = None

    def on(self, comm=None, bounds=None):
        """What ``create`` takes as a graph, on this rank of ``comm``."""
        comm = comm or SerialComm()
        shares = {"rank": comm.rank, "size": comm.size, "bounds": bounds, "positions": self.positions, "ids": self.ids}
        part = make_partition(self.src, self.dst, self.n, attributes=self.edges, **shares)
        own = slice(part.first, part.first + part.n_local)
        columns = {name: pa.array(values)[own] for name, values in self.vertices.items()}
        return LoadedToy(replace(part, vertex_attributes=pa.table(columns)), comm)


@dataclass(frozen=True)
class LoadedToy:
    """A graph with what toolkits ask of it."""

    partition: Any
    comm: Any


def matrix(toy: Toy, weights: str | None = None) -> np.ndarray:
    """Weights of the edges from j to i, in row i and column j."""
    dense = np.zeros((toy.n, toy.n))
    np.add.at(dense, (np.asarray(toy.dst, int), np.asarray(toy.src, int)), 1.0 if weights is None else toy.edges[weights])
    return dense


def rank_densely(
    toy: Toy,
    iterations: int,
    *,
    reset=0.15,
    dangling="drop",
    normalize=False,
    weight_field=None,
    personalization=None,
    initial=None,
):
    """Ranks after so many iterations, and the L1 change of each."""
    dense, total = matrix(toy, weight_field), 1.0 if normalize else float(toy.n)
    out = dense.sum(axis=0)
    share = np.divide(dense, out, out=np.zeros_like(dense), where=out > 0)
    teleport = np.full(toy.n, total / toy.n)
    if personalization is not None:
        wishes = np.array([value or 0.0 for value in toy.vertices[personalization]], dtype=float)
        teleport = wishes * total / wishes.sum()
    ranks = np.full(toy.n, total / toy.n)
    if initial is not None:
        ranks = np.array([total / toy.n if value is None else value for value in toy.vertices[initial]], dtype=float)
    changes = []
    for _ in range(iterations):
        lost = ranks[out == 0].sum() if dangling == "redistribute" else 0.0
        before, ranks = ranks, reset * teleport + (1 - reset) * (share @ ranks + teleport * lost / total)
        changes.append(np.abs(ranks - before).sum())
    return ranks, np.array(changes)


def spread_densely(toy: Toy, iterations: int, codes, n_classes: int, *, weight_field=None, self_weight=1.0, undirected=False):
    """Distributions after so many iterations, and the mean change of each; ``codes``: -1 without a label."""
    dense = matrix(toy, weight_field)
    dense = dense + dense.T if undirected else dense
    codes = np.asarray(codes)
    values = np.full((toy.n, n_classes), 1.0 / n_classes)
    labelled = codes >= 0
    values[labelled] = np.eye(n_classes)[codes[labelled]]
    changes = []
    for _ in range(iterations):
        sums = self_weight * values + dense @ values
        whole = sums.sum(axis=1, keepdims=True)
        fresh = np.where(whole > 0, np.divide(sums, whole, out=np.zeros_like(sums), where=whole > 0), values)
        fresh[labelled] = values[labelled]
        changes.append(np.linalg.norm(fresh - values, axis=1).sum() / max((~labelled).sum(), 1))
        values = fresh
    return values, np.array(changes)


def random_toy(seed: int, n: int = 60, m: int = 240) -> Toy:
    """A multigraph with self-loops, dangling and isolated vertices, weights of edges (some 0) and attributes of vertices."""
    draw = np.random.default_rng(seed)
    src, dst = draw.integers(0, n - 9, m), draw.integers(3, n, m)
    src[:5] = dst[:5] = 7
    weights = np.where(draw.random(m) < 0.1, 0.0, draw.lognormal(0.0, 2.0, m))
    wishes = [None if draw.random() < 0.3 else float(draw.integers(0, 3)) for _ in range(n)]
    first = [None if draw.random() < 0.3 else float(draw.random() * 2) for _ in range(n)]
    labels = [None if draw.random() < 0.8 else str(draw.choice(["b", "é", "a"])) for _ in range(n)]
    labels[:4] = ["a", "b", "é", None]
    vertices = {"wish": wishes, "first": first, "label": labels}
    return Toy(src, dst, n, {"w": weights}, vertices, positions=draw.permutation(n))


def chain(n: int) -> Toy:
    """0 -> 1 -> ... -> n - 1."""
    return Toy(np.arange(n - 1), np.arange(1, n), n)


def star(n: int, *, inwards: bool) -> Toy:
    """Vertex 0 and n - 1 others, which have edges to it or from it."""
    others, middle = np.arange(1, n), np.zeros(n - 1, dtype=int)
    return Toy(others, middle, n) if inwards else Toy(middle, others, n)


def grid(side: int) -> Toy:
    """Edges to the right and down."""
    at = np.arange(side * side).reshape(side, side)
    return Toy(np.concatenate([at[:, :-1].ravel(), at[:-1].ravel()]), np.concatenate([at[:, 1:].ravel(), at[1:].ravel()]), side * side)


def bipartite(left: int, right: int) -> Toy:
    """Edges both ways between every vertex of one side and every one of the other."""
    a, b = np.meshgrid(np.arange(left), np.arange(left, left + right))
    a, b = a.ravel(), b.ravel()
    return Toy(np.concatenate([a, b]), np.concatenate([b, a]), left + right)


def karate() -> Toy:
    """Zachary's karate club, edges both ways, with the club that each member joined."""
    import networkx

    graph = networkx.karate_club_graph()
    edges = np.array(graph.edges())
    both = np.concatenate([edges, edges[:, ::-1]])
    weights = np.array([data["weight"] for _, _, data in graph.edges(data=True)], dtype=float)
    clubs = [graph.nodes[node]["club"] for node in graph]
    return Toy(both[:, 0], both[:, 1], len(graph), {"weight": np.concatenate([weights, weights])}, {"club": clubs})


TOYS = {
    "chain": chain(7),
    "star inwards": star(6, inwards=True),
    "star outwards": star(6, inwards=False),
    "grid": grid(5),
    "bipartite": bipartite(2, 3),
    "no edges": Toy([], [], 4),
    "one vertex": Toy([], [], 1),
    "one vertex with a loop": Toy([0], [0], 1),
    "all dangling": Toy([], [], 3),
}
