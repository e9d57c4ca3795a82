"""Graph partitions from arrays that every rank has whole, in plain NumPy: a naive twin of what loading a graph gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from engine.encode.graph_partition import Adjacency, GraphPartition


def make_partition(sources, destinations, n_vertices, *, rank=0, size=1, attributes=None, ids=None, positions=None, bounds=None):
    """The part of ``rank`` of ``size``, by even shares of the vertices unless ``bounds`` says otherwise.

    ``attributes`` maps names of edge attributes to arrays in the order of the edges; ``ids`` defaults to the numbers.
    """
    src, dst = np.asarray(sources, dtype=np.int64), np.asarray(destinations, dtype=np.int64)
    if bounds is None:
        bounds = np.array([each * n_vertices // size for each in range(size + 1)], dtype=np.int64)
    first, stop = bounds[rank], bounds[rank + 1]
    order = np.lexsort((np.arange(len(src)), src, dst))
    order = order[(dst[order] >= first) & (dst[order] < stop)]
    all_ids = pa.array(np.arange(n_vertices) if ids is None else ids)
    columns = {name: pa.array(np.asarray(values)[order]) for name, values in (attributes or {}).items()}
    return GraphPartition(
        n_vertices=n_vertices,
        n_edges=len(src),
        rank=rank,
        bounds=bounds,
        edges_in=Adjacency(np.searchsorted(dst[order], np.arange(first, stop + 1)).astype(np.int64), src[order].astype(np.uint32), None),
        out_degrees=np.bincount(src, minlength=n_vertices)[first:stop].astype(np.int64),
        ids=all_ids.slice(first, stop - first),
        positions=None if positions is None else np.asarray(positions, dtype=np.int64)[first:stop],
        edge_attributes=pa.table(columns) if columns else pa.table({}),
        vertex_attributes=pa.table({}),
    )
