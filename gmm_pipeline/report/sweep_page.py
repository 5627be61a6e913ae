"""The page about a sweep: what was asked, how the runs ended, the best one's answer, and all of them side by side.

The table goes into the page as columns and becomes rows in the browser, some at a time, so that a thousand runs show at
once; what differs between the runs comes first, and constant columns are hidden.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gmm_pipeline.analysis.sweep_answers import (
    barred,
    best_of,
    excess_of_same_data,
    failures,
    jitter,
    lowest_of_each,
    n_components,
    settings_within,
    with_results,
)
from gmm_pipeline.analysis.sweep_answers import (
    value as value_of,
)
from gmm_pipeline.errors import InputError
from gmm_pipeline.model.vocabulary import LARGER_IS_BETTER, NAMES
from gmm_pipeline.records.overrides import override_values
from gmm_pipeline.records.reading import read_checked
from gmm_pipeline.records.sweeps import DIVERGED, FAILED, FINISHED, Manifest, SweepRun, differing_overrides
from gmm_pipeline.report import plotting, rendering, verdicts, wording
from gmm_pipeline.report.plotting import Chart
from gmm_pipeline.report.run_page import Answer, Settings, answer, as_content
from gmm_pipeline.report.sweep_columns import MOST_CHOICES, axes, filters, table_of

MOST_FAILURES = 50


def page(
    folder: Path,
    manifest: Manifest,
    runs: Sequence[SweepRun],
    *,
    place: str,
    counts: str,
    meaning: Sequence[str],
    settings: Settings,
) -> str:
    """The page as HTML.

    Args:
        folder: of the sweep.
        manifest: what was asked.
        runs: those that have a record, at least one.
        place: the folder, as people name it.
        counts: how many runs ended how, in words.
        meaning: what the runs mean together, in sentences.
        settings: for the agreement of the best run with its data.
    """
    runs = sorted(runs, key=lambda run: run.number)
    objective = manifest.objective
    compared = with_results(runs, objective)
    best = best_of(runs, objective)[1] if compared else None
    judged = None if best is None else _answer(folder / best.record, settings)
    drawn: dict[str, Chart] = {} if judged is None else {f"best-{name}": one for name, one in judged.charts.items()}
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
        headline=headline(manifest, runs, best, judged, counts, meaning),
        meaning=meaning[1:],
        tiles=tiles(manifest, runs),
        varied=varied(runs, differing),
        common=common(runs, differing),
        best=best,
        best_chips=[] if best is None else settings_within(best, differing),
        judged=None if judged is None else as_content(judged),
        objective=NAMES.get(objective, objective),
        origin="" if judged is None else wording.origin(judged.run.about),
        began=wording.moment(manifest.started),
        failures=lost(runs, differing),
        table=table,
        filters=filters(table, differing),
        axes=axes(table, objective, differing),
        pictures=rendering.pictures(folder),
    )


def _answer(record: Path, settings: Settings) -> Answer | None:
    """The best run's answer; None if its record lacks files by now, which costs only this part of the page."""
    try:
        return answer(read_checked(record), settings)
    except InputError:
        return None


def headline(
    manifest: Manifest,
    runs: Sequence[SweepRun],
    best: SweepRun | None,
    judged: Answer | None,
    counts: str,
    meaning: Sequence[str],
) -> verdicts.Finding:
    """The overall verdict.

    Args:
        manifest: what was asked.
        runs: those that have a record.
        best: the best run; None if there is none.
        judged: the verdicts and plots of the best run; None if its record cannot be read.
        counts: how many runs ended how, as a sentence.
        meaning: what the runs say together, as sentences; the first is shown.
    """
    ended = Counter(run.status for run in runs)
    lost = len(manifest.runs) - ended[FINISHED]
    words = " ".join([counts[:1].upper() + counts[1:] + ".", *meaning[:1]])
    if best is None:
        return verdicts.Finding(verdicts.BAD, "verdict", "No run has a result to compare", words)
    sound = not lost and (judged is None or judged.headline.level == verdicts.GOOD)
    level = verdicts.GOOD if sound else verdicts.CAUTION
    name = NAMES.get(manifest.objective, manifest.objective)
    side = "highest" if manifest.objective in LARGER_IS_BETTER else "lowest"
    value = wording.minus(f"{value_of(best, manifest.objective):,.3f}")
    return verdicts.Finding(level, "verdict", f"Run {best.number} has the {side} {name}, {value}", words)


