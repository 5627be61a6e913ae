"""The page about a sweep: what was asked, how the runs ended, the best one's answer, and all of them side by side.

The table goes into the page as columns and becomes rows in the browser, a stretch at a time, so that a thousand runs
are there at once; what differs between the runs comes first, and what is the same in all folds away.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmm_pipeline.errors import InputError
from gmm_pipeline.records.files import Column
from gmm_pipeline.records.overrides import override_values
from gmm_pipeline.records.report import charts, rendering, wording
from gmm_pipeline.records.report.charts import Chart
from gmm_pipeline.records.report.reading import Match, read_run
from gmm_pipeline.records.report.run_page import Answer, Settings, answer, as_content
from gmm_pipeline.records.sweep_answers import (
    LARGER_IS_BETTER,
    best_of,
    excess_of_same_data,
    is_degenerate,
    jitter,
    n_components,
    with_results,
)
from gmm_pipeline.records.sweep_answers import (
    value as value_of,
)
from gmm_pipeline.records.sweep_table import table_columns
from gmm_pipeline.records.sweeps import DIVERGED, FAILED, FINISHED, Manifest, SweepRun, differing_overrides

MOST_CHOICES = 12
"""Values of a column by which the table can be filtered, or points be coloured."""
MOST_FILTERS = 6
MOST_FAILURES = 50
FIRST = ("status", "loss", "log_likelihood", "bic", "converged", "n_steps", "hit_rate", "n_degenerate", "error")
FILTERED = ("status", "converged", "n_degenerate", "scales_are")
LAST = ("digest", "record")
LABELS = {"log_likelihood": "log-likelihood", "bic": "BIC", "aic": "AIC", "icl": "ICL", "n_steps": "steps taken"}


def page(
    folder: Path,
    manifest: Manifest,
    runs: Sequence[SweepRun],
    *,
    place: str,
    counts: str,
    told: Sequence[str],
    match: Match,
    settings: Settings,
) -> str:
    """The page as HTML.

    Args:
        folder: of the sweep.
        manifest: what was asked.
        runs: what there is, one at least.
        place: how people name the folder.
        counts: how many runs ended how, in words.
        told: what the runs say together.
        match: gives each fitted component its true one.
        settings: for the agreement of the best run with its data.
    """
    runs = sorted(runs, key=lambda run: run.number)
    objective = manifest.objective
    compared = with_results(runs, objective)
    best = best_of(runs, objective)[1] if compared else None
    found = None if best is None else _answer(folder / best.record, match, settings)
    drawn: dict[str, Chart] = {} if found is None else {f"best-{name}": one for name, one in found.charts.items()}
    criterion = criterion_chart(compared, objective) if compared else None
    if criterion is not None:
        drawn["criterion"] = criterion
    table = table_of(runs, objective, best)
    differing = differing_overrides(runs)
    return rendering.render(
        "sweep.html.j2",
        charts=drawn,
        title=f"{manifest.name}: {wording.plural(len(manifest.runs), 'run')}",
        place=place,
        manifest=manifest,
        headline=headline(manifest, runs, best, found, counts, told),
        told=told[1:],
        tiles=tiles(manifest, runs),
        varied=varied(runs, differing),
        common=common(runs, differing),
        best=best,
        best_chips=[]
        if best is None
        else [f"{k}={v}" for k, v in override_values(best.overrides).items() if k in differing],
        found=None if found is None else as_content(found),
        objective=wording.CRITERIA.get(objective, objective),
        began=wording.moment(manifest.started),
        failures=failures(runs, differing),
        table=table,
        filters=filters(table, differing),
        axes=axes(table, objective, differing),
        pictures=rendering.pictures(folder),
    )


def _answer(record: Path, match: Match, settings: Settings) -> Answer | None:
    """The best run's answer; a record that was thinned out since costs its part of the page, not the page."""
    try:
        return answer(read_run(record, match), settings)
    except InputError:
        return None


def headline(
    manifest: Manifest,
    runs: Sequence[SweepRun],
    best: SweepRun | None,
    found: Answer | None,
    counts: str,
    told: Sequence[str],
) -> wording.Finding:
    """The verdict at a glance."""
    ended = Counter(run.status for run in runs)
    lost = len(manifest.runs) - ended[FINISHED]
    words = " ".join([counts[:1].upper() + counts[1:] + ".", *told[:1]])
    if best is None:
        return wording.Finding(wording.BAD, "verdict", "No run has a result to compare", words)
    sound = not lost and (found is None or found.headline.level == wording.GOOD)
    level = wording.GOOD if sound else wording.CAUTION
    name = wording.CRITERIA.get(manifest.objective, manifest.objective)
    side = "highest" if manifest.objective in LARGER_IS_BETTER else "lowest"
    value = wording.minus(f"{value_of(best, manifest.objective):,.3f}")
    return wording.Finding(level, "verdict", f"Run {best.number} has the {side} {name}, {value}", words)


