"""The page as text: what is in it, that nothing from outside is HTML in it, and that its curves are those of the rows."""

import html.parser
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.report.curves import STRETCHES, Chart, Scale, charts_of, draw, round_step, thin
from engine.report.data import Log, Report, Row
from engine.report.html import escape, say_bytes, say_seconds
from engine.report.page import encode, render, render_parts
from engine.report.sections import late_rank, shown_rows

EVIL = "<script>alert(1)</script>\"'&\x00\ud800é☃"
VOID = ("meta", "link")


class Checker(html.parser.HTMLParser):
    """Sees to it that elements nest, and notes those that could run something."""

    def __init__(self):
        super().__init__()
        self.open, self.scripts, self.texts, self.ids = [], 0, [], []

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        assert not any(name.startswith("on") for name, _ in attributes), attributes
        assert "style" not in dict(attributes), "the policy forbids it"
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def check(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert checker.scripts == 1
    assert len(set(checker.ids)) == len(checker.ids)
    encode(page).decode()
    return "".join(checker.texts)


def rows(count, **columns):
    columns = columns or {"Training-accuracy": lambda n: 1 - 1 / n, "Validation-accuracy": lambda n: 1 - 2 / (n + 1)}
    return [Row(n, {"Iteration": n, "Elapsed Time": n / 10, **{name: f(n) for name, f in columns.items()}}) for n in range(1, count + 1)]


def rank(number, seconds=10.0, talking=4.0, **more):
    about = {"rank": number, "host": "h", "pid": 7, "seconds": seconds, "cpu_seconds": 5.0, "collective_seconds": talking}
    return {
        **about,
        "wait_seconds": None,
        "collectives": 12,
        "bytes": 2048,
        "memory": 1 << 20,
        "peak_memory": 3 << 20,
        "doing": "computing",
        **more,
    }


def test_a_job_that_nothing_is_known_of():
    text = check(render(Report(name="job", state="PENDING", taken=0.0)))
    assert "PENDING" in text
    assert "Learning curves" not in text


def test_everything_from_outside_is_text():
    report = Report(
        name=EVIL,
        state="FAILURE",
        taken=1.0,
        note=EVIL,
        facts={EVIL: EVIL},
        data={EVIL: [EVIL]},
        options={EVIL: {EVIL: EVIL}},
        versions={EVIL: EVIL},
        rows=[Row(1, {EVIL: 1.0, f"Training-{EVIL}": 2.0, "word": EVIL})],
        ranks=[rank(0, host=EVIL, doing=EVIL), rank(1)],
        attempts=[{"attempt": 1, "host": EVIL, "began": 1.0, "message": EVIL}],
        restarts=[{"iteration": 1, "time": 1.0}],
        checkpoints=[{"iteration": 5, "name": EVIL, "time": 1.0, "kept": True}],
        containers=[{"attempt": 1, "rank": 0, "name": EVIL, "host": EVIL, "diagnosis": EVIL, "cause": "lost"}],
        files={EVIL: EVIL},
        logs=[Log(EVIL, EVIL, 10)],
    )
    page = render(report)
    text = check(page)
    assert text.count("alert(1)") > 15
    assert "<script>alert" not in page
    assert "\x00" not in page
    assert "é☃" in text
    parts = json.loads(render_parts(report))
    assert "<script" not in "".join(parts["parts"].values())
    assert parts["ended"] is True


@given(st.text())
def test_any_text_comes_back_from_the_page(text):
    shown = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert html.unescape(escape(text)) == shown
    assert not re.search(r"[<>\"']", escape(text))


def test_one_row():
    text = check(render(Report(name="job", state="RUNNING", taken=2.0, began=1.0, rows=rows(1), total=10)))
    assert "iteration 1 of 10" in text
    assert "Training-accuracy" in text


def test_ten_thousand_rows_are_thinned_and_no_peak_is_lost():
    peak = rows(10_000, **{"Training-loss": lambda n: 50.0 if n == 6_789 else 1 / n})
    page = render(Report(name="job", state="SUCCESS", taken=2.0, rows=peak))
    text = check(page)
    assert len(page) < 60_000
    assert "of 10000 iterations are shown" in text
    points = [(row.number, row.values["Training-loss"]) for row in peak]
    thinned = thin(points)
    assert len(thinned) <= 4 * STRETCHES
    assert (6_789, 50.0) in thinned
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])
    numbers = [row.number for row in shown_rows(peak)]
    assert numbers == [1, 2, 3, 4, 5, 6, 10, 50, 100, 500, 1000, 5000, 9996, 9997, 9998, 9999, 10000]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=1000), st.integers(1, 9))
def test_thinning_keeps_order_and_extremes(values, stretches):
    points = list(enumerate(values))
    thinned = thin(points, stretches)
    assert thinned == sorted(set(thinned))
    assert set(thinned) <= set(points)
    assert {min(values), max(values), values[0], values[-1]} <= {value for _, value in thinned}
    assert len(thinned) <= max(len(points) if len(points) <= 4 * stretches else 0, 4 * stretches)


@given(st.lists(st.one_of(st.floats(), st.none()), min_size=1, max_size=30))
def test_any_values_can_be_drawn(values):
    found = [Row(number, {"loss": value}) for number, value in enumerate(values, start=1)]
    for chart in charts_of(found):
        drawing = draw(chart, restarts=[1])
        for word in ("nan", "inf"):
            assert word not in re.sub(r"aria-label=\"[^\"]*\"", "", drawing).replace("training", "").lower()


