"""The words for how far a job is and how it ended: strings that print as ``STATE.COMPLETED``."""

from __future__ import annotations

from enum import Enum


class State(str, Enum):
    """How far a job is; equal to the string that it prints as."""

    PENDING = "STATE.PENDING"
    RUNNING = "STATE.RUNNING"
    COMPLETED = "STATE.COMPLETED"

    __str__ = str.__str__


class FinalState(str, Enum):
    """How a job ended; equal to the string that it prints as."""

    SUCCESS = "FINAL_STATE.SUCCESS"
    FAILURE = "FINAL_STATE.FAILURE"
    KILLED = "FINAL_STATE.KILLED"

    __str__ = str.__str__
