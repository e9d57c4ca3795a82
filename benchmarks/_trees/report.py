"""Medians, ratios to the fastest peer, quality beside the best, and the tables made of them."""

from __future__ import annotations

import json
import pathlib
import statistics
from collections.abc import Iterable
from typing import Any

from _trees.engines import SUBJECT
from _trees.scenarios import SCENARIOS, Scenario, Setting

FIGURES = {"bin": 2, "train": 2, "total": 2, "predict": 2, "log_loss": 5, "auc": 5, "peak_mb": 0}  # with their decimals
NAMES = {"bin": "bin s", "train": "train s", "total": "total s", "predict": "predict s", "auc": "AUC", "peak_mb": "peak MB"}
MEANS = ("log_loss", "auc")  # of all repeats, whose data differ; of other figures the median
AUC_TOLERANCE = 0.0005
LEARNT = 0.5  # of what the best AUC is above chance: the time of a peer that has not learnt so much says nothing
NO_SPEED_UP = 0.9  # a second thread that leaves more than this of the time is noted
BEGIN, END = "<!-- made by trees.py: begin -->\n", "<!-- made by trees.py: end -->\n"
Medians = dict[str, dict[str, dict[str, float]]]
Runs = list[dict[str, Any]]


def summarise(scenario: Scenario, runs: Runs) -> dict[str, Any]:
    """Medians (means of :data:`MEANS`) by setting and engine, how the targets were met, and what readers should know of the peers."""
    medians: Medians = {}
    for run in runs:
        if "failed" not in run:
            medians.setdefault(run["setting"], {}).setdefault(run["engine"], {})
    for setting, engines in medians.items():
        for engine, figures in engines.items():
            chosen = [run for run in runs if (run["setting"], run["engine"]) == (setting, engine) and "failed" not in run]
            middle = {name: statistics.fmean if name in MEANS else statistics.median for name in FIGURES if name in chosen[0]}
            figures.update({name: of(run[name] for run in chosen) for name, of in middle.items()})
    settings = [setting for setting in scenario.settings if setting.label in medians]
    verdicts = [verdict for setting in settings for verdict in judge(scenario, setting, settings, medians, runs)]
    failures = dict.fromkeys(f"{run['engine']}, {run['setting']}: {run['failed']}" for run in runs if "failed" in run)
    hangs = [f"{run['engine']}, {run['setting']}: a run hung and was tried again" for run in runs if run.get("hung")]
    return {
        "medians": medians,
        "verdicts": verdicts,
        "notes": [*note_threads(scenario, medians), *note_quality(medians), *failures, *hangs],
    }


def judge(scenario: Scenario, setting: Setting, settings: list[Setting], medians: Medians, runs: Runs) -> list[dict[str, Any]]:
    """Every target of a setting: the ratio to the best peer on as many cores, however that peer uses them; AUC by difference."""
    own_name = next((engine for engine in medians[setting.label] if engine.startswith(SUBJECT)), None)
    if own_name is None:
        return []
    own = medians[setting.label][own_name]
    alike = [other.label for other in settings if (other.cores, other.kind) == (setting.cores, setting.kind)]
    peers = {
        (label, engine): engine if label == setting.label else f"{engine}, {label}"
        for label in alike
        for engine, figures in medians[label].items()
        if not engine.startswith(SUBJECT) and has_learnt(figures, medians[label])
    }
    verdicts = []
    for figure, target in scenario.targets.items():
        rivals = [(medians[label][engine][figure], peer) for (label, engine), peer in peers.items() if figure in medians[label][engine]]
        if rivals and figure in own:
            best, peer = min(rivals)
            ratio = best / max(own[figure], 1e-9)
            found = {"own": own[figure], "best": best, "peer": peer, "ratio": ratio}
            verdicts.append({"setting": setting.label, "figure": figure, **found, "target": target, "reached": ratio >= target})
    if peers:
        mine = quality_by_repeat(runs, setting.label, own_name)
        compared = [compare_quality(mine, quality_by_repeat(runs, *who), peer) for who, peer in peers.items()]
        found = min(compared, key=lambda each: each["difference"])
        reached = found["difference"] >= -AUC_TOLERANCE
        verdicts.append({"setting": setting.label, "figure": "auc", **found, "target": -AUC_TOLERANCE, "reached": reached})
    return verdicts


def quality_by_repeat(runs: Runs, setting: str, engine: str) -> dict[int, float]:
    """AUC on the data of every repeat."""
    return {run["repeat"]: run["auc"] for run in runs if (run["setting"], run["engine"]) == (setting, engine) and "failed" not in run}


def compare_quality(own: dict[int, float], other: dict[int, float], peer: str) -> dict[str, Any]:
    """Mean AUC on the data that both have seen, and how they differ there."""
    both = sorted(own.keys() & other.keys())
    differences = [own[repeat] - other[repeat] for repeat in both]
    found = {"own": statistics.fmean(own[repeat] for repeat in both), "best": statistics.fmean(other[repeat] for repeat in both)}
    return {**found, "peer": peer, "difference": statistics.fmean(differences), "differences": differences}


