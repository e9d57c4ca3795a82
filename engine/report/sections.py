"""The parts of the page: each a heading and what is below it, or nothing where there is nothing to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.progress import is_shown
from engine.report import curves
from engine.report.data import Report, Row
from engine.report.html import NOTHING, Html, details, facts, say_bytes, say_number, say_seconds, say_time, table, tag

LAST_ROWS = 5  # of the table of progress that are always there
MOST_RANKS = 256  # and containers: more would be no page for people
BAR = 100  # units of a drawing of time
LATE = 0.05  # of its time by which a rank must talk less than the next for it to be said that others wait for it


def header(report: Report) -> Html:
    """Name, state, how far it is, and what there is to say of it."""
    words = []
    if report.rows:
        total = f" of {report.total}" if report.total and not report.has_ended else ""
        words.append(f"iteration {report.rows[-1].number}{total}")
    if report.began:
        until = report.ended or report.taken
        words.append(f"{'ran' if report.has_ended else 'since'} {say_seconds(max(0.0, until - report.began))}")
    if len(report.attempts) > 1:
        words.append(f"attempt {len(report.attempts)}")
    badge = tag("span", report.state, class_=f"state {report.state.lower()}")
    parts = [tag("h1", report.name), tag("p", badge, " ", " · ".join(words))]
    if report.total and report.rows and report.state == "RUNNING":
        parts.append(tag("progress", value=str(min(report.rows[-1].number, report.total)), max=str(report.total), aria_label="iterations"))
    if report.note and report.state != "SUCCESS":
        parts.append(tag("p", report.note, class_=f"note {report.state.lower()}"))
    return tag("div", *parts)


def overview(report: Report) -> Html:
    """What it is and on what it runs."""
    return section("Overview", facts(report.facts)) if report.facts else Html()


def learning(report: Report) -> Html:
    """A drawing for every metric."""
    charts = curves.charts_of(report.rows)
    if not charts:
        return Html()
    restarts = [each["iteration"] for each in report.restarts]
    note = tag("p", "Dotted lines: starts anew from a checkpoint.", class_="small") if restarts else Html()
    return section("Learning curves", tag("div", *(curves.draw(chart, restarts) for chart in charts), class_="charts"), note)


def progress(report: Report) -> Html:
    """The rows that training prints, and the last ones."""
    if not report.rows:
        return Html()
    columns = curves.columns_of(report.rows)
    rows = shown_rows(report.rows)
    cells = [[row.number, *(say_number(row.values.get(column)) for column in columns if column != "Iteration")] for row in rows]
    names = ["Iteration", *(column for column in columns if column != "Iteration")]
    found = table("Rows of progress", names, cells, name="progress", numbers=range(len(names)))
    note = f"{len(rows)} of {len(report.rows)} iterations are shown." if len(rows) < len(report.rows) else ""
    return section("Progress", found, tag("p", note, class_="small"))


def shown_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows 1 to 6, 10, 50, 100, 500, ..., and the last ones."""
    first_of_last = len(rows) - LAST_ROWS
    return [row for place, row in enumerate(rows) if is_shown(row.number) or place >= first_of_last]


def ranks(report: Report) -> Html:
    """What each rank does with its time and memory."""
    if not report.ranks:
        return Html()
    knows_waiting = all(each.get("wait_seconds") is not None for each in report.ranks)
    is_silent = all(each.get("collective_seconds") is None for each in report.ranks)
    talk = () if is_silent else ("communicating", "waiting") if knows_waiting else ("communicating and waiting",)
    said = () if is_silent else ("given to others", "collectives")
    names = ["rank", "host", "does", "its time", "computing", *talk, "processor", "memory", "at most", *said]
    longest = max((each.get("seconds") or 0.0 for each in report.ranks), default=0.0)
    rows = [_rank_cells(each, report.memory_limit, longest, n_talk=len(talk)) for each in report.ranks[:MOST_RANKS]]
    body = table("Ranks", names, rows, name="ranks", numbers=range(4, len(names)))
    keys = zip(("computing", "talking", "waiting"), ("computing", *talk), strict=False)
    legend = tag("p", *(tag("span", _key(kind), " ", word) for kind, word in keys), class_="legend")
    parts = [legend, body, tag("p", _explain_ranks(report.ranks, knows_waiting=knows_waiting), class_="small")]
    return section("Ranks", *parts, _left_out(len(report.ranks)))


def _rank_cells(rank: Mapping[str, Any], limit: int | None, longest: float, *, n_talk: int) -> list[Any]:
    """The cells of one rank, ``n_talk`` of them about its talking: none, communicating and waiting together, or each."""
    total, talking, waiting = rank.get("seconds"), rank.get("collective_seconds"), rank.get("wait_seconds")
    computing = None if total is None else max(0.0, total - (talking or 0.0))
    moving = None if talking is None or waiting is None else talking - waiting
    talk = [moving, waiting] if n_talk == 2 else [talking][:n_talk]
    said = [say_bytes(rank.get("bytes")), rank.get("collectives")] if n_talk else []
    peak, most = say_bytes(rank.get("peak_memory")), say_bytes(limit)
    at_most = f"{peak.removesuffix(most[-3:])} of {most}" if peak and most else peak
    return [
        rank["rank"],
        rank.get("host"),
        rank.get("doing"),
        _bar(computing, [each for each in talk if each is not None], longest),
        say_seconds(computing),
        *map(say_seconds, talk),
        say_seconds(rank.get("cpu_seconds")),
        say_bytes(rank.get("memory")),
        at_most,
        *said,
    ]


