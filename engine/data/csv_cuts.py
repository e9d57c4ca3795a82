"""Cuts CSV files between ranks at record boundaries, by composing what quotes do over ranks instead of guessing.

A rank that starts in the middle of a file cannot know whether it is inside a quoted field. So it finds out, for each of the automaton's
states, where its first record would begin and in which state its bytes would end. These few numbers go to all ranks, which compose them
from the file's beginning. A record belongs to the rank that holds its first byte; its owner reads on into the next ranks' bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from engine._kernels.csv_scan import scan_states
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.csv_text import PIECE_BYTES, CsvFile, CsvFormat, TextReader
from engine.data.shard_plan import Segment, gather_json

N_STATES = 5


def share_cuts(comm: Communicator, files: dict[int, CsvFile], segments: Sequence[Segment], form: CsvFormat) -> list[Segment]:
    """Move the ends of this rank's ``segments`` to record boundaries. Collective.

    ``files`` holds those that this rank's segments name. The ranks' results cover every record once, in order; a segment in which no record
    begins is dropped.
    """
    transitions: list[list[int]] = []
    with agree(comm, "reading"):
        transitions = [
            [segment.file, *_scan(files[segment.file], segment, form)] for segment in segments if _is_cut(files[segment.file], segment)
        ]
    starts = _compose(gather_json(comm, transitions, name="reading: cuts"))
    whole = [segment for segment in segments if not _is_cut(files[segment.file], segment)]
    owned = [Segment(each.file, files[each.file].data_offset, files[each.file].size) for each in whole]
    for segment in set(segments) - set(whole):
        begin = starts[segment.file].get(comm.rank)
        if begin is not None:
            later = [start for rank, start in starts[segment.file].items() if rank > comm.rank]
            owned.append(Segment(segment.file, begin, min(later, default=files[segment.file].size)))
    return sorted(each for each in owned if each.begin < each.end or not files[each.file].splittable)


def _is_cut(file: CsvFile, segment: Segment) -> bool:
    return segment.begin > 0 or segment.end < file.size


def _scan(file: CsvFile, segment: Segment, form: CsvFormat) -> list[int]:
    """For each state before the segment: the state after it, then where the first record begins (-1: nowhere)."""
    states = np.arange(N_STATES, dtype=np.int64)
    firsts = np.full(N_STATES, -1, dtype=np.int64)
    position = max(segment.begin, file.data_offset)
    with contextlib.closing(TextReader(file.path, position, segment.end)) as reader:
        while position < segment.end and (data := reader.read(min(PIECE_BYTES, segment.end - position))):
            scan_states(data, ord(form.delimiter), form.quote, position, states, firsts)
            position += len(data)
    return [*states.tolist(), *firsts.tolist()]


def _compose(transitions: list[list[list[int]]]) -> dict[int, dict[int, int]]:
    """From every rank's scans: by file, the first record of each rank that owns one."""
    states: dict[int, int] = {}
    starts: dict[int, dict[int, int]] = {}
    for rank, scans in enumerate(transitions):
        for file, *numbers in scans:
            state = states.get(file, 0)
            first = numbers[N_STATES + state]
            if first >= 0:
                starts.setdefault(file, {})[rank] = first
            states[file] = numbers[state]
            starts.setdefault(file, {})
    return starts