def has_learnt(figures: dict[str, float], engines: dict[str, dict[str, float]]) -> bool:
    """Whether a model is anywhere near the best in its setting."""
    return figures["auc"] - 0.5 > LEARNT * (max(others["auc"] for others in engines.values()) - 0.5)


def note_quality(medians: Medians) -> list[str]:
    """Peers whose time does not count, because their models are no good."""
    return [
        f"{engine}, {setting}: AUC {figures['auc']:.3f}, so its time is not compared"
        for setting, engines in medians.items()
        for engine, figures in engines.items()
        if not has_learnt(figures, engines)
    ]


def note_threads(scenario: Scenario, medians: Medians) -> list[str]:
    """Peers that a second thread does not help."""
    figure = next(iter(scenario.targets))
    by_threads = {(s.kind, s.threads): medians[s.label] for s in scenario.settings if s.processes == 1 and s.label in medians}
    notes = []
    for (kind, threads), one in by_threads.items():
        two = by_threads.get((kind, 2), {}) if threads == 1 else {}
        for engine in one.keys() & two.keys():
            alone, together = one[engine][figure], two[engine][figure]
            if not engine.startswith(SUBJECT) and together > NO_SPEED_UP * alone:
                notes.append(f"{engine} has no speed-up from its second thread: {figure} {alone:.2f} s, then {together:.2f} s")
    return sorted(notes)


def read_results(folder: pathlib.Path) -> Iterable[tuple[Scenario, dict[str, Any]]]:
    """Every scenario that has a result in ``folder``."""
    for scenario in SCENARIOS.values():
        path = result_path(folder, scenario)
        if path.exists():
            yield scenario, json.loads(path.read_text())


def result_path(folder: pathlib.Path, scenario: Scenario) -> pathlib.Path:
    """Where a scenario's result is."""
    return folder / f"trees_{scenario.name}.json"


def write_report(folder: pathlib.Path) -> pathlib.Path:
    """Write ``trees.md``: where we stand, and the medians of every scenario in ``folder``."""
    lines = ["# Trees beside their peers", "", *tabulate_verdicts(folder)]
    for scenario, result in read_results(folder):
        name = result_path(folder, scenario).name
        lines += [
            "",
            f"## {result['title']}",
            f"Medians of {result['repeats']} runs in turn, each on data of its own seed, and means of log loss and AUC; {result['cores']}"
            f" cores of {result['processor']}. Every run and the versions: [{name}]({name}).",
            "",
            *tabulate_medians(result["medians"]),
            *(["", *(f"- {note}" for note in result["notes"])] if result["notes"] else []),
        ]
    path = folder / "trees.md"
    path.write_text("\n".join([*lines, ""]))
    return path


def tabulate_verdicts(folder: pathlib.Path) -> list[str]:
    """Every target and where we stand, as Markdown."""
    lines = ["| scenario | setting | figure | samesum | best peer | | ratio | target | |", "|---|---|---|---|---|---|---|---|---|"]
    for scenario, result in read_results(folder):
        for verdict in result["verdicts"]:
            figure = verdict["figure"]
            own, best = (f"{verdict[who]:.{FIGURES[figure]}f}" for who in ("own", "best"))
            ratio = f"{verdict['ratio']:.2f}" if "ratio" in verdict else f"{verdict['difference']:+.5f}"
            reached = "reached" if verdict["reached"] else "**not reached**"
            cells = [scenario.name, verdict["setting"], NAMES[figure], own, best, verdict["peer"], ratio, f"{verdict['target']:g}", reached]
            lines.append(f"| {' | '.join(cells)} |")
    return lines if len(lines) > 2 else ["No results yet."]


def tabulate_medians(medians: Medians) -> list[str]:
    """The medians as Markdown, a row for every setting and engine."""
    used = [name for name in FIGURES if any(name in figures for engines in medians.values() for figures in engines.values())]
    lines = [f"| | engine | {' | '.join(NAMES.get(name, name.replace('_', ' ')) for name in used)} |", "|---" * (len(used) + 2) + "|"]
    for setting, engines in medians.items():
        for engine, figures in engines.items():
            cells = [f"{figures[name]:.{FIGURES[name]}f}" if name in figures else "" for name in used]
            lines.append(f"| {setting} | {engine} | {' | '.join(cells)} |")
    return lines


def list_scenarios() -> list[str]:
    """What is measured, and the targets, as Markdown."""
    lines = ["| scenario | what | target, times the best peer | minutes, 3 repeats |", "|---|---|---|---|"]
    for scenario in SCENARIOS.values():
        targets = ", ".join(f"{NAMES[figure].split()[0]} {target:g}" for figure, target in scenario.targets.items())
        lines.append(f"| `{scenario.name}` | {scenario.title}. {scenario.what} | {targets} | {scenario.minutes:g} |")
    return lines


def update_readme(readme: pathlib.Path, folder: pathlib.Path) -> None:
    """Put the scenarios and where we stand between the two marks of a README."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    made = "\n".join([*list_scenarios(), "", *tabulate_verdicts(folder), ""])
    readme.write_text(f"{before}{BEGIN}{made}{END}{after}")
