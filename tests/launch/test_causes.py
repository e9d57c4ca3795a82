"""Of several reasons for a gang's end, the one that explains the others, and what becomes of it."""

import pytest

from launch.causes import choose_cause, counts, is_retried

DONE = {"event": "ended", "cause": "done", "containers": []}
STOPPED = {"event": "ended", "cause": "stopped", "message": "ended by the supervisor", "containers": []}
GONE = {"cause": "lost", "ranks": [1], "message": "the agent of node 1 is gone"}
PREEMPTED = {"cause": "lost", "ranks": [2], "message": "preempted", "is_free": True}
OVER = {"cause": "memory", "ranks": [2], "message": "too much", "is_free": False}
HANG = {"cause": "hang", "ranks": [0], "message": "no progress"}
NOTED = {"error": {"class": "DataError", "message": "no column 'x'"}}


def ended(message, cause="error", **more):
    return {"event": "ended", "cause": cause, "ranks": [0], "message": message, "containers": [], "left": [], **more}


@pytest.mark.parametrize(
    ("reports", "losses", "hang", "cause", "message"),
    [
        ([DONE, DONE], [], None, "done", None),
        ([ended("rank 0: MPI_ERR_OTHER"), ended("rank 1: ValueError: no")], [], None, "error", "rank 1: ValueError: no"),
        ([ended("rank 0: MPI_ERR_OTHER"), ended("rank 1 ended by SIGKILL", "lost")], [], None, "lost", "rank 1 ended by SIGKILL"),
        ([ended("rank 0: MPI_ERR_OTHER")], [GONE], None, "lost", GONE["message"]),
        ([ended("rank 0 ended with exit code 15")], [GONE], None, "lost", GONE["message"]),
        ([ended("rank 0: no column 'x'", **NOTED)], [GONE], None, "error", "rank 0: no column 'x'"),
        ([ended("rank 0: MPI_ERR_OTHER", **NOTED)], [GONE], None, "lost", GONE["message"]),
        ([], [GONE, PREEMPTED], None, "lost", PREEMPTED["message"]),
        ([ended("rank 0: no column 'x'", **NOTED)], [GONE, OVER], None, "memory", OVER["message"]),
        ([ended("rank 0 ended by SIGKILL", "lost"), ended("rank 1: too much", "memory")], [], None, "memory", "rank 1: too much"),
        ([STOPPED, ended("rank 1 ended by SIGKILL", "lost")], [], HANG, "hang", HANG["message"]),
        ([ended("rank 0: MPI_ERR_OTHER"), STOPPED], [], None, "error", "rank 0: MPI_ERR_OTHER"),
        ([ended("rank 0 ended with exit code 3"), ended("rank 1 ended", "lost")], [], None, "error", "rank 0 ended with exit code 3"),
        ([STOPPED, STOPPED], [], None, "stopped", "ended by the supervisor"),
        ([], [], None, "stopped", "ended by the supervisor"),
    ],
)
def test_the_reason_that_explains_the_others(reports, losses, hang, cause, message):
    found = choose_cause(reports, losses, hang, launcher=lambda: None)
    assert (found["cause"], found.get("message")) == (cause, message)
    assert not found.keys() & {"event", "containers", "left"}


def test_the_first_end_counts_where_nobody_says_more():
    """A rank that was killed, and one that MPI ended for it, or the other way round: by the times of their ends."""

    def report(rank, cause, ended):
        message = f"rank {rank} ended"
        return {"event": "ended", "cause": cause, "ranks": [rank], "message": message, "containers": [{"rank": rank, "ended": ended}]}

    killed_first = [report(0, "error", 5.5), report(1, "lost", 5.0)]
    assert choose_cause(killed_first, [], None, launcher=lambda: None)["cause"] == "lost"
    killed_for_it = [report(0, "lost", 5.5), report(1, "error", 5.0)]
    assert choose_cause(killed_for_it, [], None, launcher=lambda: None)["cause"] == "error"


def test_the_launcher_is_asked_last():
    launcher = {"cause": "error", "ranks": [], "message": "the launcher ended with exit code 1"}
    assert choose_cause([STOPPED], [], None, launcher=lambda: launcher) == launcher
    assert choose_cause([STOPPED], [GONE], None, launcher=lambda: launcher) == GONE


def test_what_becomes_of_it():
    """Losses are retried, and count but where the cluster took something back; errors and want of memory are not retried."""
    assert [is_retried(each) for each in (GONE, PREEMPTED, HANG, OVER, STOPPED, DONE)] == [True, True, True, False, False, False]
    assert [counts(each) for each in (GONE, PREEMPTED, HANG, OVER, STOPPED, DONE)] == [True, False, True, False, False, False]
