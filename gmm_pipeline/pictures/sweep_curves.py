"""Losses of a sweep over optimizer steps, for the swept settings of the optimizer.

Histories are the only large part of a record, so only about `MOST_HISTORIES` are read, equally many for each value; the
picture says so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from gmm_pipeline.analysis import sweep_answers
from gmm_pipeline.model.vocabulary import SAME_OPTIMUM
from gmm_pipeline.pictures import drawing, pages, ticks
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.artifacts import History
from gmm_pipeline.records.overrides import override_values
from gmm_pipeline.records.sweep_table import typed_column
from gmm_pipeline.records.sweeps import SweepRun, differing_overrides

MOST_HISTORIES = 200
MOST_LINES = 12
STEP_KEYS = ("optimizer", "schedule")


def draw_loss_curves(
    histories: Sequence[History],
    key: str,
    labels: Sequence[str],
    zeros: Float[np.ndarray, " R"],
    *,
    n_runs: int,
    ax: Axes,
) -> Axes:
    """Excess of loss over optimizer steps, one colour per swept value: median over runs, band between the quartiles.

    Args:
        histories: of the runs that are drawn; a loss that is not finite counts as above all others.
        key: what was swept, for the legend.
        labels: its value in each run.
        zeros: for each run, the best loss of all runs that minimise the same one, in nats.
        n_runs: number of runs, drawn or not.
        ax: where to draw.
    """
    groups: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(label, []).append(index)
    numbers = typed_column(list(groups))
    is_number = isinstance(numbers, np.ndarray)
    order = np.argsort(numbers.data, kind="stable") if isinstance(numbers, np.ma.MaskedArray) else range(len(groups))
    names = [list(groups)[index] for index in order]
    many = len(names) > MOST_LINES
    colors, norm = _sequence([float(name) for name in names] if is_number else None, len(names))
    bands = [sweep_answers.band([histories[i] for i in groups[name]], zeros[groups[name]]) for name in names]
    finite = np.concatenate([band.middle[np.isfinite(band.middle)] for band in bands])
    top = 2.0 * max(float(finite.max(initial=0.0)), 10.0 * SAME_OPTIMUM)
    ticks.set_excess_axis(ax, top, SAME_OPTIMUM)
    for name, color, band in zip(names, colors, bands, strict=True):
        if len(groups[name]) > 2 and not many:
            kept = np.isfinite(band.high)
            ax.fill_between(band.steps[kept], band.low[kept], band.high[kept], color=color, alpha=0.2, linewidth=0)
        shown = np.where(np.isfinite(band.middle), band.middle, np.nan)
        ax.plot(band.steps, shown, color=color, label=_label(name, band), linewidth=0.7 if many else 1.4)
    ticks.set_step_axis(ax, max((band.steps for band in bands), key=lambda steps: int(steps[-1])))
    ax.set_ylabel("loss − best / nats")
    notes = [f"{len(histories)} of {n_runs} runs"] if len(histories) < n_runs else []
    largest = max(map(len, groups.values()))
    if largest > 1:
        notes.append("median of the runs" + (" and their quartiles" if largest > 2 and not many else ""))
    if many and norm is not None:
        bar = cast(Any, ax.figure).colorbar(ScalarMappable(norm, "viridis_r"), ax=ax, pad=0.02)
        bar.set_label(key, parse_math=False)
    else:
        pages.put_legend(ax, title=key)
    pages.note(ax, notes)
    return ax


def _label(name: str, band: sweep_answers.Band) -> str:
    name = drawing.legend_name(name, len(name))
    return f"{name}\n{band.n_lost} of {band.n_runs} diverged" if band.n_lost else name


def _sequence(values: Sequence[float] | None, count: int) -> tuple[list[Any], Normalize | None]:
    """Colours from light to dark for numbers in order; distinct ones for names."""
    if values is None:
        return [drawing.component_style(index)["color"] for index in range(count)], None
    if count > MOST_LINES:
        norm = LogNorm if min(values) > 0.0 and max(values) > 10.0 * min(values) else Normalize
        scale = norm(min(values), max(values))
        return [mpl.colormaps["viridis_r"](scale(number)) for number in values], scale
    # The lightest tenth of the map is lost on white.
    return [mpl.colormaps["viridis_r"](share) for share in np.linspace(0.12, 1.0, count)], None


def swept_steps(runs: Sequence[SweepRun]) -> list[str]:
    """Overrides of the optimizer and its schedule that differ between runs."""
    return [key for key in differing_overrides(runs) if key.partition(".")[0].partition("@")[0] in STEP_KEYS]


def read_and_draw(folder: Path, runs: Sequence[SweepRun], keys: Sequence[str], paper: pages.Paper) -> pages.Page:
    """The loss curves of a sweep, from the histories of at most `MOST_HISTORIES` of its runs.

    Args:
        folder: of the sweep.
        runs: of the sweep; those without a finite loss are left out.
        keys: the overrides that were swept, which name the curves.
        paper: of the page.
    """
    zeros = sweep_answers.best_losses(runs)
    drawable = [run for run in runs if run.number in zeros]
    asked = [override_values(run.overrides) for run in drawable]
    labels = [" ".join(values.get(key, "default") for key in keys) for values in asked]
    indices = sweep_answers.even_choice(labels, MOST_HISTORIES)
    chosen, labels = [drawable[index] for index in indices], [labels[index] for index in indices]
    histories = [artifacts.read_history(folder / run.record / artifacts.HISTORY) for run in chosen]
    best = np.array([zeros[run.number] for run in chosen])
    return paper.on_axes(draw_loss_curves, histories, "\n".join(keys), labels, best, n_runs=len(drawable))
