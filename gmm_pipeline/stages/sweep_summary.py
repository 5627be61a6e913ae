"""The summary of a sweep on the terminal: how many runs ended how, the best few settings and what they mean.

The sentences say no more than the numbers: information criteria are compared only on the same data and between numbers
of components, where they are evidence; between ways to minimise the same loss they only say which got further. All of
it follows from the runs, so that a resumed sweep ends with the same summary.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gmm_pipeline.analysis.doubts import Reason
from gmm_pipeline.analysis.sweep_answers import (
    Setting,
    barred,
    best_of,
    failures,
    falls,
    n_components,
    same_data,
    settings_of,
    value,
    with_results,
)
from gmm_pipeline.model.vocabulary import LARGER_IS_BETTER, NAMES, SAME_OPTIMUM
from gmm_pipeline.records.files import is_number
from gmm_pipeline.records.overrides import override_values as values_of
from gmm_pipeline.records.sweeps import DIVERGED, FAILED, FINISHED, Manifest, SweepRun, differing_overrides
from gmm_pipeline.stages import terminal
from gmm_pipeline.stages.running import shown
from gmm_pipeline.stages.tables import Column, Table

MOST_ROWS = 5
MOST_FAILURES = 10
KASS_RAFTERY = (
    (2.0, "not worth more than a bare mention"),
    (6.0, "positive evidence against it"),
    (10.0, "strong evidence against it"),
    (float("inf"), "very strong evidence against it"),
)
BURNHAM_ANDERSON = (
    (2.0, "it has substantial support too"),
    (7.0, "it has considerably less support"),
    (10.0, "it has little support"),
    (float("inf"), "it has essentially no support"),
)
BARRED: dict[str, str] = {
    Reason.DEGENERATE: "with a degenerate component",
    Reason.COLLAPSING: "with a component on its way to a collapse",
    Reason.COINCIDENT: "with components that coincide",
    Reason.SADDLE: "at no maximum",
    Reason.ROUNDED: "with a component narrower than the rounding of the data",
    Reason.MISSED: "below a mixture that the model contains",
}
"""Why runs are left out, for the summary."""
CHARGING = ("bic", "aic", "icl")
"""Objectives that penalise components, so that the best number of them need not be the largest."""
SCALES = {
    "bic": (KASS_RAFTERY, "Kass & Raftery 1995, on differences of BIC"),
    "aic": (BURNHAM_ANDERSON, "Burnham & Anderson 2002, on differences of AIC"),
}


def print_summary(
    manifest: Manifest,
    runs: Sequence[SweepRun],
    folder: Path,
    *,
    objective: str,
    resume_command: str,
    tables: Sequence[Path],
    pictures: Sequence[Path],
) -> None:
    """Print the summary of a sweep.

    Args:
        manifest: what was asked.
        runs: those that have a record, in any order.
        folder: of the sweep.
        objective: the metric that runs are ranked by; lower is better, except for the log-likelihood.
        resume_command: fits what is missing.
        tables: files of the table of runs.
        pictures: files of the pictures that were drawn.
    """
    runs = sorted(runs, key=lambda run: run.number)
    where = next((str(shown(path)) for path in tables if path.suffix == ".csv"), "their records")
    terminal.say(counts(manifest, runs), "")
    print_answer(answer_of(runs, objective, where, len(manifest.runs)))
    if tables:
        terminal.say(f"table: {' and '.join(str(shown(path)) for path in tables)}, one row per run")
    if pictures:
        folders = dict.fromkeys(path.parent for path in pictures)
        names = ", ".join(dict.fromkeys(path.stem for path in pictures))
        terminal.say(f"pictures: {', '.join(str(shown(path)) for path in folders)} ({names})")
    terminal.say(f"records: {shown(folder)}")
    if len(runs) < len(manifest.runs) or any(run.status == FAILED for run in runs):
        terminal.say(f"fit what is missing or failed: {resume_command}")


class SweepAnswer(NamedTuple):
    """What a sweep found, for whatever shows it."""

    best: Table | None
    """The best few settings; None if no run has a result."""
    more: int
    """Settings that are not in it."""
    meaning: list[str]
    lost: list[str]
    """The runs without a result."""


def answer_of(runs: Sequence[SweepRun], objective: str, where: str, total: int) -> SweepAnswer:
    """The best settings of a sweep, what they mean, and what is missing.

    Args:
        runs: of the sweep, in order of number.
        objective: the metric that they are ranked by.
        where: all runs are listed.
        total: how many were asked for.
    """
    settings = [setting for setting in settings_of(runs, objective) if with_results(setting.runs, objective)]
    if settings:
        said = meaning(runs, settings, objective, total)
    elif any(run.status == FINISHED for run in runs):
        said = [f"No finished run has a finite {objective}, so none is the best."]
    else:
        said = []
    best = best_table(settings, objective) if settings else None
    return SweepAnswer(best, max(len(settings) - MOST_ROWS, 0), said, lost(runs, where))


def print_answer(found: SweepAnswer) -> None:
    """Print what a sweep found.

    Args:
        found: its answer.
    """
    if found.best is not None:
        terminal.show(found.best)
        terminal.say(*[f"and {found.more:,} more"] * bool(found.more), "")
    for lines in (found.meaning, found.lost):
        if lines:
            terminal.say(*lines, "")


def counts(manifest: Manifest, runs: Sequence[SweepRun]) -> str:
    """How many runs ended how.

    Args:
        manifest: what was asked.
        runs: those that have a record.
    """
    return f"sweep {manifest.name}, {counted(runs, len(manifest.runs))}"


def counted(runs: Sequence[SweepRun], total: int) -> str:
    """How many runs ended how.

    Args:
        runs: those that ended.
        total: how many were asked for.
    """
    ended = Counter(run.status for run in runs)
    parts = [f"{ended[status]:,} {status}" for status in (FINISHED, DIVERGED, FAILED) if ended[status]]
    left_out = Counter(barred(run) for run in runs if run.status == FINISHED)
    parts += [f"{n:,} of them {BARRED.get(why, why)}, left out of comparisons" for why, n in left_out.items() if why]
    missing = total - len(runs)
    if missing:
        parts.append(f"{missing:,} not run")
    return f"{total:,} run{'s' * (total != 1)}: {', '.join(parts)}"


def best_table(settings: Sequence[Setting], objective: str) -> Table:
    """The best settings, one row each: what was set, its best run, and how many of its runs were as good.

    Args:
        settings: those with results, best first.
        objective: the metric that they are ranked by.
    """
    keys = list(dict.fromkeys(key for setting in settings for key in values_of(setting.overrides)))
    shown_ones = settings[:MOST_ROWS]
    asked = [values_of(setting.overrides) for setting in shown_ones]
    best = [best_of(setting.runs, objective)[1] for setting in shown_ones]
    columns = [Column("", [str(rank) for rank in range(1, len(shown_ones) + 1)])]
    for key in keys:
        cells = [values.get(key, "") for values in asked]
        columns.append(Column(key, cells, "number" if all(is_number(cell) for cell in cells if cell) else "text"))
    for metric in dict.fromkeys([objective, "log_likelihood"]):
        columns.append(Column(NAMES.get(metric, metric), [f"{value(run, metric):.3f}" for run in best]))
    reached = [f"{setting.reached:,} of {len(setting.runs):,}" for setting in shown_ones]
    return Table([*columns, Column("best run", [str(run.number) for run in best]), Column("reached it", reached)])


def meaning(runs: Sequence[SweepRun], settings: Sequence[Setting], objective: str, total: int) -> list[str]:
    """What the best settings mean, in a sentence or two.

    Args:
        runs: of the sweep.
        settings: those with results, best first.
        objective: the metric that they are ranked by.
        total: how many runs were asked for.
    """
    name = NAMES.get(objective, objective)
    superlative = "highest" if objective in LARGER_IS_BETTER else "lowest"
    ranked = with_results(runs, objective)
    if not same_data(ranked):
        n_data_sets = len({run.data_digest for run in ranked})
        return [
            f"The runs are of {n_data_sets:,} data sets: {name} of different data cannot be compared, and the order of "
            "the rows does not rank them."
        ]
    sentences = []
    varies = len({n_components(run) for run in ranked}) > 1
    if varies and any(_chose(run) for run in ranked):
        sentences.append("A run with n_components=auto compares numbers of components itself: see its selection.")
    elif varies:
        sentences.append(_compare_components(ranked, name, superlative, objective))
        # Of a sweep that was interrupted, other numbers may still come.
        sentences += _at_the_edge(runs, ranked, objective) if len(runs) >= total else []
    elif len(settings) > 1:
        sentences.append(_compare_settings(settings, name, superlative, objective))
    sentences += _fallen(runs)
    sentences += _reached(settings[0])
    return sentences


def _chose(run: SweepRun) -> bool:
    """Whether a run chose its own number of components; only its record says how the candidates compare."""
    return values_of(run.overrides).get("n_components") == "auto"


def _compare_components(runs: Sequence[SweepRun], name: str, superlative: str, objective: str) -> str:
    by_count: dict[int | None, list[SweepRun]] = {}
    for run in runs:
        by_count.setdefault(n_components(run), []).append(run)
    (best, first), (second, next_one) = sorted(
        (best_of(members, objective)[0], count or 0) for count, members in by_count.items()
    )[:2]
    gap = second - best
    sentence = (
        f"{_capital(name)} is {superlative} at n_components={first}; the next, n_components={next_one}, is {gap:,.1f} "
        f"{'lower' if objective in LARGER_IS_BETTER else 'higher'}"
    )
    if objective in SCALES:
        scale, source = SCALES[objective]
        words = next(words for limit, words in scale if gap <= limit)
        return f"{sentence}: {words} ({source})."
    return f"{sentence} nats. More components always fit more closely: objective=bic weighs fit against their number."


def _at_the_edge(runs: Sequence[SweepRun], ranked: Sequence[SweepRun], objective: str) -> list[str]:
    numbers = {number for number in map(n_components, runs) if number is not None}
    best = n_components(best_of(ranked, objective)[1])
    if objective not in CHARGING or best not in (max(numbers), min(numbers) if min(numbers) > 1 else None):
        return []
    side, other = ("most", "more") if best == max(numbers) else ("fewest", "fewer")
    return [f"n_components={best} is the {side} that the sweep tried: try {other}."]


def _fallen(runs: Sequence[SweepRun]) -> list[str]:
    return [
        f"The log-likelihood falls from n_components={n_components(fall.smaller)} (run {fall.smaller.number}) to "
        f"n_components={n_components(fall.larger)} (run {fall.larger.number}) by {fall.nats:,.2g} nats, although more "
        "components always fit more closely: a better optimum was missed, so none of these runs is compared. Use "
        "more restarts or seeds."
        for fall in falls(runs)
    ]


def _compare_settings(settings: Sequence[Setting], name: str, superlative: str, objective: str) -> str:
    best, second = (best_of(setting.runs, objective)[0] for setting in settings[:2])
    direction = "lower" if objective in LARGER_IS_BETTER else "higher"
    # A criterion has twice the log-likelihood in it.
    gap = "as good" if second - best <= 2.0 * SAME_OPTIMUM else f"{second - best:,.3g} {direction}"
    return (
        f"{_capital(name)} is {superlative} with {settings[0].label or 'the defaults'}; the next, "
        f"{settings[1].label or 'the defaults'}, is {gap}. All have the same number of "
        "components, so this compares how they were fitted."
    )


def _reached(setting: Setting) -> list[str]:
    n_runs = len(setting.runs)
    if n_runs == 1:
        return []
    with_what = f"With {setting.label}, " if setting.label else ""
    differ = "seed" if differing_overrides(setting.runs) == ["seed"] else "run"
    only = f"{setting.reached:,} of {n_runs:,} {differ}s reached the best loss within {SAME_OPTIMUM:g} nats."
    said = with_what + only
    if setting.reached == 1:
        said += " A loss reached only once may not be the best there is: try more seeds."
    elif setting.reached == 0:
        said += " Other settings reached a lower loss: see the table."
    return [said]


def lost(runs: Sequence[SweepRun], where: str) -> list[str]:
    """The runs without a result, each with its settings and the reason, at most `MOST_FAILURES`.

    Args:
        runs: of the sweep.
        where: all runs are listed.
    """
    lines = failures(runs, differing_overrides(runs), MOST_FAILURES, joined=" ")
    more = sum(run.status != FINISHED for run in runs) - MOST_FAILURES
    if more > 0:
        lines.append(f"and {more:,} more, in {where}")
    return lines


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