def _key(kind: str) -> Html:
    return Html(f'<svg width="11" height="11" aria-hidden="true"><rect class="{kind}" width="11" height="11"/></svg>')


def _bar(computing: float | None, talk: Sequence[float], longest: float) -> Html:
    """Where the time of a rank went, as a drawing."""
    if not longest or computing is None:
        return Html(NOTHING)
    parts, begin = [], 0.0
    for kind, seconds in zip(("computing", "talking", "waiting"), (computing, *talk), strict=False):
        width = BAR * seconds / longest
        parts.append(f'<rect class="{kind}" x="{begin:.1f}" y="1" width="{width:.1f}" height="10"/>')
        begin += width
    words = f"{100 * computing / max(computing + sum(talk), 1e-9):.0f}% computing"
    return Html(f'<svg class="bar" viewBox="0 0 {BAR} 12" width="{BAR}" height="12" role="img" aria-label="{words}">{"".join(parts)}</svg>')


def _explain_ranks(found: Sequence[Mapping[str, Any]], *, knows_waiting: bool) -> Html:
    """What the bars mean, and which rank the others wait for."""
    words = "Computing is all that a rank does by itself, reading data among it. "
    if all(rank.get("collective_seconds") is None for rank in found):
        words += "It does not say how long it talks to others." if len(found) > 1 else "It is alone."
        return Html(words)
    words += "Memory counts pages that ranks share in each of them. "
    if not knows_waiting:
        words += "Time in collectives is moving data and waiting for the others: the rank with the least of it is waited for."
    late = late_rank(found)
    return Html(words + (f" The others wait most for rank {late}." if late is not None else ""))


def late_rank(found: Sequence[Mapping[str, Any]]) -> int | None:
    """The rank that spends clearly less time in collectives than any other; None if none does."""
    talks = sorted((rank["collective_seconds"], rank["rank"]) for rank in found if rank.get("collective_seconds") is not None)
    if len(talks) < 2 or len(talks) < len(found):
        return None
    longest = max(rank.get("seconds") or 0.0 for rank in found)
    return int(talks[0][1]) if talks[1][0] - talks[0][0] > LATE * longest > 0 else None


def attempts(report: Report) -> Html:
    """How often it was started, and what ended it; checkpoints."""
    parts = []
    if report.attempts:
        rows = [
            (each["attempt"], each.get("host"), say_time(each.get("began")), say_time(each.get("ended")), each.get("message"))
            for each in report.attempts
        ]
        parts.append(table("Attempts", ("attempt", "supervisor", "began", "ended", "what ended it"), rows, name="attempts"))
    if report.checkpoints:
        cells = [
            (each["iteration"], say_time(each.get("time")), "yes" if each.get("kept") else "no", each["name"])
            for each in report.checkpoints[-LAST_ROWS:]
        ]
        names = ("iteration", "written", "kept", "name")
        parts.append(table("The last checkpoints", names, cells, name="checkpoints"))
    words = "Attempts and checkpoints" if report.checkpoints else "Attempts"
    return section(words, *parts) if parts else Html()


def containers(report: Report) -> Html:
    """Every rank of every attempt, and how it ended."""
    if not report.containers:
        return Html()
    rows = [
        (
            each.get("attempt"),
            each.get("rank"),
            each.get("name"),
            each.get("host"),
            each.get("pid"),
            _end_of(each),
            say_bytes(each.get("peak_memory")),
            each.get("diagnosis"),
        )
        for each in report.containers[:MOST_RANKS]
    ]
    names = ("attempt", "rank", "container", "host", "process", "end", "memory at most", "diagnosis")
    bad = {place: "bad" for place, each in enumerate(report.containers[:MOST_RANKS]) if each.get("cause")}
    return section("Containers", table("Containers", names, rows, name="containers", classes=bad), _left_out(len(report.containers)))


def settings(report: Report) -> Html:
    """Data, options, versions and files."""
    groups = {"Data": report.data, "Options": report.options, "Versions": report.versions, "Files": report.files}
    found = [details(name, facts(group), name=name.lower()) for name, group in groups.items() if group]
    return section("Data, options, versions, files", *found) if found else Html()


def logs(report: Report) -> Html:
    """The ends of logs."""
    found = []
    empty = [log.name for log in report.logs if not log.size]
    for number, log in enumerate(report.logs):
        if not log.size:
            continue
        cut = f", the last {say_bytes(len(log.text.encode(errors='replace')))}" if log.size > len(log.text.encode(errors="replace")) else ""
        title = f"{log.name} ({say_bytes(log.size)}{cut})"
        found.append(details(title, tag("pre", log.text, tabindex="0"), name=f"log-{number}"))
    if empty:
        found.append(tag("p", f"Empty: {', '.join(empty)}", class_="small"))
    return section("Logs", *found) if found else Html()


PARTS = {
    "overview": overview,
    "learning": learning,
    "progress": progress,
    "ranks": ranks,
    "attempts": attempts,
    "containers": containers,
    "settings": settings,
    "logs": logs,
}


def section(title: str, *content: Any) -> Html:
    """A heading and what is below it."""
    return Html(tag("h2", title) + "".join(str(each) for each in content))


def _end_of(container: Mapping[str, Any]) -> str | None:
    if container.get("signal") is not None:
        return f"signal {container['signal']}"
    return None if container.get("exit_code") is None else f"exit code {container['exit_code']}"


def _left_out(count: int) -> Html:
    return tag("p", f"{count - MOST_RANKS} more are not shown.", class_="small") if count > MOST_RANKS else Html()


def ids() -> Iterable[str]:
    """The parts of a page in their order."""
    return ("header", *PARTS)