def tiles(manifest: Manifest, runs: Sequence[SweepRun]) -> list[tuple[str, str, str]]:
    """How many runs ended how.

    Args:
        manifest: what was asked.
        runs: those that have a record.
    """
    ended = Counter(run.status for run in runs)
    left_out = Counter(barred(run) for run in runs if run.status == FINISHED)
    rows = [("runs", f"{len(manifest.runs):,}", "asked for")]
    rows += [(status, f"{ended[status]:,}", "") for status in (FINISHED, DIVERGED, FAILED)]
    rows += [(why, f"{n:,}", "of the finished, left out of comparisons") for why, n in left_out.items() if why]
    missing = len(manifest.runs) - len(runs)
    return rows + ([("not run", f"{missing:,}", "the same command resumes")] if missing else [])


def varied(runs: Sequence[SweepRun], differing: Sequence[str]) -> list[tuple[str, str]]:
    """The keys that differ between runs and their values.

    Args:
        runs: of the sweep.
        differing: overrides that differ between them.
    """
    rows = []
    for key in differing:
        values = list(dict.fromkeys(override_values(run.overrides).get(key, "–") for run in runs))
        shown = ", ".join(values[:MOST_CHOICES])
        rest = len(values) - MOST_CHOICES
        rows.append((key, f"{shown} and {rest:,} more" if rest > 0 else shown))
    return rows


def common(runs: Sequence[SweepRun], differing: Sequence[str]) -> list[str]:
    """The overrides that all runs have.

    Args:
        runs: of the sweep, at least one.
        differing: overrides that differ between them.
    """
    first = override_values(runs[0].overrides)
    return [f"{key}={value}" for key, value in first.items() if key not in differing]


def lost(runs: Sequence[SweepRun], differing: Sequence[str]) -> list[str]:
    """The runs without a result and why, at most `MOST_FAILURES`.

    Args:
        runs: of the sweep.
        differing: overrides that differ between them.
    """
    more = sum(run.status != FINISHED for run in runs) - MOST_FAILURES
    lines = failures(runs, differing, MOST_FAILURES, joined=", ")
    return lines + ([f"and {more:,} more: see the table"] if more > 0 else [])


def criterion_chart(compared: Sequence[SweepRun], objective: str) -> Chart | None:
    """The objective above its best over the number of components, or else over the first key that differs.

    Args:
        compared: the runs that have the objective and are not barred.
        objective: the metric that runs are ranked by.
    """
    if len(compared) < 2:
        return None
    excess = excess_of_same_data(compared, objective)
    counts = [n_components(run) for run in compared]
    name = NAMES.get(objective, objective)
    above = f"highest − {name}" if objective in LARGER_IS_BETTER else f"{name} − lowest"
    heights, axis = plotting.excess_axis(above, excess)
    points: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "name": "a run",
        "y": plotting.numbers(heights),
        "customdata": plotting.numbers(excess),
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
            "x": plotting.numbers(unique),
            "y": plotting.numbers(lowest_of_each(numbers.astype(int), heights)[1]),
            "line": {"color": "--ink", "width": 1.6},
            "hoverinfo": "skip",
        }
        across = plotting.whole_axis("number of components", unique)
        return plotting.chart([joined, {**points, "x": plotting.numbers(x)}], x=across, y=axis)
    keys = [key for key in differing_overrides(compared) if key != "seed"]
    if not keys:
        return None
    values = [plotting.text(override_values(run.overrides).get(keys[0], "–")) for run in compared]
    across = {"title": {"text": plotting.text(keys[0])}, "type": "category"}
    return plotting.chart([{**points, "x": values}], x=across, y=axis, showlegend=False)