def tiles(manifest: Manifest, runs: Sequence[SweepRun]) -> list[tuple[str, str, str]]:
    """How many runs ended how."""
    ended = Counter(run.status for run in runs)
    degenerate = sum(is_degenerate(run) for run in runs if run.status == FINISHED)
    rows = [("runs", f"{len(manifest.runs):,}", "asked for")]
    rows += [(status, f"{ended[status]:,}", "") for status in (FINISHED, DIVERGED, FAILED)]
    rows += [("degenerate", f"{degenerate:,}", "of the finished, left out of comparisons")] if degenerate else []
    missing = len(manifest.runs) - len(runs)
    return rows + ([("not run", f"{missing:,}", "the same command goes on")] if missing else [])


def varied(runs: Sequence[SweepRun], differing: Sequence[str]) -> list[tuple[str, str]]:
    """The keys that differ between runs and their values."""
    rows = []
    for key in differing:
        values = list(dict.fromkeys(override_values(run.overrides).get(key, "–") for run in runs))
        shown = ", ".join(values[:MOST_CHOICES])
        rest = len(values) - MOST_CHOICES
        rows.append((key, f"{shown} and {rest:,} more" if rest > 0 else shown))
    return rows


def common(runs: Sequence[SweepRun], differing: Sequence[str]) -> list[str]:
    """The overrides that all runs have."""
    first = override_values(runs[0].overrides)
    return [f"{key}={value}" for key, value in first.items() if key not in differing]


def failures(runs: Sequence[SweepRun], differing: Sequence[str]) -> list[str]:
    """The runs without a result and why, so many that a page holds them."""
    lost = [run for run in runs if run.status != FINISHED]
    lines = []
    for run in lost[:MOST_FAILURES]:
        asked = override_values(run.overrides)
        label = ", ".join(f"{key}={asked[key]}" for key in differing if key in asked)
        reason = run.error or ("its loss or parameters are not finite" if run.status == DIVERGED else "no reason given")
        lines.append(f"run {run.number}{f' ({label})' if label else ''} {run.status}: {reason}")
    return lines + ([f"and {len(lost) - MOST_FAILURES:,} more: see the table"] if len(lost) > MOST_FAILURES else [])


def table_of(runs: Sequence[SweepRun], objective: str, best: SweepRun | None) -> dict[str, Any]:
    """The table as the page's script takes it: columns in the order that they are shown in."""
    columns = table_columns(runs)
    differing = differing_overrides(runs)
    asked = [name for name in columns if name in differing or name.removeprefix("override.") in differing]
    order = list(dict.fromkeys(["run", *asked, "status", objective, *FIRST, *columns]))
    order = [name for name in order if name in columns and name not in LAST]
    content = [_column(name, columns[name]) for name in order]
    sorted_by = order.index(objective) if objective in order else 0
    labels = [
        ", ".join(
            [f"run {run.number}", *(f"{k}={v}" for k, v in override_values(run.overrides).items() if k in differing)]
        )
        for run in runs
    ]
    return {
        "rows": len(runs),
        "columns": content,
        "links": [f"{run.record}/" for run in runs],
        "labels": labels,
        "best": None if best is None else next(i for i, run in enumerate(runs) if run.number == best.number),
        "sorted": sorted_by,
        "ascending": objective not in LARGER_IS_BETTER,
        "layout": charts.chart([], x={"automargin": True}, y={"automargin": True})["layout"],
    }


def _column(name: str, column: Column) -> dict[str, Any]:
    """A column: its values where they are numbers, and the text of each."""
    kind = "text"
    values: list[float | int | None] = []
    if isinstance(column, np.ndarray):
        kind = "number"
        missing = np.ma.getmaskarray(column)
        raw = np.ma.getdata(column).tolist()
        values = [None if gone or not np.isfinite(value) else value for value, gone in zip(raw, missing, strict=True)]
        texts = _texts(values)
    else:
        texts = ["" if value is None else value for value in column]
    if name in ("converged",):
        texts = [{"1": "yes", "0": "no", "true": "yes", "false": "no"}.get(text.lower(), text) for text in texts]
    choices = list(dict.fromkeys(texts))
    if kind == "number":
        choices.sort(key=lambda text: (text == "", values[texts.index(text)] if text else 0))
    return {
        "name": name,
        "label": LABELS.get(name, name),
        "kind": kind,
        "differs": len(choices) > 1 or name in ("run", "status"),
        "text": texts,
        "choices": choices if len(choices) <= MOST_CHOICES else [],
        **({"values": values} if kind == "number" else {}),
    }


