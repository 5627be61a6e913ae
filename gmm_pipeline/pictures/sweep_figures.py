"""Pictures of a sweep: many fits in one picture, fit for print, the same bytes in each process.

A picture is a function of the runs of a sweep. Dots are drawn as pixels
inside a vector picture: thousands of them would make it slow to open; the price is that they do not scale.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from gmm_pipeline.analysis import sweep_answers
from gmm_pipeline.analysis.recovery_shares import lines_of
from gmm_pipeline.analysis.sweep_answers import n_components, value
from gmm_pipeline.model.natural import Mixture
from gmm_pipeline.model.vocabulary import LINEAR_UP_TO, NAMES, SAME_OPTIMUM
from gmm_pipeline.pictures import drawing, pages, recovery_figure, sweep_curves, ticks
from gmm_pipeline.records import artifacts
from gmm_pipeline.records.sweeps import Manifest, SweepRun

MOST_PANELS = 8
TICKS = 5
"""Most intervals between ticks of a panel."""
NEAR = 1.0
"""Fits this close to the best, in nats, count as equally good."""
LONGEST_TITLE = 28
MARKERS = ("o", "s", "D", "^", "v")
DOTS: dict[str, Any] = {"linewidths": 0.0, "rasterized": True}
BEST: dict[str, Any] = {"marker": "*", "s": 110, "color": drawing.COLORS[5], "edgecolor": "white", "linewidths": 0.7}
REACHED_COLOR, ABOVE_COLOR = drawing.COLORS[1], drawing.COLORS[5]
WITHOUT_RESULT: dict[str, Any] = {"facecolor": "none", "edgecolor": "0.7", "hatch": "////", "linewidth": 0.0}


def draw_information_criterion(runs: Sequence[SweepRun], metric: str, *, ax: Axes) -> Axes:
    """An information criterion above its lowest over the number of components: a dot for each run, a line for the best.

    Args:
        runs: of a sweep; those without a result are counted in the picture.
        metric: `bic` or `aic`. Where data differ, each run is compared with the runs of the same data alone.
        ax: where to draw.
    """
    name, drawn = NAMES[metric], sweep_answers.with_results(runs, metric)
    excess = sweep_answers.excess_of_same_data(drawn, metric)
    counts = np.array([n_components(run) for run in drawn])
    together = sweep_answers.same_data(drawn)
    _criterion_axis(ax, excess)
    for count in np.unique(counts):
        here = np.flatnonzero(counts == count)
        x = count + 0.55 * sweep_answers.jitter(len(here))
        alpha = min(0.7, max(0.25, 12.0 / math.sqrt(len(here)) / 4.0))
        ax.scatter(x, excess[here], s=14, alpha=alpha, color=drawing.COLORS[1], zorder=2, **DOTS)
    digests = np.array([str(run.data_digest) for run in drawn])
    for digest in dict.fromkeys(digests):
        mine = digests == digest
        ks, lowest = sweep_answers.lowest_of_each(counts[mine], excess[mine])
        line = {"linewidth": 1.2, "zorder": 3} if together else {"linewidth": 0.7, "alpha": 0.5, "zorder": 1}
        ax.plot(ks, lowest, color=drawing.MIXTURE["color"], marker="_" if together else "", **line)
    ax.set_xlabel("number of components")
    ax.set_ylabel(f"{name} − lowest" + ("" if together else " of the same data"))
    ticks.set_whole_ticks(ax, int(counts.min()), int(counts.max()))
    handles: list[Artist] = [
        Line2D([], [], linestyle="", marker="o", markersize=4, color=drawing.COLORS[1], alpha=0.7, label="a run"),
        Line2D([], [], color="black", linewidth=1.2, label="best of each\nnumber"),
    ]
    if ax.get_yscale() != "linear":
        handles.append(ticks.linear_patch())
    choice = ""
    if together:
        best = int(np.argmin(excess))
        ax.scatter([counts[best]], [0.0], zorder=4, **BEST)
        star = {"marker": "*", "markersize": 10, "color": drawing.COLORS[5], "markeredgecolor": "white"}
        handles.append(Line2D([], [], linestyle="", label="best of all", **star))
        title = f"lowest {name} {value(drawn[best], metric):,.1f}: {counts[best]} components, run {drawn[best].number}"
        choice = title.replace("1 components", "1 component") if counts[best] == 1 else title
    pages.put_legend(ax, handles)
    pages.note(ax, [choice, _lost(runs, drawn), "" if together else f"{len(set(digests))} data sets"])
    return ax


def _criterion_axis(axes: Axes, excess: Float[np.ndarray, " R"]) -> None:
    """Differences, linear while they matter; logarithmic above if some are far away, so that all runs are seen."""
    highest = float(excess.max(initial=0.0))
    if highest <= 6.0 * LINEAR_UP_TO:
        axes.set_ylim(-0.04 * max(highest, 1.0), 1.06 * max(highest, 1.0))
        return
    ticks.set_decision_axis(axes, -0.8, highest * 1.6, highest, band_from=0.0)


def draw_final_loss(settings: Sequence[sweep_answers.Setting], *, figure: Figure | SubFigure) -> list[Axes]:
    """How often the best was reached: excess of final losses over the best, sorted, one panel per setting.

    The best is that of all runs that minimise the same loss, so that a setting that never gets there is seen.

    Args:
        settings: best first; at most `MOST_PANELS` are drawn, and the picture says how many are not.
        figure: where to draw.
    """
    panels = sorted(settings[:MOST_PANELS], key=lambda setting: setting.runs[0].number)
    excess = [np.sort(panel.excess) for panel in panels]
    finite = np.concatenate([values[np.isfinite(values)] for values in excess])
    grid = drawing.panels_of(figure, len(panels), "share of the runs")
    ticks.set_excess_axis(grid[0], 2.0 * max(float(finite.max(initial=0.0)), 0.5), SAME_OPTIMUM)
    for axes, panel, values, name in zip(grid, panels, excess, _titles(panels), strict=True):
        # A dot stands at the middle of its share.
        shares = (np.arange(len(values)) + 0.5) / len(values)
        good, has_result = values <= SAME_OPTIMUM, np.isfinite(values)
        axes.axvspan(0.0, panel.reached / len(values), color="0.93", linewidth=0.0, zorder=0)
        for chosen, color in ((good, REACHED_COLOR), (~good & has_result, ABOVE_COLOR)):
            shown = np.maximum(values[chosen], SAME_OPTIMUM)
            axes.scatter(shares[chosen], shown, s=9, color=color, zorder=2, clip_on=False, **DOTS)
        if not has_result.all():
            axes.axvspan(has_result.mean(), 1.0, **WITHOUT_RESULT)
        axes.set_title(f"{name}\n{panel.reached} of {len(values)} reached the best", fontsize="small", parse_math=False)
    grid[0].set_xlim(0.0, 1.0)
    grid[0].xaxis.set_major_locator(FixedLocator([0.0, 0.5, 1.0]))
    grid[0].xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}"))
    figure.supylabel("loss − best / nats", fontsize="medium")
    dot = {"linestyle": "", "marker": "o", "markersize": 4}
    handles: list[Artist] = [
        Line2D([], [], color=REACHED_COLOR, label=f"reached the best (within {SAME_OPTIMUM:g} nats)", **dot),
        Line2D([], [], color=ABOVE_COLOR, label="ended above it", **dot),
    ]
    if not np.isfinite(np.concatenate(excess)).all():
        handles.append(Patch(**WITHOUT_RESULT, label="without a result"))
    pages.put_legend(figure, handles, below=True, handlelength=1.5)
    if len(settings) > len(panels):
        pages.note(figure, [f"the best {len(panels)} of {len(settings)} settings"])
    return grid


def _titles(panels: Sequence[sweep_answers.Setting]) -> list[str]:
    """Overrides as titles of panels; if one is too long, all keys lose what comes before their last dot."""
    keys = {override.partition("=")[0] for panel in panels for override in panel.overrides}
    ends = {key.rpartition(".")[2] for key in keys}
    longest = max((len(override) for panel in panels for override in panel.overrides), default=0)
    shorten = longest > LONGEST_TITLE and len(ends) == len(keys)

    def line(override: str) -> str:
        key, _, text = override.partition("=")
        short = f"{key.rpartition('.')[2]}={text}" if shorten else override
        return short if len(short) <= LONGEST_TITLE else f"{short[: LONGEST_TITLE - 1]}…"

    return ["\n".join(map(line, panel.overrides[:3])) or "all runs" for panel in panels]


def draw_fitted_parameters(runs: Sequence[SweepRun], *, figure: Figure | SubFigure) -> list[Axes]:
    """Fitted locs and scales of every run of one column against the true ones, one panel per number of components.

    A dot is a component, its area follows its weight and its colour the order of locs, as in the pictures of a run.

    Args:
        runs: of a sweep; those without a result are counted in the picture.
        figure: where to draw.
    """
    drawn = [run for run in sweep_answers.with_results(runs, "loss") if isinstance(run.fitted, Mixture)]
    counts = np.array([n_components(run) or 0 for run in drawn])
    best = sweep_answers.best_losses(runs)
    near = np.array([value(run, "loss") <= best[run.number] + NEAR for run in drawn], bool)
    truths = {None if run.truth is None else repr(artifacts.mixture_as_json(run.truth)) for run in drawn}
    units = {run.unit for run in drawn}
    unit = units.pop() if len(units) == 1 else None
    panels, n_ks = np.unique(counts)[:MOST_PANELS], len(np.unique(counts))
    truth = drawn[0].truth if len(truths) == 1 else None
    grid = drawing.panels_of(figure, len(panels), drawing.with_unit("loc", unit))
    for axes, k in zip(grid, panels, strict=True):
        here = np.flatnonzero(counts == k)
        weights, locs, scales = (
            np.stack([getattr(drawn[index].fitted, field) for index in here]) for field in Mixture._fields
        )
        for chosen, alpha in ((~near[here], 0.15), (near[here], 0.7)):
            for component in range(k):
                area = 5.0 + 55.0 * weights[chosen, component]
                place = locs[chosen, component], scales[chosen, component]
                axes.scatter(*place, s=area, alpha=alpha, zorder=2, **_component_dot(component), **DOTS)
        if truth is not None:
            axes.scatter(truth.locs, truth.scales, s=90.0, facecolors="none", edgecolors="black", zorder=4)
            axes.scatter(truth.locs, truth.scales, s=30.0, marker="+", color="black", linewidths=0.8, zorder=4)
        axes.margins(0.1)
        axes.set_title("1 component" if k == 1 else f"{k} components", fontsize="small")
    low = min(float(axes.dataLim.y0) for axes in grid)
    high = max(float(axes.dataLim.y1) for axes in grid)
    if low > 0.0 and high > 5.0 * low:
        grid[0].set_yscale("log")
        ticks.set_log_ticks(grid[0])
        grid[0].yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    grid[0].xaxis.set_major_locator(MaxNLocator("auto"))
    up = ticks.set_panel_ticks(grid[0].yaxis, TICKS) if grid[0].get_yscale() == "linear" else ""
    label = ticks.with_power(drawing.with_unit("scale", unit), up)
    figure.supylabel(label, fontsize="medium", parse_math=False, multialignment="center")
    dot: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5}
    handles: list[Artist] = [
        Line2D([], [], **{**dot, **_component_dot(component)}, label=f"component {component}")
        for component in range(min(int(panels.max()), MOST_PANELS))
    ]
    if not near.all():
        handles.append(Line2D([], [], color="0.85", label=f"more than {NEAR:g} nat\nabove the best", **dot))
    if truth is not None:
        ring = {"markerfacecolor": "none", "markeredgecolor": "black", "markersize": 8, "marker": "o"}
        handles.append(Line2D([], [], linestyle="", label="true", **ring))
    pages.put_legend(figure, handles, handlelength=1.2)
    notes = [_lost(runs, drawn), "the true mixture differs between runs and is left out" if len(truths) > 1 else ""]
    pages.note(
        figure, [*notes, f"the first {len(panels)} of {n_ks} numbers of components" if n_ks > len(panels) else ""]
    )
    return grid


def _component_dot(component: int) -> dict[str, Any]:
    """Colour of a component in all pictures, and a shape that distinguishes it from the next one of that colour."""
    shape = MARKERS[component // len(drawing.COLORS) % len(MARKERS)]
    return {"color": drawing.component_style(component)["color"], "marker": shape}


def _lost(runs: Sequence[SweepRun], drawn: Sequence[SweepRun]) -> str:
    n_lost = len(runs) - len(drawn)
    return f"{n_lost} of {len(runs)} runs without a sound result" if n_lost else ""


def draw_sweep(
    folder: Path,
    manifest: Manifest,
    runs: Sequence[SweepRun],
    *,
    objective: str,
    formats: Sequence[str],
    paper: pages.Paper,
    dpi: float | int,
    errors: Mapping[int, float] | None = None,
) -> list[Path]:
    """Draw the pictures that make sense for a sweep into its folder `figures`; returns the paths.

    Args:
        folder: of the sweep.
        manifest: what was asked.
        runs: those that have a record.
        objective: the metric that runs are ranked by.
        formats: of the files.
        paper: of the pages.
        dpi: dots per inch.
        errors: worst error of a fit against the truth by the number of the run; None or empty if not known.
    """
    figures: dict[str, Figure] = {}
    metric = objective if objective in ("bic", "aic") else "bic"
    if len({n_components(run) for run in sweep_answers.with_results(runs, metric)}) > 1:
        figures["information_criterion"] = paper.on_axes(draw_information_criterion, runs, metric)
    finished = sweep_answers.with_results(runs, "loss")
    settings = [
        setting
        for setting in sweep_answers.settings_of(runs, objective)
        if len(setting.runs) > 1 and np.isfinite(setting.excess).any()
    ]
    if settings:
        figures["final_loss"] = paper.on_figure(draw_final_loss, settings)
    if sum(isinstance(run.fitted, Mixture) for run in finished) > 1:
        figures["fitted_parameters"] = paper.on_figure(draw_fitted_parameters, runs)
    swept = sweep_curves.swept_steps(runs)
    if swept and finished:
        figures["loss_curves"] = sweep_curves.read_and_draw(folder, runs, swept, paper)
    recovered = lines_of(runs, errors or {})
    if recovery_figure.is_informative(recovered):
        figures["recovery"] = paper.on_axes(recovery_figure.draw_recovery, recovered)
    paths = []
    for name, figure in figures.items():
        paths += pages.save_figure(figure, folder / artifacts.FIGURES / name, formats=formats, dpi=dpi)
    return paths