def test_metrics_have_their_sides():
    found = charts_of(rows(3, **{"Training-rmse": float, "Validation-rmse": float, "delta": float, "Step size": float, "a-b": float}))
    assert [(chart.metric, list(chart.lines)) for chart in found] == [("rmse", ["Training", "Validation"]), ("delta", [""]), ("a-b", [""])]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], ["0", "0.25", "0.5", "0.75", "1"]),
        ([2.0], ["1.8", "1.9", "2", "2.1", "2.2"]),
        ([0.999631, 1.0], ["0.9996", "0.9997", "0.9998", "0.9999", "1"]),
        ([-3e5, 2e5], ["-3e+05", "-2e+05", "-1e+05", "0", "1e+05", "2e+05"]),
        ([1e-5, 3.0], ["1e-5", "1e-4", "1e-3", "1e-2", "1e-1", "1e0"]),
    ],
)
def test_axes_have_round_values(values, ticks):
    found = [text for _, text in Scale([1, 2], values).y_ticks()]
    assert len(set(found)) == len(found)
    assert set(found) & set(ticks)
    assert 2 <= len(found) <= 8


def test_steps_are_round():
    assert [round_step(step) for step in (0.9, 1.0, 1.3, 2.1, 3.0, 7.0, 0.00012)] == [1.0, 1.0, 2.0, 2.5, 5.0, 10.0, 0.0002]
    assert round_step(0.0) == round_step(math.inf) == 0.0


def test_a_restart_is_marked_in_its_place():
    chart = Chart("loss", {"": [(n, 1 / n) for n in range(1, 11)]})
    assert draw(chart, restarts=[6]).count('class="restart"') == 1
    assert draw(chart, restarts=[60]).count('class="restart"') == 0


class TestRanks:
    def test_times_that_cannot_be_told_apart_are_one_column(self):
        text = check(render(Report(name="job", state="RUNNING", taken=1.0, ranks=[rank(0), rank(1)], memory_limit=1 << 30)))
        assert "communicating and waiting" in text
        assert "3 of 1024 MB" in text
        assert "6.00 s" in text

    def test_waiting_that_is_known_has_its_own(self):
        ranks = [rank(0, wait_seconds=1.0), rank(1, wait_seconds=3.0)]
        page = render(Report(name="job", state="RUNNING", taken=1.0, ranks=ranks))
        check(page)
        assert 'scope="col" class="number">waiting<' in page
        assert 'rect class="waiting"' in page

    def test_the_one_that_the_others_wait_for(self):
        assert late_rank([rank(0, talking=4.0), rank(1, talking=1.0), rank(2, talking=5.0)]) == 1
        assert late_rank([rank(0, talking=4.0), rank(1, talking=3.9)]) is None
        assert late_rank([rank(0, talking=4.0)]) is None
        assert late_rank([rank(0, talking=None), rank(1, talking=1.0)]) is None

    def test_a_program_that_keeps_no_account(self):
        ranks = [rank(number, talking=None, collectives=None, bytes=None) for number in (0, 1)]
        assert "does not say" in check(render(Report(name="job", state="RUNNING", taken=1.0, ranks=ranks)))

    def test_too_many_to_show(self):
        page = render(Report(name="job", state="RUNNING", taken=1.0, ranks=[rank(number) for number in range(1000)]))
        assert "744 more are not shown" in check(page)


def test_a_page_renews_itself_until_the_end():
    running, ended = (Report(name="job", state=state, taken=1.0) for state in ("RUNNING", "KILLED"))
    assert 'http-equiv="refresh"' in render(running)
    assert "data-renew" not in render(running)
    assert "<noscript><meta" in render(running, is_served=True)
    assert 'data-renew="2"' in render(running, is_served=True)
    for page in (render(ended), render(ended, is_served=True)):
        assert "refresh" not in page
        assert "data-renew" not in page


def test_nothing_comes_from_elsewhere():
    page = render(Report(name="job", state="RUNNING", taken=1.0, rows=rows(5), ranks=[rank(0)]))
    assert not re.search(r"https?://|url\(|@import|\bsrc=", page)
    assert "default-src 'none'" in page
    assert "unsafe" not in page


def test_colours_can_be_told_from_what_is_behind_them():
    """By WCAG 2: 4.5 to 1 for text, 3 to 1 for lines and bars, by day and by night."""
    page = render(Report(name="job", state="RUNNING", taken=1.0))
    day, night = (dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", page, re.DOTALL))
    for colours in (day, night):
        for behind in ("page", "card"):
            for text in ("ink", "soft", "good", "bad", "busy"):
                assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
            for line in ("training", "validation", "talking"):
                assert contrast(colours[line], colours[behind]) >= 3.0, (line, behind)
        assert contrast(colours["ink"], colours["bad-card"]) >= 4.5


def contrast(first, second):
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_for_numbers():
    assert [say_seconds(each) for each in (None, 0.0, 9.5, 61.2, 600.0, 7300.0)] == [
        None,
        "0.00 s",
        "9.50 s",
        "61.2 s",
        "10 min 00 s",
        "2 h 01 min",
    ]
    assert [say_bytes(each) for each in (None, 0, 2048, 1 << 30, 1 << 34)] == [None, "0 B", "2 KB", "1024 MB", "16 GB"]