def _texts(values: Sequence[float | int | None]) -> list[str]:
    """Numbers as text, with as many decimals as the longest of them needs for its seventh digit."""
    known = [value for value in values if value is not None]
    largest = max((abs(value) for value in known), default=0.0)
    if all(isinstance(value, int) for value in known):
        texts = [str(value) for value in known]
    elif (
        largest >= 1e7
        or (smallest := min((abs(v) for v in known if v), default=1.0)) < 1e-4
        or largest > 1e6 * smallest
    ):
        texts = [f"{value:.6g}" for value in known]
    else:
        decimals = 6 - max(math.floor(math.log10(largest or 1.0)), 0)
        texts = [f"{value:.{decimals}f}" for value in known]
        while decimals and all(text.endswith("0") for text in texts):
            decimals -= 1
            texts = [text[:-1] if decimals else text[:-2] for text in texts]
    rest = iter(texts)
    return ["" if value is None else wording.minus(next(rest)) for value in values]


def filters(table: Mapping[str, Any], differing: Sequence[str]) -> list[tuple[int, Mapping[str, Any]]]:
    """The columns by whose values the table can be filtered, with their places: what was asked, and how it ended."""
    wanted = {*differing, *(f"override.{key}" for key in differing), *FILTERED}
    found = [
        (place, column)
        for place, column in enumerate(table["columns"])
        if column["name"] in wanted and 1 < len(column["choices"]) <= MOST_CHOICES
    ]
    return found[:MOST_FILTERS]


def axes(table: Mapping[str, Any], objective: str, differing: Sequence[str]) -> dict[str, Any]:
    """What the explorer's axes can be, and what they are at first."""
    columns = list(enumerate(table["columns"]))
    places = [(place, column) for place, column in columns if column["differs"] and column["name"] != "error"]
    names = {column["name"]: place for place, column in places}
    coloured = [
        (p, column) for p, column in places if column["name"] != "run" and 1 < len(column["choices"]) <= charts.COLORS
    ]
    asked = [place for place, column in places if column["kind"] == "number" and column["name"] in differing]
    across = next((names[name] for name in ("n_steps",) if name in names), next(iter(asked), names["run"]))
    up = next((names[name] for name in ("loss", objective, "log_likelihood") if name in names), across)
    return {"places": places, "coloured": coloured, "x": across, "y": up}


def criterion_chart(compared: Sequence[SweepRun], objective: str) -> Chart | None:
    """The objective above its best over the number of components, or else over the first key that differs."""
    if len(compared) < 2:
        return None
    excess = excess_of_same_data(compared, objective)
    counts = [n_components(run) for run in compared]
    name = wording.CRITERIA.get(objective, objective)
    above = f"highest − {name}" if objective in LARGER_IS_BETTER else f"{name} − lowest"
    heights, axis = charts.excess_axis(above, excess)
    points: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": "a run",
        "y": charts.numbers(heights),
        "customdata": charts.numbers(excess),
        "text": [f"run {run.number}" for run in compared],
        "marker": {"color": "--accent", "size": 8, "opacity": 0.65},
        "hovertemplate": "%{text}: %{customdata:,.4g} from the best<extra></extra>",
    }
    if None not in counts and len(set(counts)) > 1:
        numbers = np.array(counts, float)
        x, unique = numbers.copy(), np.unique(numbers)
        for count in unique:
            here = np.flatnonzero(numbers == count)
            x[here] += 0.4 * jitter(len(here))
        joined: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines",
            "name": "best of each number",
            "x": charts.numbers(unique),
            "y": charts.numbers([heights[numbers == count].min() for count in unique]),
            "line": {"color": "--ink", "width": 1.6},
            "hoverinfo": "skip",
        }
        across = charts.whole_axis("number of components", unique)
        return charts.chart([joined, {**points, "x": charts.numbers(x)}], x=across, y=axis)
    keys = [key for key in differing_overrides(compared) if key != "seed"]
    if not keys:
        return None
    values = [charts.text(override_values(run.overrides).get(keys[0], "–")) for run in compared]
    across = {"title": {"text": charts.text(keys[0])}, "type": "category"}
    return charts.chart([{**points, "x": values}], x=across, y=axis, showlegend=False)
